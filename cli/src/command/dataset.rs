//! `tinymlaas dataset …`.

use contract::api::DatasetView;
use reqwest::Method;

use super::model::{name_of, read};
use crate::args::{Context, DatasetVerb};
use crate::client::api::Api;
use crate::exit::Failure;
use crate::output;

/// One verb about datasets.
pub async fn run(context: &Context, verb: DatasetVerb) -> Result<(), Failure> {
    let api = Api::new(context)?;
    match verb {
        DatasetVerb::List => {
            let all: Vec<DatasetView> = api.get("/datasets").await?;
            if context.json {
                return output::json(&all);
            }
            let rows: Vec<Vec<String>> = all.iter().map(row).collect();
            output::table(HEADINGS, &rows, "No dataset yet. 'tinymlaas dataset import FILE.csv' brings one.")
        }
        DatasetVerb::Import { file, name, input_scale } => {
            let request = api
                .request(Method::PUT, &format!("/datasets/{}", name_of(&file, name)?))
                .query(&[("input_scale", input_scale.to_string())])
                .header("content-type", "text/csv")
                .body(read(&file)?);
            let view: DatasetView = api.send(request).await?;
            if context.json { output::json(&view) } else { output::table(HEADINGS, &[row(&view)], "") }
        }
    }
}

const HEADINGS: &[&str] = &["DATASET", "ROWS", "TRAIN", "TEST", "VALUES", "LABELS"];

fn row(view: &DatasetView) -> Vec<String> {
    vec![
        view.name.clone(),
        view.rows.to_string(),
        view.train_rows.to_string(),
        view.test_rows.to_string(),
        view.columns.to_string(),
        view.labels.join(" "),
    ]
}
