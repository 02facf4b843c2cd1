//! A node of its own for each test, and requests to its router.

use std::{net::TcpListener, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode},
    response::Response,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

use crate::{
    config::{BootstrapConfig, NodeConfig, PeerConfig},
    http::{Options, router},
    node::Node,
};

/// How long a node may take to found its cluster, or to do what else it does by itself.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Looks again and again until there is something, for as long as `patience` lasts.
pub(super) async fn eventually<T>(patience: Duration, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let looking = async {
        loop {
            match look().await {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(patience, looking).await.unwrap_or_else(|_| panic!("no {what} in time"))
}

/// A single-node cluster and its API.
pub(super) struct Api {
    pub(super) node: Arc<Node>,
    pub(super) router: Router,
    /// The owner's admin token.
    pub(super) owner: String,
    _folder: TempDir,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The answer, if its status is this one.
    pub(super) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }

    /// `(code, pointer)` of the error envelope.
    pub(super) fn error(&self) -> (String, String) {
        let error = &self.json()["error"];
        assert!(error["message"].as_str().is_some_and(|message| message.len() > 10), "{self:?}");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&error["code"]), text(&error["details"]["path"]))
    }
}

/// A request to be sent.
pub(super) struct Call<'a> {
    api: &'a Api,
    request: axum::http::request::Builder,
    body: Body,
}

impl Call<'_> {
    pub(super) fn header(self, name: &str, value: &str) -> Self {
        Self { request: self.request.header(name, value), ..self }
    }

    pub(super) fn token(self, secret: &str) -> Self {
        self.header("authorization", &format!("Bearer {secret}"))
    }

    pub(super) fn json(self, body: &Value) -> Self {
        self.raw("application/json", body.to_string())
    }

    pub(super) fn raw(self, content_type: &str, body: impl Into<Body>) -> Self {
        let body = body.into();
        Self { request: self.request.header("content-type", content_type), body, ..self }
    }

    /// The answer, with its body still to be read.
    pub(super) async fn open(self) -> Response {
        let request = self.request.body(self.body).expect("a request");
        self.api.router.clone().oneshot(request).await.expect("an answer")
    }

    pub(super) async fn send(self) -> Answer {
        let (parts, body) = self.open().await.into_parts();
        let bytes = axum::body::to_bytes(body, 64 << 20).await.expect("a body");
        let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
        Answer { status: parts.status, headers: parts.headers, text }
    }
}

impl Api {
    /// A founded cluster with an empty catalog.
    pub(super) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(super) async fn start_with(adjust: impl FnOnce(&mut Options)) -> Self {
        Self::start_node(|_| {}, adjust).await
    }

    /// The shop, on a node with other settings.
    pub(super) async fn shop_with(configure: impl FnOnce(&mut NodeConfig)) -> Self {
        let api = Self::start_node(configure, |_| {}).await;
        api.fill().await;
        api
    }

    async fn start_node(configure: impl FnOnce(&mut NodeConfig), adjust: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let mut config = NodeConfig::new(1, folder.path().join("data"), PeerConfig::alone(1, address));
        let token_file = folder.path().join("owner-token");
        config.bootstrap = Some(BootstrapConfig { token_file: token_file.clone() });
        // A node that is shut down to see what it says unconfirmed should say it soon.
        config.reads.deadline = Duration::from_millis(300);
        // Its key would be a change of its own, at any time; the tests of checkpoints turn them on.
        config.checkpoints.interval = Duration::ZERO;
        configure(&mut config);
        let mut options = Options::new(&config);
        adjust(&mut options);
        let node = Node::start_on(config, listener).await.expect("a node");
        let owner = std::fs::read_to_string(token_file).expect("the owner's token").trim().to_owned();
        eventually(PATIENCE, "founded cluster", async || {
            let has_tokens = node.published().state.tokens().next().is_some();
            node.reads().age_ms().filter(|_| has_tokens)
        })
        .await;
        let router = router(Arc::clone(&node), options);
        Self { node, router, owner, _folder: folder }
    }

    /// The cluster with a project `shop`, its environments `dev` and `production`, and the flags of [`flags`].
    pub(super) async fn shop() -> Self {
        let api = Self::start().await;
        api.fill().await;
        api
    }

    pub(super) async fn fill(&self) {
        let mut operations = vec![json!({"op": "project.put", "project": {"key": "shop", "name": "Shop"}})];
        for (order, environment) in ["dev", "production"].iter().enumerate() {
            let environment = json!({"key": environment, "order": order});
            operations.push(json!({"op": "environment.put", "environment": environment}));
        }
        operations.extend(flags().into_iter().map(|flag| json!({"op": "flag.put", "flag": flag})));
        self.change(json!({"reason": "a shop to test with", "operations": operations})).await;
    }

    pub(super) fn call(&self, method: Method, path: &str) -> Call<'_> {
        Call { api: self, request: Request::builder().method(method).uri(path), body: Body::empty() }
    }

    /// Returns once the first blocks of the audit log are indexed.
    pub(super) async fn indexed(&self, blocks: u64) {
        let summary = async || self.node.storage().audit_summary(blocks - 1).expect("reads");
        eventually(PATIENCE, "index", summary).await;
    }

    /// A request with the owner's token.
    pub(super) fn owner(&self, method: Method, path: &str) -> Call<'_> {
        self.call(method, path).token(&self.owner)
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.owner(Method::GET, path).send().await
    }

    /// Changes the shop.
    pub(super) async fn change(&self, change: Value) -> Value {
        self.owner(Method::POST, "/api/v1/projects/shop/changes")
            .json(&change)
            .send()
            .await
            .expect(200)
            .json()
    }

    /// A token for the shop; its secret.
    pub(super) async fn token(&self, kind: &str, grants: Value) -> String {
        self.made_token(
            json!({"name": kind, "kind": kind, "grants": grants, "actor": {"type": "service", "id": "test"}}),
        )
        .await
    }

    pub(super) async fn made_token(&self, token: Value) -> String {
        let body = json!({"reason": "a token to test with", "token": token});
        let made = self.owner(Method::POST, "/api/v1/tokens").json(&body).send().await.expect(201).json();
        made["secret"].as_str().expect("a secret").to_owned()
    }

    /// A service token for an environment of the shop.
    pub(super) async fn service(&self, environment: &str) -> String {
        self.token("service", json!([{"role": "reader", "project": "shop", "environments": [environment]}]))
            .await
    }

    pub(super) async fn client(&self, environment: &str) -> String {
        self.token("client", json!([{"role": "reader", "project": "shop", "environments": [environment]}]))
            .await
    }

    pub(super) fn evaluation(&self, token: &str, key: &str) -> Call<'_> {
        self.call(Method::POST, &format!("/ofrep/v1/evaluate/flags/{key}")).token(token)
    }

    pub(super) fn bulk(&self, token: &str) -> Call<'_> {
        self.call(Method::POST, "/ofrep/v1/evaluate/flags").token(token)
    }
}

/// One flag of each kind that answers differently. Sorted by key.
pub(super) fn flags() -> Vec<Value> {
    let on_off = json!({"on": true, "off": false});
    let serve = |variant: &str| json!({"enabled": true, "default": {"variant": variant}});
    vec![
        json!({"key": "banner", "type": "string", "variants": {"a": "Hello", "b": "Bye"}, "exposure": "client",
               "metadata": {"team": "web"}, "tags": ["web"], "environments": {
                 "production": {"enabled": true, "rules": [{"id": "de", "when": {"attribute": "country", "op": "in", "values": ["DE"]},
                                "serve": {"variant": "b"}}], "default": {"variant": "a"}}}}),
        json!({"key": "code-default", "type": "boolean", "variants": on_off, "environments": {"production": {"enabled": true, "default": null}}}),
        json!({"key": "kill", "type": "boolean", "variants": on_off, "critical": true, "safe_variant": "off", "off_variant": "off",
               "owner": "payments", "purpose": "kill-switch", "environments": {"production": serve("on"), "dev": serve("on")}}),
        json!({"key": "limits", "type": "object", "variants": {"low": {"max": 1}, "high": {"max": 9}}, "off_variant": "low",
               "environments": {"production": serve("high")}}),
        json!({"key": "needs-kill", "type": "boolean", "variants": on_off, "off_variant": "off", "environments": {
                 "production": {"enabled": true, "prerequisites": [{"flag": "kill", "variants": ["on"]}], "default": {"variant": "on"}}}}),
        json!({"key": "off", "type": "integer", "variants": {"one": 1, "two": 2}, "off_variant": "one",
               "environments": {"production": {"enabled": false, "default": {"variant": "two"}}}}),
        json!({"key": "plain", "type": "boolean", "variants": on_off, "off_variant": "off", "owner": "web",
               "environments": {"production": serve("on")}}),
        json!({"key": "ratio", "type": "number", "variants": {"half": 0.5, "whole": 1}, "environments": {"production": serve("whole")}}),
        json!({"key": "split", "type": "boolean", "variants": on_off, "off_variant": "off", "environments": {
                 "production": {"enabled": true, "default": {"rollout": {"seed": "split", "weights": [
                   {"variant": "on", "weight": 50}, {"variant": "off", "weight": 50}]}}}}}),
    ]
}
