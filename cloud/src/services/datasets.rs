//! Data sets: CSV files that calibrate and evaluate models.

use contract::api::DatasetView;
use contract::{Code, Timestamp};
use model_compiler::dataset::{Dataset, DatasetError, DatasetLimits, Split, from_csv};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, Set};

use super::failure::Failure;
use super::files::{self, Kind};
use crate::db::entity::datasets;
use crate::shared::Shared;

/// Largest CSV file, in bytes.
pub const MAX_BYTES: usize = 32 * 1024 * 1024;

/// Bounds of a data set.
pub fn limits() -> DatasetLimits {
    DatasetLimits { max_bytes: MAX_BYTES, ..DatasetLimits::default() }
}

/// Reads CSV; blocking.
///
/// # Errors
/// `invalid_dataset` with line and column.
pub fn parse(bytes: &[u8]) -> Result<Dataset, Failure> {
    from_csv(bytes, &limits()).map_err(|error| match error {
        DatasetError::TooLarge { .. } => Failure::refuse(Code::TOO_LARGE, error.to_string()),
        other => Failure::refuse(Code::INVALID_DATASET, other.to_string()),
    })
}

/// Stores a data set under `name`, in place of one that was there.
///
/// # Errors
/// `invalid_dataset` with line and column; `invalid_field` for the name or the scale.
pub async fn put(shared: &Shared, name: &str, input_scale: f32, bytes: Vec<u8>) -> Result<DatasetView, Failure> {
    contract::ids::check_plain_name("dataset name", name)?;
    if !(input_scale.is_finite() && input_scale > 0.0) {
        let message = "'input_scale' must be a number above 0; it is what every value is multiplied with";
        return Err(Failure::field(Code::INVALID_FIELD, "input_scale", message));
    }
    let dir = shared.config.dir.clone();
    let (sha256, set) = tokio::task::spawn_blocking(move || {
        let set = parse(&bytes)?;
        let sha256 = files::digest(&bytes);
        files::store(&dir, Kind::Dataset, &sha256, &bytes)?;
        Ok::<_, Failure>((sha256, set))
    })
    .await??;
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let row = datasets::Model {
        name: name.to_owned(),
        rows: count(set.rows.len()),
        train_rows: count(set.split(Split::Train).count()),
        test_rows: count(set.split(Split::Test).count()),
        columns: count(set.input_len()),
        labels: serde_json::to_string(&set.labels).unwrap_or_default(),
        input_scale,
        sha256: sha256.clone(),
        created_at: Timestamp::now().as_micros(),
    };
    let before = datasets::Entity::find_by_id(name).one(shared.db.read()).await?;
    if let Some(before) = &before
        && before.sha256 == sha256
        && before.input_scale.to_bits() == input_scale.to_bits()
    {
        return Ok(view(before.clone()));
    }
    use datasets::Column as C;
    let all = [C::Rows, C::TrainRows, C::TestRows, C::Columns, C::Labels, C::InputScale, C::Sha256, C::CreatedAt];
    let active = datasets::ActiveModel {
        name: Set(row.name.clone()),
        rows: Set(row.rows),
        train_rows: Set(row.train_rows),
        test_rows: Set(row.test_rows),
        columns: Set(row.columns),
        labels: Set(row.labels.clone()),
        input_scale: Set(row.input_scale),
        sha256: Set(row.sha256.clone()),
        created_at: Set(row.created_at),
    };
    datasets::Entity::insert(active)
        .on_conflict(OnConflict::column(C::Name).update_columns(all).to_owned())
        .exec_without_returning(shared.db.write())
        .await?;
    if let Some(before) = before.filter(|before| before.sha256 != sha256) {
        remove_unused(shared, &before.sha256).await?;
    }
    shared.announce_change("dataset", name).await;
    Ok(view(row))
}

/// Removes a file that no data set refers to any more.
async fn remove_unused(shared: &Shared, sha256: &str) -> Result<(), Failure> {
    let users = datasets::Entity::find().filter(datasets::Column::Sha256.eq(sha256)).count(shared.db.read()).await?;
    if users == 0 {
        tokio::fs::remove_file(Kind::Dataset.path(&shared.config.dir, sha256)).await?;
    }
    Ok(())
}

/// All data sets by name.
///
/// # Errors
/// As the database reports them.
pub async fn list(shared: &Shared) -> Result<Vec<DatasetView>, Failure> {
    let rows = datasets::Entity::find().order_by_asc(datasets::Column::Name).all(shared.db.read()).await?;
    Ok(rows.into_iter().map(view).collect())
}

/// One data set.
///
/// # Errors
/// `not_found`, naming the parameter.
pub async fn get(shared: &Shared, name: &str) -> Result<datasets::Model, Failure> {
    datasets::Entity::find_by_id(name).one(shared.db.read()).await?.ok_or_else(|| {
        let message =
            format!("there is no data set '{name}'; store one with PUT {}/datasets/NAME", contract::api::PREFIX);
        Failure::field(Code::NOT_FOUND, "dataset", message)
    })
}

fn view(row: datasets::Model) -> DatasetView {
    DatasetView {
        name: row.name,
        rows: row.rows.cast_unsigned(),
        train_rows: row.train_rows.cast_unsigned(),
        test_rows: row.test_rows.cast_unsigned(),
        columns: row.columns.cast_unsigned(),
        labels: serde_json::from_str(&row.labels).unwrap_or_default(),
        input_scale: row.input_scale,
        sha256: row.sha256,
        created_at: Timestamp::from_micros(row.created_at),
    }
}
