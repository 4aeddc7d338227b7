//! Questions of other brokers: who is this, and may it? In the forms of RabbitMQ's `rabbitmq_auth_backend_http`, EMQX's
//! HTTP authentication and authorization, and `mosquitto-go-auth`. The answers are those of [`contract::access`], as the
//! embedded broker gives them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::{Form, Json};
use contract::Code;
use contract::access::Identity;
use serde_json::{Map, Value, json};
use zeroize::Zeroize as _;

use super::refusal::Refusal;
use crate::services::Failure;
use crate::shared::Shared;

/// The fields of a question, from a form or from JSON.
pub struct Asked(BTreeMap<String, String>);

impl Asked {
    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Who it is, by name and token.
    fn authenticate(&self, shared: &Shared) -> bool {
        let known = shared.credentials.identify(self.get("password"));
        let right = known.is_some_and(|identity| identity.name == self.get("username"));
        if !right {
            shared.counters.add("broker_logins_wrong", 1);
        }
        right
    }

    /// Who it is, by name: the broker has asked for the token before.
    fn identity(&self, shared: &Shared) -> Option<Identity> {
        shared.credentials.named(self.get("username"))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.values_mut().for_each(|value| value.zeroize());
    }
}

impl<S: Send + Sync> FromRequest<S> for Asked {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let refuse = |reason: String| Refusal::from(Failure::refuse(Code::MALFORMED, reason));
        let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
        if !kind.starts_with("application/json") {
            let form = Form::<BTreeMap<String, String>>::from_request(request, state).await;
            return Ok(Self(form.map_err(|rejection| refuse(rejection.body_text()))?.0));
        }
        let body = Json::<Map<String, Value>>::from_request(request, state).await;
        let fields = body.map_err(|rejection| refuse(rejection.body_text()))?.0;
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Ok(Self(fields.into_iter().map(|(name, value)| (name, text(value))).collect()))
    }
}

/// Counts what is refused.
fn noted(shared: &Shared, may: bool) -> bool {
    if !may {
        shared.counters.add("broker_questions_refused", 1);
    }
    may
}

fn rabbit(may: bool) -> &'static str {
    if may { "allow" } else { "deny" }
}

/// `POST /mqtt/rabbitmq/user`
pub async fn rabbitmq_user(State(shared): State<Arc<Shared>>, asked: Asked) -> &'static str {
    rabbit(noted(&shared, asked.authenticate(&shared)))
}

/// `POST /mqtt/rabbitmq/vhost`: there is one.
pub async fn rabbitmq_vhost(State(shared): State<Arc<Shared>>, asked: Asked) -> &'static str {
    rabbit(noted(&shared, asked.get("vhost") == "/" && asked.identity(&shared).is_some()))
}

/// `POST /mqtt/rabbitmq/resource`: what the MQTT plugin needs and nothing else; topics are asked for one by one.
pub async fn rabbitmq_resource(State(shared): State<Arc<Shared>>, asked: Asked) -> &'static str {
    let needed = match (asked.get("resource"), asked.get("permission")) {
        ("exchange", "read" | "write") => asked.get("name") == "amq.topic",
        ("queue", "configure" | "read" | "write") => asked.get("name").starts_with("mqtt-subscription-"),
        ("topic", "read" | "write") => asked.get("name") == "amq.topic",
        _ => false,
    };
    rabbit(noted(&shared, needed && asked.get("vhost") == "/" && asked.identity(&shared).is_some()))
}

/// `POST /mqtt/rabbitmq/topic`
pub async fn rabbitmq_topic(State(shared): State<Arc<Shared>>, asked: Asked) -> &'static str {
    let topic = of_routing_key(asked.get("routing_key"));
    let may = asked.identity(&shared).is_some_and(|identity| match asked.get("permission") {
        "write" => identity.allows_publish(&topic),
        "read" => identity.allows_subscribe(&topic),
        _ => false,
    });
    rabbit(noted(&shared, may && asked.get("vhost") == "/" && asked.get("name") == "amq.topic"))
}

/// RabbitMQ writes levels with dots and a wildcard for one level as `*`. A name with a dot becomes two levels, which no
/// rule knows: with RabbitMQ, relays and devices have names without dots.
fn of_routing_key(key: &str) -> String {
    key.replace('.', "/").replace('*', "+")
}

fn emqx(may: bool) -> Json<Value> {
    Json(json!({"result": if may { "allow" } else { "deny" }, "is_superuser": false}))
}

/// `POST /mqtt/emqx/auth`
pub async fn emqx_auth(State(shared): State<Arc<Shared>>, asked: Asked) -> Json<Value> {
    emqx(noted(&shared, asked.authenticate(&shared)))
}

/// `POST /mqtt/emqx/acl`
pub async fn emqx_acl(State(shared): State<Arc<Shared>>, asked: Asked) -> Json<Value> {
    let topic = asked.get("topic");
    let may = asked.identity(&shared).is_some_and(|identity| match asked.get("action") {
        "publish" => identity.allows_publish(topic),
        "subscribe" => identity.allows_subscribe(topic),
        _ => false,
    });
    emqx(noted(&shared, may))
}

fn go_auth(may: bool) -> Response {
    let status = if may { StatusCode::OK } else { StatusCode::FORBIDDEN };
    let error = if may { "" } else { "not allowed" };
    (status, Json(json!({"ok": may, "error": error, "code": Code::FORBIDDEN.as_str(), "message": error})))
        .into_response()
}

/// `POST /mqtt/mosquitto/user`
pub async fn mosquitto_user(State(shared): State<Arc<Shared>>, asked: Asked) -> Response {
    go_auth(noted(&shared, asked.authenticate(&shared)))
}

/// `POST /mqtt/mosquitto/superuser`: nobody is above the rules.
pub async fn mosquitto_superuser(_asked: Asked) -> Response {
    go_auth(false)
}

/// `POST /mqtt/mosquitto/acl`: `acc` is 1 for a message that is to be delivered, 2 for a publish, 3 for both, 4 for a
/// subscription.
pub async fn mosquitto_acl(State(shared): State<Arc<Shared>>, asked: Asked) -> Response {
    let topic = asked.get("topic");
    let may = asked.identity(&shared).is_some_and(|identity| match asked.get("acc") {
        "1" | "4" => identity.allows_subscribe(topic),
        "2" => identity.allows_publish(topic),
        "3" => identity.allows_publish(topic) && identity.allows_subscribe(topic),
        _ => false,
    });
    go_auth(noted(&shared, may))
}

#[cfg(test)]
mod tests {
    use super::of_routing_key;

    #[test]
    fn routing_keys_are_topics() {
        assert_eq!(of_routing_key("tinymlaas.v1.relays.*.presence"), "tinymlaas/v1/relays/+/presence");
        assert_eq!(of_routing_key("tinymlaas.v1.#"), "tinymlaas/v1/#");
    }
}
