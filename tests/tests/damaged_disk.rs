//! A node's disk is damaged while the node is down, and the node started again: it comes back as it was or refuses to
//! start in words, and the cluster stays right throughout. (Where in the folder damage can strike, one place after the
//! other, is tested without processes in `node/src/raft/damage_tests.rs`.)

use std::{fs, path::Path, time::Duration};

use flagraft_tests::{
    audit,
    catalog::switch,
    cluster::Setup,
    damage::{Damage, copy, data_files, put_back},
    load::{Readers, Writers},
    settings::{measured, rng, rounds},
};
use serde_json::json;
use tempfile::TempDir;

mod common;
use common::shop::Shop;

/// Flips a bit, zeroes a page, or cuts the end off. Says what it did.
fn damage(path: &Path, rng: &mut fastrand::Rng) -> String {
    let length = fs::metadata(path).expect("it is there").len();
    let at = rng.usize(..usize::try_from(length).expect("it is small"));
    let damage = match rng.u8(..4) {
        0 | 1 => Damage::Flip(rng.u8(..8)),
        2 => Damage::Zeros,
        _ => Damage::Cut,
    };
    damage.to(path, at).expect("it can be written");
    format!("{damage} {at} of {}", path.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_damaged_disk_refuses_or_is_right_and_the_others_go_on() {
    let turns = rounds(6, 60);
    let mut rng = rng();
    let mut shop = Shop::open(Setup::of(3), &[switch("banner", false)]).await;
    let writers = Writers::start(&shop.cluster, 3, None).await;
    let readers = Readers::start(&shop.cluster, &shop.token, "banner", &json!(true));
    let mut refused = 0;
    for turn in 0..turns {
        writers.beyond(writers.acknowledged() + 20, Duration::from_secs(30)).await;
        let id = rng.u64(1..=3);
        shop.cluster.kill(id);
        let data = shop.cluster.data(id).to_owned();
        let sound = TempDir::new().expect("a temporary folder");
        copy(&data, sound.path()).expect("it can be copied");
        let file = rng.choice(data_files(&data)).expect("there is data");
        let what = damage(&file, &mut rng);
        println!("turn {turn}, node {id}: {what}");
        let logged = shop.cluster.log(id).len();
        shop.cluster.launch(id);

        let refusal = shop.cluster.ready_or_ended(id).await;
        let said = shop.cluster.log(id)[logged..].to_owned();
        assert!(!said.contains("panicked"), "turn {turn}, {what}: {said}");
        if let Some(status) = refusal {
            refused += 1;
            assert!(!status.success(), "turn {turn}, {what}");
            assert!(said.contains("the data folder can't be used"), "turn {turn}, {what}: {said}");
            writers.beyond(writers.acknowledged(), Duration::from_secs(30)).await;
            // With the folder as it was before, it is trusted again.
            put_back(sound.path(), &data).expect("the node is gone");
            shop.cluster.restart(id).await;
        }
    }
    let failures = readers.finish().await;
    assert!(failures.is_empty(), "reads failed on living nodes: {failures:?}");
    let written = writers.finish().await;
    shop.cluster.agreed().await;
    for id in shop.cluster.living() {
        audit::each_once(&shop.cluster.admin(id), &written).await;
    }
    measured(
        "a damaged disk: turns, of which refused, writes acknowledged, of which lost",
        format!("{turns}, {refused}, {}, 0", written.acknowledged.len()),
    );
}
