//! Generated C against the reference interpreter, under every compiler at hand.

use std::process::Command;

use model_compiler::dataset::Split;
use model_compiler::evaluate::quantize_input;
use model_compiler::{CompileOptions, Data, codegen, compile, plan, reference};

use crate::common::{DIGITS, OnnxFile, STRICT, compiler, random_inputs, run_c, sanitizes, scaled};

fn inputs() -> Vec<Vec<i8>> {
    let mut inputs: Vec<Vec<i8>> =
        scaled(&DIGITS.dataset, Split::Test).iter().map(|input| quantize_input(&DIGITS.quantized, input)).collect();
    assert_eq!(inputs.len(), 360);
    inputs.extend(random_inputs(500, 64, 7));
    inputs.push(vec![i8::MIN; 64]);
    inputs.push(vec![i8::MAX; 64]);
    inputs
}

#[test]
fn generated_c_differs_in_no_byte_from_the_reference() {
    let plan = plan::plan(&DIGITS.quantized);
    let sources = codegen::c99(&DIGITS.quantized, &plan, "digits");
    let inputs = inputs();
    let expected: Vec<i8> = inputs.iter().flat_map(|input| reference::run(&DIGITS.quantized, input).unwrap()).collect();
    let mut tried = 0;
    for name in ["cc", "clang"] {
        let Some(name) = compiler(name) else { continue };
        for extra in [&["-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"][..], &["-O2"], &["-Os"]] {
            if extra.len() > 1 && !sanitizes(&name) {
                continue;
            }
            let flags: Vec<&str> = STRICT.iter().chain(extra).copied().collect();
            let got = run_c(&name, &flags, &sources, &inputs);
            assert_eq!(got.len(), expected.len(), "{name} {extra:?}");
            let different = got.iter().zip(&expected).filter(|(a, b)| a != b).count();
            assert_eq!(different, 0, "{name} {extra:?}: bytes that differ");
            tried += 1;
        }
    }
    assert!(tried > 0, "no C compiler on this machine");
}

#[test]
fn generated_c_compiles_for_avr() {
    let Some(gcc) = compiler("avr-gcc") else { return };
    let plan = plan::plan(&DIGITS.quantized);
    let sources = codegen::c99(&DIGITS.quantized, &plan, "digits");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.c"), &sources.model_c).unwrap();
    std::fs::write(folder.path().join("model.h"), &sources.model_h).unwrap();
    let built = Command::new(&gcc)
        .args(["-mmcu=atmega328p", "-Os", "-c", "-o", "model.o", "model.c"])
        .args(STRICT)
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let size = Command::new("avr-size").arg("model.o").current_dir(folder.path()).output().unwrap();
    println!("{}", String::from_utf8_lossy(&size.stdout));
}

#[test]
fn names_from_files_do_not_become_code() {
    let mut graph = DIGITS.quantized.clone();
    for node in &mut graph.nodes {
        node.name = "*/ int evil(void); /* \\\n#error".into();
    }
    let plan = plan::plan(&graph);
    let sources = codegen::c99(&graph, &plan, "x\"\n#error \"y");
    assert!(!sources.model_c.contains("int evil"));
    assert!(!sources.model_c.contains("\n#error"));
    let Some(cc) = compiler("cc") else { return };
    let inputs = random_inputs(1, 64, 1);
    assert_eq!(run_c(&cc, &STRICT, &sources, &inputs), reference::run(&graph, &inputs[0]).unwrap());
}

#[test]
fn more_constants_than_an_avr_can_read_are_refused() {
    // Each layer is small enough for 16-bit indices, all of them are not for 16-bit pointers.
    let layers = |count: usize| {
        let file = (0..count).fold(OnnxFile::new(&[1, 170], &format!("t{count}")), |file, at| {
            let (from, to, weights) =
                (if at == 0 { "x".into() } else { format!("t{at}") }, format!("t{}", at + 1), format!("w{at}"));
            file.floats(&weights, &[170, 170], crate::import::noise(170 * 170, at as u64 + 1)).node(
                "MatMul",
                &[&from, &weights],
                &to,
                &[],
            )
        });
        compile(&file.bytes(), Data::Random, &CompileOptions::new("large"), &mut |_| {}).unwrap()
    };
    for (count, fits) in [(2, true), (3, false)] {
        let compiled = layers(count);
        let mega = compiled.report.boards.iter().find(|board| board.board == "mega2560").unwrap();
        assert_eq!(mega.fits, fits, "{}", mega.verdict);
        assert!(fits || mega.verdict.contains("this chip reads at most 61 kB of them"), "{}", mega.verdict);
        let Some(gcc) = compiler("avr-gcc") else { continue };
        let folder = tempfile::tempdir().unwrap();
        tar::Archive::new(compiled.artifact.tar.as_slice()).unpack(folder.path()).unwrap();
        let built = Command::new(gcc)
            .args(["-mmcu=atmega2560", "-Os", "-c", "model.c"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&built.stderr);
        assert_eq!(built.status.success(), fits, "{said}");
        assert!(fits || said.contains("an AVR reads at most 62000 B of them from flash"), "{said}");
    }
}
