//! Importing, with the real command line against a real cluster: what becomes of each flag is covered beside the
//! importer and by the published clients; here is what a person sees, and that all or nothing is written.

use flagraft_tests::{catalog::Caller, cluster::Cluster, settings};
use serde_json::{Value, json};

mod common;
use common::cli::Cli;

fn fixture(name: &str) -> String {
    settings::file(&format!("fixtures/flagd/{name}.flagd.json"))
        .to_str()
        .expect("the path is UTF-8")
        .to_owned()
}

async fn flags(cluster: &Cluster, project: &str) -> Vec<String> {
    let answer = cluster.admin(1).get(&format!("/api/v1/projects/{project}/flags?limit=500")).ok().await;
    let items = answer.body["items"].as_array().expect("a list");
    items.iter().map(|flag| flag["key"].as_str().expect("a key").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flagd_file_is_imported_whole_or_not_at_all() {
    let cluster = Cluster::of_three().await;
    cluster.create_project("theatre", &["live"]).await;
    let cli = Cli::of(&cluster);
    let file = fixture("theatre");
    let import = ["import", "--format", "flagd", &file, "-p", "theatre", "-e", "live", "-r", "moving in"];
    let with = |more: &[&'static str]| -> Vec<String> {
        import.iter().copied().chain(more.iter().copied()).map(str::to_owned).collect()
    };
    let run = async |more: &[&'static str]| {
        let arguments = with(more);
        cli.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await
    };
    let before = cluster.agreed().await;

    // What can't be translated is named, with the reason and what to do; nothing is written.
    let refused = run(&[]).await.expect_exit(4);
    for named in ["foyer-music", "programme-price", "`%`", "$flagd.timestamp", "--skip-untranslatable"] {
        assert!(refused.stderr.contains(named), "{named} is not named: {refused:#?}");
    }
    assert!(!refused.stderr.contains("curtain-call"), "{refused:#?}");
    let tried = run(&["--skip-untranslatable", "--dry-run"]).await.expect_exit(0);
    assert!(
        tried.stdout.contains("curtain-call") && tried.stdout.contains("nothing was written"),
        "{tried:#?}"
    );
    // Dry or not, each flag's rules are told, and how sure they are.
    for told in ["curtain-call: exact", "not language == \"en\" -> on", "foyer-music: left out"] {
        assert!(tried.stdout.contains(told), "{told} is not told: {tried:#?}");
    }
    assert_eq!(cluster.agreed().await, before, "a refused import and a dry run write nothing");

    run(&["--skip-untranslatable"]).await.expect_exit(0);
    let once = cluster.agreed().await;
    assert_eq!(once.audit_size, before.audit_size + 1, "one change, one record");
    assert_eq!(flags(&cluster, "theatre").await, ["box-seats", "curtain-call"]);

    // Again: all is there.
    let again = run(&["--skip-untranslatable"]).await.expect_exit(0);
    assert!(again.stdout.contains("nothing to do"), "{again:#?}");
    assert_eq!(cluster.agreed().await, once);
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_are_refused_skipped_or_replaced() {
    let cluster = Cluster::of_three().await;
    cluster.create_project("cinema", &["live"]).await;
    let cli = Cli::of(&cluster);
    let file = fixture("cinema");
    let import =
        ["import", "--format", "flagd", file.as_str(), "-p", "cinema", "-e", "live", "-r", "moving in"];
    cli.run(&import).await.expect_exit(0);
    let changed = r#"{"flags": {"seat-map": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off"}}}"#;
    let from_stdin = ["import", "--format", "flagd", "-", "-p", "cinema", "-e", "live", "-r", "moving in"];
    let run = async |more: &[&str]| cli.run_with_input(&[&from_stdin[..], more].concat(), changed).await;
    let (_, secret) = cluster.create_token(&Caller::service("cinema", "live")).await;
    let value = async || {
        let revision = cluster.agreed().await.revision;
        assert!(revision > 0);
        cluster.with_token(2, &secret).evaluate("seat-map", &json!({})).ok().await.value().clone()
    };

    let refused = run(&[]).await.expect_exit(4);
    assert!(refused.stderr.contains("seat-map") && refused.stderr.contains("--on-conflict"), "{refused:#?}");
    run(&["--on-conflict", "skip"]).await.expect_exit(0);
    assert_eq!(value().await, json!(true));
    run(&["--on-conflict", "replace"]).await.expect_exit(0);
    assert_eq!(value().await, json!(false));

    // Somebody takes it back. To import once more, to the letter as before and within the time for which requests are
    // remembered, is a new change and no repetition.
    cli.run(&[&import[..], &["--on-conflict", "replace"]].concat()).await.expect_exit(0);
    assert_eq!(value().await, json!(true));
    run(&["--on-conflict", "replace"]).await.expect_exit(0);
    assert_eq!(value().await, json!(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_flag_leaves_the_caller_with_its_own_default() {
    let cluster = Cluster::of_three().await;
    cluster.create_project("theatre", &["live"]).await;
    let file = fixture("theatre");
    let import = [
        "import",
        "--format",
        "flagd",
        file.as_str(),
        "-p",
        "theatre",
        "-e",
        "live",
        "-r",
        "moving in",
        "--skip-untranslatable",
    ];
    Cli::of(&cluster).run(&import).await.expect_exit(0);
    let (_, secret) = cluster.create_token(&Caller::service("theatre", "live")).await;
    cluster.agreed().await;
    let answer = cluster.with_token(3, &secret).evaluate("box-seats", &json!({})).ok().await;
    assert_eq!(answer.body["reason"], "DISABLED", "{answer:?}");
    assert_eq!(answer.body.get("value"), None, "{answer:?}");
    assert_eq!(answer.body["variant"], "", "{answer:?}");
}

/// The catalog of the tour goes in as `scripts/cluster` loads it, and comes out as it went in.
#[tokio::test(flavor = "multi_thread")]
async fn the_demo_catalog_goes_in_and_out() {
    let cluster = Cluster::of_three().await;
    let cli = Cli::of(&cluster);
    let file = settings::file("../cli/demo/shop.json");
    let file = file.to_str().expect("the path is UTF-8");
    let import =
        ["import", "--format", "flagraft", file, "-p", "demo", "-r", "the demo catalog", "-t", "DEMO-1"];
    cli.run(&import).await.expect_exit(0);
    let source: Value =
        serde_json::from_str(&std::fs::read_to_string(file).expect("it is there")).expect("JSON");
    let keys = |list: &Value| -> Vec<String> {
        let mut keys: Vec<String> = list
            .as_array()
            .expect("a list")
            .iter()
            .map(|o| o["key"].as_str().expect("a key").to_owned())
            .collect();
        keys.sort();
        keys
    };
    assert_eq!(flags(&cluster, "demo").await, keys(&source["flags"]));

    let exported = cli.run(&["export", "-p", "demo"]).await.expect_exit(0).json();
    for list in ["environments", "segments", "flags"] {
        assert_eq!(keys(&exported[list]), keys(&source[list]), "{list}");
    }
    // A segment is shown without its members, which have a command of their own.
    let segment = &exported["segments"][0];
    let key = segment["key"].as_str().expect("a key");
    let shown =
        cli.run(&["segment", "get", key, "-p", "demo", "--output", "json"]).await.expect_exit(0).json();
    let included = segment["included"].as_array().expect("a list");
    assert!(!included.is_empty() && shown.get("included").is_none(), "{shown}");
    assert_eq!(shown["system"]["included_count"], included.len());
    let members = cli.run(&["segment", "members", "list", key, "-p", "demo", "--output", "json"]).await;
    assert_eq!(&members.expect_exit(0).json(), &segment["included"]);

    let text = exported.to_string();
    let copy = ["import", "--format", "flagraft", "-", "-p", "copy", "-r", "a copy", "-t", "DEMO-2"];
    cli.run_with_input(&copy, &text).await.expect_exit(0);
    let mut copied = cli.run(&["export", "-p", "copy"]).await.expect_exit(0).json();
    copied["project"]["key"] = json!("demo");
    assert_eq!(without_system(copied), without_system(exported));

    // Production wants a ticket; nothing gets round it.
    let disable =
        ["flag", "disable", "voucher-codes", "-p", "demo", "-e", "production", "-r", "a code leaked"];
    let refused = cli.run(&disable).await.expect_exit(4);
    assert!(refused.stderr.contains("ticket"), "{refused:#?}");
    cli.run(&[&disable[..], &["-t", "OPS-812"]].concat()).await.expect_exit(0);
}

/// What the cluster adds on reads, all through the document.
fn without_system(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(name, _)| name != "system")
            .map(|(name, v)| (name, without_system(v)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_system).collect(),
        other => other,
    }
}
