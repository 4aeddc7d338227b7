//! A Chromium without a window, driven through chromedriver's WebDriver protocol (W3C) and its door to Chromium's own
//! protocol. Only what screenshots need; tests have a browser of their own.

mod http;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::step;

const PATIENCE: Duration = Duration::from_secs(30);

/// Width and height in CSS pixels, whether it is a phone, and the colour scheme that the page is asked for.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// Part of file names.
    pub name: &'static str,
    /// CSS pixels.
    pub width: u32,
    /// CSS pixels of the visible part; screenshots are of the whole page.
    pub height: u32,
    /// Touch and the page's own viewport.
    pub phone: bool,
    /// `light` or `dark`.
    pub scheme: &'static str,
}

/// A running browser; ended when dropped.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

impl Browser {
    /// Starts chromedriver on a free port, and Chromium with an empty profile in `profile`.
    pub fn open(profile: &Path) -> Result<Self, Failure> {
        let port = free_port()?;
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = command.spawn().map_err(|error| step::not_started(&command, &error))?;
        let mut browser = Self { driver, port, session: String::new() };
        let profile = format!("--user-data-dir={}", profile.display());
        // No sandbox: Chromium refuses to start as root with one, and it opens nothing but our own pages.
        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            profile.as_str(),
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": args}}}});
        let begin = Instant::now();
        let session = loop {
            match browser.call("POST", "/session", &wanted) {
                Ok(value) => break value["sessionId"].as_str().unwrap_or_default().to_owned(),
                Err(error) if begin.elapsed() > PATIENCE => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        };
        browser.session = format!("/session/{session}");
        Ok(browser)
    }

    /// Opens an address and waits until it is loaded.
    pub fn go(&self, url: &str) -> Result<(), Failure> {
        self.in_session("/url", &json!({"url": url})).map(drop)
    }

    /// The value of a JavaScript expression in the page.
    pub fn eval(&self, expression: &str) -> Result<Value, Failure> {
        self.in_session("/execute/sync", &json!({"script": format!("return {expression}"), "args": []}))
    }

    /// Waits until a JavaScript expression is true.
    pub fn until(&self, expression: &str) -> Result<(), Failure> {
        let begin = Instant::now();
        while self.eval(expression)? != Value::Bool(true) {
            if begin.elapsed() > PATIENCE {
                let place = self.eval("location.href + '\\n' + document.body.innerText")?;
                let place = place.as_str().unwrap_or_default();
                return Err(Failure::Failed(format!("'{expression}' does not come true; the page is {place}")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Changes the size and the colour scheme, for all pages from now on.
    pub fn look_as(&self, view: View) -> Result<(), Failure> {
        let scale = if view.phone { 2 } else { 1 };
        let (width, height) = (view.width, view.height);
        let size = json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": view.phone});
        self.devtools("Emulation.setDeviceMetricsOverride", &size)?;
        let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": view.scheme}]});
        self.devtools("Emulation.setEmulatedMedia", &scheme).map(drop)
    }

    /// The whole page as PNG.
    pub fn screenshot(&self) -> Result<Vec<u8>, Failure> {
        let answer = self.devtools("Page.captureScreenshot", &json!({"captureBeyondViewport": true}))?;
        let text = answer["data"].as_str().unwrap_or_default();
        base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|error| Failure::Failed(format!("chromedriver's screenshot is no base64: {error}")))
    }

    fn devtools(&self, method: &str, params: &Value) -> Result<Value, Failure> {
        self.in_session("/goog/cdp/execute", &json!({"cmd": method, "params": params}))
    }

    fn in_session(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call("POST", &format!("{}{path}", self.session), body)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, Failure> {
        let failed = |text: String| Failure::Failed(format!("chromedriver, {method} {path}: {text}"));
        let answer = http::call(self.port, method, path, &body.to_string()).map_err(|e| failed(e.to_string()))?;
        let answer: Value = serde_json::from_slice(&answer).map_err(|error| failed(error.to_string()))?;
        match answer["value"].get("error") {
            Some(error) if !error.is_null() => {
                // The first line; the rest is chromedriver's own stack.
                let message = answer["value"]["message"].as_str().unwrap_or_default();
                Err(failed(format!("{error}: {}", message.lines().next().unwrap_or_default())))
            }
            _ => Ok(answer["value"].clone()),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium ends with its session; without one there is no Chromium.
        let _ = self.call("DELETE", &self.session, &json!({}));
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// A port of this machine that was free a moment ago.
pub fn free_port() -> Result<u16, Failure> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| Failure::Machine(format!("no free port: {error}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::machine::has_program;

    const PAGE: &str = "data:text/html,<title>seen</title><p style='height:3000px'>long";

    #[test]
    fn a_page_is_seen_in_every_look() {
        if !has_program("chromedriver") || !has_program("chromium") {
            eprintln!("SKIPPED a_page_is_seen_in_every_look: chromium or chromedriver is not installed");
            return;
        }
        let profile = std::env::temp_dir().join(format!("xtask-browser-{}", std::process::id()));
        std::fs::create_dir(&profile).unwrap();
        let browser = Browser::open(&profile).unwrap();
        browser.go(PAGE).unwrap();
        browser.until("document.title === 'seen'").unwrap();
        let dark = View { name: "", width: 390, height: 844, phone: false, scheme: "dark" };
        for view in [dark, View { scheme: "light", width: 800, ..dark }] {
            browser.look_as(view).unwrap();
            assert_eq!(
                browser.eval("matchMedia('(prefers-color-scheme: dark)').matches").unwrap(),
                view.scheme == "dark"
            );
            let png = browser.screenshot().unwrap();
            // Signature, then the IHDR chunk with width and height (PNG, section 11.2.2).
            assert_eq!(png.get(..8), Some(b"\x89PNG\r\n\x1a\n".as_slice()));
            let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
            assert_eq!(number(16), view.width);
            assert!(number(20) >= 3000, "only the visible part: {}", number(20));
        }
        assert!(browser.eval("(").unwrap_err().to_string().contains("javascript error"));
        drop(browser);
        std::fs::remove_dir_all(&profile).unwrap();
    }
}
