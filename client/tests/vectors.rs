//! The evaluation vectors that the core, the naive interpreter and a cluster run, run by a client: from a bootstrap file, so
//! through the documents that a node sends.

mod common;

use std::{fs, path::PathBuf};

use common::TestCatalog;
use flagraft_client::{Client, Context, Details};
use serde_json::{Map, Value, json};

/// An answer as a vector states it.
fn answer(client: &Client, flag_type: &str, key: &str, context: &Context) -> Value {
    fn shown<T>(details: Details<T>, value: impl FnOnce(T) -> Value) -> Value {
        if let Some(fault) = details.error {
            return json!({"error": fault.code.as_str()});
        }
        let mut shown = json!({"variant": details.variant, "reason": details.reason.as_str()});
        if !details.variant.is_empty() {
            shown["value"] = value(details.value);
        }
        if let Some(detail) = details.metadata.get("detail") {
            shown["detail"] = detail.clone();
        }
        shown
    }
    match flag_type {
        "boolean" => shown(client.bool_details(key, context, false), Value::from),
        "string" => shown(client.string_details(key, context, String::new()), Value::from),
        "integer" => shown(client.integer_details(key, context, 0), Value::from),
        "number" => shown(client.number_details(key, context, 0.0), Value::from),
        _ => shown(client.object_details(key, context, Map::new()), Value::from),
    }
}

#[tokio::test]
async fn a_client_agrees_with_every_vector() {
    let vectors = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/evaluation");
    let folder = tempfile::tempdir().expect("a folder");
    let (mut cases, mut failures) = (0, Vec::new());
    for file in fs::read_dir(vectors).expect("the vectors") {
        let path = file.expect("readable").path();
        let file: Value = serde_json::from_str(&fs::read_to_string(&path).expect("readable")).expect("JSON");
        let list = |field: &str| file[field].as_array().unwrap_or_else(|| panic!("{field}")).clone();
        let environments: Vec<Value> = list("environments");
        let environments: Vec<&str> = environments.iter().map(|key| key.as_str().expect("a key")).collect();
        let mut catalog = TestCatalog::new(&environments);
        for segment in list("segments") {
            catalog.must(json!([{"op": "segment.put", "segment": segment}]));
        }
        for flag in list("flags") {
            catalog.must(json!([{"op": "flag.put", "flag": flag}]));
        }
        for key in list("archived") {
            catalog.must(json!([{"op": "flag.archive", "flag": key}]));
        }
        for environment in environments {
            let bootstrap = folder.path().join("bootstrap.json");
            fs::write(&bootstrap, catalog.snapshot(environment)).expect("written");
            let builder = Client::builder().endpoint("http://127.0.0.1:9").token("fr_svc_test");
            let client = builder.bootstrap(&bootstrap).start().await.expect("started");
            for case in list("cases") {
                if case["environment"].as_str().or(file["environment"].as_str()) != Some(environment) {
                    continue;
                }
                cases += 1;
                let key = case["flag"].as_str().expect("a key");
                let types = list("flags");
                let flag_type = types.iter().find(|flag| flag["key"] == key).map(|flag| flag["type"].clone());
                let flag_type = flag_type.unwrap_or_default();
                let context = Context::from(case["context"].as_object().expect("a context").clone());
                let got = answer(&client, flag_type.as_str().unwrap_or("boolean"), key, &context);
                let same = |one: &Value, other: &Value| match (one.as_f64(), other.as_f64()) {
                    (Some(one), Some(other)) => one.total_cmp(&other).is_eq(),
                    _ => one == other,
                };
                let expected = &case["expect"];
                let is_same = ["variant", "value", "reason", "detail", "error"]
                    .iter()
                    .all(|field| same(&got[*field], &expected[*field]));
                if !is_same {
                    failures.push(format!(
                        "{}: {}: expected {expected}, got {got}",
                        path.display(),
                        case["name"]
                    ));
                }
            }
            client.shutdown().await;
        }
    }
    assert!(cases >= 780, "vectors went missing: there are {cases}");
    assert!(failures.is_empty(), "{} of {cases} cases fail:\n{}", failures.len(), failures.join("\n"));
}
