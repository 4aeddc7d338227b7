//! The fleet's signing key is replaced while a relay works, sleeps, or lies about which one it knows.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::keys::{KeyList, SignedKeyList};
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::json;

use crate::bench::Bench;
use crate::model::{Kind, make};

fn list(by: &SigningKey, version: u64, key: &SigningKey) -> SignedKeyList {
    let keys = vec![STANDARD.encode(key.verifying_key().as_bytes())];
    let document = serde_json::to_string(&KeyList { version, keys, created_at: contract::Timestamp::now() }).unwrap();
    let mut signed = SignedKeyList { document, key_id: "test".into(), signature: String::new() };
    signed.signature = STANDARD.encode(by.sign(&signed.signed_bytes()).to_bytes());
    signed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_is_followed_and_the_old_one_refused() {
    let mut bench = Bench::with_boards(1, 0).await;
    let (old, second, third) =
        (bench.key.clone(), SigningKey::from_bytes(&[21; 32]), SigningKey::from_bytes(&[22; 32]));
    let host = bench.host.clone();
    let (kept, new, other) = (make(30, Kind::Good, 100), make(31, Kind::Good, 100), make(32, Kind::Good, 100));
    host.install("first", "board-1", &kept).await;
    host.succeeds("first").await;

    // A list of a stranger is asked for, and changes nothing.
    let stranger = SigningKey::from_bytes(&[9; 32]);
    host.behaviour.lock().unwrap().lists = vec![list(&stranger, 2, &stranger)];
    host.behaviour.lock().unwrap().wrong_key = true;
    host.install("stranger", "board-1", &other).await;
    let end = host.end("stranger").await;
    assert_eq!((&end["state"], &end["code"]), (&json!("failed"), &json!("signature_invalid")), "{end}");
    host.behaviour.lock().unwrap().wrong_key = false;

    // The cloud signs with another key: found out at the first manifest, and followed.
    {
        let mut behaviour = host.behaviour.lock().unwrap();
        behaviour.lists = vec![list(&old, 1, &old), list(&old, 2, &second)];
        behaviour.key = Some(second.clone());
    }
    host.install("second", "board-1", &new).await;
    host.succeeds("second").await;
    host.state("list 2", |state| state["key_list"] == 2).await;
    let folder = bench.path("relay/artifacts").join(kept.id.hex());
    assert!(folder.join("manifest.renewed.json").exists(), "what is kept was signed anew");

    // What the retired key signs is refused, also in a list.
    {
        let mut behaviour = host.behaviour.lock().unwrap();
        behaviour.lists = vec![list(&old, 3, &old)];
        behaviour.key = Some(old.clone());
    }
    host.install("retired", "board-1", &other).await;
    let end = host.end("retired").await;
    assert_eq!((&end["state"], &end["code"]), (&json!("failed"), &json!("signature_invalid")), "{end}");
    assert_eq!(host.behaviour.lock().unwrap().asked_keys.last(), Some(&2));

    // Two rotations while it is away, and told of by the cloud as soon as it is back.
    bench.kill_relay();
    {
        let mut behaviour = host.behaviour.lock().unwrap();
        behaviour.lists = vec![list(&second, 3, &stranger), list(&stranger, 4, &third)];
        behaviour.key = Some(third.clone());
    }
    bench.start_relay();
    host.state("list 4", |state| state["key_list"] == 4).await;
    // What runs is observed still: the artifact of the board is one whose manifest was renewed.
    host.more_readings("board-1", 3).await;
    host.send(json!({"id": "again", "verb": "install", "device": "board-1", "artifact": kept.id})).await;
    host.succeeds("again").await;
    assert!(!host.states("again").contains(&"fetching".to_owned()), "from the cache: {:?}", host.states("again"));

    // Told without a question.
    host.behaviour.lock().unwrap().lists = vec![list(&third, 5, &second)];
    host.behaviour.lock().unwrap().key = Some(second);
    host.publish("responses", br#"{"request":"","type":"keys","lists":[]}"#.to_vec()).await;
    host.state("list 5", |state| state["key_list"] == 5).await;

    // Killed at any moment: the file is whole, and the relay starts with it.
    bench.kill_relay();
    bench.start_relay();
    host.more_readings("board-1", 3).await;
    let trusted = std::fs::read_to_string(bench.path("relay/trusted.pub")).unwrap();
    assert!(trusted.starts_with("# version 5\n") && trusted.lines().count() == 2, "{trusted}");
}
