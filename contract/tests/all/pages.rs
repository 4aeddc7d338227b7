//! The other pages: what they link to and name is there, and the map of crates is the workspace's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use contract::Code;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

const PAGES: [&str; 8] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "topics.md",
    "docs/cli.md",
    "docs/operations.md",
    "docker/README.md",
    "models/digits/README.md",
];

#[test]
fn every_link_to_a_file_leads_to_one() {
    let mut links = 0;
    for page in PAGES {
        for part in read(page).split("](").skip(1) {
            let target = part.split(')').next().unwrap();
            if target.starts_with("http") || target.starts_with('#') {
                continue;
            }
            let file = target.split('#').next().unwrap();
            let path = root().join(page).parent().unwrap().join(file);
            assert!(path.exists(), "{page} links to {target}, which is not there");
            links += 1;
        }
    }
    assert!(links > 20, "{links} links");
}

#[test]
fn every_path_that_the_architecture_names_exists() {
    let text = read("ARCHITECTURE.md");
    let mut paths = 0;
    for named in text.split('`').skip(1).step_by(2) {
        let crate_folder = named.split('/').next().unwrap();
        if named.contains('/') && root().join(crate_folder).join("Cargo.toml").exists() {
            assert!(root().join(named).exists(), "ARCHITECTURE.md names {named}, which is not there");
            paths += 1;
        }
    }
    assert!(paths > 20, "{paths} paths");
}

/// Crates of ours that a crate's `[dependencies]` name.
fn dependencies(name: &str, crates: &[String]) -> BTreeSet<String> {
    let manifest = read(&format!("{name}/Cargo.toml"));
    let mut inside = false;
    let mut found = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if inside {
            let dependency = line.split(['.', ' ', '=']).next().unwrap();
            if crates.iter().any(|name| name == dependency) {
                found.insert(dependency.to_owned());
            }
        }
    }
    found
}

#[test]
fn the_map_of_crates_is_the_workspace() {
    let workspace = read("Cargo.toml");
    let members = workspace.split("members = [").nth(1).unwrap().split(']').next().unwrap();
    let members: BTreeSet<String> = members.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    let map: Vec<String> = read("ARCHITECTURE.md")
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| `")?.split_once("/`")?.0.to_owned()))
        // What is no crate (chips of boards, in C) stands on the map as well.
        .filter(|name| name != "simulators")
        .collect();
    assert_eq!(map.iter().cloned().collect::<BTreeSet<_>>(), members, "the map (left) and the workspace (right)");
    for (row, name) in map.iter().enumerate() {
        for dependency in dependencies(name, &map) {
            let above = map.iter().position(|other| *other == dependency).unwrap();
            assert!(above < row, "{name} depends on {dependency}, which stands below it on the map");
        }
    }
    assert!(dependencies("contract", &map).is_empty());
    assert!(!dependencies("edge-relay", &map).contains("virtual-board"), "boards are processes of their own");
    assert!(!dependencies("dashboard", &map).contains("cloud"), "the dashboard asks the API");
}

#[test]
fn codes_in_the_operations_guide_exist() {
    let text = read("docs/operations.md");
    let table = text.split("## When something is wrong").nth(1).unwrap();
    let mut codes = 0;
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        for code in row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2) {
            assert!(Code::ALL.iter().any(|(known, _)| *known == code), "there is no code '{code}'");
            codes += 1;
        }
    }
    assert!(codes > 20, "{codes} codes");
}

#[test]
fn exit_codes_on_the_page_are_those_of_the_program() {
    let page = read("docs/cli.md");
    let source = read("cli/src/exit.rs");
    let table = source.split("Exit codes:\n").nth(1).unwrap().split("\";").next().unwrap();
    for line in table.lines() {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        assert!(page.contains(&format!("| {code} | {meaning} |")), "docs/cli.md has no row for {code}: {meaning}");
    }
}
