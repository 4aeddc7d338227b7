//! Questions of other brokers, in three forms: the answers are those of the rules, for every identity and topic.

use cloud::credentials;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::table;
use crate::world::{Running, World};

const FORM: &str = "application/x-www-form-urlencoded";

struct Questions {
    client: reqwest::Client,
    base: String,
    tried: usize,
    refused: usize,
}

impl Questions {
    /// Status and text of an answer.
    async fn ask(&self, path: &str, fields: &Value, form: bool) -> (StatusCode, String) {
        let request = self.client.post(format!("{}{path}", self.base));
        let request = if form { request.header("content-type", FORM).form(fields) } else { request.json(fields) };
        let response = request.send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    async fn rabbitmq(&mut self, path: &str, fields: Value, may: bool) {
        let answer = self.ask(&format!("/mqtt/rabbitmq/{path}"), &fields, true).await;
        assert_eq!(answer, (StatusCode::OK, if may { "allow" } else { "deny" }.to_owned()), "{path} {fields}");
        self.count(may);
    }

    async fn emqx(&mut self, path: &str, fields: Value, may: bool) {
        let (status, text) = self.ask(&format!("/mqtt/emqx/{path}"), &fields, false).await;
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (status, &answer["result"]),
            (StatusCode::OK, &json!(if may { "allow" } else { "deny" })),
            "{fields}"
        );
        self.count(may);
    }

    async fn mosquitto(&mut self, path: &str, fields: Value, may: bool) {
        for form in [false, true] {
            let (status, text) = self.ask(&format!("/mqtt/mosquitto/{path}"), &fields, form).await;
            let answer: Value = serde_json::from_str(&text).unwrap();
            assert_eq!((status == StatusCode::OK, &answer["ok"]), (may, &json!(may)), "{path} {fields}");
        }
        self.count(may);
    }

    fn count(&mut self, may: bool) {
        self.tried += 1;
        self.refused += usize::from(!may);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_brokers_get_the_same_answers() {
    let world = World::new();
    let cloud: Running = world.cloud().await;
    let issued = cloud.api.send("PUT", "/groups/hall", json!(["bench"])).await;
    assert_eq!(issued.0, StatusCode::NO_CONTENT);
    for role in ["operator", "viewer"] {
        let wanted = json!({"name": format!("hall-{role}"), "role": role, "groups": ["hall"]});
        assert_eq!(cloud.api.send("POST", "/tokens", wanted).await.0, StatusCode::CREATED);
    }
    let mut questions =
        Questions { client: reqwest::Client::new(), base: cloud.api.base().to_owned(), tried: 0, refused: 0 };
    let q = &mut questions;
    let t = &world.tokens;
    for (name, token, may) in [
        ("admin", t.admin.as_str(), true),
        ("bench", &t.bench, true),
        ("admin", &t.bench, false),
        ("admin", "", false),
        ("", "", false),
        ("nobody", &t.admin, false),
    ] {
        let fields = json!({"username": name, "password": token});
        q.rabbitmq("user", fields.clone(), may).await;
        q.emqx("auth", fields.clone(), may).await;
        q.mosquitto("user", fields.clone(), may).await;
        q.mosquitto("superuser", fields, false).await;
    }
    let vhost = |name: &str, vhost: &str| json!({"username": name, "vhost": vhost});
    q.rabbitmq("vhost", vhost("bench", "/"), true).await;
    q.rabbitmq("vhost", vhost("bench", "other"), false).await;
    q.rabbitmq("vhost", vhost("nobody", "/"), false).await;
    for (resource, name, permission, may) in [
        ("exchange", "amq.topic", "write", true),
        ("exchange", "amq.topic", "configure", false),
        ("exchange", "amq.direct", "write", false),
        ("queue", "mqtt-subscription-benchqos1", "configure", true),
        ("queue", "somebody-elses", "read", false),
    ] {
        let fields =
            json!({"username": "bench", "vhost": "/", "resource": resource, "name": name, "permission": permission});
        q.rabbitmq("resource", fields, may).await;
    }

    let file = credentials::load(&world.dir.path().join("credentials.json")).unwrap();
    let mut topics = table::topics();
    topics.extend(["tinymlaas/v1/relays/+/events", "tinymlaas/v1/#", "#"].map(String::from));
    for credential in &file.identities {
        let identity = file.identity(credential);
        let name = identity.name.as_str();
        for topic in &topics {
            let (publish, subscribe) = (identity.allows_publish(topic), identity.allows_subscribe(topic));
            let key = topic.replace('/', ".").replace('+', "*");
            for (permission, action, acc, may) in
                [("write", "publish", 2, publish), ("read", "subscribe", 4, subscribe)]
            {
                let rabbit = json!({"username": name, "vhost": "/", "resource": "topic", "name": "amq.topic",
                                    "permission": permission, "routing_key": key});
                q.rabbitmq("topic", rabbit, may).await;
                q.emqx("acl", json!({"username": name, "topic": topic, "action": action}), may).await;
                q.mosquitto("acl", json!({"username": name, "topic": topic, "acc": acc}), may).await;
            }
        }
    }
    // From elsewhere nobody asks.
    let asked = q.client.post(format!("{}/mqtt/emqx/auth", q.base)).header("x-forwarded-for", "192.0.2.1");
    assert_eq!(asked.json(&json!({})).send().await.unwrap().status(), StatusCode::FORBIDDEN);
    eprintln!("{} questions, {} no", questions.tried, questions.refused);
    cloud.stop().await;
}
