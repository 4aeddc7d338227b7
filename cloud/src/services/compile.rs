//! The compile queue: one model at a time, each version once.

use contract::artifact::{Manifest, SignedManifest};
use contract::limits::{BLOCK_BYTES, MAX_ARTIFACT_BYTES};
use contract::settings::{Mixed, Optimize, Settings};
use contract::{Code, ModelRef, Timestamp};
use model_compiler::quantize::QuantizeError;
use model_compiler::{CompileError, CompileOptions, Compiled, Data};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel, Set};
use serde_json::{Value, json};

use super::failure::Failure;
use super::files::{self, Kind};
use super::{datasets, models};
use crate::db::entity::{artifacts, datasets as dataset_rows, models as model_rows};
use crate::shared::Shared;

/// Compiles a model unless that was done with these settings and the data set as it is now. Whoever asks meanwhile
/// waits and then finds it done. Settings that are absent stay as they are.
///
/// # Errors
/// `unknown_model`; `invalid_field` for settings that do not go with the model; `unsupported_model`, `invalid_model` or
/// `invalid_dataset`, which are also kept with the model.
pub async fn compile(shared: &Shared, model: &ModelRef, settings: &Settings) -> Result<model_rows::Model, Failure> {
    let _turn = shared.compiling.lock().await;
    let row = models::get(shared, model).await?;
    let dataset = match row.dataset.as_deref() {
        Some(dataset) => Some(datasets::get(shared, dataset).await?),
        None => None,
    };
    let chosen = Chosen::of(&row, settings);
    let inputs = fingerprint(dataset.as_ref(), &chosen);
    if row.artifact.is_some() && row.compiled_from.as_deref() == Some(&inputs) {
        return Ok(row);
    }
    let name = models::reference(&row);
    tracing::info!(model = %name, "compiling");
    match run(shared, &row, dataset.as_ref(), &chosen).await {
        Ok(compiled) => {
            let row = keep(shared, row, dataset.as_ref(), inputs, compiled, &chosen).await?;
            shared.announce_change("model", &name.to_string()).await;
            shared.announce_change("artifact", row.artifact.as_deref().unwrap_or_default()).await;
            Ok(row)
        }
        Err(failure) => {
            // What is wrong with a request is told to the asker and is no fault of the model.
            if let Failure::Refused { code, message, .. } = &failure
                && *code != Code::INVALID_FIELD
            {
                let mut row = row.into_active_model();
                row.problem_code = Set(Some(code.as_str().to_owned()));
                row.problem = Set(Some(message.clone()));
                row.update(shared.db.write()).await?;
                shared.announce_change("model", &name.to_string()).await;
            }
            Err(failure)
        }
    }
}

/// Settings of which none is absent.
struct Chosen {
    optimize: Optimize,
    mixed: Mixed,
}

impl Chosen {
    /// What is asked for; else what the model's report was made with.
    fn of(row: &model_rows::Model, asked: &Settings) -> Self {
        let last = row.report.as_deref().and_then(|text| serde_json::from_str::<Settings>(text).ok());
        let last = last.unwrap_or_default();
        Self {
            optimize: asked.optimize.or(last.optimize).unwrap_or_default(),
            mixed: asked.mixed.clone().or(last.mixed).unwrap_or_default(),
        }
    }
}

/// What the artifact depends on beside the model file: data, scale, settings, compiler.
fn fingerprint(dataset: Option<&dataset_rows::Model>, chosen: &Chosen) -> String {
    let data = dataset.map_or_else(
        || "no data".to_owned(),
        |dataset| format!("{} {:08x}", dataset.sha256, dataset.input_scale.to_bits()),
    );
    let Chosen { optimize, mixed } = chosen;
    files::digest(format!("{data} {optimize} {mixed} {}", env!("CARGO_PKG_VERSION")).as_bytes())
}

async fn run(
    shared: &Shared,
    row: &model_rows::Model,
    dataset: Option<&dataset_rows::Model>,
    chosen: &Chosen,
) -> Result<Compiled, Failure> {
    let model_file = Kind::of_model(&row.format).path(&shared.config.dir, &row.sha256);
    let dataset_file = dataset.map(|dataset| Kind::Dataset.path(&shared.config.dir, &dataset.sha256));
    let mut options = CompileOptions::new(&row.name);
    if let Some(dataset) = dataset {
        options.input_scale = dataset.input_scale;
    }
    let without_data = format!(
        "model '{}' is float and has no data set to calibrate with; import it again with ?dataset=NAME",
        models::reference(row)
    );
    options.limits = models::limits();
    options.optimize = chosen.optimize;
    options.mixed = chosen.mixed.clone();
    tokio::task::spawn_blocking(move || {
        let file = std::fs::read(model_file)?;
        let set = match dataset_file {
            Some(dataset_file) => Some(datasets::parse(&std::fs::read(dataset_file)?)?),
            None => None,
        };
        let data = set.as_ref().map_or(Data::None, Data::Examples);
        let compiled = model_compiler::compile(&file, data, &options, &mut |progress| {
            tracing::debug!(step = progress.step.text(), fraction = progress.fraction, "compiling");
        })
        .map_err(|error| match error {
            CompileError::NoData => Failure::field(Code::INVALID_DATASET, "dataset", without_data),
            error => compile_failure(error),
        })?;
        let size = compiled.artifact.tar.len() as u64;
        if size > MAX_ARTIFACT_BYTES {
            let message = format!("the artifact has {size} bytes, relays accept at most {MAX_ARTIFACT_BYTES}");
            return Err(Failure::refuse(Code::UNSUPPORTED_MODEL, message));
        }
        Ok(compiled)
    })
    .await
    .map_err(|error| {
        // A panic of the compiler is its fault, not the asker's, and it must not be tried for ever unnoticed.
        tracing::error!(%error, "the compiler ended unexpectedly");
        Failure::refuse(Code::INTERNAL, "the compiler failed on this model; the cloud's log has the details")
    })?
}

fn compile_failure(error: CompileError) -> Failure {
    match error {
        CompileError::Import(error) => models::import_failure(&error),
        CompileError::Mismatch { .. } | CompileError::NoData => {
            Failure::field(Code::INVALID_DATASET, "dataset", error.to_string())
        }
        CompileError::Option { option: "mixed", .. } | CompileError::Quantize(QuantizeError::Layer { .. }) => {
            Failure::field(Code::INVALID_FIELD, "mixed", error.to_string())
        }
        // Our own settings, but for the scale, which comes with the data set.
        CompileError::Option { .. } => Failure::refuse(Code::INVALID_DATASET, error.to_string()),
        CompileError::Quantize { .. } => Failure::refuse(Code::UNSUPPORTED_MODEL, error.to_string()),
        CompileError::Pack(error) => Failure::Io(error),
    }
}

async fn keep(
    shared: &Shared,
    row: model_rows::Model,
    dataset: Option<&dataset_rows::Model>,
    inputs: String,
    compiled: Compiled,
    chosen: &Chosen,
) -> Result<model_rows::Model, Failure> {
    let Compiled { artifact, report } = compiled;
    let now = Timestamp::now();
    let size = artifact.tar.len() as u64;
    let manifest = Manifest {
        artifact: artifact.id.clone(),
        purpose: Manifest::PURPOSE.into(),
        model: models::reference(&row),
        size,
        block_bytes: u32::try_from(BLOCK_BYTES).unwrap_or(u32::MAX),
        blocks: u32::try_from(size.div_ceil(BLOCK_BYTES as u64)).unwrap_or(u32::MAX),
        compiler: artifact.meta.compiler.clone(),
        created_at: now,
        arena_bytes: artifact.meta.arena_bytes,
        weights_bytes: artifact.meta.weights_bytes,
        provenance: provenance(&row, dataset, chosen),
    };
    let signed = shared.signer.sign(&manifest);
    let meta = serde_json::to_string(&artifact.meta).unwrap_or_default();
    let (dir, hex) = (shared.config.dir.clone(), artifact.id.hex().to_owned());
    let tar = artifact.tar;
    tokio::task::spawn_blocking(move || files::store(&dir, Kind::Artifact, &hex, &tar)).await??;
    let txn = shared.db.begin().await?;
    let known = artifacts::ActiveModel {
        id: Set(artifact.id.as_str().to_owned()),
        size: Set(size.cast_signed()),
        meta: Set(meta),
        created_at: Set(now.as_micros()),
        manifest: Set(serde_json::to_string(&signed).ok()),
    };
    let mut conflict = OnConflict::column(artifacts::Column::Id);
    conflict.update_column(artifacts::Column::Manifest);
    artifacts::Entity::insert(known).on_conflict(conflict).exec_without_returning(&txn).await?;
    let mut row = row.into_active_model();
    row.artifact = Set(Some(artifact.id.as_str().to_owned()));
    row.compiled_from = Set(Some(inputs));
    row.manifest = Set(serde_json::to_string(&signed).ok());
    row.report = Set(serde_json::to_string(&report).ok());
    row.problem_code = Set(None);
    row.problem = Set(None);
    let row = row.update(&txn).await?;
    txn.commit().await?;
    Ok(row)
}

fn provenance(row: &model_rows::Model, dataset: Option<&dataset_rows::Model>, chosen: &Chosen) -> Value {
    let mut provenance = json!({
        "model_sha256": row.sha256,
        "optimize": chosen.optimize,
        "mixed": chosen.mixed,
    });
    if let Some(dataset) = dataset {
        provenance["dataset"] = json!(dataset.name);
        provenance["dataset_sha256"] = json!(dataset.sha256);
        provenance["input_scale"] = json!(dataset.input_scale);
    }
    provenance
}

/// The manifest of a compiled model, with the signature of today's key.
///
/// # Errors
/// [`Failure::Internal`] where it is damaged.
pub fn manifest(shared: &Shared, row: &model_rows::Model) -> Result<SignedManifest, Failure> {
    signed_today(shared, row.manifest.as_deref())
        .ok_or_else(|| Failure::Internal(format!("the manifest of {} is damaged", models::reference(row))))
}

/// A kept manifest with the signature of today's key; `None` where it is none that a key of ours has signed.
pub fn signed_today(shared: &Shared, kept: Option<&str>) -> Option<SignedManifest> {
    serde_json::from_str(kept?).ok().and_then(|signed| shared.signer.renew(signed))
}
