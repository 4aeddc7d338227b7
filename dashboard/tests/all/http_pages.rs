//! Pages without a browser: what every reader gets, scripts or not.

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::support::{System, stub_api};

const PAGES: [&str; 16] = [
    "/",
    "/relays/bench-1",
    "/relays/attic",
    "/relays/bench-1/devices/board-1",
    "/relays/bench-1/devices/board-2",
    "/relays/bench-1/devices/board-3",
    "/relays/attic/devices/uno-1",
    "/models",
    "/people",
    "/audit",
    "/audit?actor=eve&source=page",
    "/models/digits@2",
    "/models/machine@1",
    "/models/speech@1",
    "/commands/bench-1/c-2",
    "/commands/bench-1/..%2Fc%201%3F%23",
];

#[tokio::test]
async fn without_a_session_every_page_leads_to_the_login_and_back() {
    let Some(system) = System::start("login").await else { return };
    for page in PAGES {
        let response = system.client().get(system.url(page)).header("accept", "text/html").send().await.unwrap();
        assert_eq!(response.status(), 303, "{page}");
        let place = response.headers()["location"].to_str().unwrap();
        assert!(place == "/login" && page == "/" || place.starts_with("/login?next=%2F"), "{page}: {place}");
    }
    let place = "/login?next=%2Frelays%2Fbench-1";
    let login = system.client().get(system.url(place)).send().await.unwrap().text().await.unwrap();
    assert!(login.contains("cat data/admin-token"), "it says where the token is");
    assert!(login.contains(r#"name="next" value="/relays/bench-1""#), "{login}");

    let wrong = system.post("/login", &[("name", "admin"), ("token", "wrong"), ("next", "/models")]).await;
    assert_eq!(wrong.status(), 401);
    assert!(wrong.headers().get("set-cookie").is_none());
    let body = wrong.text().await.unwrap();
    assert!(body.contains("do not belong together") && !body.contains("wrong\""), "{body}");

    let right = system.post("/login", &[("name", "admin"), ("token", " right\n"), ("next", "/models")]).await;
    assert_eq!((right.status().as_u16(), right.headers()["location"].to_str().unwrap()), (303, "/models"));
    let cookie = right.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with(stub_api::COOKIE), "{cookie}");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && cookie.contains("Max-Age=3"), "{cookie}");

    let out = system.post("/logout", &[]).await;
    assert_eq!(out.status(), 303);
    assert!(out.headers()["set-cookie"].to_str().unwrap().contains("tinymlaas_session=; "));
}

#[tokio::test]
async fn an_ended_session_is_asked_to_log_in_again() {
    let Some(system) = System::start("ended session").await else { return };
    let request = system.client().get(system.url("/models")).header("cookie", "tinymlaas_session=ended");
    let response = request.header("accept", "text/html").send().await.unwrap();
    assert_eq!(response.headers()["location"], "/login?next=%2Fmodels");
    let request = system.client().get(system.url("/live")).header("cookie", "tinymlaas_session=ended");
    assert_eq!(request.header("accept", "text/event-stream").send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn every_page_reads_without_scripts_and_escapes_what_others_wrote() {
    let Some(system) = System::start("pages").await else { return };
    for page in PAGES {
        let (status, body) = system.page(page).await;
        assert_eq!(status, 200, "{page}: {body}");
        assert!(!body.contains("<script>"), "{page} has a script that is not ours");
        assert!(!body.contains(" style="), "{page} has an inline style, which the policy forbids");
        assert!(!body.contains(" onclick="), "{page} has an inline handler, which the policy forbids");
    }
    let (_, overview) = system.page("/").await;
    for text in
        ["bench-1", "board-1", "digits@2", "9f86d081884c", "verified", "not verified", "data:image/bmp", "✓ expected"]
    {
        assert!(overview.contains(text), "the overview lacks {text}");
    }
    let escaped = "&#60;script&#62;alert(&#39;x&#39;)&#60;/script&#62;&#34;&#39;&#38;";
    for page in ["/relays/attic", "/relays/bench-1/devices/board-3", "/models/digits@2", "/commands/bench-1/c-2"] {
        assert!(system.page(page).await.1.contains(escaped), "{page} lacks the hostile text, escaped");
    }
    let (_, device) = system.page("/relays/bench-1/devices/board-2").await;
    for text in
        ["12,611 of 12,804", "cc -std=c99", "writing 18,432 of 31,872 bytes", r#"aria-current="step""#, "870 ms"]
    {
        assert!(device.contains(text), "the device's page lacks {text}");
    }
    let (_, model) = system.page("/models/digits@2").await;
    for text in ["99.1%", "does not fit: needs 9.7 kB flash", r#"class="hit"#, "8c1f03ab55d2e790", "calibration rows"] {
        assert!(model.contains(text), "the model's page lacks {text}");
    }
}

#[tokio::test]
async fn a_report_is_read_layer_by_layer_and_as_a_file() {
    let Some(system) = System::start("report").await else { return };
    let (_, model) = system.page("/models/digits@2").await;
    for text in [
        "int8 costs 0.3 points",
        "mse, biases corrected",
        "chosen",
        "3.6 times smaller",
        "/conv2/Conv: 128 B at byte 512, steps 3 to 3",
        r#"class="buffer c3 work""#,
        "conv2d (float)+relu <span class=\"chip busy\">float32</span>",
        "4,321,000",
        "These layers stay in 32-bit floats: /conv2/Conv.",
        "99.7%",
    ] {
        assert!(model.contains(text), "the model's page lacks {text}");
    }
    assert_eq!(model.matches(r#"class="worst""#).count(), 1, "one layer is the worst");
    let (_, machine) = system.page("/models/machine@1").await;
    for text in ["Error as int8", "9.93", "float: 9.81", "<code>model/dense_3/Relu</code>", "also the least"] {
        assert!(machine.contains(text), "the autoencoder's page lacks {text}");
    }
    assert!(!machine.contains("Confusion matrix"));
    let request = system.client().get(system.url("/models/digits@2/report.json"));
    let response = request.header("cookie", stub_api::COOKIE).send().await.unwrap();
    assert_eq!(response.headers()["content-disposition"], r#"attachment; filename="digits-2-report.json""#);
    let report: serde_json::Value = response.json().await.unwrap();
    assert_eq!((&report["evaluated"], &report["quantization"]["method"]), (&json!(360), &json!("mse")));
    assert_eq!(system.page("/models/speech@1/report.json").await.0, 404, "there is no report yet");
}

#[tokio::test]
async fn every_answer_carries_the_policy() {
    let Some(system) = System::start("headers").await else { return };
    for page in ["/", "/login", "/nowhere", "/models"] {
        let request = system.client().get(system.url(page)).header("cookie", stub_api::COOKIE);
        let response = request.send().await.unwrap();
        let policy = response.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self';"), "{page}: {policy}");
        assert!(!policy.contains("unsafe"), "{page}: {policy}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert_eq!(response.headers()["cache-control"], "no-store");
    }
}

#[tokio::test]
async fn assets_are_kept_for_ever_under_names_of_their_content() {
    let Some(system) = System::start("assets").await else { return };
    let (_, login) = system.page("/login").await;
    let (_, overview) = system.page("/").await;
    let mut seen = 0;
    for part in login.split('"').chain(overview.split('"')).filter(|part| part.starts_with("/assets/")) {
        let path = part.split('#').next().unwrap();
        let response = system.client().get(system.url(path)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["cache-control"], "public, max-age=31536000, immutable", "{path}");
        seen += 1;
    }
    assert!(seen > 5, "pages refer to their assets");
    assert_eq!(system.client().get(system.url("/assets/app.js")).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn what_is_not_there_and_a_cloud_that_is_away_are_said_clearly() {
    let Some(mut system) = System::start("errors").await else { return };
    for page in ["/nowhere", "/relays/nobody", "/relays/Not%20A%20Name", "/models/none", "/commands/bench-1/none"] {
        let (status, body) = system.page(page).await;
        assert_eq!(status, 404, "{page}");
        assert!(body.contains("Nothing here") && body.contains("overview"), "{page}");
    }
    system.api.stop().await;
    let (status, body) = system.page("/").await;
    assert_eq!(status, 502);
    assert!(body.contains("The cloud does not answer") && body.contains("tinymlaas up"), "{body}");
    assert!(body.contains(r#"http-equiv="refresh""#), "it tries again by itself");
    assert!(!body.contains("127.0.0.1"), "no inner address on a page");
}

#[tokio::test]
async fn an_empty_fleet_is_told_what_to_do_first() {
    let Some(system) = System::start("empty").await else { return };
    system.api.seen.empty.store(true, Ordering::Relaxed);
    let (status, body) = system.page("/").await;
    assert_eq!(status, 200);
    for text in ["tinymlaas up --demo", "tinymlaas model import", "tinymlaas relay"] {
        assert!(body.contains(text), "lacks {text}");
    }
}

#[tokio::test]
async fn forms_become_commands() {
    let Some(system) = System::start("forms").await else { return };
    let target = ("target", "bench-1/board-1");
    let sent = system.post("/commands", &[("verb", "install"), target, ("model", "digits@2")]).await;
    assert_eq!(sent.status(), 303);
    let place = sent.headers()["location"].to_str().unwrap().to_owned();
    assert!(place.starts_with("/relays/bench-1/devices/board-1?command=") && place.ends_with("#progress"), "{place}");
    let observe = [("verb", "observe"), target, ("observing", "on"), ("source", "samples"), ("interval_ms", "50")];
    assert_eq!(system.post("/commands", &observe).await.status(), 303);
    let rescan = system.post("/commands", &[("verb", "rescan"), ("relay", "bench-1")]).await;
    assert!(rescan.headers()["location"].to_str().unwrap().starts_with("/commands/bench-1/"));
    let posted = system.api.seen.posted.lock().unwrap().clone();
    assert_eq!(posted.len(), 3);
    assert_eq!((&posted[0]["verb"], &posted[0]["model"]), (&json!("install"), &json!("digits@2")));
    assert_eq!(posted[1]["observe"], json!({"enabled": true, "source": "samples", "interval_ms": 50}));
    assert_eq!(posted[2]["verb"], json!("rescan"));

    let wrong = system.post("/commands", &[("verb", "observe"), target, ("interval_ms", "often")]).await;
    assert_eq!(wrong.status(), 422);
    assert!(wrong.text().await.unwrap().contains("interval in milliseconds"));
}

#[tokio::test]
async fn a_model_is_compiled_with_what_the_form_says() {
    let Some(system) = System::start("compile").await else { return };
    let (_, page) = system.page("/models/digits@2").await;
    assert!(page.contains(r#"<option value="speed" selected>speed</option>"#), "{page}");
    assert!(page.contains(r#"name="mixed" value="auto""#), "{page}");
    let path = "/models/digits@2/compile";
    let layers = "/conv1/Conv, dense";
    for form in [&[("optimize", "size"), ("mixed", layers)][..], &[("optimize", ""), ("mixed", " ")], &[]] {
        let sent = system.post(path, form).await;
        assert_eq!((sent.status().as_u16(), sent.headers()["location"].to_str().unwrap()), (303, "/models/digits@2"));
    }
    for (form, reason) in [
        ([("optimize", "fast"), ("mixed", "auto")], "Best at: expected one of speed, size, ram"),
        ([("optimize", "ram"), ("mixed", ",")], "Float layers: expected auto, off, or names of layers"),
    ] {
        let refused = system.post(path, &form).await;
        assert_eq!(refused.status(), 422);
        let body = refused.text().await.unwrap();
        assert!(body.contains(reason), "{body}");
    }
    let posted = system.api.seen.posted.lock().unwrap().clone();
    let queries: Vec<&str> = posted.iter().map(|sent| sent["compile"].as_str().unwrap_or("")).collect();
    assert_eq!(queries, ["optimize=size&mixed=%2Fconv1%2FConv%2Cdense", "", ""]);
}

#[tokio::test]
async fn a_viewer_sees_no_buttons() {
    let Some(system) = System::start("viewer").await else { return };
    let request = system.client().get(system.url("/relays/bench-1/devices/board-1"));
    let body = request.header("cookie", stub_api::VIEWER_COOKIE).send().await.unwrap().text().await.unwrap();
    assert!(body.contains("board-1") && !body.contains(r#"action="/commands""#));
    assert!(system.page("/relays/bench-1/devices/board-1").await.1.contains(r#"action="/commands""#));
}

#[tokio::test]
async fn an_upload_reaches_the_api_and_its_refusal_the_visitor() {
    let Some(system) = System::start("uploads").await else { return };
    let upload = |path: &str, body: &'static str| {
        let request = system.client().post(system.url(path)).header("origin", system.url(""));
        request.header("cookie", stub_api::COOKIE).body(body).send()
    };
    let good = upload("/upload/model?name=digits&dataset=digits", "ONNX…").await.unwrap();
    assert_eq!(good.json::<serde_json::Value>().await.unwrap(), json!({"next": "/models/digits@2"}));
    let bad = upload("/upload/model?name=digits&dataset=", "garbage").await.unwrap();
    assert_eq!(bad.status(), 422);
    assert!(bad.text().await.unwrap().contains("no ONNX model"));
    let named = upload("/upload/model?name=No%20Name", "ONNX…").await.unwrap();
    assert_eq!(named.status(), 422);
    assert!(named.text().await.unwrap().contains("lower-case"));
    let set = upload("/upload/dataset?name=digits&input_scale=0.0625", "p0,label,split").await.unwrap();
    assert_eq!(set.json::<serde_json::Value>().await.unwrap(), json!({"next": "/models"}));
    let posted = system.api.seen.posted.lock().unwrap().clone();
    assert_eq!(posted[0], json!({"import": "name=digits&dataset=digits", "bytes": 7}));
}

#[tokio::test]
async fn tokens_are_shown_once_and_refusals_are_explained() {
    let Some(system) = System::start("people").await else { return };
    let (_, people) = system.page("/people").await;
    for text in ["eve", "disabled", "relay-bench-1", "laptop", "hall", "bench-1", "ada", "An invitation"] {
        assert!(people.contains(text), "the page of people lacks {text}");
    }
    let made =
        system.post("/people", &[("action", "create_token"), ("name", "x"), ("role", "viewer"), ("groups", "a, b")]);
    let made = made.await;
    assert_eq!(made.status(), 200);
    assert!(made.text().await.unwrap().contains("the-token-itself"));
    let wanted = system.api.seen.posted.lock().unwrap().pop().unwrap();
    assert_eq!((&wanted["name"], &wanted["groups"]), (&json!("x"), &json!(["a", "b"])));
    let refused = system.post("/people", &[("action", "revoke_token"), ("name", "x")]).await;
    assert_eq!(refused.status(), 404);
    assert!(refused.text().await.unwrap().contains("there is no token"));
    let export = system.client().get(system.url("/audit/export?format=csv")).header("cookie", stub_api::COOKIE);
    let export = export.send().await.unwrap();
    assert!(export.headers()["content-disposition"].to_str().unwrap().contains("audit.csv"));
    assert_eq!(export.text().await.unwrap(), "{\"id\":1}\n");
    // Without a session: joining.
    let page = system.client().get(system.url("/join")).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let same = |again| [("join", "right"), ("password", "correct horse"), ("again", again)];
    let joined = system.post("/join", &same("correct horse")).await;
    assert!(joined.text().await.unwrap().contains("Welcome, ada"));
    assert_eq!(system.post("/join", &same("another")).await.status(), 422);
    assert_eq!(system.post("/join", &[("join", "wrong")]).await.status(), 401);
}
