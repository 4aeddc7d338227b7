//! Models of tables (`tests/data/tables`: scikit-learn, XGBoost, LightGBM) in 32-bit floats: against onnxruntime, and
//! the same bits in the interpreter, in C on this machine, on a Cortex-M4 and on an AVR.

use contract::artifact::CompileReport;
use model_compiler::import::{self, ImportLimits};
use model_compiler::ir::{Graph, Op};
use model_compiler::mixed::Mixed;
use model_compiler::qir::{Element, QuantGraph};
use model_compiler::quantize::{QuantizeOptions, quantize};
use model_compiler::{CompileOptions, Data, codegen, compile, float, plan, reference};

use crate::board::usable;
use crate::chip::{AVR_LARGE, CORTEX_M4};
use crate::common::{DIGITS, STRICT, compiler, run_c};

/// How far an answer may be from onnxruntime's, by the largest one of 1 and itself: it adds in another order.
const NEAR: f32 = 1e-6;

/// A model with its inputs and onnxruntime's answers.
struct Table {
    name: String,
    file: Vec<u8>,
    graph: Graph,
    inputs: Vec<Vec<f32>>,
    answers: Vec<Vec<f32>>,
}

fn tables() -> Vec<Table> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tables");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "onnx"))
        .collect();
    paths.sort();
    let load = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let file = std::fs::read(&path).unwrap();
        let graph = import::onnx(&file, &ImportLimits::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let vectors = std::fs::read(path.with_extension("vectors")).unwrap();
        let values: Vec<f32> = vectors.chunks_exact(4).map(|v| f32::from_le_bytes(v.try_into().unwrap())).collect();
        let (inputs, outputs) = (graph.tensors[graph.input].len(), graph.tensors[graph.output].len());
        assert_eq!(values.len(), 12 * (inputs + outputs), "{name}");
        let pairs = values.chunks_exact(inputs + outputs).map(|pair| pair.split_at(inputs));
        let (inputs, answers) = pairs.map(|(input, answer)| (input.to_vec(), answer.to_vec())).unzip();
        Table { name, file, graph, inputs, answers }
    };
    paths.into_iter().map(load).collect()
}

/// The network as it runs, with the inputs as it takes them and its answers.
fn compiled(table: &Table) -> (QuantGraph, Vec<Vec<i8>>, Vec<i8>) {
    let finite: Vec<Vec<f32>> = table.inputs.iter().filter(|x| x.iter().all(|v| v.is_finite())).cloned().collect();
    let graph = quantize(&table.graph, &finite, &QuantizeOptions::default()).unwrap();
    let into = &graph.tensors[graph.input];
    assert_eq!((into.element, graph.tensors[graph.output].element), (Element::Float32, Element::Float32));
    let inputs: Vec<Vec<i8>> = table.inputs.iter().map(|input| into.stored(input.iter().copied())).collect();
    let answers = inputs.iter().flat_map(|input| reference::run(&graph, input).unwrap()).collect();
    (graph, inputs, answers)
}

#[test]
fn answers_are_those_of_onnxruntime() {
    let mut wrong = Vec::new();
    let tables = tables();
    assert!(tables.len() > 30, "{}", tables.len());
    for table in &tables {
        let (graph, _, answers) = compiled(table);
        let answers = graph.tensors[graph.output].reals(&answers);
        let mut most = 0.0_f32;
        for ((input, theirs), ours) in
            table.inputs.iter().zip(&table.answers).zip(answers.chunks(table.answers[0].len()))
        {
            let exact = float::run(&table.graph, input).unwrap();
            for values in [ours, exact.as_slice()] {
                let apart = values.iter().zip(theirs).map(|(a, b)| (a - b).abs() / b.abs().max(1.0));
                most = apart.fold(most, f32::max);
            }
        }
        println!("{}: at most {most:e} from onnxruntime", table.name);
        if most > NEAR {
            wrong.push(format!("{}: {most}", table.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let trees = |table: &&Table| table.graph.nodes.iter().any(|node| matches!(node.op, Op::Trees { .. }));
    assert!(tables.iter().filter(trees).count() > 25);
}

#[test]
fn c_has_the_same_bits() {
    let sanitized = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    for cc in ["gcc", "clang"].iter().filter_map(|name| compiler(name)) {
        let mut ways: Vec<Vec<&str>> = vec![STRICT.iter().copied().chain(sanitized).collect()];
        // Where a compiler may contract products and sums, and the processor can: still the same bits.
        if std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains(" fma ")) {
            ways.push(vec!["-std=gnu99", "-O3", "-mfma", "-Wall", "-Wextra", "-Werror"]);
            if cc == "gcc" {
                // clang takes this for an order that stands above the source's.
                ways[1].push("-ffp-contract=fast");
            }
        }
        for table in tables() {
            let (graph, inputs, answers) = compiled(&table);
            let plan = plan::plan(&graph);
            assert_eq!(plan::conflict(&graph, &plan), None);
            let sources = codegen::c99(&graph, &plan, &table.name);
            for flags in &ways {
                assert!(run_c(&cc, flags, &sources, &inputs) == answers, "{} by {cc} {flags:?}", table.name);
            }
        }
    }
}

#[test]
fn simulated_chips_have_the_same_bits() {
    let bytes = |values: &[i8]| -> Vec<u8> { values.iter().map(|value| value.cast_unsigned()).collect() };
    for chip in [CORTEX_M4, AVR_LARGE].iter().filter(|chip| usable(chip)) {
        for table in tables() {
            let (graph, inputs, answers) = compiled(&table);
            let sources = codegen::c99(&graph, &plan::plan(&graph), &table.name);
            let measured = chip.measure(&sources, &bytes(&inputs.concat()), &bytes(&answers), inputs.len());
            assert_eq!(measured.different, 0, "{} on {:?}", table.name, chip.core);
        }
    }
}

#[test]
fn a_report_says_that_trees_are_floats_and_what_they_cost() {
    let report = |name: &str| {
        let file = tables().into_iter().find(|table| table.name == name).unwrap().file;
        compile(&file, Data::Random, &CompileOptions::new(name), &mut |_| {}).unwrap().report
    };
    let (tree, forest) = (report("tree"), report("forest"));
    assert!(forest.is_float() && forest.quantization.is_none(), "{forest:?}");
    let cost =
        |report: &CompileReport, core: &str| report.layers.iter().map(|layer| layer.instructions[core]).sum::<u64>();
    for core in ["avr", "cortex-m0", "cortex-m3", "cortex-m4"] {
        assert!(cost(&tree, core) > 0 && cost(&forest, core) > cost(&tree, core), "{core}: {:?}", forest.layers);
    }
    let uno = forest.boards.iter().find(|board| board.board == "uno").unwrap();
    assert_eq!((uno.core.as_str(), uno.instructions), ("avr", cost(&forest, "avr")));
    // Some layers float: the others are not, and each knows what it is.
    let options = CompileOptions { mixed: Mixed::Layers(vec!["conv2".into()]), ..CompileOptions::new("digits") };
    let mixed = compile(&DIGITS.onnx, &DIGITS.dataset, &options, &mut |_| {}).unwrap().report;
    let floats: Vec<&str> = mixed.layers.iter().filter(|layer| layer.float).map(|layer| layer.name.as_str()).collect();
    assert_eq!((floats.as_slice(), mixed.is_float()), (&["conv2"][..], false));
    let conv2 = mixed.layers.iter().find(|layer| layer.name == "conv2").unwrap();
    println!("conv2 in floats: {:?}", conv2.instructions);
    assert!(conv2.instructions["avr"] > conv2.macs && conv2.instructions["cortex-m4"] > conv2.macs, "{conv2:?}");
}

#[test]
fn what_is_refused_is_named() {
    let file = tables().into_iter().find(|table| table.name == "tree").unwrap().file;
    let text = String::from_utf8_lossy(&file).into_owned();
    assert!(text.contains("BRANCH_LEQ"));
    // The same length, so that the file stays whole.
    let patched = |from: &str, to: &str| -> Vec<u8> {
        let mut file = file.clone();
        let at: Vec<usize> =
            (0..file.len() - from.len()).filter(|at| file[*at..].starts_with(from.as_bytes())).collect();
        for at in at {
            file[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
        file
    };
    let error = |file: &[u8]| import::onnx(file, &ImportLimits::default()).unwrap_err().to_string();
    let mode = error(&patched("BRANCH_LEQ", "BRANCH_SUM"));
    assert!(mode.contains("TreeEnsembleClassifier is not supported: node mode BRANCH_SUM"), "{mode}");
    let svm = error(&patched("TreeEnsembleClassifier", "SVMnsembleClassifier00"));
    assert!(svm.contains("support vector machine"), "{svm}");
}
