//! What cargo says about the workspace: its root, its crates, their benches and property tests.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::failure::Failure;
use crate::step;

/// The folder with the workspace's Cargo.toml.
pub fn root() -> PathBuf {
    // CARGO_MANIFEST_DIR is this crate's folder in the checkout that it was built from.
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

/// A crate of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name, which is also its folder's.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// The names of its bench targets.
    pub benches: Vec<String>,
    /// Whether it has examples.
    pub has_examples: bool,
    /// Whether it has property tests.
    pub has_properties: bool,
}

/// All crates of the workspace.
pub fn packages() -> Result<Vec<Package>, Failure> {
    let mut command = step::cargo();
    command.args(["metadata", "--no-deps", "--format-version", "1"]).stderr(Stdio::inherit());
    let output = command.output().map_err(|error| step::not_started(&command, &error))?;
    if !output.status.success() {
        return Err(Failure::Failed(format!("'cargo metadata' ended with {}", output.status)));
    }
    let document: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| Failure::Failed(format!("'cargo metadata' answered no JSON: {error}")))?;
    Ok(read(&document))
}

fn read(document: &Value) -> Vec<Package> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let targets = |package: &Value, of: &str| -> Vec<String> {
        let targets = list(&package["targets"]);
        let targets = targets.iter().filter(|target| list(&target["kind"]).iter().any(|kind| kind == of));
        targets.map(|target| text(&target["name"])).collect()
    };
    let mut packages: Vec<Package> = list(&document["packages"])
        .iter()
        .map(|package| Package {
            name: text(&package["name"]),
            folder: Path::new(&text(&package["manifest_path"])).parent().map(Path::to_path_buf).unwrap_or_default(),
            benches: targets(package, "bench"),
            has_examples: !targets(package, "example").is_empty(),
            has_properties: list(&package["dependencies"]).iter().any(|dependency| dependency["name"] == "proptest"),
        })
        .collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    packages
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn this_workspace_is_found() {
        let packages = packages().unwrap();
        let own = packages.iter().find(|package| package.name == "xtask").unwrap();
        assert_eq!(own.folder, Path::new(env!("CARGO_MANIFEST_DIR")));
        assert!(!own.has_properties);
        assert!(packages.iter().find(|package| package.name == "contract").unwrap().has_properties);
        assert!(root().join("Cargo.lock").exists());
    }

    #[test]
    fn benches_are_told_from_other_targets() {
        let document = serde_json::json!({"packages": [{
            "name": "broker", "manifest_path": "/somewhere/broker/Cargo.toml",
            "targets": [{"name": "broker", "kind": ["lib"]}, {"name": "throughput", "kind": ["bench"]}],
            "dependencies": [{"name": "proptest"}],
        }]});
        let [package] = read(&document).try_into().unwrap();
        assert_eq!(package.benches, ["throughput"]);
        assert_eq!(package.folder, Path::new("/somewhere/broker"));
        assert!(package.has_properties && !package.has_examples);
    }
}
