//! Models: imported files and their versions.

use contract::api::ModelView;
use contract::{Code, ModelRef, Timestamp};
use model_compiler::import::{self as importer, ImportError, ImportLimits};
use sea_orm::{ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, Set};

use super::datasets;
use super::failure::Failure;
use super::files::{self, Kind};
use crate::db::entity::models;
use crate::shared::Shared;

/// Largest model file, in bytes.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;

/// What an import made.
#[derive(Debug)]
pub struct Imported {
    /// The version.
    pub model: ModelView,
    /// False where these bytes with this data set were the latest version already.
    pub new: bool,
}

/// Bounds on model files.
pub fn limits() -> ImportLimits {
    ImportLimits { max_bytes: MAX_BYTES, ..ImportLimits::default() }
}

/// What a person is told of a model file that cannot be used.
pub fn import_failure(error: &ImportError) -> Failure {
    let code = match error {
        ImportError::Unsupported { .. } => Code::UNSUPPORTED_MODEL,
        _ => Code::INVALID_MODEL,
    };
    Failure::refuse(code, error.to_string())
}

/// Imports a model file as the next version of `name`.
///
/// # Errors
/// `invalid_model`, `unsupported_model`, `invalid_field`; `not_found` for the data set.
pub async fn import(shared: &Shared, name: &str, dataset: Option<&str>, bytes: Vec<u8>) -> Result<Imported, Failure> {
    contract::ids::check_plain_name("model name", name)?;
    if let Some(dataset) = dataset {
        datasets::get(shared, dataset).await?;
    }
    let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    let dir = shared.config.dir.clone();
    // Importing is where hostile files are met: a panic there ends this task and nothing else.
    let (sha256, format) = tokio::task::spawn_blocking(move || {
        let format = importer::model(&bytes, &limits()).map_err(|error| import_failure(&error))?.format();
        let sha256 = files::digest(&bytes);
        files::store(&dir, Kind::of_model(format), &sha256, &bytes)?;
        Ok::<_, Failure>((sha256, format))
    })
    .await??;
    let txn = shared.db.begin().await?;
    let latest = latest(&txn, name).await?;
    if let Some(latest) = &latest
        && latest.sha256 == sha256
        && latest.dataset.as_deref() == dataset
    {
        let model = view(latest.clone())?;
        txn.rollback().await?;
        return Ok(Imported { model, new: false });
    }
    let row = models::ActiveModel {
        name: Set(name.to_owned()),
        version: Set(latest.map_or(0, |latest| latest.version) + 1),
        format: Set(format.into()),
        size: Set(size),
        sha256: Set(sha256),
        dataset: Set(dataset.map(str::to_owned)),
        created_at: Set(Timestamp::now().as_micros()),
        ..Default::default()
    };
    let row = row.insert(&txn).await?;
    txn.commit().await?;
    let model = view(row)?;
    shared.announce_change("model", &model.model.to_string()).await;
    Ok(Imported { model, new: true })
}

async fn latest(db: &impl ConnectionTrait, name: &str) -> Result<Option<models::Model>, DbErr> {
    models::Entity::find().filter(models::Column::Name.eq(name)).order_by_desc(models::Column::Version).one(db).await
}

/// The row of a model; without a version, the latest.
///
/// # Errors
/// `unknown_model`.
pub async fn get(shared: &Shared, model: &ModelRef) -> Result<models::Model, Failure> {
    let db = shared.db.read();
    let found = match model.version {
        None => latest(db, &model.name).await?,
        Some(version) => {
            let version = i32::try_from(version).unwrap_or(i32::MAX);
            models::Entity::find()
                .filter(models::Column::Name.eq(&model.name))
                .filter(models::Column::Version.eq(version))
                .one(db)
                .await?
        }
    };
    found.ok_or_else(|| {
        let prefix = contract::api::PREFIX;
        let message =
            format!("there is no model '{model}'; GET {prefix}/models lists them, POST {prefix}/models imports");
        Failure::field(Code::UNKNOWN_MODEL, "model", message)
    })
}

/// All versions of all models, newest first.
///
/// # Errors
/// As the database reports them.
pub async fn list(shared: &Shared) -> Result<Vec<ModelView>, Failure> {
    let rows = models::Entity::find().order_by_desc(models::Column::Id).all(shared.db.read()).await?;
    rows.into_iter().map(view).collect()
}

/// Name and version of a row.
pub fn reference(row: &models::Model) -> ModelRef {
    ModelRef { name: row.name.clone(), version: Some(row.version.cast_unsigned()) }
}

/// A row as the API shows it.
///
/// # Errors
/// [`Failure::Internal`] where the row holds what we never wrote.
pub fn view(row: models::Model) -> Result<ModelView, Failure> {
    let damaged = |what: &str| Failure::Internal(format!("model {}@{}: {what} is damaged", row.name, row.version));
    let artifact = row.artifact.as_deref().map(str::parse).transpose().map_err(|_| damaged("artifact"))?;
    let report = row.report.as_deref().map(serde_json::from_str).transpose().map_err(|_| damaged("report"))?;
    Ok(ModelView {
        model: reference(&row),
        format: row.format,
        size: row.size.cast_unsigned(),
        sha256: row.sha256,
        dataset: row.dataset,
        created_at: Timestamp::from_micros(row.created_at),
        artifact,
        report,
        problem: row.problem,
    })
}
