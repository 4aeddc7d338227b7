//! A stand-in for the cloud's API, so that pages can be tested with any answer, however odd; the whole system with
//! its real cloud is tested where the binary is.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::fleet;

pub const SESSION: &str = "session-of-the-test";
pub const COOKIE: &str = "tinymlaas_session=session-of-the-test";
/// A session whose role may only watch.
pub const VIEWER_COOKIE: &str = "tinymlaas_session=session-of-a-viewer";

/// A session of a user who is limited to the relay `attic`.
pub const ATTIC_COOKIE: &str = "tinymlaas_session=session-of-the-attic";

#[derive(Default)]
pub struct Seen {
    /// No relays, no models.
    pub empty: AtomicBool,
    /// Bodies of commands, and lines about uploads.
    pub posted: Mutex<Vec<Value>>,
}

pub struct StubApi {
    pub address: SocketAddr,
    pub seen: Arc<Seen>,
    task: tokio::task::JoinHandle<()>,
}

type Shared = State<Arc<Seen>>;

impl StubApi {
    pub async fn start() -> StubApi {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let router = router(seen.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        StubApi { address, seen, task }
    }

    /// Goes away, as a killed cloud does.
    pub async fn stop(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for StubApi {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn refused(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({"code": code, "message": message}))).into_response()
}

fn found(value: Option<Value>) -> Response {
    match value {
        Some(value) => Json(value).into_response(),
        None => refused(StatusCode::NOT_FOUND, "not_found", "there is no such thing"),
    }
}

async fn authorized(request: Request, next: Next) -> Response {
    let credential = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    match credential {
        Some("Bearer session-of-the-test" | "Bearer session-of-a-viewer" | "Bearer session-of-the-attic") => {
            next.run(request).await
        }
        _ => refused(StatusCode::UNAUTHORIZED, "unauthorized", "no valid credential was given"),
    }
}

async fn emptied(State(seen): Shared, request: Request, next: Next) -> Response {
    let empty = seen.empty.load(Ordering::Relaxed);
    let keeps = ["/me", "/groups"].iter().any(|path| request.uri().path().ends_with(path));
    if empty && request.method() == "GET" && !keeps {
        return Json(json!([])).into_response();
    }
    next.run(request).await
}

fn router(seen: Arc<Seen>) -> Router {
    let known = Router::new()
        .route("/me", get(me))
        .route("/logout", post(async || StatusCode::NO_CONTENT))
        .route("/relays", get(async || Json(["bench-1", "attic"].map(fleet::relay_view))))
        .route("/relays/{relay}", get(relay))
        .route("/devices", get(async || Json(devices())))
        .route("/relays/{relay}/devices/{device}", get(device))
        .route("/relays/{relay}/devices/{device}/readings", get(readings))
        .route("/relays/{relay}/devices/{device}/logs", get(logs))
        .route("/relays/{relay}/commands", post(send))
        .route("/relays/{relay}/commands/{id}", get(command))
        .route("/commands", get(async || Json(fleet::commands())))
        .route("/users", get(async || Json(json!([{"name": "eve", "role": "operator", "groups": ["hall"], "disabled": true, "created_at": fleet::ago(60)}]))))
        .route("/tokens", get(async || Json(json!([
            {"name": "admin", "role": "admin", "created_at": fleet::ago(600)},
            {"name": "relay-bench-1", "role": "relay", "relay": "bench-1", "created_at": fleet::ago(600)},
            {"name": "laptop", "role": "viewer", "groups": [], "owner": "eve", "created_at": fleet::ago(6), "expires_at": fleet::ago(-600)},
        ]))).post(create_token))
        .route("/tokens/{name}", delete(async || refused(StatusCode::NOT_FOUND, "not_found", "there is no token 'x' of yours")))
        .route("/groups", get(async || Json(json!({"hall": ["bench-1", "attic"]}))))
        .route("/invitations", get(async || Json(json!([{"id": 1, "guest": "user", "name": "ada", "role": "viewer", "created_by": "admin", "expires_at": fleet::ago(-60)}]))))
        .route("/audit", get(async || Json(json!([
            {"id": 3, "at": fleet::ago(1), "actor": "admin", "role": "admin", "source": "mqtt", "address": "192.0.2.7", "action": "command.install", "target": "bench-1/board-1", "result": "ok"},
            {"id": 2, "at": fleet::ago(2), "actor": "", "role": "", "source": "page", "action": "login", "target": fleet::HOSTILE, "result": "unauthorized"},
        ]))))
        .route("/audit/export", get(async || "{\"id\":1}\n"))
        .route("/datasets", get(async || Json(fleet::datasets())))
        .route("/datasets/{name}", put(put_dataset))
        .route("/models", get(async || Json(fleet::models())).post(import))
        .route("/models/{model}", get(model))
        .route("/models/{model}/compile", post(compile))
        .route("/artifacts/{artifact}/manifest", get(async || Json(fleet::manifest())))
        .layer(from_fn_with_state(seen.clone(), emptied))
        .layer(from_fn(authorized));
    let api = known.route("/login", post(login)).route("/join", post(join));
    Router::new().nest("/api/v1", api).with_state(seen)
}

async fn create_token(State(seen): Shared, Json(wanted): Json<Value>) -> Response {
    let token = "the-token-itself";
    let view = json!({"name": wanted["name"], "role": wanted["role"], "created_at": fleet::ago(0)});
    seen.posted.lock().unwrap().push(wanted);
    (StatusCode::CREATED, Json(json!({"token": token, "view": view}))).into_response()
}

async fn me(request: Request) -> Json<Value> {
    let viewer = request.headers().get("authorization").is_some_and(|value| value == "Bearer session-of-a-viewer");
    if request.headers().get("authorization").is_some_and(|value| value == "Bearer session-of-the-attic") {
        return Json(json!({"name": "eve", "role": "viewer", "relays": ["attic"], "user": true}));
    }
    Json(json!({"name": "admin", "role": if viewer { "viewer" } else { "admin" }}))
}

async fn login(Json(login): Json<Value>) -> Response {
    if login == json!({"name": "admin", "token": "right"}) {
        let session =
            json!({"token": SESSION, "me": {"name": "admin", "role": "admin"}, "expires_at": fleet::ago(-3600)});
        return Json(session).into_response();
    }
    refused(StatusCode::UNAUTHORIZED, "unauthorized", "no valid credential was given")
}

async fn join(Json(asked): Json<Value>) -> Response {
    if asked["join"] == "right" {
        return Json(json!({"name": "ada"})).into_response();
    }
    refused(StatusCode::UNAUTHORIZED, "unauthorized", "this join token is not valid")
}

fn devices() -> Vec<Value> {
    let mut all: Vec<Value> =
        ["board-1", "board-2", "board-3"].map(|device| fleet::device_view("bench-1", device)).into();
    all.push(fleet::device_view("attic", "uno-1"));
    all
}

async fn relay(Path(relay): Path<String>) -> Response {
    found(["bench-1", "attic"].contains(&relay.as_str()).then(|| fleet::relay_view(&relay)))
}

async fn device(Path((relay, device)): Path<(String, String)>) -> Response {
    let known = devices().into_iter().find(|view| view["relay"] == *relay && view["state"]["device"] == *device);
    found(known)
}

async fn readings(Path((relay, device)): Path<(String, String)>) -> Json<Vec<Value>> {
    Json(if device == "board-3" { Vec::new() } else { fleet::readings(&relay, &device, 280) })
}

async fn logs(Path((_, device)): Path<(String, String)>) -> Json<Vec<Value>> {
    Json(fleet::logs(&device))
}

async fn command(Path((_, id)): Path<(String, String)>) -> Response {
    found(fleet::command_with_events(&id))
}

async fn send(State(seen): Shared, Json(command): Json<Value>) -> Response {
    let view = json!({
        "relay": "bench-1", "command": command["id"], "verb": command["verb"], "device": command["device"], "state": null,
        "code": null, "message": "", "progress": 0.0, "created_at": fleet::ago(0), "updated_at": fleet::ago(0),
    });
    seen.posted.lock().unwrap().push(command);
    (StatusCode::ACCEPTED, Json(view)).into_response()
}

async fn model(Path(model): Path<String>) -> Response {
    found(fleet::models().into_iter().find(|view| view["model"] == *model))
}

async fn compile(State(seen): Shared, path: Path<String>, RawQuery(query): RawQuery) -> Response {
    seen.posted.lock().unwrap().push(json!({"compile": query}));
    model(path).await
}

async fn import(State(seen): Shared, RawQuery(query): RawQuery, body: Bytes) -> Response {
    seen.posted.lock().unwrap().push(json!({"import": query, "bytes": body.len()}));
    if !body.starts_with(b"ONNX") {
        return refused(StatusCode::UNPROCESSABLE_ENTITY, "invalid_model", "the file is no ONNX model");
    }
    (StatusCode::CREATED, Json(fleet::models().remove(0))).into_response()
}

async fn put_dataset(State(seen): Shared, Path(name): Path<String>, body: Bytes) -> Json<Value> {
    seen.posted.lock().unwrap().push(json!({"dataset": name, "bytes": body.len()}));
    Json(fleet::datasets()[0].clone())
}
