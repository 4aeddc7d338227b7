//! Artifacts for the tests: a small model in C, and the same in Rust as the reference.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::artifact::{Manifest, ModelMeta, Sample, SignedManifest, TensorMeta, file};
use contract::ids::ArtifactId;
use contract::limits::BLOCK_BYTES;
use contract::settings::{Mixed, Optimize};
use contract::timestamp::Timestamp;
use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest as _, Sha256};

pub const INPUT: usize = 64;
pub const OUTPUT: usize = 10;

/// How a model misbehaves on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Good,
    /// Its golden vectors are not what it computes.
    Wrong,
    /// It ends the firmware at the first inference.
    Crashing,
    /// It is no C.
    Broken,
    /// Each inference takes 300 ms.
    Slow,
    /// It writes bytes to the line that are neither frames nor text, and a line of text.
    Noisy,
}

#[derive(Debug, Clone)]
pub struct Model {
    pub id: ArtifactId,
    pub tar: Vec<u8>,
    pub manifest: Manifest,
}

/// output[i] = salt + sum of input[j] for j % OUTPUT == i, modulo 256.
pub fn reference(input: &[u8], salt: u8) -> Vec<u8> {
    (0..OUTPUT).map(|i| input.iter().skip(i).step_by(OUTPUT).fold(salt, |sum, byte| sum.wrapping_add(*byte))).collect()
}

pub fn input(number: usize) -> Vec<u8> {
    (0..INPUT).map(|i| ((number * 37 + i * 11) % 251) as u8).collect()
}

/// A model; `padding` bytes of constants make its image and artifact larger.
pub fn make(salt: u8, kind: Kind, padding: usize) -> Model {
    let misbehave = match kind {
        Kind::Crashing => "abort();",
        Kind::Broken => "this is no C;",
        Kind::Slow => "{ clock_t end = clock() + 3 * CLOCKS_PER_SEC / 10; while (clock() < end) {} }",
        Kind::Noisy => {
            "{ static const uint8_t noise[] = { 0, 0x91, 0xfe, 3, 0x80, 0xc1, 0, 7, 8, 9, 10, 'h', 'e', 'l', 'l', 'o', 10 }; board_write(noise, sizeof noise); }"
        }
        _ => "",
    };
    let pad: String = (0..padding).map(|i| format!("{},", (i * 7919 + i / 251) % 256)).collect();
    let c = format!(
        "#include \"model.h\"\n#include \"board.h\"\n#include <stdlib.h>\n#include <time.h>\nconst char tml_model_id[] = \"{salt:016x}\";\n\
         static int8_t in[{INPUT}], out[{OUTPUT}];\n\
         const volatile unsigned char padding[] = {{ {pad} 1 }};\n\
         int8_t *tml_input(void) {{ return in; }}\nconst int8_t *tml_output(void) {{ return out; }}\n\
         void tml_init(void) {{}}\n\
         int tml_invoke(void) {{ int i; {misbehave} for (i = 0; i < {OUTPUT}; i++) out[i] = (int8_t){salt};\n\
         for (i = 0; i < {INPUT}; i++) out[i % {OUTPUT}] = (int8_t)(unsigned char)((unsigned)out[i % {OUTPUT}] + (unsigned)in[i]);\n\
         return padding[0] == 255 && padding[sizeof padding - 1] == 0; }}\n"
    );
    let h = format!(
        "#ifndef MODEL_H\n#define MODEL_H\n#include <stdint.h>\n#define TML_MODEL_NAME \"sum\"\n#define TML_INPUT_BYTES {INPUT}\n\
         #define TML_OUTPUT_BYTES {OUTPUT}\n#define TML_ARENA_BYTES 74\nextern const char tml_model_id[];\nint8_t *tml_input(void);\n\
         const int8_t *tml_output(void);\nvoid tml_init(void);\nint tml_invoke(void);\n#endif\n"
    );
    let tensor = |name: &str, n: usize| TensorMeta {
        name: name.into(),
        shape: vec![n as u32],
        dtype: "int8".into(),
        scale: 0.5,
        zero_point: -128,
    };
    let (golden_count, sample_count) = (12, 5);
    let meta = ModelMeta {
        name: "sum".into(),
        input: tensor("in", INPUT),
        output: tensor("out", OUTPUT),
        labels: (0..OUTPUT).map(|i| format!("class-{i}")).collect(),
        input_scale: 1.0,
        input_offset: 0.0,
        golden_count,
        sample_count,
        arena_bytes: 74,
        weights_bytes: padding as u32,
        macs: 64,
        compiler: "test".into(),
        optimize: Optimize::Speed,
        mixed: Mixed::Auto,
    };
    let golden: Vec<u8> = (0..golden_count as usize)
        .flat_map(|n| {
            let expected = reference(&input(n), if kind == Kind::Wrong { salt.wrapping_add(1) } else { salt });
            [input(n), expected].concat()
        })
        .collect();
    let samples: Vec<u8> = (0..sample_count as usize).flat_map(|n| input(100 + n)).collect();
    let index: Vec<Sample> =
        (0..sample_count).map(|n| Sample { label: format!("class-{n}"), source: format!("row {n}") }).collect();
    let files = [
        (file::GOLDEN, golden),
        (file::META, serde_json::to_vec(&meta).unwrap()),
        (file::MODEL_C, c.into_bytes()),
        (file::MODEL_H, h.into_bytes()),
        (file::SAMPLES, samples),
        (file::SAMPLES_INDEX, serde_json::to_vec(&index).unwrap()),
    ];
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    from_tar(builder.into_inner().unwrap(), salt)
}

/// An artifact of whatever bytes.
pub fn from_tar(tar: Vec<u8>, salt: u8) -> Model {
    let id = ArtifactId::from_digest(&Sha256::digest(&tar).into());
    // Small blocks, so that a small artifact has several.
    let block = 4096.min(BLOCK_BYTES);
    let manifest = Manifest {
        artifact: id.clone(),
        purpose: Manifest::PURPOSE.into(),
        model: format!("sum@{}", u32::from(salt) + 1).parse().unwrap(),
        size: tar.len() as u64,
        block_bytes: block as u32,
        blocks: tar.len().div_ceil(block) as u32,
        compiler: "test".into(),
        created_at: Timestamp::now(),
        arena_bytes: 74,
        weights_bytes: 10,
        provenance: serde_json::json!({}),
    };
    Model { id, tar, manifest }
}

pub fn sign(key: &SigningKey, manifest: &Manifest) -> SignedManifest {
    let document = serde_json::to_string(manifest).unwrap();
    let mut signed = SignedManifest { document, key_id: "test".into(), signature: String::new() };
    signed.signature = STANDARD.encode(key.sign(&signed.signed_bytes()).to_bytes());
    signed
}
