//! The HTTP API of [`contract::api`]: one file per noun. Each route is added with who may use it, so none can be
//! forgotten; what is not a route is a 404 with a body like every other error.

mod access;
mod artifacts;
mod audit;
mod brokers;
mod commands;
mod counters;
mod datasets;
mod devices;
mod extract;
mod from;
mod health;
mod history;
mod keys;
pub(crate) mod login_limit;
mod models;
mod observe;
mod people;
mod refusal;
mod relays;
mod session;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, delete, get, post, put};

pub use access::Access;

use crate::services::{datasets as dataset_service, models as model_service};
use crate::shared::Shared;

/// Uploads that are held in memory at the same time.
pub(crate) const UPLOADS: usize = 2;

/// Largest body of a request that is no upload, in bytes.
const BODY: usize = 64 * 1024;

/// A route of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub method: &'static str,
    /// Its path under the prefix, with parameters in braces.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
}

/// Everything under `/api/v1`.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let inner = all(&shared)
        .router
        .fallback(refusal::no_such_path)
        .method_not_allowed_fallback(refusal::no_such_method)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(from_fn(observe::observe))
        .with_state(shared);
    Router::new().nest(contract::api::PREFIX, inner)
}

/// Every route with who may use it, for documentation and tests.
pub(crate) fn list(shared: &Arc<Shared>) -> Vec<Route> {
    all(shared).list
}

fn all(shared: &Arc<Shared>) -> Routes {
    let upload = |route: MethodRouter<Arc<Shared>>, limit: usize| {
        route
            .route_layer(DefaultBodyLimit::max(limit))
            .route_layer(from_fn_with_state(Arc::clone(shared), extract::one_of_few_uploads))
    };
    let put_dataset = upload(put(datasets::put), dataset_service::MAX_BYTES);
    let post_model = upload(post(models::post), model_service::MAX_BYTES);
    Routes { shared: Arc::clone(shared), router: Router::new(), list: Vec::new() }
        .add("GET", "/health", Access::Open, get(health::get))
        .add("POST", "/login", Access::Open, post(session::login))
        .add("POST", "/logout", Access::Person, post(session::logout))
        .add("GET", "/me", Access::Person, get(session::me))
        .add("GET", "/relays", Access::Viewer, get(relays::list))
        .add("GET", "/relays/{relay}", Access::Viewer, get(relays::get))
        .add("GET", "/devices", Access::Viewer, get(devices::list))
        .add("GET", "/relays/{relay}/devices/{device}", Access::Viewer, get(devices::get))
        .add("GET", "/relays/{relay}/devices/{device}/readings", Access::Viewer, get(history::readings))
        .add("GET", "/relays/{relay}/devices/{device}/logs", Access::Viewer, get(history::logs))
        .add("POST", "/relays/{relay}/commands", Access::Operator, post(commands::post))
        .add("GET", "/commands", Access::Viewer, get(commands::list))
        .add("GET", "/relays/{relay}/commands/{id}", Access::Viewer, get(commands::get))
        .add("GET", "/datasets", Access::Viewer, get(datasets::list))
        .add("PUT", "/datasets/{name}", Access::Operator, put_dataset)
        .add("GET", "/models", Access::Viewer, get(models::list))
        .add("POST", "/models", Access::Operator, post_model)
        .add("GET", "/models/{model}", Access::Viewer, get(models::get))
        .add("POST", "/models/{model}/compile", Access::Operator, post(models::compile))
        .add("GET", "/artifacts/{artifact}/manifest", Access::Viewer, get(artifacts::manifest))
        .add("GET", "/counters", Access::Viewer, get(counters::get))
        .add("PUT", "/me/password", Access::Person, put(session::password))
        .add("GET", "/users", Access::Admin, get(people::list_users))
        .add("PUT", "/users/{name}", Access::Admin, put(people::put_user))
        .add("DELETE", "/users/{name}", Access::Admin, delete(people::remove_user))
        .add("GET", "/tokens", Access::Person, get(people::list_tokens))
        .add("POST", "/tokens", Access::Person, post(people::create_token))
        .add("DELETE", "/tokens/{name}", Access::Person, delete(people::revoke_token))
        .add("GET", "/groups", Access::Admin, get(people::list_groups))
        .add("PUT", "/groups/{name}", Access::Admin, put(people::put_group))
        .add("DELETE", "/groups/{name}", Access::Admin, delete(people::remove_group))
        .add("GET", "/invitations", Access::Admin, get(people::list_invitations))
        .add("POST", "/invitations", Access::Admin, post(people::invite))
        .add("DELETE", "/invitations/{id}", Access::Admin, delete(people::withdraw))
        .add("POST", "/join", Access::Open, post(people::join))
        .add("POST", "/relays/{relay}/revoke", Access::Admin, post(people::revoke_relay))
        .add("POST", "/mqtt/rabbitmq/user", Access::Local, post(brokers::rabbitmq_user))
        .add("POST", "/mqtt/rabbitmq/vhost", Access::Local, post(brokers::rabbitmq_vhost))
        .add("POST", "/mqtt/rabbitmq/resource", Access::Local, post(brokers::rabbitmq_resource))
        .add("POST", "/mqtt/rabbitmq/topic", Access::Local, post(brokers::rabbitmq_topic))
        .add("POST", "/mqtt/emqx/auth", Access::Local, post(brokers::emqx_auth))
        .add("POST", "/mqtt/emqx/acl", Access::Local, post(brokers::emqx_acl))
        .add("POST", "/mqtt/mosquitto/user", Access::Local, post(brokers::mosquitto_user))
        .add("POST", "/mqtt/mosquitto/superuser", Access::Local, post(brokers::mosquitto_superuser))
        .add("POST", "/mqtt/mosquitto/acl", Access::Local, post(brokers::mosquitto_acl))
        .add("GET", "/keys", Access::Admin, get(keys::get))
        .add("POST", "/keys/rotate", Access::Admin, post(keys::rotate))
        .add("GET", "/audit", Access::Admin, get(audit::list))
        .add("GET", "/audit/export", Access::Admin, get(audit::export))
}

struct Routes {
    shared: Arc<Shared>,
    router: Router<Arc<Shared>>,
    list: Vec<Route>,
}

impl Routes {
    fn add(
        mut self,
        method: &'static str,
        path: &'static str,
        access: Access,
        route: MethodRouter<Arc<Shared>>,
    ) -> Self {
        let guard = from_fn_with_state((Arc::clone(&self.shared), access), access::guard);
        self.router = self.router.route(path, route.route_layer(guard));
        self.list.push(Route { method, path, access });
        self
    }
}
