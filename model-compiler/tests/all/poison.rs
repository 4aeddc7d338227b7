//! The planner's claim, tried: before each operator every byte of the arena that no live tensor owns is overwritten, and
//! the answers stay.

use model_compiler::codegen::{self, Sources};
use model_compiler::import::{self, ImportLimits};
use model_compiler::optimize;
use model_compiler::plan::{self, Plan};
use model_compiler::qir::QuantGraph;

use crate::common::{STRICT, compiler, run_c, shared_models};

/// Generated code that spoils, before each operator, what its plan says nobody needs.
pub fn poisoned(sources: &Sources, graph: &QuantGraph, plan: &Plan) -> Sources {
    let places = plan::places(graph, plan);
    // A region is one step: what lives in it is neither spoiled nor looked at before its end.
    let starts = (0..graph.nodes.len())
        .filter(|node| !plan.regions.iter().any(|region| (region.first + 1..region.end).contains(node)));
    let mut spoils = starts.map(|node| {
        let live = places.iter().filter(|place| place.tensor.is_some() && place.first <= node && place.last > node);
        let mut owned: Vec<(usize, usize)> = live.map(|place| (place.offset, place.offset + place.bytes)).collect();
        owned.sort_unstable();
        let mut free = Vec::new();
        let mut at = 0;
        for (begin, end) in owned {
            if begin > at {
                free.push((at, begin - at));
            }
            at = at.max(end);
        }
        if at < plan.arena_bytes {
            free.push((at, plan.arena_bytes - at));
        }
        free.iter().map(|(at, bytes)| format!("    memset(a + {at}, 0x5a, {bytes}u);\n")).collect::<String>()
    });
    let (before, body) = sources.model_c.split_once("int tml_invoke(void)\n").unwrap();
    let mut text = format!("#include <string.h>\n{before}int tml_invoke(void)\n");
    for line in body.lines() {
        if line.starts_with("    /* ") && line.ends_with("*/") {
            text += &spoils.next().unwrap();
        }
        text += line;
        text.push('\n');
    }
    assert_eq!(spoils.next(), None, "as many operators as steps");
    Sources { model_c: text, ..sources.clone() }
}

#[test]
fn real_models_answer_in_a_poisoned_arena() {
    let Some(models) = shared_models() else {
        eprintln!("SKIPPED real_models_answer_in_a_poisoned_arena: no shared/models beside the project");
        return;
    };
    let Some(cc) = compiler("cc") else { return };
    for name in ["hello_world", "kws", "ad", "ic", "person_detect"] {
        let read = |end: &str| std::fs::read(models.join(format!("{name}.{end}"))).unwrap();
        let graph = import::tflite(&read("tflite"), &ImportLimits::default()).unwrap();
        let signed = |bytes: Vec<u8>| -> Vec<i8> { bytes.into_iter().map(u8::cast_signed).collect() };
        let inputs = signed(read("inputs.bin"));
        let inputs: Vec<Vec<i8>> = inputs.chunks_exact(graph.tensors[graph.input].len()).map(<[i8]>::to_vec).collect();
        let answers = signed(read("outputs.bin"));
        for optimize in optimize::Optimize::ALL {
            let (graph, plan) = optimize::optimized(&graph, optimize);
            assert_eq!(plan::conflict(&graph, &plan), None, "{name}");
            println!(
                "{name} for {optimize:?}: arena {}, bound {}, {:?}",
                plan.arena_bytes, plan.bound_bytes, plan.regions
            );
            let sources = poisoned(&codegen::c99(&graph, &plan, name), &graph, &plan);
            let flags: Vec<&str> = STRICT.iter().copied().chain(["-O2"]).collect();
            assert_eq!(run_c(&cc, &flags, &sources, &inputs), answers, "{name} for {optimize:?}");
        }
    }
}
