//! Signed changes, with the real command line against a real cluster: a key is made and registered, an environment asks
//! for signatures, the kill switch is thrown with one, and the record holds it on every node.

use std::{os::unix::fs::PermissionsExt as _, process::Stdio};

use flagraft_tests::cluster::Cluster;
use serde_json::{Value, json};
use tokio::process::Command;

mod common;
use common::cli::Cli;

const PUT: &str = r#"[{"op": "flag.put", "flag": {
    "key": "checkout", "type": "boolean", "variants": {"on": true, "off": false}, "off_variant": "off",
    "environments": {"live": {"enabled": true, "default": {"variant": "on"}}}}}]"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_switch_is_thrown_with_a_signature_where_one_is_asked_for() {
    let cluster = Cluster::of_three().await;
    cluster.create_project("shop", &["live"]).await;
    let cli = Cli::of(&cluster);
    let file = cluster.folder().join("key.pem").to_str().expect("UTF-8").to_owned();
    let made = cli.run(&["signing-key", "generate", &file, "--output", "json"]).await.expect_exit(0).json();
    let mode = std::fs::metadata(&file).expect("made").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let (id, public_key) = (text(&made["id"]), text(&made["public_key"]));
    // The bootstrap token stands for the user `owner`.
    let put =
        ["signing-key", "put", &public_key, "--actor", "owner", "--name", "a test's", "-r", "to sign with"];
    cli.run(&put).await.expect_exit(0);
    cli.run_with_input(&["change", "apply", "-", "-p", "shop", "-r", "a flag"], PUT).await.expect_exit(0);
    let require = ["environment", "put", "live", "-p", "shop", "--require-signature", "-r", "it is live"];
    cli.run(&require).await.expect_exit(0);

    let disable = ["flag", "disable", "checkout", "-p", "shop", "-e", "live", "-r", "trouble", "-t", "OPS-1"];
    let refused = cli.run(&disable).await.expect_exit(4);
    assert!(refused.stderr.contains("must be signed") && refused.stderr.contains("--sign"), "{refused:#?}");
    let signed = [&disable[..], &["--sign", &file, "--output", "json"]].concat();
    let answer = cli.run(&signed).await.expect_exit(0).json();
    let sequence = answer["sequence"].as_u64().expect("a sequence");
    cluster.agreed().await;
    for node in 1..=3 {
        let page = cluster.admin(node).get(&format!("/api/v1/audit?from={sequence}&limit=1")).ok().await;
        let record = page.body;
        assert_eq!(
            (&record["signature"]["key"], &record["signature"]["public_key"], &record["version"]),
            (&json!(id), &json!(public_key), &json!(2)),
            "{record}"
        );
    }

    // A key of openssl's, which nobody registered, and a file of operations.
    let other = cluster.folder().join("other.pem").to_str().expect("UTF-8").to_owned();
    let openssl = Command::new("openssl")
        .args(["genpkey", "-algorithm", "ed25519", "-out", &other])
        .stdout(Stdio::null())
        .status()
        .await;
    let apply = ["change", "apply", "-", "-p", "shop", "-r", "on again", "--sign"];
    let enable = r#"[{"op": "flag.enable", "flag": "checkout", "environment": "live"}]"#;
    // Where there is no openssl, its form of a key is covered beside the command line.
    if openssl.is_ok_and(|status| status.success()) {
        let refused = cli.run_with_input(&[&apply[..], &[&other]].concat(), enable).await.expect_exit(4);
        assert!(refused.stderr.contains("there is no signing key"), "{refused:#?}");
    }
    cli.run_with_input(&[&apply[..], &[&file, "--dry-run"]].concat(), enable).await.expect_exit(0);
    cli.run_with_input(&[&apply[..], &[&file]].concat(), enable).await.expect_exit(0);

    // The key revokes itself, and signs nothing more.
    let revoke = ["signing-key", "revoke", &id, "-r", "lost", "--sign", &file];
    cli.run(&revoke).await.expect_exit(0);
    let refused = cli.run(&signed).await.expect_exit(4);
    assert!(refused.stderr.contains("was revoked"), "{refused:#?}");
    let keys = cli.run(&["signing-key", "list"]).await.expect_exit(0);
    assert!(keys.stdout.contains(&id) && keys.stdout.contains("revoked"), "{keys:#?}");
}
