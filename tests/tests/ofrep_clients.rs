//! Real input, real clients: flags imported from a flagd file are read by the published OpenFeature clients from
//! every node, each with its right value, type, variant and reason.

use flagraft_tests::{
    catalog::Caller,
    cluster::Cluster,
    openfeature::Sdk,
    settings::{measured, read_file},
};
use serde_json::Value;

mod common;
use common::cli::Cli;

async fn imported_flags_are_read(file: &str, more: &[&str]) {
    let cluster = Cluster::of_three().await;
    let answer = cluster.create_project("cinema", &["live"]).await;
    let fixture = flagraft_tests::settings::file(&format!("fixtures/flagd/{file}.flagd.json"));
    let fixture = fixture.to_str().expect("the path is UTF-8");
    let mut arguments =
        vec!["import", "--format", "flagd", fixture, "-p", "cinema", "-e", "live", "-r", "moving in"];
    arguments.extend(more);
    let revision = answer.revision();
    Cli::of(&cluster).run(&arguments).await.expect_exit(0);

    let (_, secret) = cluster.create_token(&Caller::service("cinema", "live")).await;
    cluster.published(revision + 2).await;
    let expected: Value = serde_json::from_str(&read_file(&format!("fixtures/flagd/{file}.expected.json")))
        .expect("the fixture is JSON");
    for id in cluster.ids() {
        for sdk in Sdk::ALL {
            sdk.expect_flags(&cluster.with_token(id, &secret), &expected).await;
        }
    }
    let flags = expected["flags"].as_array().map_or(0, Vec::len);
    measured(&format!("{file}.flagd.json, evaluations by two published clients on three nodes"), flags * 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flag_of_a_flagd_file_is_read_from_every_node() {
    imported_flags_are_read("cinema", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_be_translated_of_a_flagd_file_is_read_from_every_node() {
    imported_flags_are_read("theatre", &["--skip-untranslatable"]).await;
}
