//! The power goes, which SIGKILL is not: what the system had not yet written to the disk is lost. Each node's data lies
//! on a disk of its own. Nothing that was acknowledged is lost, and the nodes agree.

use std::{collections::BTreeSet, fs, time::Duration};

use flagraft_tests::{
    audit,
    catalog::{PROJECT, counter, put},
    cluster::{Cluster, Setup},
    disk::{Disk, DiskSpec},
    load::Writers,
    process::FATAL_EXIT_CODE,
    settings::{measured, rng, rounds},
    wait,
};

mod common;
use common::shop::Shop;

const DISK: DiskSpec = DiskSpec::of_mib(256);
/// Less than these small disks have free.
const RESERVE: u64 = 16 * 1024 * 1024;
/// Clients that write, each as fast as it is answered.
const CLIENTS: u64 = 16;
/// How long a node without power may take to find out.
const FINDS_OUT_WITHIN: Duration = Duration::from_secs(3);
/// How long a load may take to go on.
const GOES_ON_WITHIN: Duration = Duration::from_secs(30);

fn on_disks(members: u64) -> Setup {
    Setup::of(members).with_disks(DISK).with_arg("--disk-reserve-bytes", RESERVE)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_power_is_cut_while_clients_write() {
    if !Disk::here("power cut of one, two and all three nodes") {
        return;
    }
    // At full length, fifty times all three.
    let turns = rounds(6, 150);
    let mut rng = rng();
    let mut shop = Shop::open(on_disks(3), &[counter("probe", 0, false)]).await;
    let writers = Writers::at_full_speed(&shop.cluster, CLIENTS).await;
    let (mut cuts, mut found_out) = ([0_u32; 3], 0_u32);
    for turn in 0..turns {
        // One, two and three in turn; which ones is left to chance.
        let count = turn as usize % 3 + 1;
        let mut ids = shop.cluster.ids();
        rng.shuffle(&mut ids);
        ids.truncate(count);
        let (before, some) = (writers.acknowledged(), rng.u64(20..400));
        writers.beyond(before + some, GOES_ON_WITHIN).await;

        shop.cluster.cut_power(&ids);
        if rng.bool() {
            // As the whole machine would go.
            ids.iter().for_each(|id| shop.cluster.kill(*id));
        } else {
            for id in &ids {
                found_out += u32::from(found_out_or_killed(&mut shop.cluster, *id).await);
            }
        }
        cuts[count - 1] += 1;

        let acknowledged = writers.acknowledged();
        for id in &ids {
            shop.cluster.power_on(*id);
            shop.cluster.launch(*id);
        }
        for id in &ids {
            shop.cluster.ready(*id).await;
        }
        writers.beyond(acknowledged, GOES_ON_WITHIN).await;
    }
    let written = writers.finish().await;
    let print = shop.cluster.agreed().await;
    for id in shop.cluster.ids() {
        assert_eq!(audit::each_once(&shop.cluster.admin(id), &written).await, print.audit_size);
    }
    measured(
        "power cut while writing: of one, two, three nodes; nodes that found out by themselves; writes acknowledged, of \
         which lost",
        format!("{}, {}, {}; {found_out}; {}, 0", cuts[0], cuts[1], cuts[2], written.acknowledged.len()),
    );
}

/// Waits whether a node without power ends by itself, as it does once it has something to write, and ends it if it has
/// not. Gives whether it found out.
async fn found_out_or_killed(cluster: &mut Cluster, id: u64) -> bool {
    match cluster.ends_within(id, FINDS_OUT_WITHIN).await {
        Some(status) => {
            assert_eq!(
                status.code(),
                Some(FATAL_EXIT_CODE),
                "node {id} had no power, and ended with {status}"
            );
            true
        }
        None => {
            cluster.kill(id);
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_power_acknowledges_nothing_and_ends() {
    if !Disk::here("power cut of a node that goes on") {
        return;
    }
    let mut shop = Shop::open(on_disks(1), &[counter("probe", 0, false)]).await;
    let write = |shop: &Shop, count: u64| {
        let operations = vec![put(&counter("probe", count, false))];
        shop.cluster.admin(1).change(PROJECT, &format!("probe is {count}"), operations)
    };
    for count in 1..=20 {
        write(&shop, count).ok().await;
    }
    shop.cluster.cut_power(&[1]);
    for count in 21..=40 {
        // No answer, or one that says that it is unknown.
        if let Ok(answer) = write(&shop, count).send().await {
            assert!(answer.status >= 500, "acknowledged without power: {answer:?}");
        }
    }
    let status = shop.cluster.ended(1, Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(FATAL_EXIT_CODE), "{status}");

    shop.cluster.power_on(1);
    shop.cluster.restart(1).await;
    let accepted = audit::accepted_by_reason(&audit::records(&shop.cluster.admin(1)).await);
    for count in 1..=20 {
        assert_eq!(accepted.get(&format!("probe is {count}")), Some(&1), "acknowledged and lost");
    }
    write(&shop, 41).ok().await;
}

/// What is applied is not synced by itself: on an idle cluster nothing else does it. A snapshot that is on the disk
/// before it would be ahead of the state, and of the audit records that it counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_on_an_idle_cluster_is_never_ahead_of_the_disk() {
    if !Disk::here("power cut just after a snapshot") {
        return;
    }
    let turns = rounds(4, 20);
    let setup = on_disks(3).with_arg("--snapshot-after-entries", 20);
    let mut shop = Shop::open(setup, &[counter("probe", 0, false)]).await;
    let mut count = 0;
    for _ in 0..turns {
        let before = snapshots(&shop.cluster);
        // One write at a time, and none while the snapshot is built that the last one was the occasion for.
        while snapshots(&shop.cluster) == before {
            count += 1;
            shop.count(1, "probe", count, false).await;
            for _ in 0..20 {
                if snapshots(&shop.cluster) != before {
                    break;
                }
                wait::pace(Duration::from_millis(2)).await;
            }
        }
        let ids = shop.cluster.ids();
        shop.cluster.cut_power(&ids);
        shop.cluster.kill_all();
        for id in &ids {
            shop.cluster.power_on(*id);
            shop.cluster.launch(*id);
        }
        for id in &ids {
            shop.cluster.ready(*id).await;
        }
    }
    let print = shop.cluster.agreed().await;
    for id in shop.cluster.ids() {
        let records = audit::records(&shop.cluster.admin(id)).await;
        assert_eq!(records.len() as u64, print.audit_size);
        let accepted = audit::accepted_by_reason(&records);
        for count in 1..=count {
            assert_eq!(accepted.get(&format!("probe is {count}")), Some(&1), "acknowledged and lost");
        }
    }
    measured(
        "power cut of all nodes just after a snapshot: turns, writes acknowledged, of which lost",
        format!("{turns}, {count}, 0"),
    );
}

/// The finished snapshots on all nodes' disks.
fn snapshots(cluster: &Cluster) -> BTreeSet<String> {
    let of = |id: u64| {
        let folder = fs::read_dir(cluster.data(id).join("snapshots"));
        let names = folder.into_iter().flatten().flatten().map(|file| file.file_name());
        names
            .map(move |name| format!("{id}: {}", name.to_string_lossy()))
            .filter(|name| name.ends_with(".snapshot"))
    };
    cluster.ids().into_iter().flat_map(of).collect()
}
