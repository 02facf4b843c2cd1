//! Explanations, and that they are of the same evaluation that OFREP answers.

use axum::http::Method;
use serde_json::{Value, json};

use super::harness::{Answer, Api, Call, flags};

const PRODUCTION: &str = "/api/v1/projects/shop/environments/production/explain";

fn call<'a>(api: &'a Api, token: &str, flag: &str, context: &Value) -> Call<'a> {
    api.call(Method::POST, PRODUCTION).token(token).json(&json!({"flag": flag, "context": context}))
}

async fn explain(api: &Api, token: &str, flag: &str, context: Value) -> Answer {
    call(api, token, flag, &context).send().await
}

#[tokio::test]
async fn an_explanation_is_of_what_ofrep_answers_and_has_the_form_that_is_documented() {
    let api = Api::shop().await;
    let mut document = api.get("/openapi.json").await.expect(200).json();
    document["$ref"] = "#/components/schemas/Explanation".into();
    let schema = jsonschema::validator_for(&document).expect("a schema");
    let service = api.service("production").await;
    for context in [json!({}), json!({"targetingKey": "u1", "country": "DE"})] {
        for flag in flags() {
            let key = flag["key"].as_str().expect("a key");
            let answered = api
                .evaluation(&service, key)
                .json(&json!({"context": context}))
                .send()
                .await
                .expect(200)
                .json();
            for token in [&service, &api.owner] {
                let explained = explain(&api, token, key, context.clone()).await.expect(200).json();
                let faults: Vec<String> =
                    schema.iter_errors(&explained).map(|fault| fault.to_string()).collect();
                assert!(faults.is_empty(), "{explained:#}: {faults:?}");
                for field in ["variant", "value", "reason"] {
                    assert_eq!(explained.get(field), answered.get(field), "{field} of {key} for {context}");
                }
                assert_eq!(explained["flag"], key);
            }
        }
    }
    let explained = explain(&api, &service, "banner", json!({"country": "DE"})).await.json();
    assert_eq!(explained["decided_by"], json!({"step": "rule", "id": "de"}));
    assert_eq!(explained["rules"][0]["text"], r#"country in ["DE"]"#);
    let explained = explain(&api, &service, "needs-kill", json!({})).await.json();
    assert_eq!(explained["prerequisites"][0]["explanation"]["decided_by"], json!({"step": "default"}));
}

#[tokio::test]
async fn what_the_token_and_the_node_add_is_seen() {
    let api = Api::start_with(|options| options.region = "eu".into()).await;
    api.fill().await;
    let grants = json!([{"role": "reader", "project": "shop", "environments": ["production"]}]);
    let token = |kind: &str, grants: &Value| {
        json!({"name": kind, "kind": kind, "grants": grants, "actor": {"type": "service", "id": "test"},
               "context": {"country": "DE"}})
    };
    let service = api.made_token(token("service", &grants)).await;
    let admin = api.made_token(token("admin", &grants)).await;
    let banner = json!({"reason": "by region", "operations": [{"op": "rule.put", "flag": "banner", "environment": "production",
        "rule": {"id": "eu", "when": {"attribute": "region", "op": "eq", "values": ["eu"]}, "serve": {"variant": "b"}}}]});
    api.change(banner).await;

    let explained = explain(&api, &service, "banner", json!({"country": "FR"})).await.expect(200).json();
    assert_eq!(explained["rules"][0]["when"]["saw"], "DE", "the token's goes over the request's");
    assert_eq!(explained["decided_by"]["id"], "de");
    // An admin token manages: it asks about others, whatever it is itself.
    let explained = explain(&api, &admin, "banner", json!({"country": "FR"})).await.expect(200).json();
    assert_eq!(explained["rules"][0]["when"]["saw"], "FR");
    assert_eq!(
        (&explained["decided_by"]["id"], &explained["rules"][1]["when"]["saw"]),
        (&json!("eu"), &json!("eu"))
    );
    let elsewhere = json!({"country": "FR", "region": "us"});
    let explained = explain(&api, &admin, "banner", elsewhere).await.expect(200).json();
    assert_eq!(explained["decided_by"]["step"], "default");
}

#[tokio::test]
async fn whoever_reads_the_rules_of_an_environment_is_told() {
    let api = Api::shop().await;
    let (there, dev) = (api.service("production").await, api.service("dev").await);
    let client = api.client("production").await;
    let admin = async |grants: Value| api.token("admin", json!([grants])).await;
    let reader = admin(json!({"role": "reader", "project": "shop", "environments": ["production"]})).await;
    let of_dev = admin(json!({"role": "owner", "project": "shop", "environments": ["dev"]})).await;
    let other = json!({"reason": "r", "project": {"name": "Other"}});
    api.owner(Method::PUT, "/api/v1/projects/other").json(&other).send().await.expect(201);
    let stranger = admin(json!({"role": "owner", "project": "other"})).await;
    for (who, token, status) in [
        ("its service", &there, 200),
        ("a reader of it", &reader, 200),
        ("another environment's service", &dev, 404),
        ("another environment's owner", &of_dev, 404),
        ("another project's owner", &stranger, 404),
        ("a client", &client, 403),
    ] {
        let answer = explain(&api, token, "plain", json!({})).await;
        assert_eq!(answer.status.as_u16(), status, "{who}: {answer:?}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let api = Api::shop().await;
    let archive = json!({"reason": "done", "operations": [{"op": "flag.archive", "flag": "plain"}]});
    api.change(archive).await;
    for (path, flag, named) in [
        (PRODUCTION, "none", "no flag \"none\""),
        (PRODUCTION, "plain", "is archived"),
        ("/api/v1/projects/shop/environments/none/explain", "kill", "no environment \"none\""),
        ("/api/v1/projects/none/environments/production/explain", "kill", "no project \"none\""),
    ] {
        let answer = api.owner(Method::POST, path).json(&json!({"flag": flag})).send().await.expect(404);
        assert!(answer.text.contains(&named.replace('"', "\\\"")), "{answer:?}");
        assert_eq!(
            (answer.error().0.as_str(), answer.header("flagraft-consistency")),
            ("not_found", "local")
        );
    }
}

#[tokio::test]
async fn a_body_that_asks_nothing_is_refused_with_a_pointer() {
    let api = Api::shop().await;
    for (body, pointer) in [
        (json!({}), ""),
        (json!([]), ""),
        (json!({"flag": 7}), "/flag"),
        (json!({"flag": "plain", "contxt": {}}), "/contxt"),
        (json!({"flag": "plain", "context": null}), "/context"),
        (json!({"flag": "plain", "context": {"targetingKey": 7}}), "/context/targetingKey"),
    ] {
        let answer = api.owner(Method::POST, PRODUCTION).json(&body).send().await.expect(400);
        assert_eq!(answer.error(), ("invalid".to_owned(), pointer.to_owned()), "{body}");
    }
}

#[tokio::test]
async fn it_says_how_current_it_is_and_no_safe_variant_takes_its_place() {
    let api = Api::shop().await;
    let insist = async || {
        let call = call(&api, &api.owner, "kill", &json!({}));
        call.header("flagraft-consistency", "linearizable").send().await
    };
    assert_eq!(insist().await.expect(200).header("flagraft-consistency"), "linearizable");
    api.node.shutdown().await;
    let explained = explain(&api, &api.owner, "kill", json!({})).await.expect(200);
    assert_eq!(explained.header("flagraft-consistency"), "local");
    assert_eq!(explained.header("flagraft-revision"), api.node.published().state.revision().to_string());
    assert_eq!((&explained.json()["variant"], &explained.json()["reason"]), (&json!("on"), &json!("STATIC")));
    insist().await.expect(503);
}
