//! Every answer of OFREP against the protocol's own schemas, with the edits that `ofrep-0.3.0.json` names.

use jsonschema::Validator;
use serde_json::{Value, json};

use super::harness::{Api, flags};

const FIXTURE: &str = include_str!("../../../tests/fixtures/ofrep-0.3.0.json");

fn schema(name: &str) -> Validator {
    let mut document: Value = serde_json::from_str(FIXTURE).expect("the fixture is JSON");
    document["$ref"] = format!("#/components/schemas/{name}").into();
    jsonschema::validator_for(&document).expect("a schema")
}

fn assert_valid(name: &str, answer: &Value) {
    let faults: Vec<String> = schema(name).iter_errors(answer).map(|error| error.to_string()).collect();
    assert!(faults.is_empty(), "{answer} is no {name}: {faults:?}");
}

#[test]
fn the_schemas_tell_right_from_wrong() {
    let success = schema("evaluationSuccess");
    assert!(success.is_valid(
        &json!({"key": "a", "reason": "DEFAULT", "variant": "on", "value": true, "metadata": {"a": 1}})
    ));
    assert!(success.is_valid(&json!({"key": "a", "reason": "STATIC", "variant": ""})));
    for wrong in [
        json!({"reason": "STATIC", "value": true}),
        json!({"key": "a", "reason": "MAYBE", "value": true}),
        json!({"key": "a", "reason": "STATIC", "value": null}),
        json!({"key": "a", "reason": "STATIC", "value": [1]}),
        json!({"key": "a", "reason": "STATIC", "value": true, "metadata": {"a": null}}),
    ] {
        assert!(!success.is_valid(&wrong), "{wrong}");
    }
}

#[tokio::test]
async fn answers_and_failures_are_valid() {
    let api = Api::shop().await;
    let (service, client) = (api.service("production").await, api.client("production").await);
    let contexts = [json!({}), json!({"context": {"targetingKey": "u1", "country": "DE"}})];
    for token in [&service, &client] {
        for body in &contexts {
            assert_valid("bulkEvaluationRequest", body);
            let bulk = api.bulk(token).json(body).send().await.expect(200).json();
            assert_valid("bulkEvaluationSuccess", &bulk);
            for flag in flags() {
                let key = flag["key"].as_str().expect("a key");
                let answer = api.evaluation(token, key).json(body).send().await;
                match answer.status.as_u16() {
                    200 => assert_valid("serverEvaluationSuccess", &answer.json()),
                    404 => assert_valid("flagNotFound", &answer.json()),
                    _ => panic!("{answer:?}"),
                }
            }
        }
    }
    for (body, bulk) in [("{", "bulkEvaluationFailure"), ("{\"context\": 1}", "bulkEvaluationFailure")] {
        let failure =
            api.evaluation(&service, "plain").raw("application/json", body).send().await.expect(400).json();
        assert_valid("evaluationFailure", &failure);
        let failure = api.bulk(&service).raw("application/json", body).send().await.expect(400).json();
        assert_valid(bulk, &failure);
    }

    api.node.shutdown().await;
    for key in ["kill", "needs-kill", "plain"] {
        let answer = api.evaluation(&service, key).json(&json!({})).send().await.expect(200).json();
        assert_valid("serverEvaluationSuccess", &answer);
    }
    assert_valid(
        "bulkEvaluationSuccess",
        &api.bulk(&service).json(&json!({})).send().await.expect(200).json(),
    );
    let failure = api.evaluation(&service, "nothing").json(&json!({})).send().await.expect(503).json();
    assert_valid("generalErrorResponse", &failure);
}
