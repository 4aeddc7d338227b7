//! The dashboard in a real Chromium, driven through chromedriver's WebDriver protocol (W3C), which is plain HTTP.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fleet::Fleet;

struct Browser {
    driver: Child,
    base: String,
    runtime: tokio::runtime::Runtime,
    // Chromium's profile; removed at the end.
    _profile: tempfile::TempDir,
}

impl Browser {
    fn open(width: u32, height: u32) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed by 'cargo xtask test'");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Self { driver, base: format!("http://127.0.0.1:{port}"), runtime, _profile: profile };
        let mut args: Vec<String> = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
        ]
        .map(str::to_owned)
        .to_vec();
        args.push(format!("--window-size={width},{height}"));
        args.push(format!("--user-data-dir={}", browser._profile.path().display()));
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": args},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let begin = Instant::now();
        let session = loop {
            match browser.try_call("POST", "/session", &wanted) {
                Ok(value) => break value["sessionId"].as_str().unwrap().to_owned(),
                Err(error) => assert!(begin.elapsed() < Duration::from_secs(30), "no browser: {error}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        browser.base = format!("{}/session/{session}", browser.base);
        browser
    }

    fn try_call(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        self.runtime.block_on(async {
            let client = reqwest::Client::new();
            let url = format!("{}{path}", self.base);
            let request = match method {
                "GET" => client.get(url),
                "DELETE" => client.delete(url),
                _ => client.post(url).json(body),
            };
            let answer: Value =
                request.send().await.map_err(|e| e.to_string())?.json().await.map_err(|e| e.to_string())?;
            match answer["value"].get("error") {
                Some(error) if !error.is_null() => Err(answer["value"].to_string()),
                _ => Ok(answer["value"].clone()),
            }
        })
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_call(method, path, body).unwrap()
    }

    fn go(&self, url: &str) {
        self.call("POST", "/url", &json!({"url": url}));
    }

    /// The value of a JavaScript expression in the page.
    fn eval(&self, expression: &str) -> Value {
        self.call("POST", "/execute/sync", &json!({"script": format!("return {expression}"), "args": []}))
    }

    fn text(&self) -> String {
        self.eval("document.body.innerText").as_str().unwrap_or_default().to_owned()
    }

    fn until(&self, what: &str, expression: &str) {
        let begin = Instant::now();
        while self.eval(expression) != Value::Bool(true) {
            assert!(
                begin.elapsed() < Duration::from_secs(20),
                "the page does not show {what}; it is at {} and says:\n{}",
                self.eval("location.href"),
                self.text()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn type_into(&self, selector: &str, text: &str) {
        let element = self.call("POST", "/element", &json!({"using": "css selector", "value": selector}));
        let id = element.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        self.call("POST", &format!("/element/{id}/value"), &json!({"text": text}));
    }

    fn click(&self, selector: &str) {
        let element = self.call("POST", "/element", &json!({"using": "css selector", "value": selector}));
        let id = element.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        self.call("POST", &format!("/element/{id}/click"), &json!({}));
    }

    fn log_in(&self, fleet: &Fleet) {
        self.go(&format!("http://127.0.0.1:{}/", fleet.http));
        self.until("the login form", "document.querySelector('input[name=token]') !== null");
        self.eval("(document.querySelector('input[name=name]').value = '', true)");
        self.type_into("input[name=name]", "admin");
        self.type_into("input[name=token]", &fleet.token());
        self.click("form button");
        self.until("the overview", "location.pathname === '/'");
    }

    /// Messages of the page's console that are errors.
    fn console_errors(&self) -> Vec<String> {
        let log = self.call("POST", "/se/log", &json!({"type": "browser"}));
        let all = log.as_array().cloned().unwrap_or_default();
        all.iter().filter(|entry| entry["level"] == "SEVERE").map(|entry| entry["message"].to_string()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.try_call("DELETE", "", &Value::Null);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

#[test]
fn the_dashboard_is_live() {
    let fleet = Fleet::start(&["--demo"]);
    let browser = Browser::open(1280, 900);
    browser.go(&format!("http://127.0.0.1:{}/models", fleet.http));
    browser.until("the login form", "document.querySelector('input[name=token]') !== null");
    browser.log_in(&fleet);
    assert!(browser.text().contains("board-1"), "{}", browser.text());
    assert!(browser.text().contains("digits"), "{}", browser.text());

    let device = format!("http://127.0.0.1:{}/relays/demo/devices/board-1", fleet.http);
    browser.go(&device);
    browser.until("a device's page", "document.body.innerText.includes('board-1')");
    // Live: the page changes by itself, without a reload.
    browser.eval("(window.notReloaded = true)");
    let before = browser.text();
    let begin = Instant::now();
    while browser.text() == before {
        assert!(begin.elapsed() < Duration::from_secs(20), "the page stands still:\n{before}");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(browser.eval("window.notReloaded === true"), Value::Bool(true), "it changed by a reload");

    for path in ["/", "/models", "/models/digits@1", "/relays/demo", "/relays/demo/devices/board-1"] {
        browser.go(&format!("http://127.0.0.1:{}{path}", fleet.http));
        browser.until("the page", "document.readyState === 'complete'");
        assert!(!browser.text().contains("went wrong"), "{path}: {}", browser.text());
    }
    let errors = browser.console_errors();
    // A page that is left closes its stream of events; Chromium may report that as a failed load.
    let errors: Vec<&String> = errors.iter().filter(|text| !text.contains("/live")).collect();
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn every_page_fits_a_phone() {
    let fleet = Fleet::start(&["--demo"]);
    let browser = Browser::open(390, 844);
    browser.log_in(&fleet);
    for path in ["/", "/models", "/models/digits@1", "/relays/demo", "/relays/demo/devices/board-1"] {
        browser.go(&format!("http://127.0.0.1:{}{path}", fleet.http));
        browser.until("the page", "document.readyState === 'complete'");
        let wide = browser.eval("document.documentElement.scrollWidth - document.documentElement.clientWidth");
        assert!(wide.as_i64().unwrap() <= 0, "{path} is {wide} pixels wider than the window");
    }
}

#[test]
fn an_empty_system_says_what_to_do_first() {
    let fleet = Fleet::start(&["--boards", "0"]);
    let browser = Browser::open(1280, 900);
    browser.log_in(&fleet);
    assert!(browser.text().contains("up --demo"), "{}", browser.text());
}
