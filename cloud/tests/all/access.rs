//! Every route against every kind of credential, and sessions.

use std::time::{Duration, Instant};

use cloud::api::Access;
use cloud::credentials;
use contract::access::Role;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::world::World;

/// The table of `contract::api`: method, path without query, role.
fn documented() -> Vec<(String, String, String)> {
    let source = include_str!("../../../contract/src/api.rs");
    let rows = source.lines().filter_map(|line| line.strip_prefix("//! | `"));
    rows.map(|row| {
        let (route, rest) = row.split_once('`').unwrap();
        let (method, path) = route.split_once(' ').unwrap();
        let path = path.split('?').next().unwrap();
        let role = rest.split('|').nth(1).unwrap().trim();
        (method.to_owned(), path.to_owned(), role.to_owned())
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_lets_in_whom_its_documentation_says_and_nobody_else() {
    let world = World::new();
    let cloud = world.cloud().await;
    let documented = documented();
    assert!(documented.len() >= 20, "the table was not found");
    let served: Vec<_> = cloud.routes.iter().map(|route| (route.method, route.path)).collect();
    for (method, path, _) in &documented {
        assert!(served.contains(&(method.as_str(), path.as_str())), "{method} {path} is documented and not served");
    }
    assert_eq!(documented.len(), served.len(), "a route is not documented");
    let t = &world.tokens;
    let admin = &cloud.api;
    for (group, relay) in [("hall", "bench"), ("attic", "other")] {
        assert_eq!(admin.send("PUT", &format!("/groups/{group}"), json!([relay])).await.0, StatusCode::NO_CONTENT);
    }
    let token = async |name: &str, role: &str, more: Value| {
        let mut wanted = json!({"name": name, "role": role});
        wanted.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, issued) = admin.send("POST", "/tokens", wanted).await;
        assert_eq!(status, StatusCode::CREATED, "{issued}");
        issued["token"].as_str().unwrap().to_owned()
    };
    let inside = token("inside", "operator", json!({"groups": ["hall"]})).await;
    let outside = token("outside", "operator", json!({"groups": ["attic"]})).await;
    let outside_viewer = token("outside-viewer", "viewer", json!({"groups": ["attic"]})).await;
    let revoked = token("revoked", "admin", json!({})).await;
    assert_eq!(admin.call("DELETE", "/tokens/revoked", Vec::new()).await.0, StatusCode::NO_CONTENT);
    let expired = token("expired", "admin", json!({"valid_s": 1})).await;
    let user = json!({"role": "admin", "password": "correct horse"});
    assert_eq!(admin.send("PUT", "/users/ada", user).await.0, StatusCode::OK);
    let session = async |name: &str, secret: &str| {
        let (status, session) = admin.with("").send("POST", "/login", json!({"name": name, "token": secret})).await;
        assert_eq!(status, StatusCode::OK, "{session}");
        session["token"].as_str().unwrap().to_owned()
    };
    let viewers_session = session("victor", &t.viewer).await;
    let admins_session = session("ada", "correct horse").await;
    let ended = session("ada", "correct horse").await;
    assert_eq!(admin.with(&ended).call("POST", "/logout", Vec::new()).await.0, StatusCode::NO_CONTENT);
    let expires = cloud.api.with(&expired);
    while expires.call("GET", "/me", Vec::new()).await.0 != StatusCode::UNAUTHORIZED {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let viewer: &[Access] = &[Access::Person, Access::Viewer];
    let operator: &[Access] = &[Access::Person, Access::Viewer, Access::Operator];
    let all: &[Access] = &[Access::Person, Access::Viewer, Access::Operator, Access::Admin];
    // Name, token, what it may, whether the relay of the paths is within its groups.
    let callers: [(&str, &str, &[Access], bool); 16] = [
        ("nobody", "", &[], true),
        ("a wrong token", "wrong", &[], true),
        ("a relay", &t.bench, &[], true),
        ("the cloud", &t.cloud, &[], true),
        ("a revoked token", &revoked, &[], true),
        ("an expired token", &expired, &[], true),
        ("a session that was ended", &ended, &[], true),
        ("a join token", "bench.kkkkkkkkkkkkkkkkkkkkkk.sssssssssssssssssssssssssssssssssssssssssss", &[], true),
        ("a viewer", &t.viewer, viewer, true),
        ("a viewer's session", &viewers_session, viewer, true),
        ("a viewer of another group", &outside_viewer, viewer, false),
        ("an operator", &t.operator, operator, true),
        ("an operator of the group", &inside, operator, true),
        ("an operator of another group", &outside, operator, false),
        ("an admin", &t.admin, all, true),
        ("a user who is admin", &admins_session, all, true),
    ];
    let (mut tried, mut refusals) = (0, 0);
    for route in &cloud.routes {
        let (_, _, role) =
            documented.iter().find(|(method, path, _)| *method == route.method && *path == route.path).unwrap();
        let expected = match role.as_str() {
            "none" => Access::Open,
            "any" => Access::Person,
            "viewer" => Access::Viewer,
            "operator" => Access::Operator,
            "admin" => Access::Admin,
            "local" => Access::Local,
            other => panic!("{} {} is documented for '{other}'", route.method, route.path),
        };
        assert_eq!(route.access, expected, "{} {}", route.method, route.path);
        // Questions of brokers have a test of their own.
        if route.path == "/logout" || route.path == "/login" || route.access == Access::Local {
            continue;
        }
        let path = route.path.replace("{relay}", "bench").replace("{id}", "1").replace(['{', '}'], "");
        for (who, token, allowed, within) in &callers {
            let (status, body) = cloud.api.with(token).call(route.method, &path, Vec::new()).await;
            let refused = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            let reaches = *within || !route.path.contains("{relay}");
            let may = route.access == Access::Open || allowed.contains(&route.access) && reaches;
            assert_eq!(refused, !may, "{who} on {} {path}: {status} {body}", route.method);
            assert!(status != StatusCode::INTERNAL_SERVER_ERROR, "{who} on {} {path}: {body}", route.method);
            if !status.is_success() && route.path != "/health" {
                assert!(body["code"].is_string() && body["message"].is_string(), "{path}: {body}");
            }
            tried += 1;
            refusals += usize::from(refused);
        }
    }
    eprintln!("{tried} combinations of route and caller, {refusals} refused");
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_route_is_refused_with_a_reason() {
    let world = World::new();
    let cloud = world.cloud().await;
    let (status, error) = cloud.api.call("GET", "/nothing/here", Vec::new()).await;
    assert_eq!((status, &error["code"]), (StatusCode::NOT_FOUND, &json!("not_found")));
    let (status, error) = cloud.api.call("DELETE", "/models", Vec::new()).await;
    assert_eq!((status, &error["code"]), (StatusCode::METHOD_NOT_ALLOWED, &json!("not_supported")));
    let (status, error) = cloud.api.call("GET", "/commands?limit=0", Vec::new()).await;
    assert_eq!((status, &error["field"]), (StatusCode::BAD_REQUEST, &json!("limit")));
    let (status, error) = cloud.api.call("GET", "/artifacts/..%2f..%2fetc%2fpasswd/manifest", Vec::new()).await;
    assert_eq!((status, &error["code"]), (StatusCode::BAD_REQUEST, &json!("invalid_field")));
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_begin_and_end() {
    let world = World::new();
    let cloud = world.cloud().await;
    let login = async |name: &str, token: &str| {
        let body = json!({"name": name, "token": token}).to_string().into_bytes();
        cloud.api.with("").call("POST", "/login", body).await
    };
    let (status, session) = login("victor", &world.tokens.viewer).await;
    assert_eq!((status, &session["me"]), (StatusCode::OK, &json!({"name": "victor", "role": "viewer", "user": false})));
    let mine = cloud.api.with(session["token"].as_str().unwrap());
    assert_eq!(mine.get("/me").await["name"], "victor");
    // The session outlives a restart of the cloud, and ends with a logout.
    assert_eq!(mine.call("POST", "/logout", Vec::new()).await.0, StatusCode::NO_CONTENT);
    assert_eq!(mine.call("GET", "/me", Vec::new()).await.0, StatusCode::UNAUTHORIZED);
    // A replaced token ends the sessions that it began.
    let (_, session) = login("victor", &world.tokens.viewer).await;
    let mine = cloud.api.with(session["token"].as_str().unwrap());
    assert_eq!(mine.get("/me").await["name"], "victor");
    credentials::add(&world.dir.path().join("credentials.json"), "victor", Role::Viewer).unwrap();
    assert_eq!(mine.call("GET", "/me", Vec::new()).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(login("bench", &world.tokens.bench).await.0, StatusCode::FORBIDDEN);
    // Another's token under one's own name.
    assert_eq!(login("victor", &world.tokens.admin).await.0, StatusCode::UNAUTHORIZED);
    let begun = Instant::now();
    let mut tries = 1;
    loop {
        let (status, error) = login("victor", "guess").await;
        if status == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(error["code"], "rate_limited");
            break;
        }
        assert_eq!((status, &error["code"]), (StatusCode::UNAUTHORIZED, &json!("unauthorized")));
        tries += 1;
        assert!(tries < 100, "guesses are never refused");
    }
    assert!(begun.elapsed().as_millis() > u128::from(tries as u32) * 200, "guesses cost no time");
    assert_eq!(login("admin", &world.tokens.admin).await.0, StatusCode::OK, "others may still log in");
    let database = std::fs::read(world.dir.path().join("cloud/cloud.db")).unwrap();
    let token = session["token"].as_str().unwrap().as_bytes();
    assert!(!database.windows(token.len()).any(|window| window == token), "a session's token is stored");
    cloud.stop().await;
}
