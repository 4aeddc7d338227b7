//! `tinymlaas compile`: the model compiler on files, without any server.

mod folder;

use std::path::{Path, PathBuf};

use contract::artifact::file;
use model_compiler::dataset::{Dataset, DatasetLimits, from_csv};
use model_compiler::import::{self, ImportLimits, Model};
use model_compiler::samples::Input;
use model_compiler::{CompileError, CompileOptions, Compiled, Data, estimate, tflm};

use super::model::{name_of, read};
use crate::args::{Compile, Context};
use crate::exit::Failure;
use crate::output::{self, Step};
use crate::report;

/// Largest file of examples.
const MAX_CSV_BYTES: usize = 1 << 30;

/// What `--calibrate` names.
enum Examples {
    None,
    Random,
    Set(Dataset),
}

/// Compiles, writes what was asked for, prints the report.
pub fn run(context: &Context, asked: &Compile) -> Result<(), Failure> {
    if let Some(board) = &asked.board
        && estimate::find(board).is_none()
    {
        let known: Vec<&str> = estimate::BOARDS.iter().map(|board| board.id).collect();
        return Err(Failure::Usage(format!("--board '{board}' is not known; known are {}", known.join(", "))));
    }
    let file = read(&asked.file)?;
    let shown = asked.file.display();
    if asked.tflm {
        write_tflm(asked, &file)?;
    }
    let limits = ImportLimits::default();
    let model = import::model(&file, &limits).map_err(|error| Failure::Failed(format!("{shown}: {error}")))?;
    let mut options = CompileOptions::new(&name_of(&asked.file, asked.name.clone())?);
    options.limits = limits;
    options.method = asked.quantize;
    options.mixed = asked.mixed.clone();
    options.optimize = asked.optimize;
    let examples = examples(asked, &model, &mut options)?;
    let data = match &examples {
        Examples::None => Data::None,
        Examples::Random => Data::Random,
        Examples::Set(set) => Data::Examples(set),
    };
    let step = (!context.json).then(|| Step::begin("compile", &shown.to_string()));
    let result = model_compiler::compile(&file, data, &options, &mut |progress| {
        if let Some(step) = &step {
            step.update(progress.step.text());
        }
    });
    match (step, &result) {
        (Some(step), Ok(_)) => step.done(&shown.to_string()),
        (Some(step), Err(_)) => step.failed(&shown.to_string()),
        (None, _) => {}
    }
    let compiled = result.map_err(|error| explain(asked, error))?;
    if let Some(folder) = &asked.out {
        write(folder, &compiled)?;
    }
    if context.json {
        output::json(&compiled.report)?;
    } else {
        report::show(&compiled.report, asked.board.as_deref())?;
    }
    let boards = &compiled.report.boards;
    match boards.iter().find(|report| Some(&report.board) == asked.board.as_ref()) {
        Some(board) if !board.fits => Err(Failure::Failed(format!("{shown} on {}: {}", board.board, board.verdict))),
        _ => Ok(()),
    }
}

/// An error of the compiler, with the option that mends it.
fn explain(asked: &Compile, error: CompileError) -> Failure {
    let file = asked.file.display();
    match (error, &asked.calibrate) {
        (CompileError::NoData, _) => Failure::Usage(format!(
            "{file} is a float model: give --calibrate with examples of its input (a CSV file, or a folder of \
             pictures, .npy, .bin or .raw files) to choose the ranges of its int8 values, or --calibrate random to \
             guess them"
        )),
        (error @ CompileError::Mismatch { .. }, Some(path)) => {
            Failure::Failed(format!("--calibrate {}: {error}", path.display()))
        }
        (error @ CompileError::Option { .. }, _) => Failure::Usage(error.to_string()),
        (error, _) => Failure::Failed(format!("{file}: {error}")),
    }
}

fn examples(asked: &Compile, model: &Model, options: &mut CompileOptions) -> Result<Examples, Failure> {
    options.input_scale = asked.input_scale.unwrap_or(1.0);
    options.input_offset = asked.input_offset.unwrap_or(0.0);
    let Some(path) = &asked.calibrate else { return Ok(Examples::None) };
    if path.as_os_str() == "random" {
        return Ok(Examples::Random);
    }
    if !path.is_dir() {
        let limits = DatasetLimits { max_bytes: MAX_CSV_BYTES, ..DatasetLimits::default() };
        let set = from_csv(&read(path)?, &limits)
            .map_err(|error| Failure::Failed(format!("--calibrate {}: {error}", path.display())))?;
        return Ok(Examples::Set(set));
    }
    let input = Input::of(model);
    let found = folder::read(path, &input)?;
    if found.pictures {
        let (scale, offset) = input.picture_scale();
        options.input_scale = asked.input_scale.unwrap_or(scale);
        // Whoever gives a scale means it, and the summand that goes with it.
        options.input_offset = asked.input_offset.unwrap_or(if asked.input_scale.is_some() { 0.0 } else { offset });
        eprintln!(
            "  pictures: value = {} x (0 to 255) + {}; --input-scale and --input-offset change that",
            options.input_scale, options.input_offset
        );
    }
    Ok(Examples::Set(found.set))
}

fn write(folder: &Path, compiled: &Compiled) -> Result<(), Failure> {
    create(folder)?;
    let broken = |error: std::io::Error| Failure::Internal(format!("the artifact cannot be read: {error}"));
    let mut archive = tar::Archive::new(compiled.artifact.tar.as_slice());
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = entry.path().map_err(broken)?.into_owned();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).map_err(broken)?;
        // Only names that the contract knows come out of the archive.
        if file::ALL.iter().any(|known| name.as_os_str() == *known) {
            put(&folder.join(name), &bytes)?;
        }
    }
    let report = serde_json::to_vec_pretty(&compiled.report).map_err(|e| Failure::Internal(e.to_string()))?;
    put(&folder.join("report.json"), &report)?;
    if let Some(picture) = dashboard::arena::file(&compiled.report) {
        put(&folder.join("arena.svg"), picture.as_bytes())?;
    }
    eprintln!("  ✓ {} (artifact {})", folder.display(), compiled.artifact.id.short());
    Ok(())
}

fn write_tflm(asked: &Compile, bytes: &[u8]) -> Result<(), Failure> {
    if !import::tflite::is_tflite(bytes) {
        let file = asked.file.display();
        return Err(Failure::Usage(format!("--tflm: {file} is no .tflite file, which TFLite Micro needs")));
    }
    let folder = asked.out.clone().unwrap_or_else(|| PathBuf::from("."));
    create(&folder)?;
    put(&folder.join("model_tflite.h"), tflm::HEADER.as_bytes())?;
    put(&folder.join("model_tflite.c"), tflm::source(bytes).as_bytes())
}

fn create(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)
        .map_err(|error| Failure::Environment(format!("--out {} cannot be made: {error}", folder.display())))
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes)
        .map_err(|error| Failure::Environment(format!("{} cannot be written: {error}", path.display())))
}
