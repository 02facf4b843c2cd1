//! The evaluation vectors, run by the naive interpreter and against a cluster over OFREP. The core runs them by itself.

use std::collections::BTreeMap;

use flagraft_tests::{
    catalog::Caller,
    cluster::Cluster,
    naive::{Answer, Naive},
    ofrep,
    vectors::{Case, Vectors},
};
use serde_json::Value;

/// What is said of cases that came out otherwise.
fn failure(file: &Vectors, case: &Case, way: &str, got: &impl std::fmt::Debug) -> String {
    format!("{}: {}, {way}:\n  expected {:?}\n  got      {got:?}", file.name, case.name, case.expected())
}

fn assert_none(failures: &[String]) {
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn there_are_as_many_as_there_were() {
    let cases: usize = Vectors::all().iter().map(|file| file.cases.len()).sum();
    assert!(cases >= 780, "vectors went missing: there are {cases}");
}

#[test]
fn the_naive_interpreter_agrees_with_every_vector() {
    let mut failures = Vec::new();
    for file in Vectors::all() {
        let catalog = file.catalog();
        for case in &file.cases {
            let got = Naive::new(&catalog, file.environment_of(case)).evaluate(&case.flag, &case.context);
            if got != case.expected() {
                failures.push(failure(&file, case, "naively", &got));
            }
        }
    }
    assert_none(&failures);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_agrees_with_every_vector_over_ofrep() {
    let cluster = Cluster::of_three().await;
    let mut nodes = cluster.ids().into_iter().cycle();
    let mut failures = Vec::new();
    for file in Vectors::all() {
        let environments: Vec<&str> = file.environments.iter().map(String::as_str).collect();
        cluster.create_project(&file.name, &environments).await;
        let mut revision = 0;
        for operation in file.operations() {
            let change = cluster.admin(1).change(&file.name, "vectors", vec![operation]);
            revision = change.ok().await.body["revision"].as_u64().expect("a change has a revision");
        }
        cluster.published(revision).await;
        let mut tokens = BTreeMap::new();
        for environment in environments {
            let (_, token) = cluster.create_token(&Caller::service(&file.name, environment)).await;
            tokens.insert(environment, token);
        }
        for case in &file.cases {
            let id = nodes.next().expect("a cycle does not end");
            let node = cluster.with_token(id, &tokens[file.environment_of(case)]);
            let single = ofrep::evaluate(&node, &case.flag, &case.context).answer().await;
            let bulk = node.evaluate_all(&Value::Object(case.context.clone())).answer().await;

            // OFREP's targeting key is text; the other cases are for who evaluates by himself.
            if case.context.get("targetingKey").is_some_and(|key| !key.is_string()) {
                for answer in [single, bulk] {
                    assert_eq!(
                        (answer.status, answer.error_code()),
                        (400, Some("INVALID_CONTEXT")),
                        "{answer:?}"
                    );
                }
                continue;
            }
            let got = match single.status {
                200 => Some(ofrep::answer(&single.body)),
                404 if single.error_code() == Some("FLAG_NOT_FOUND") => None,
                _ => panic!("{}: {}: {single:?}", file.name, case.name),
            };
            if got != case.expected() {
                failures.push(failure(&file, case, "singly", &got));
            }
            assert_eq!(bulk.status, 200, "{bulk:?}");
            let answers: Vec<(String, Answer)> = ofrep::bulk_answers(&bulk.body);
            let got = answers.into_iter().find(|(key, _)| *key == case.flag).map(|(_, answer)| answer);
            if got != case.expected() {
                failures.push(failure(&file, case, "in bulk", &got));
            }
        }
    }
    assert_none(&failures);
}
