//! Long histories through a file: as a campaign leaves them.

use std::{fs, path::Path, time::Instant};

use flagraft_chaos::{
    history::Reader,
    incidents::Lives,
    report::Collector,
    revisions,
    simulate::{Simulation, Size},
    zones,
};

mod common;
use common::rounds;

/// The most memory that this process has had so far, in KiB.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it has a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Forgets the peak so far. False: this system does not.
fn reset_peak() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

fn write(path: &Path, operations: u32) -> Simulation {
    let simulation =
        Simulation::new(5, Size { clients: 20, operations: operations / 20, flags: 8, nodes: 3, streams: 3 });
    let mut text = serde_json::to_vec(&simulation.header).expect("JSON");
    text.push(b'\n');
    for operation in &simulation.operations {
        serde_json::to_writer(&mut text, operation).expect("JSON");
        text.push(b'\n');
    }
    fs::write(path, text).expect("written");
    simulation
}

#[test]
fn a_long_history_is_judged_in_seconds() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("history.jsonl");
    let operations = rounds(60_000, 2_000_000);
    let lives = {
        let simulation = write(&path, operations);
        Lives::of(&simulation.incidents)
    };
    let resets = reset_peak();
    let before = peak_kib();
    let begun = Instant::now();
    let mut reader = Reader::open(&path).expect("a history");
    let header = reader.header().clone();
    let mut by_revision = revisions::Checker::new(&header, &lives);
    let mut by_zones = zones::Checker::new(&header);
    let mut collector = Collector::new(&header, lives.clone());
    let mut count = 0;
    for operation in reader.by_ref() {
        let operation = operation.expect("every line is good");
        count += 1;
        by_revision.observe(&operation);
        by_zones.observe(&operation);
        collector.observe(&operation);
    }
    let (by_revision, by_zones) = (by_revision.finish(), by_zones.finish());
    let figures = collector.finish(&[]);
    let took = begun.elapsed();
    assert!(by_revision.is_good() && by_zones.is_good(), "{by_revision:#?} {by_zones:#?}");
    assert!(count >= u64::from(operations), "{count}");
    assert!(figures.operations().all() >= u64::from(operations));
    let grown_bytes = (peak_kib() - before) * 1024;
    println!(
        "measured: {count} operations through both checkers and the figures: {} MB of history, {} ms, {} bytes each",
        fs::metadata(&path).expect("a file").len() / 1_000_000,
        took.as_millis(),
        grown_bytes / count
    );
    // What is kept is far less than what was read: 200 bytes and more a line.
    if resets && count > 1_000_000 {
        assert!(grown_bytes / count < 150, "{grown_bytes} bytes for {count} operations");
    }
}
