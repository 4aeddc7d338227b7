//! From a CSV and an ONNX file to an artifact that a relay fetches over MQTT.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::artifact::{Manifest, SignedManifest};
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use reqwest::StatusCode;
use rumqttc::QoS;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::relay::{ROOT, Relay, listen, wait};
use crate::world::{Running, World, digits};

async fn import(cloud: &Running) {
    let (status, dataset) = cloud.api.call("PUT", "/datasets/digits?input_scale=0.0625", digits("digits.csv")).await;
    assert_eq!(status, StatusCode::OK, "{dataset}");
    assert_eq!((&dataset["rows"], &dataset["test_rows"], &dataset["columns"]), (&json!(1797), &json!(360), &json!(64)));
    let (status, model) = cloud.api.call("POST", "/models?name=digits&dataset=digits", digits("digits.onnx")).await;
    assert_eq!((status, &model["model"]), (StatusCode::CREATED, &json!("digits@1")), "{model}");
}

async fn ask(relay: &Relay, id: &str, want: Value) -> Value {
    let mut request = json!({"request": id, "relay": "bench"});
    request.as_object_mut().unwrap().extend(want.as_object().unwrap().clone());
    relay.json("requests", request).await;
    relay.next("responses", 120, |response| response["request"] == id).await
}

fn verify(cloud: &Running, signed: &Value) -> Manifest {
    let signed: SignedManifest = serde_json::from_value(signed.clone()).unwrap();
    let key: [u8; 32] = STANDARD.decode(&cloud.public_key).unwrap().try_into().unwrap();
    let signature = Signature::from_slice(&STANDARD.decode(&signed.signature).unwrap()).unwrap();
    VerifyingKey::from_bytes(&key).unwrap().verify(&signed.signed_bytes(), &signature).unwrap();
    let key_id: String = Sha256::digest(key)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(signed.key_id, key_id);
    serde_json::from_str(&signed.document).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_asks_for_a_model_and_gets_it_block_by_block() {
    let world = World::new();
    let cloud = world.cloud().await;
    import(&cloud).await;
    let (status, again) = cloud.api.call("POST", "/models?name=digits&dataset=digits", digits("digits.onnx")).await;
    assert_eq!((status, &again["model"]), (StatusCode::OK, &json!("digits@1")), "the same bytes are no new version");
    let relay = world.relay();
    relay.birth(&["a"]).await;
    // Nobody compiled it yet: asking is enough.
    let answer = ask(&relay, "r1", json!({"want": "model_manifest", "model": "digits", "board": "native"})).await;
    assert_eq!(answer["type"], "manifest", "{answer}");
    let manifest = verify(&cloud, &answer["manifest"]);
    assert_eq!((manifest.model.to_string().as_str(), manifest.purpose.as_str()), ("digits@1", "install"));
    let mut tar = Vec::new();
    for index in 0..manifest.blocks {
        let want = json!({"want": "block", "artifact": manifest.artifact, "index": index});
        let answer = ask(&relay, &format!("b{index}"), want).await;
        let block = STANDARD.decode(answer["data"].as_str().unwrap()).unwrap();
        let digest: String = Sha256::digest(&block).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(answer["sha256"], digest);
        tar.extend(block);
    }
    assert_eq!(tar.len() as u64, manifest.size);
    assert_eq!(contract::ArtifactId::from_digest(&Sha256::digest(&tar).into()), manifest.artifact);
    let mut names = Vec::new();
    for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
        names.push(entry.unwrap().path().unwrap().display().to_string());
    }
    names.sort();
    let mut expected = contract::artifact::file::ALL;
    expected.sort_unstable();
    assert_eq!(names, expected);
    let model = cloud.api.get("/models/digits").await;
    let accuracy = model["report"]["int8_accuracy"].as_f64().unwrap();
    assert!(accuracy >= 0.95, "int8 accuracy {accuracy}");
    eprintln!("digits: float {}, int8 {accuracy}, {} bytes", model["report"]["float_accuracy"], manifest.size);
    let by_id = ask(&relay, "r2", json!({"want": "artifact_manifest", "artifact": manifest.artifact})).await;
    assert_eq!(verify(&cloud, &by_id["manifest"]), manifest);
    let over_http = cloud.api.get(&format!("/artifacts/{}/manifest", manifest.artifact)).await;
    assert_eq!(over_http, by_id["manifest"]);
    // Compiling what is compiled returns at once, with the same artifact.
    let (status, compiled) = cloud.api.call("POST", "/models/digits@1/compile", Vec::new()).await;
    assert_eq!((status, &compiled["artifact"]), (StatusCode::OK, &json!(manifest.artifact)));
    for (want, code) in [
        (json!({"want": "model_manifest", "model": "nothing", "board": "native"}), "unknown_model"),
        (json!({"want": "block", "artifact": manifest.artifact, "index": manifest.blocks}), "invalid_field"),
        (json!({"want": "block", "artifact": format!("sha256:{}", "0".repeat(64)), "index": 0}), "artifact_not_found"),
    ] {
        let answer = ask(&relay, code, want).await;
        assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!(code)), "{answer}");
    }
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compile_command_over_mqtt_runs_once() {
    let world = World::new();
    let cloud = world.cloud().await;
    import(&cloud).await;
    let events = format!("{ROOT}/cloud/events");
    let (script, inbox, task) = listen("script", "admin", &world.tokens.admin, world.broker.port, &[events], None);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let send = async |body: &'static str| {
        script.publish(format!("{ROOT}/cloud/commands"), QoS::AtLeastOnce, false, body).await.unwrap();
    };
    send(r#"{"id":"c1","verb":"compile","model":"digits"}"#).await;
    let mut at = 0;
    for state in ["accepted", "building", "succeeded"] {
        let pick = |_: &str, event: &Value| event["command"] == "c1" && event["state"] == state;
        at = wait(&inbox, at, state, 120, pick).await.1;
    }
    wait(&inbox, 0, "change", 5, |_, event| event["type"] == "changed" && event["what"] == "artifact").await;
    send(r#"{"id":"c1","verb":"compile","model":"digits"}"#).await;
    let duplicate = |_: &str, event: &Value| event["command"] == "c1" && event["code"] == "duplicate";
    let (event, _) = wait(&inbox, at, "duplicate", 10, duplicate).await;
    assert_eq!(event["state"], "succeeded");
    assert!(event["artifact"].is_string());
    send(r#"{"id":"size","verb":"compile","model":"digits","optimize":"size"}"#).await;
    let (event, _) =
        wait(&inbox, at, "size", 120, |_, event| event["command"] == "size" && event["state"] == "succeeded").await;
    assert_eq!(cloud.api.get("/models/digits").await["report"]["optimize"], "size");
    assert!(event["artifact"].is_string());
    send(r#"{"id":"fast","verb":"compile","model":"digits","optimize":"fast"}"#).await;
    let (event, _) =
        wait(&inbox, at, "refusal", 60, |_, event| event["command"] == "fast" && event["state"] == "rejected").await;
    assert_eq!(event["code"], "invalid_field");
    assert!(event["message"].as_str().unwrap().contains("one of speed, size, ram"), "{event}");
    send(r#"{"id":"c2","verb":"compile","model":"nothing"}"#).await;
    let failed = |_: &str, event: &Value| event["command"] == "c2" && event["state"] == "failed";
    assert_eq!(wait(&inbox, at, "failure", 10, failed).await.0["code"], "unknown_model");
    send(r#"{"id":"c3","verb":"compile","model":"digits","expires_at":"2001-01-01T00:00:00Z"}"#).await;
    wait(&inbox, at, "expiry", 10, |_, event| event["command"] == "c3" && event["state"] == "expired").await;
    task.abort();
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_chosen_recorded_and_kept() {
    let world = World::new();
    let cloud = world.cloud().await;
    import(&cloud).await;
    let compile =
        async |query: &str| cloud.api.call("POST", &format!("/models/digits/compile{query}"), Vec::new()).await;
    for (query, field) in [
        ("?optimize=fast", "optimize"),
        ("?optimize=", "optimize"),
        ("?mixed=", "mixed"),
        ("?mixed=no-such-layer", "mixed"),
        (&format!("?mixed={}", "x,".repeat(65)), "mixed"),
        (&format!("?mixed={}", "x".repeat(5000)), "mixed"),
    ] {
        let (status, error) = compile(query).await;
        assert_eq!((status, &error["code"]), (StatusCode::BAD_REQUEST, &json!("invalid_field")), "{query}: {error}");
        assert!(error.to_string().contains(field), "{query}: {error}");
    }
    assert_eq!(cloud.api.get("/models/digits").await["problem"], Value::Null, "the asker's fault, not the model's");
    let mut artifacts = Vec::new();
    for (query, optimize, mixed) in [
        ("", "speed", "auto"),
        ("?optimize=size", "size", "auto"),
        ("?mixed=off", "size", "off"),
        // Nothing is said: as it was.
        ("", "size", "off"),
        ("?optimize=ram&mixed=conv1,conv2", "ram", "conv1,conv2"),
    ] {
        let (status, model) = compile(query).await;
        assert_eq!(status, StatusCode::OK, "{query}: {model}");
        let report = &model["report"];
        assert_eq!((&report["optimize"], &report["mixed"]), (&json!(optimize), &json!(mixed)), "{query}");
        let artifact = model["artifact"].as_str().unwrap().to_owned();
        let manifest = verify(&cloud, &cloud.api.get(&format!("/artifacts/{artifact}/manifest")).await);
        let origin = &manifest.provenance;
        assert_eq!((&origin["optimize"], &origin["mixed"]), (&json!(optimize), &json!(mixed)), "{query}");
        if query.is_empty() && !artifacts.is_empty() {
            assert_eq!(artifacts.last(), Some(&artifact));
        } else {
            assert!(!artifacts.contains(&artifact), "{query}: another choice is another artifact");
        }
        artifacts.push(artifact);
        let float_layers = &report["quantization"]["float_layers"];
        assert_eq!(
            float_layers.as_array().map_or(0, Vec::len),
            if mixed == "conv1,conv2" { 2 } else { 0 },
            "{float_layers}"
        );
    }
    // Whoever installs gets what was chosen last.
    let relay = world.relay();
    relay.birth(&["a"]).await;
    let answer = ask(&relay, "r1", json!({"want": "model_manifest", "model": "digits", "board": "native"})).await;
    assert_eq!(Some(verify(&cloud, &answer["manifest"]).artifact.to_string()).as_ref(), artifacts.last());
    // Boards that run an earlier choice are still served, also after the key was replaced.
    assert_eq!(cloud.api.send("POST", "/keys/rotate", json!({})).await.0, StatusCode::OK);
    for artifact in &artifacts {
        let signed = cloud.api.get(&format!("/artifacts/{artifact}/manifest")).await;
        let manifest: contract::artifact::Manifest =
            serde_json::from_str(signed["document"].as_str().unwrap()).unwrap();
        assert_eq!(manifest.artifact.as_str(), artifact);
        assert_eq!(signed["key_id"], cloud.api.get("/keys").await["keys"][1]["key_id"]);
    }
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_refused_with_a_reason() {
    let world = World::new();
    let cloud = world.cloud().await;
    let api = &cloud.api;
    let (status, error) = api.call("PUT", "/datasets/bad", b"a,label\n1,x\nword,y\n".to_vec()).await;
    assert_eq!((status, &error["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("invalid_dataset")), "{error}");
    assert!(error["message"].as_str().unwrap().contains("line 3"), "{error}");
    let (status, error) = api.call("PUT", "/datasets/bad?input_scale=0", digits("digits.csv")).await;
    assert_eq!((status, &error["field"]), (StatusCode::BAD_REQUEST, &json!("input_scale")));
    let (status, error) = api.call("PUT", "/datasets/bad?input_scale=much", digits("digits.csv")).await;
    assert_eq!((status, &error["code"]), (StatusCode::BAD_REQUEST, &json!("invalid_field")), "{error}");
    let (status, _) = api.call("PUT", "/datasets/Bad%20Name", digits("digits.csv")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, error) = api.call("PUT", "/datasets/large", vec![b'1'; (32 << 20) + 1]).await;
    assert_eq!((status, &error["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("too_large")));
    let (status, error) = api.call("POST", "/relays/bench/commands", vec![b' '; 100_000]).await;
    assert_eq!((status, &error["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("too_large")), "{error}");
    let mut corrupt = digits("digits.onnx");
    corrupt.truncate(corrupt.len() / 2);
    for bytes in [corrupt, b"no model".to_vec(), Vec::new()] {
        let (status, error) = api.call("POST", "/models?name=corrupt", bytes).await;
        assert_eq!((status, &error["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("invalid_model")), "{error}");
    }
    let (status, error) = api.call("POST", "/models?name=m&dataset=none", digits("digits.onnx")).await;
    assert_eq!((status, &error["field"]), (StatusCode::NOT_FOUND, &json!("dataset")));
    let (status, error) = api.call("POST", "/models", digits("digits.onnx")).await;
    assert_eq!((status, &error["code"]), (StatusCode::BAD_REQUEST, &json!("invalid_field")), "{error}");
    // A model and a data set that do not go together: told by the compiler, and kept with the model.
    let (status, _) =
        api.call("PUT", "/datasets/narrow", b"a,b,label\n1,2,x\n3,4,y\n5,6,x\n7,8,y\n9,1,x\n2,3,y\n".to_vec()).await;
    assert_eq!(status, StatusCode::OK);
    let (status, _) = api.call("POST", "/models?name=odd&dataset=narrow", digits("digits.onnx")).await;
    assert_eq!(status, StatusCode::CREATED);
    let (status, error) = api.call("POST", "/models/odd/compile", Vec::new()).await;
    assert_eq!((status, &error["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("invalid_dataset")), "{error}");
    assert_eq!(api.get("/models/odd").await["problem"], error["message"]);
    let (status, error) = api.call("POST", "/models/nothing/compile", Vec::new()).await;
    assert_eq!((status, &error["code"]), (StatusCode::NOT_FOUND, &json!("unknown_model")));
    assert_eq!(api.get("/models").await.as_array().unwrap().len(), 1);
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_int8_tflite_file_needs_no_dataset() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/models/hello_world.tflite");
    let Ok(file) = std::fs::read(path) else {
        eprintln!("SKIPPED: no shared/models beside the project: no .tflite file was uploaded");
        return;
    };
    let world = World::new();
    let cloud = world.cloud().await;
    let (status, model) = cloud.api.call("POST", "/models?name=sine", file).await;
    assert_eq!((status, &model["format"]), (StatusCode::CREATED, &json!("tflite")), "{model}");
    let (status, model) = cloud.api.call("POST", "/models/sine/compile", Vec::new()).await;
    assert_eq!(status, StatusCode::OK, "{model}");
    assert_eq!(model["report"]["calibration"], "none");
    let (status, _) = cloud.api.call("POST", "/models?name=float", digits("digits.onnx")).await;
    assert_eq!(status, StatusCode::CREATED);
    let (status, error) = cloud.api.call("POST", "/models/float/compile", Vec::new()).await;
    assert_eq!((status, &error["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("invalid_dataset")), "{error}");
    assert!(error["message"].as_str().unwrap().contains("?dataset=NAME"), "{error}");
    cloud.stop().await;
}
