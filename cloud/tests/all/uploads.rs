//! Uploads that want out of their place, or to be larger than they look.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use reqwest::StatusCode;
use tract_onnx::pb;

use crate::world::{World, digits};

/// Every file below a folder with its size.
fn tree(folder: &Path) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            found.extend(tree(&entry.path()));
        } else {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn names_never_become_paths() {
    let world = World::new();
    let cloud = world.cloud().await;
    let outside = world.dir.path().join("..");
    let before: Vec<_> = std::fs::read_dir(&outside).unwrap().flatten().map(|entry| entry.file_name()).collect();
    let names = [
        // A client resolves what is not escaped by itself.
        "..%2fescaped",
        "..%2f..%2f..%2ftmp%2fescaped",
        "..%5cescaped",
        "%2ftmp%2fescaped",
        "escaped%00.csv",
        "escaped%0a",
        "-rf",
        ".hidden",
        "a%2fb",
        "%ff%fe",
    ];
    let mut refused = 0;
    for name in names {
        for (method, path) in [
            ("PUT", format!("/datasets/{name}?input_scale=1")),
            ("POST", format!("/models?name={name}&dataset=digits")),
            ("GET", format!("/models/{name}")),
            ("GET", format!("/artifacts/{name}/manifest")),
            ("POST", format!("/models/{name}/compile")),
        ] {
            let body = if method == "PUT" { digits("digits.csv") } else { digits("digits.onnx") };
            let (status, answer) = cloud.api.call(method, &path, body).await;
            assert!(status.is_client_error(), "{method} {path}: {status} {answer}");
            refused += 1;
        }
    }
    let after: Vec<_> = std::fs::read_dir(&outside).unwrap().flatten().map(|entry| entry.file_name()).collect();
    let escaped = after.iter().filter(|name| !before.contains(name) && name.to_string_lossy().contains("escaped"));
    assert_eq!(escaped.count(), 0);
    assert!(!Path::new("/tmp/escaped").exists());
    let inside = tree(world.dir.path());
    assert!(!inside.iter().any(|path| path.contains("escaped") || path.contains("hidden")), "{inside:?}");
    eprintln!("{refused} requests with names that are paths, all refused");
    cloud.stop().await;
}

/// What `gzip` makes of so many zero bytes.
fn bomb(bytes: usize) -> Vec<u8> {
    let mut child = Command::new("gzip").arg("-9").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        let zeros = vec![0; 1 << 20];
        for _ in 0..bytes >> 20 {
            stdin.write_all(&zeros).unwrap();
        }
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_compressed_is_not_unpacked_and_what_is_too_large_is_not_kept() {
    let world = World::new();
    let cloud = world.cloud().await;
    let small = bomb(256 << 20);
    assert!(small.len() < 1 << 20, "{}", small.len());
    let client = reqwest::Client::new();
    for (method, path) in [("PUT", "/datasets/bomb?input_scale=1"), ("POST", "/models?name=bomb")] {
        for encoding in ["gzip", "br", "deflate", "gzip, gzip"] {
            let request = client
                .request(method.parse().unwrap(), cloud.api.url(path))
                .bearer_auth(&world.tokens.admin)
                .header("content-encoding", encoding)
                .body(small.clone());
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), StatusCode::BAD_REQUEST);
            let text = response.text().await.unwrap();
            assert!(text.contains("content-encoding") && text.contains("uncompressed"), "{text}");
        }
        // Without saying so, it is a file that nobody can read.
        let (status, answer) = cloud.api.call(method, path, small.clone()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    }
    let (status, answer) = cloud.api.call("POST", "/models?name=large", vec![0; (64 << 20) + 1]).await;
    assert_eq!((status, answer["code"].as_str()), (StatusCode::PAYLOAD_TOO_LARGE, Some("too_large")), "{answer}");
    assert!(!tree(world.dir.path()).iter().any(|path| path.contains("bomb")));
    cloud.stop().await;
}

/// The digits with names from a hostile hand, everywhere where ONNX has room for one.
fn hostile(evil: &str) -> Vec<u8> {
    use prost::Message as _;
    let mut model = pb::ModelProto::decode(digits("digits.onnx").as_slice()).unwrap();
    model.producer_name = evil.to_owned();
    model.doc_string = evil.to_owned();
    let graph = model.graph.as_mut().unwrap();
    graph.name = evil.to_owned();
    let renamed = |name: &mut String| {
        if !name.is_empty() {
            name.push_str(evil);
        }
    };
    for value in graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info) {
        renamed(&mut value.name);
    }
    for tensor in &mut graph.initializer {
        renamed(&mut tensor.name);
    }
    for node in &mut graph.node {
        node.name = evil.to_owned();
        node.input.iter_mut().chain(&mut node.output).for_each(renamed);
    }
    model.encode_to_vec()
}

/// Names stand in comments, with nothing but letters, digits and `_ . - /`.
fn without_comments(code: &str) -> String {
    let mut rest = code;
    let mut text = String::new();
    while let Some((before, after)) = rest.split_once("/*") {
        text.push_str(before);
        rest = after.split_once("*/").unwrap().1;
    }
    text + rest
}

#[tokio::test(flavor = "multi_thread")]
async fn names_in_a_model_file_never_become_code() {
    let world = World::new();
    let cloud = world.cloud().await;
    let (status, _) = cloud.api.call("PUT", "/datasets/digits?input_scale=0.0625", digits("digits.csv")).await;
    assert_eq!(status, StatusCode::OK);
    let evils = [
        "*/\n#include \"/etc/passwd\"\n/*",
        "\";system(\"touch /tmp/escaped\");//",
        "\\\n#error EVIL",
        "../../EVIL",
        "\u{202e}EVIL\0",
    ];
    for (number, evil) in evils.into_iter().enumerate() {
        let name = format!("hostile-{number}");
        let (status, answer) =
            cloud.api.call("POST", &format!("/models?name={name}&dataset=digits"), hostile(evil)).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        let (status, model) = cloud.api.call("POST", &format!("/models/{name}/compile"), Vec::new()).await;
        assert_eq!(status, StatusCode::OK, "{model}");
        let artifact = model["artifact"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
        let path = tree(world.dir.path()).into_iter().find(|path| path.contains(&artifact)).unwrap();
        let tar = std::fs::read(path).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut code = String::new();
        for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let file = entry.path().unwrap().into_owned();
            assert_eq!(file.components().count(), 1, "{}", file.display());
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut text).unwrap();
            std::fs::write(folder.path().join(&file), &text).unwrap();
            if file.extension().is_some_and(|kind| kind == "c" || kind == "h") {
                code.push_str(&String::from_utf8(text).unwrap());
            }
        }
        let code = without_comments(&code);
        for word in ["passwd", "system", "#error", "EVIL", "escaped", "\u{202e}"] {
            assert!(!code.contains(word), "'{word}' of '{}' is in the code", evil.escape_default());
        }
        let output = Command::new("cc")
            .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-c", "model.c", "-o", "model.o"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    cloud.stop().await;
}
