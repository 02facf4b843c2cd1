//! OFREP as it is published: schemathesis makes up requests from the specification, valid and invalid ones, and every
//! documented status is asked for besides. `fixtures/ofrep/edits.yaml` records where the specification can't be met.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use flagraft_tests::{
    catalog::Caller,
    cluster::Cluster,
    schemathesis::{Schemathesis, output, scripts},
    settings::{file, measured, read_file, rounds},
};
use serde_json::{Value, json};

/// Cases of the fuzzing phase for each of the two operations; the examples and the coverage phase have as many as the
/// specification yields.
const CASES: (u32, u32) = (1_000, 5_000);
/// Chosen once, so that everybody asks the same.
const SEED: u32 = 20_261_126;

/// What the specification documents and no request brings about, and why.
const NOT_SEEN: [(u64, &str); 1] = [(500, "a fault of the node itself, which no request can cause")];
/// What HTTP has and the specification does not document, and when it is given.
const UNDOCUMENTED: [(u64, &str); 4] = [
    (412, "a revision of another history is asked for"),
    (413, "the body is too long"),
    (415, "the body is said to be no JSON"),
    (503, "nobody confirms what the answer would say, or it came too late"),
];
const REASONS: [&str; 6] = ["STATIC", "DEFAULT", "TARGETING_MATCH", "SPLIT", "DISABLED", "UNKNOWN"];

#[tokio::test(flavor = "multi_thread")]
async fn ofrep_answers_as_its_specification_says() {
    let Some(schemathesis) = Schemathesis::installed() else { return };
    let mut cluster = Cluster::of_three().await;
    cluster.create_project("shop", &["production"]).await;
    let operations = flags().into_iter().map(|flag| json!({"op": "flag.put", "flag": flag})).collect();
    cluster.admin(1).change("shop", "flags of every kind", operations).ok().await;
    let (_, service) = cluster.create_token(&Caller::service("shop", "production")).await;
    let (_, client) = cluster.create_token(&Caller::client("shop", "production")).await;
    let node = cluster.leader().await;
    let run = Run {
        schemathesis,
        folder: cluster.folder().to_owned(),
        envs: [
            ("OFREP_BASE_URL", cluster.anonymous(node).base().to_owned()),
            ("OFREP_SERVICE_TOKEN", service),
            ("OFREP_CLIENT_TOKEN", client),
            ("OFREP_ADMIN_TOKEN", cluster.admin_token().to_owned()),
        ],
    };

    run.ask("quorum").await;
    let said = run.made_up_requests().await;
    println!("{said}");
    let others: Vec<u64> = cluster.ids().into_iter().filter(|id| *id != node).collect();
    cluster.kill_together(&others);
    run.ask("alone").await;
    run.expect_coverage().await;
}

/// The node's own tests hold answers against these schemas too, without Python.
#[tokio::test]
async fn the_schemas_of_the_nodes_tests_are_those_of_the_edited_specification() {
    let Some(schemathesis) = Schemathesis::installed() else { return };
    let specification = schemathesis.specification().await;
    let theirs: Value = serde_json::from_str(&read_file("../node/tests/fixtures/ofrep-0.3.0.json"))
        .expect("the fixture is JSON");
    assert_eq!(theirs["components"]["schemas"], specification["schemas"]);
    assert_eq!(theirs["edits"], specification["edits"]);
}

/// One flag of each type, and of each kind that answers in its own way.
fn flags() -> Vec<Value> {
    let serve = |variant: Value| json!({"production": {"enabled": true, "default": {"variant": variant}}});
    let on_off = json!({"on": true, "off": false});
    vec![
        json!({"key": "banner", "type": "string", "variants": {"a": "Hello", "b": ""}, "exposure": "client",
               "metadata": {"team": "web", "since": 2024, "beta": false}, "environments": {"production": {"enabled": true,
                 "targets": [{"by": "targetingKey", "values": ["ada", ""], "variant": "b"}], "default": {"variant": "a"}}}}),
        json!({"key": "code-default", "type": "boolean", "variants": on_off,
               "environments": {"production": {"enabled": true, "default": null}}}),
        json!({"key": "kill", "type": "boolean", "variants": on_off, "critical": true, "safe_variant": "off",
               "environments": serve(json!("on"))}),
        json!({"key": "limit", "type": "integer", "variants": {"low": -1, "high": 9_007_199_254_740_991_i64},
               "environments": serve(json!("high"))}),
        json!({"key": "needs-kill", "type": "boolean", "variants": on_off, "off_variant": "off", "environments": {
                 "production": {"enabled": true, "prerequisites": [{"flag": "kill", "variants": ["off"]}],
                   "default": {"variant": "on"}}}}),
        json!({"key": "off", "type": "string", "variants": {"a": "a"}, "off_variant": "a",
               "environments": {"production": {"enabled": false, "default": null}}}),
        json!({"key": "ratio", "type": "number", "variants": {"whole": 1, "tiny": 5e-324},
               "environments": serve(json!("whole"))}),
        json!({"key": "split", "type": "boolean", "variants": on_off, "off_variant": "off", "environments": {
                 "production": {"enabled": true, "default": {"rollout": {"seed": "split", "weights": [
                   {"variant": "on", "weight": 50}, {"variant": "off", "weight": 50}]}}}}}),
        json!({"key": "theme", "type": "object", "variants": {"empty": {}, "deep": {"a": {"b": [null, 1.5]}}},
               "environments": serve(json!("deep"))}),
    ]
}

/// Requests to one node, and what they were answered.
struct Run {
    schemathesis: Schemathesis,
    /// Where schemathesis may keep files.
    folder: PathBuf,
    envs: [(&'static str, String); 4],
}

impl Run {
    /// Where every kind of answer is written down.
    fn seen(&self) -> PathBuf {
        self.folder.join("seen")
    }

    async fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = self.schemathesis.command(program);
        let envs = self.envs.iter().map(|(name, value)| (name, value));
        command.envs(envs).env("OFREP_SEEN", self.seen()).current_dir(&self.folder).args(arguments);
        output(&mut command).await
    }

    /// Asks for every status: those that need a `quorum`, or those of a node that is `alone`.
    async fn ask(&self, when: &str) {
        self.run("python", &[path(&scripts().join("ask.py")), when]).await;
    }

    /// Has schemathesis make up requests and judge the answers.
    async fn made_up_requests(&self) -> String {
        let (config, specification) =
            (scripts().join("schemathesis.toml"), file("fixtures/ofrep/openapi.yaml"));
        let (seed, cases) = (SEED.to_string(), rounds(CASES.0, CASES.1).to_string());
        let arguments = ["--config-file", path(&config), "run", path(&specification), "--no-color"];
        self.run("st", &[&arguments[..], &["--seed", &seed, "--max-examples", &cases]].concat()).await
    }

    /// Every documented status of both operations was seen, none that is not accounted for, and every reason.
    async fn expect_coverage(&self) {
        let mut statuses: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        let mut reasons: BTreeSet<String> = BTreeSet::new();
        let mut answers = 0;
        for line in fs::read_to_string(self.seen()).expect("the scripts wrote it").lines() {
            let seen: Value = serde_json::from_str(line).expect("a line is JSON");
            let operation = seen["operation"].as_str().expect("it has a name");
            statuses.entry(operation.to_owned()).or_default().extend(seen["status"].as_u64());
            let given = seen["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str);
            reasons.extend(given.map(str::to_owned));
            answers += seen["count"].as_u64().expect("a number");
        }
        let specification = self.schemathesis.specification().await;
        let documented = specification["statuses"].as_object().expect("operations");
        assert!(statuses.keys().eq(documented.keys()), "{statuses:?}");
        for (operation, documented) in documented {
            let mut expected: BTreeSet<u64> =
                documented.as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
            for (status, why) in NOT_SEEN {
                assert!(expected.remove(&status), "{operation} does not document {status} ({why})");
            }
            for (status, when) in UNDOCUMENTED {
                assert!(expected.insert(status), "{operation} documents {status} ({when}) by now");
            }
            assert_eq!(statuses[operation], expected, "{operation}");
        }
        assert_eq!(reasons, REASONS.map(str::to_owned).into());
        measured("OFREP answers held against the specification", answers);
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}
