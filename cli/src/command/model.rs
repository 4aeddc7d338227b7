//! `tinymlaas model …`.

use std::path::Path;

use contract::ModelRef;
use contract::api::ModelView;
use contract::settings::Settings;
use reqwest::Method;

use crate::args::{Context, ModelVerb};
use crate::client::api::Api;
use crate::exit::Failure;
use crate::output::{self, Step};
use crate::report;

/// One verb about models.
pub async fn run(context: &Context, verb: ModelVerb) -> Result<(), Failure> {
    let api = Api::new(context)?;
    match verb {
        ModelVerb::List => {
            let all: Vec<ModelView> = api.get("/models").await?;
            if context.json { output::json(&all) } else { list(&all) }
        }
        ModelVerb::Show { model } => {
            let view: ModelView = api.get(&format!("/models/{model}")).await?;
            if context.json { output::json(&view) } else { show(&view) }
        }
        ModelVerb::Import { file, name, dataset } => {
            let mut query = vec![("name", name_of(&file, name)?)];
            if let Some(dataset) = dataset {
                query.push(("dataset", dataset));
            }
            let request = api
                .request(Method::POST, "/models")
                .query(&query)
                .header("content-type", "application/octet-stream")
                .body(read(&file)?);
            let view: ModelView = api.send(request).await?;
            if context.json {
                return output::json(&view);
            }
            output::print(&format!(
                "✓ {} ({}); next: tinymlaas model compile {}",
                view.model,
                output::size(view.size),
                view.model
            ))
        }
        ModelVerb::Compile { model, optimize, mixed } => {
            let view = compile(&api, &model, &Settings { optimize, mixed }, context.json).await?;
            if context.json { output::json(&view) } else { show(&view) }
        }
    }
}

async fn compile(api: &Api, model: &ModelRef, settings: &Settings, quiet: bool) -> Result<ModelView, Failure> {
    let step = (!quiet).then(|| Step::begin("compile", &model.to_string()));
    let request = api.request(Method::POST, &format!("/models/{model}/compile")).query(settings);
    let result = api.send(request).await;
    match (step, &result) {
        (Some(step), Ok(_)) => step.done(&model.to_string()),
        (Some(step), Err(_)) => step.failed(&model.to_string()),
        (None, _) => {}
    }
    result
}

fn list(models: &[ModelView]) -> Result<(), Failure> {
    let rows: Vec<Vec<String>> = models
        .iter()
        .map(|view| {
            let report = view.report.as_ref();
            vec![
                view.model.to_string(),
                output::size(view.size),
                view.dataset.clone().unwrap_or_else(|| "-".to_owned()),
                output::share(report.and_then(|r| r.float_accuracy)),
                output::share(report.and_then(|r| r.int8_accuracy)),
                report.map_or_else(|| "-".to_owned(), |r| output::size(u64::from(r.weights_bytes))),
                report.map_or_else(|| "-".to_owned(), |r| output::size(u64::from(r.arena_bytes))),
                view.artifact.as_ref().map_or_else(|| "not compiled".to_owned(), |a| a.short().to_owned()),
            ]
        })
        .collect();
    output::table(
        &["MODEL", "SIZE", "DATASET", "FLOAT", "INT8", "WEIGHTS", "ARENA", "ARTIFACT"],
        &rows,
        "No model yet. 'tinymlaas model import FILE.onnx --dataset NAME' brings one.",
    )
}

fn show(view: &ModelView) -> Result<(), Failure> {
    output::print(&format!("{}  {}, imported {}", view.model, output::size(view.size), output::ago(view.created_at)))?;
    if let Some(problem) = &view.problem {
        output::print(&format!("problem   {problem}"))?;
    }
    if let Some(artifact) = &view.artifact {
        output::print(&format!("artifact  {artifact}"))?;
    }
    match &view.report {
        Some(report) => report::show(report, None),
        None => output::print(&format!("not compiled; next: tinymlaas model compile {}", view.model)),
    }
}

/// The given name, or the file's own.
pub fn name_of(file: &Path, name: Option<String>) -> Result<String, Failure> {
    let name = match name {
        Some(name) => name,
        None => file.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default(),
    };
    contract::ids::check_plain_name("name", &name)
        .map_err(|error| Failure::Usage(format!("{error}; --name gives another")))?;
    Ok(name)
}

/// Reads a file to upload.
pub fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|error| Failure::Usage(format!("{} cannot be read: {error}", file.display())))
}
