//! Pages in a real browser: live, obedient to the policy, no wider than a phone.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use contract::Timestamp;
use serde_json::json;

use crate::support::browser::Browser;
use crate::support::{System, fleet};

const PAGES: [(&str, &str); 16] = [
    ("login", "/login"),
    ("overview", "/"),
    ("relay", "/relays/bench-1"),
    ("relay-offline", "/relays/attic"),
    ("device", "/relays/bench-1/devices/board-1"),
    ("device-busy", "/relays/bench-1/devices/board-2"),
    ("device-empty", "/relays/bench-1/devices/board-3"),
    ("models", "/models"),
    ("people", "/people"),
    ("audit", "/audit"),
    ("join", "/join"),
    ("model", "/models/digits@2"),
    ("model-autoencoder", "/models/machine@1"),
    ("command", "/commands/bench-1/0193a5c2-7d10-7c3e-9b51-2f6d1c0a4e11"),
    ("nothing", "/nowhere"),
    ("first", "/"),
];

pub async fn log_in(system: &System, browser: &Browser, next: &str) {
    browser.open(&system.url(next)).await;
    browser.until("the login page", "return location.pathname === '/login'").await;
    let fill = "document.querySelector('[name=token]').value = 'right';
                document.querySelector('main form button').click(); return true";
    browser.evaluate(fill).await;
    browser.until("the wanted page", &format!("return location.pathname === '{next}'")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_logs_in_and_watches_a_board_live() {
    let Some(system) = System::start("browser, live").await else { return };
    let Some(browser) = Browser::start("browser, live").await else { return };
    log_in(&system, &browser, "/relays/bench-1/devices/board-1").await;
    browser.until("the stream", "return document.getElementById('live').dataset.state === 'live'").await;
    browser.until("the chart", "return document.querySelectorAll('#chart circle').length > 100").await;

    let publisher = system.broker.publisher();
    let topic = "tinymlaas/v1/relays/bench-1/devices/board-1/telemetry";
    let mut reading = fleet::reading("bench-1", "board-1", 5001, Timestamp::now());
    reading["prediction"]["label"] = json!(fleet::HOSTILE);
    publisher.publish(topic, reading.to_string()).await;
    let label = "return document.querySelector('#stream [data-f=label]').textContent";
    browser.until("the hostile label as text", &format!("{label} === {}", json!(fleet::HOSTILE))).await;
    let reading = fleet::reading("bench-1", "board-1", 5002, Timestamp::now());
    publisher.publish(topic, reading.to_string()).await;
    let expected = reading["expected"].as_str().unwrap();
    let verdict = "return document.querySelector('#now [data-f=verdict]').textContent";
    browser.until("the right verdict", &format!("{verdict} === '✓ expected {expected}'")).await;
    let drawn =
        "const picture = document.querySelector('#now img'); return picture.complete && picture.naturalWidth === 8";
    browser.until("the digit, drawn", drawn).await;

    let mut log = fleet::logs("board-1")[0].clone();
    log["seq"] = json!(99);
    publisher.publish("tinymlaas/v1/relays/bench-1/devices/board-1/logs", log.to_string()).await;
    let line = "return document.querySelector('[data-log]').lastElementChild.dataset.seq === '99'";
    browser.until("the new log line", line).await;

    // A click on a button sends the command and shows its progress.
    browser
        .evaluate("document.querySelector('input[value=restart]').form.querySelector('button').click(); return 1")
        .await;
    browser.until("the command's progress", "return location.search.startsWith('?command=')").await;
    assert_eq!(system.api.seen.posted.lock().unwrap()[0]["verb"], json!("restart"));
    let complaints: Vec<String> = browser.complaints().await;
    assert!(complaints.is_empty(), "{complaints:?}");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_obey_the_policy_and_fit_a_phone() {
    let Some(system) = System::start("browser, all pages").await else { return };
    let Some(browser) = Browser::start("browser, all pages").await else { return };
    log_in(&system, &browser, "/").await;
    // For people who want to look: TINYMLAAS_SCREENSHOTS=FOLDER cargo test -p dashboard
    let folder = std::env::var_os("TINYMLAAS_SCREENSHOTS").map(PathBuf::from);
    if let Some(folder) = &folder {
        std::fs::create_dir_all(folder).unwrap();
    }
    for (look, width, height, dark) in
        [("light", 1280, 900, false), ("dark", 1280, 900, true), ("phone", 390, 844, false)]
    {
        browser.look(width, height, dark).await;
        for (name, path) in PAGES {
            system.api.seen.empty.store(name == "first", Ordering::Relaxed);
            browser.open(&system.url(path)).await;
            tokio::time::sleep(Duration::from_millis(if folder.is_some() { 900 } else { 150 })).await;
            let wide = "return document.documentElement.scrollWidth";
            let wide = browser.evaluate(wide).await.as_u64().unwrap();
            assert!(wide <= u64::from(width), "{name} is {wide} wide on {width}");
            let complaints: Vec<String> = browser.complaints().await;
            let ours = |text: &&String| !text.contains("404 (Not Found)");
            assert_eq!(complaints.iter().find(ours), None, "{name}, {look}");
            if let Some(folder) = &folder {
                browser.screenshot(folder, &format!("{name}-{look}"), width).await;
            }
        }
    }
    browser.close().await;
}
