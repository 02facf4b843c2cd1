//! Every route, for every kind of caller; and paths that are none.

use std::time::Duration;

use axum::http::Method;
use serde_json::json;

use super::harness::{Answer, Api, PATIENCE, eventually};
use crate::http::{Callers, Part, Route, table};

/// A path of the route with names that exist.
fn path(route: &Route) -> String {
    let path =
        route.path.replace("{project}", "shop").replace("{environment}", "dev").replace("{id}", "none");
    if route.path.contains("/segments/") {
        path.replace("{key}", "staff")
    } else {
        path.replace("{key}", "plain")
    }
}

async fn send(api: &Api, route: &Route, token: Option<&str>) -> Answer {
    // The head of an answer that has no end.
    let method = if route.answer == Some("Event") { Method::HEAD } else { route.method.clone() };
    let mut call = api.call(method, &path(route));
    if let Some(token) = token {
        call = call.token(token);
    }
    match (route.body, route.part) {
        (None, _) => call.send().await,
        (Some(_), Part::Ofrep) => call.json(&json!({"context": {}})).send().await,
        (Some(_), Part::Read) => call.json(&json!({"flag": "plain", "context": {}})).send().await,
        (Some(_), Part::Report) => {
            let report =
                json!({"instance": "i", "boot": "0123456789abcdef", "number": 1, "from_ms": 0, "to_ms": 1});
            call.json(&report).send().await
        }
        // An empty object passes no handler's checks, so no row changes anything for the next one.
        (Some(_), Part::Write | Part::Status) => call.json(&json!({})).send().await,
    }
}

#[tokio::test]
async fn every_route_answers_every_kind_of_caller_as_its_row_says() {
    let api = Api::shop().await;
    let (service, client) = (api.service("production").await, api.client("production").await);
    let stranger =
        api.token("admin", json!([{"role": "owner", "project": "shop", "environments": ["dev"]}])).await;
    let routes = table();
    assert!(routes.len() > 35);
    for route in &routes {
        let name = format!("{} {}", route.method, route.path);
        let expected =
            |kind: &str| route.callers == Callers::Anyone || route.callers.token_kinds().contains(&kind);

        let without = send(&api, route, None).await;
        let wrong = send(&api, route, Some("fr_adm_nonsense")).await;
        for answer in [&without, &wrong] {
            let open = route.callers == Callers::Anyone;
            assert_eq!(answer.status.as_u16() == 401, !open, "{name}: {answer:?}");
        }
        if route.callers == Callers::Tickets {
            // A token in place of a ticket opens nothing.
            send(&api, route, Some(&service)).await.expect(401);
            continue;
        }
        for (kind, token) in [("admin", &stranger), ("service", &service), ("client", &client)] {
            let answer = send(&api, route, Some(token)).await;
            let status = answer.status.as_u16();
            assert_ne!(status, 401, "{name} for {kind}: {answer:?}");
            assert!(status < 500, "{name} for {kind}: {answer:?}");
            if !expected(kind) {
                assert_eq!(status, 403, "{name} for {kind}: {answer:?}");
            } else if kind != "admin" {
                assert!(status == 200 || status == 404, "{name} for {kind}: {answer:?}");
            }
        }
    }
}

#[tokio::test]
async fn another_tenant_is_not_there() {
    let api = Api::shop().await;
    let other = json!({"reason": "r", "project": {"name": "Other"}});
    api.owner(Method::PUT, "/api/v1/projects/other").json(&other).send().await.expect(201);
    let tenant = api.token("admin", json!([{"role": "owner", "project": "other"}])).await;
    let why = json!({"reason": "r"});
    for path in ["", "/flags", "/flags/plain", "/environments", "/environments/dev", "/segments"] {
        let theirs = api
            .call(Method::GET, &format!("/api/v1/projects/shop{path}"))
            .token(&tenant)
            .send()
            .await
            .expect(404);
        let none = api
            .call(Method::GET, &format!("/api/v1/projects/none{path}"))
            .token(&tenant)
            .send()
            .await
            .expect(404);
        assert_eq!(theirs.text.replace("shop", "none"), none.text, "both read the same");
    }
    let path = "/api/v1/projects/shop/flags/plain/environments/dev/disable";
    api.call(Method::POST, path).token(&tenant).json(&why).send().await.expect(404);
    let listed = api.call(Method::GET, "/api/v1/projects").token(&tenant).send().await.expect(200).json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    let tokens = api.call(Method::GET, "/api/v1/tokens").token(&tenant).send().await.expect(200).json();
    assert_eq!(tokens["items"].as_array().map(Vec::len), Some(1), "its own");
}

#[tokio::test]
async fn a_node_that_is_cut_off_refuses_admin_tokens_and_goes_on_evaluating() {
    let bound = Duration::from_secs(1);
    let api = Api::start_with(|options| options.admin_age_max = bound).await;
    api.fill().await;
    let service = api.service("production").await;
    api.node.shutdown().await;
    eventually(PATIENCE, "age beyond the bound", async || {
        api.node.reads().age_ms().filter(|age_ms| *age_ms > 1_000)
    })
    .await;
    let refused = api.get("/api/v1/projects").await.expect(503);
    assert_eq!(refused.error().0, "unavailable");
    assert!(refused.text.contains("Evaluation goes on"), "{refused:?}");
    api.evaluation(&service, "plain").json(&json!({})).send().await.expect(200);
    // How the cluster does is what an operator asks a node that is cut off.
    for path in ["/api/v1/cluster", "/metrics", "/openapi.json"] {
        api.get(path).await.expect(200);
    }
}

#[tokio::test]
async fn a_role_that_does_not_reach_is_told_so() {
    let api = Api::shop().await;
    let reader = api.token("admin", json!([{"role": "reader", "project": "shop"}])).await;
    let dev =
        api.token("admin", json!([{"role": "writer", "project": "shop", "environments": ["dev"]}])).await;
    let why = json!({"reason": "r"});
    let disable =
        |environment: &str| format!("/api/v1/projects/shop/flags/kill/environments/{environment}/disable");
    let refused = api.call(Method::POST, &disable("dev")).token(&reader).json(&why).send().await.expect(403);
    assert_eq!(refused.error().0, "forbidden");
    api.call(Method::POST, &disable("production")).token(&dev).json(&why).send().await.expect(403);
    api.call(Method::POST, &disable("dev")).token(&dev).json(&why).send().await.expect(200);
    // It sees of a flag what concerns its environment.
    let flag =
        api.call(Method::GET, "/api/v1/projects/shop/flags/kill").token(&dev).send().await.expect(200).json();
    let seen: Vec<_> = flag["environments"].as_object().expect("environments").keys().cloned().collect();
    assert_eq!(seen, ["dev"]);
    api.call(Method::GET, "/api/v1/projects/shop/environments/production")
        .token(&dev)
        .send()
        .await
        .expect(404);
}

#[tokio::test]
async fn a_service_token_is_for_its_own_environment() {
    let api = Api::shop().await;
    let dev = api.service("dev").await;
    let answer = api.evaluation(&dev, "plain").json(&json!({})).send().await.expect(200).json();
    assert_eq!(
        (&answer["reason"], &answer["metadata"]["flagSetId"]),
        (&json!("DISABLED"), &json!("shop/dev"))
    );
    let gone = json!({"reason": "r", "operations": [{"op": "environment.delete", "environment": "dev"}]});
    api.change(gone).await;
    // With the environment goes what was granted on it, so that nobody finds the next one of its name open to them.
    let answer = api.evaluation(&dev, "plain").json(&json!({})).send().await.expect(401).json();
    assert!(answer["errorDetails"].to_string().contains("revoked"), "{answer}");
    api.bulk(&dev).json(&json!({})).send().await.expect(401);
}

#[tokio::test]
async fn paths_that_are_none_and_methods_that_do_not_work() {
    let api = Api::shop().await;
    for path in [
        "/",
        "/api",
        "/api/v1",
        "/api/v1/",
        "/API/v1/projects",
        "/api/v1/Projects",
        "/api/v1/projects/",
        "//api/v1/projects",
        "/api/v1//projects",
        "/api/v1/projects;x",
        "/api/v1/projects/../tokens",
        "/api/v1/projects/%2e%2e/tokens",
        "/api/v1/projects/shop/flags/../../../tokens",
        "/api/v1/projects/shop/flags/..",
        "/api/v1/projects/shop/flags/%2e%2e",
        "/api/v1/projects/shop/flags/plain%2F..%2Fkill",
        "/api/v1/projects/shop/flags/plain;v=1",
        "/api/v1/projects/shop/flags/Plain",
        "/api/v1/projects/shop/flags/plain/",
        "/api/v1/projects/Shop/flags/plain",
        "/api/v1/projects/shop/flags//plain",
        "/api/v1/projects/shop/flags/%FF",
        "/livez/",
        "/%6civez",
        "/metrics/..",
        "/api/v1/tokens/..%2f..%2fmetrics/x",
    ] {
        let answer = api.get(path).await.expect(404);
        assert!(["not_found", "no_such_path"].contains(&answer.error().0.as_str()), "{path}: {answer:?}");
    }
    let wrong = api.owner(Method::POST, "/api/v1/projects").send().await.expect(405);
    assert_eq!((wrong.error().0.as_str(), wrong.header("allow")), ("method_not_allowed", "GET,HEAD"));
    let wrong = api.owner(Method::DELETE, "/ofrep/v1/evaluate/flags").send().await.expect(405);
    assert_eq!(wrong.header("allow"), "POST");
}
