//! topics.md: every block marked `sh run` runs as it stands on the page, with nothing but the port replaced.

use std::process::Command;

use crate::fleet::{Fleet, project};

/// The blocks with the line that each begins at.
fn blocks(page: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut current: Option<(usize, String)> = None;
    for (number, line) in page.lines().enumerate() {
        match &mut current {
            None if line.trim_start() == "```sh run" => current = Some((number + 2, String::new())),
            None => {}
            Some(_) if line.trim_start() == "```" => blocks.extend(current.take()),
            Some((_, text)) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    assert!(current.is_none(), "a block of topics.md is not closed");
    blocks
}

#[test]
fn the_page_works_as_pasted() {
    let page = std::fs::read_to_string(project().join("topics.md")).unwrap();
    let blocks = blocks(&page);
    assert!(blocks.len() >= 10, "topics.md shows only {} blocks", blocks.len());
    assert!(blocks.iter().any(|(_, text)| text.contains("mosquitto_pub") && text.contains("\"install\"")));
    let fleet = Fleet::start(&["--demo"]);
    let port = fleet.mqtt.to_string();
    for (line, text) in &blocks {
        let script = text.replace("-p 1883", &format!("-p {port}"));
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &script])
            .current_dir(fleet.dir.parent().unwrap())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "topics.md line {line} ends with {}:\n{text}\nstdout: {}\nstderr: {}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    println!("{} blocks of topics.md ran", blocks.len());
}
