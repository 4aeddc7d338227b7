//! What another site can make a visitor's browser do: nothing.

use axum::Router;
use axum::response::Html;
use axum::routing::get;

use crate::support::browser::Browser;
use crate::support::{System, stub_api};

/// Where the routes are: a new one that takes a POST is tried without anybody's help.
const ROUTES: &str = include_str!("../../src/pages/mod.rs");

/// Every path that takes a POST, its parameters filled in.
fn posts() -> Vec<String> {
    let routes = ROUTES.lines().filter(|line| line.contains(".route(") && line.contains("post("));
    let path = |line: &str| line.split('"').nth(1).unwrap().replace("{model}", "digits@2");
    routes.map(path).collect()
}

#[tokio::test]
async fn no_form_of_another_site_is_taken() {
    let Some(system) = System::start("foreign posts").await else { return };
    let posts = posts();
    assert!(posts.len() >= 8 && posts.iter().all(|path| !path.contains('{')), "{posts:?}");
    let own = system.url("");
    let port = own.rsplit(':').next().unwrap().trim_end_matches('/');
    let suffix = format!("{own}.evil.example");
    let other_port = own.replace(port, "1");
    let foreign: Vec<Vec<(&str, &str)>> = vec![
        vec![],
        vec![("origin", "http://evil.example")],
        vec![("origin", "null")],
        vec![("origin", "")],
        vec![("origin", &suffix)],
        vec![("origin", &other_port)],
        vec![("sec-fetch-site", "cross-site")],
        vec![("sec-fetch-site", "same-site")],
        vec![("sec-fetch-site", "none")],
        vec![("sec-fetch-site", "cross-site"), ("origin", own.trim_end_matches('/'))],
        vec![("referer", &own)],
    ];
    let (mut tried, form) =
        (0, [("verb", "erase"), ("target", "bench-1/board-1"), ("name", "eve"), ("token", "right")]);
    for path in &posts {
        for headers in &foreign {
            let mut request = system.client().post(system.url(path)).header("cookie", stub_api::COOKIE).form(&form);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 403, "{path} with {headers:?}");
            assert!(response.headers().get("set-cookie").is_none(), "{path} with {headers:?}");
            tried += 1;
        }
        let own = system.post(path, &form).await.status();
        assert_ne!(own, 403, "{path} from the own page");
    }
    eprintln!("{tried} posts of other sites on {} paths, all refused", posts.len());
}

/// A page elsewhere that sends a form as soon as it is open.
const TRAP: &str = r#"<!doctype html><title>trap</title><form method="post" action="ACTION">
<input name="verb" value="erase"><input name="target" value="bench-1/board-1"></form>
<script>document.forms[0].submit()</script>"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_is_logged_in_is_of_no_use_to_another_site() {
    let Some(system) = System::start("browser, foreign form").await else { return };
    let Some(browser) = Browser::start("browser, foreign form").await else { return };
    crate::browser_pages::log_in(&system, &browser, "/models").await;
    let trap = TRAP.replace("ACTION", &system.url("/commands"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let elsewhere = Router::new().route("/", get(move || async move { Html(trap) }));
    let server = tokio::spawn(async move { axum::serve(listener, elsewhere).await });
    // The same host by another port is the same site, to which the cookie goes; by another name it is not.
    for host in ["127.0.0.1", "localhost"] {
        browser.open(&format!("http://{host}:{port}/")).await;
        let refused =
            "return location.pathname === '/commands' && document.body?.textContent.includes('Not from here')";
        browser.until(&format!("the refusal of {host}"), refused).await;
    }
    assert!(system.api.seen.posted.lock().unwrap().is_empty());
    server.abort();
    browser.close().await;
}
