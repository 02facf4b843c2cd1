//! A boolean costs no memory. In a program of its own, for the allocator that counts is the program's.

mod common;

use std::fs;

use allocation_counter::measure;
use common::{ENVIRONMENT, TestCatalog, critical, flag, put};
use flagraft_client::{Client, Context};
use serde_json::json;

#[tokio::test]
async fn a_boolean_without_details_allocates_nothing() {
    let mut ruled = flag("ruled", true);
    ruled["environments"][ENVIRONMENT]["rules"] = json!([{"id": "r",
        "when": {"attribute": "country", "op": "in", "values": ["DE"]},
        "serve": {"rollout": {"seed": "s", "weights": [{"variant": "on", "weight": 1}, {"variant": "off", "weight": 1}]}}}]);
    let mut catalog = TestCatalog::new(&[ENVIRONMENT]);
    catalog.must(put([flag("plain", true), critical("kill", true), ruled]));
    let folder = tempfile::tempdir().expect("a folder");
    let bootstrap = folder.path().join("bootstrap.json");
    fs::write(&bootstrap, catalog.snapshot(ENVIRONMENT)).expect("written");
    for region in [None, Some("eu")] {
        let mut builder =
            Client::builder().endpoint("http://127.0.0.1:9").token("fr_svc_test").bootstrap(&bootstrap);
        if let Some(region) = region {
            builder = builder.region(region);
        }
        let client = builder.start().await.expect("started");
        client.shutdown().await;
        let context = Context::of("u1").with("country", "DE");
        let ask =
            || ["plain", "kill", "ruled", "no-such-flag"].map(|key| client.bool_value(key, &context, false));
        // The first time a thread asks, and a context is asked about, is when they are set up.
        assert_eq!(ask()[..2], [true, false]);
        let allocations = measure(|| {
            for _ in 0..100 {
                ask();
            }
        });
        assert_eq!(allocations.count_total, 0, "{allocations:?}");
    }
}
