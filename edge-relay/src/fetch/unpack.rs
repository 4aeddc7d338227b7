//! Unpacking an artifact: only the files that the contract names, flat, bounded.

use std::collections::BTreeMap;
use std::io::Read as _;

use contract::Code;
use contract::artifact::{ModelMeta, Sample, file};

use crate::work::Failure;

/// Reads the tar into memory (it is bounded by the manifest) and checks that its parts fit together.
///
/// # Errors
/// `artifact_invalid`, naming the file.
pub fn unpack(tar: &[u8]) -> Result<BTreeMap<&'static str, Vec<u8>>, Failure> {
    let invalid = |message: String| Failure::new(Code::ARTIFACT_INVALID, message);
    let broken = |error: std::io::Error| invalid(format!("the artifact is no readable tar: {error}"));
    let mut files = BTreeMap::new();
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path_bytes().into_owned();
        let name = file::ALL.into_iter().find(|name| name.as_bytes() == path);
        let Some(name) = name.filter(|_| entry.header().entry_type().is_file()) else {
            let shown: String =
                String::from_utf8_lossy(&path).chars().take(48).flat_map(char::escape_default).collect();
            return Err(invalid(format!(
                "the artifact contains '{shown}', which is not one of {}",
                file::ALL.join(", ")
            )));
        };
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(broken)?;
        if files.insert(name, bytes).is_some() {
            return Err(invalid(format!("the artifact contains '{name}' twice")));
        }
    }
    for name in [file::MODEL_C, file::MODEL_H, file::META, file::GOLDEN] {
        if !files.contains_key(name) {
            return Err(invalid(format!("the artifact has no '{name}'")));
        }
    }
    check(&files)?;
    Ok(files)
}

fn check(files: &BTreeMap<&'static str, Vec<u8>>) -> Result<(), Failure> {
    let invalid = |message: String| Failure::new(Code::ARTIFACT_INVALID, message);
    let get = |name: &str| files.get(name).map(Vec::as_slice).unwrap_or_default();
    let meta: ModelMeta = serde_json::from_slice(get(file::META))
        .map_err(|e| invalid(format!("'{}' cannot be read: {e}", file::META)))?;
    let (input, output) = (meta.input.bytes(), meta.output.bytes());
    if !(1..=65_535).contains(&input) || !(1..=65_535).contains(&output) {
        return Err(invalid(format!("inputs and outputs have 1 to 65535 bytes, not {input} and {output}")));
    }
    let mut expected = vec![(file::GOLDEN, meta.golden_count as usize * (input + output))];
    if meta.sample_count > 0 {
        expected.push((file::SAMPLES, meta.sample_count as usize * input));
        let index: Vec<Sample> = serde_json::from_slice(get(file::SAMPLES_INDEX))
            .map_err(|e| invalid(format!("'{}' cannot be read: {e}", file::SAMPLES_INDEX)))?;
        if index.len() != meta.sample_count as usize {
            return Err(invalid(format!(
                "'{}' names {} samples of {}",
                file::SAMPLES_INDEX,
                index.len(),
                meta.sample_count
            )));
        }
    }
    for (name, len) in expected {
        if get(name).len() != len {
            return Err(invalid(format!("'{name}' has {} bytes, '{}' says {len}", get(name).len(), file::META)));
        }
    }
    Ok(())
}
