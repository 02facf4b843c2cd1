//! Explanations, with the real command line against a real cluster: every node explains what it answers.

use flagraft_tests::{
    catalog::{ENVIRONMENT, PROJECT},
    cluster::Setup,
};
use serde_json::{Value, json};

mod common;
use common::{cli::Cli, shop::Shop};

fn flag(key: &str, configuration: Value) -> Value {
    json!({"key": key, "type": "boolean", "variants": {"on": true, "off": false}, "off_variant": "off",
           "environments": {ENVIRONMENT: configuration}})
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_explains_what_it_answers() {
    let flags = [
        flag("payments", json!({"enabled": true, "default": {"variant": "on"}})),
        flag(
            "checkout",
            json!({
                "enabled": true,
                "prerequisites": [{"flag": "payments", "variants": ["on"]}],
                "rules": [
                    {"id": "staff", "when": {"attribute": "email", "op": "ends_with", "values": ["@example.com"]},
                     "serve": {"variant": "on"}},
                    {"id": "ramp", "serve": {"rollout": {"seed": "checkout", "weights": [
                        {"variant": "on", "weight": 10}, {"variant": "off", "weight": 90}]}}},
                ],
            }),
        ),
    ];
    let shop = Shop::open(Setup::of(3), &flags).await;
    let cli = Cli::of(&shop.cluster);
    let explain = ["flag", "explain", "checkout", "-p", PROJECT, "-e", ENVIRONMENT];
    let mut told = Vec::new();
    for id in shop.cluster.ids() {
        let endpoint = shop.cluster.anonymous(id).base().to_owned();
        let on_it =
            [&explain[..], &["-k", "u7", "-a", "email=u7@example.org", "--endpoint", endpoint.as_str()]]
                .concat();
        let explained = cli.run(&[&on_it[..], &["--output", "json"]].concat()).await.expect_exit(0).json();
        let context = json!({"targetingKey": "u7", "email": "u7@example.org"});
        let answered = shop.reader(id).evaluate("checkout", &context).ok().await.body;
        for field in ["value", "variant", "reason"] {
            assert_eq!(explained[field], answered[field], "{field} on node {id}");
        }
        let printed = cli.run(&on_it).await.expect_exit(0).stdout;
        for line in [
            "decided by  rule ramp: bucket 40 of 100",
            "✓ payments must be on, is on",
            "✗ email ends_with \"@example.com\"  saw \"u7@example.org\"",
            "bucket 40 of 100: on below 10, off below 100",
            format!("node {id}").as_str(),
        ] {
            assert!(printed.contains(line), "{line} is missing:\n{printed}");
        }
        told.push(explained);
    }
    assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{told:#?}");

    // The context comes from standard input as well.
    let piped = [&explain[..], &["--context", "-", "--output", "json"]].concat();
    let staff = cli.run_with_input(&piped, r#"{"email": "ann@example.com"}"#).await.expect_exit(0).json();
    assert_eq!(staff["decided_by"], json!({"step": "rule", "id": "staff"}));
    let missing = ["flag", "explain", "none", "-p", PROJECT, "-e", ENVIRONMENT];
    let missing = cli.run(&missing).await.expect_exit(3);
    assert!(missing.stderr.contains("no flag \"none\""), "{missing:#?}");
}
