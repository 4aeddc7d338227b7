//! Chromium through chromedriver: the handful of WebDriver and DevTools commands that these tests need, as plain HTTP
//! requests; a client library would bring its own HTTP stack for them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;

pub struct Browser {
    http: reqwest::Client,
    /// `http://127.0.0.1:PORT/session/ID`.
    session: String,
    driver: Driver,
    _profile: TempDir,
}

/// The chromedriver process; ends with the value.
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn installed(names: &[&str]) -> Option<PathBuf> {
    names.iter().map(PathBuf::from).find(|path| path.exists())
}

impl Browser {
    /// `None`, said loudly, where no browser is installed.
    pub async fn start(test: &str) -> Option<Browser> {
        let driver = installed(&["/usr/bin/chromedriver", "/usr/lib/chromium/chromedriver"]);
        let browser = installed(&["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]);
        let (Some(driver), Some(browser)) = (driver, browser) else {
            eprintln!(
                "SKIPPED {test}: chromium and chromedriver are not installed (apt install chromium chromium-driver)"
            );
            return None;
        };
        let profile = tempfile::Builder::new().prefix("dashboard-").tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(driver);
        command.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = Driver(command.spawn().unwrap());
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        let session = open(&http, port, &browser, profile.path()).await;
        Some(Browser { http, session, driver, _profile: profile })
    }

    async fn send(&self, path: &str, body: Value) -> Value {
        let response = self.http.post(format!("{}{path}", self.session)).json(&body).send().await.unwrap();
        let status = response.status();
        let answer: Value = response.json().await.unwrap();
        assert!(status.is_success(), "{path}: {answer}");
        answer["value"].clone()
    }

    /// A command of the DevTools protocol.
    pub async fn devtools(&self, command: &str, params: Value) -> Value {
        self.send("/goog/cdp/execute", json!({"cmd": command, "params": params})).await
    }

    pub async fn open(&self, url: &str) {
        self.send("/url", json!({"url": url})).await;
    }

    /// What the browser complained about on its console since it was last asked.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.send("/se/log", json!({"type": "browser"})).await;
        let entries = log.as_array().cloned().unwrap_or_default();
        entries.iter().filter_map(|entry| entry["message"].as_str().map(str::to_owned)).collect()
    }

    /// The window's size in CSS pixels, and whether the page is to be dark.
    pub async fn look(&self, width: u32, height: u32, dark: bool) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// The whole page as PNGs of at most 1,800 pixels from the top down: `NAME-1.png`, `NAME-2.png`, …
    pub async fn screenshot(&self, folder: &Path, name: &str, width: u32) {
        let tall = self.evaluate("return document.documentElement.scrollHeight").await.as_u64().unwrap();
        for (part, top) in (0..tall).step_by(1800).enumerate() {
            let clip = json!({"x": 0, "y": top, "width": width, "height": (tall - top).min(1800), "scale": 1});
            let shot = json!({"captureBeyondViewport": true, "clip": clip});
            let shot = self.devtools("Page.captureScreenshot", shot).await;
            let png = base64::engine::general_purpose::STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
            std::fs::write(folder.join(format!("{name}-{}.png", part + 1)), png).unwrap();
        }
    }

    pub async fn evaluate(&self, script: &str) -> Value {
        self.send("/execute/sync", json!({"script": script, "args": []})).await
    }

    /// Waits until `script` returns true.
    pub async fn until(&self, what: &str, script: &str) {
        let end = Instant::now() + Duration::from_secs(15);
        while self.evaluate(script).await != json!(true) {
            assert!(Instant::now() < end, "timed out waiting for: {what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends the browser before its profile is removed.
    pub async fn close(self) {
        let _ = self.http.delete(&self.session).send().await;
    }
}

async fn open(http: &reqwest::Client, port: u16, browser: &Path, profile: &Path) -> String {
    let arguments = json!([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        format!("--user-data-dir={}", profile.display()),
    ]);
    let options = json!({"args": arguments, "binary": browser});
    let wanted = json!({"capabilities": {"alwaysMatch": {
        "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"},
    }}});
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = http.post(format!("http://127.0.0.1:{port}/session")).json(&wanted).send().await;
        match answer {
            Ok(answer) => {
                let answer: Value = answer.json().await.unwrap();
                let id = answer["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("no browser: {answer}"));
                return format!("http://127.0.0.1:{port}/session/{id}");
            }
            Err(error) if Instant::now() > end => panic!("chromedriver does not answer: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
