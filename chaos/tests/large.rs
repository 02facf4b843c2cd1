//! Long histories through a file: as a campaign leaves them.

use std::{env, fs, path::Path, process::Command, time::Instant};

use flagraft_chaos::{
    history::Reader,
    incidents::{Incident, Lives, What},
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

/// Where a second process of this test finds what the first one wrote.
const HISTORY: &str = "FLAGRAFT_LONG_HISTORY";

fn write(path: &Path, operations: u32) {
    let simulation =
        Simulation::new(5, Size { clients: 20, operations: operations / 20, flags: 8, nodes: 3, streams: 3 });
    let mut text = serde_json::to_vec(&simulation.header).expect("JSON");
    text.push(b'\n');
    for operation in &simulation.operations {
        serde_json::to_writer(&mut text, operation).expect("JSON");
        text.push(b'\n');
    }
    fs::write(path, text).expect("written");
}

/// Judges a history, and gives the number of operations.
fn judge(path: &Path) -> u64 {
    let lives = Lives::of(&[1, 2, 3].map(|node| Incident { at_ns: 0, what: What::Serves { node } }));
    let mut reader = Reader::open(path).expect("a history");
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
    assert!(by_revision.is_good() && by_zones.is_good(), "{by_revision:#?} {by_zones:#?}");
    assert!(by_revision.judged["reads confirmed"] > count / 20, "{:?}", by_revision.judged);
    assert!(collector.finish(&[]).operations().all() > count / 2);
    count
}

/// In a process of its own, whose memory is that of judging alone.
#[test]
fn a_long_history_is_judged_in_seconds_and_in_less_memory_than_it_has_bytes() {
    if let Some(path) = env::var_os(HISTORY) {
        let begun = Instant::now();
        let count = judge(Path::new(&path));
        println!("judged {count} {} {}", begun.elapsed().as_millis(), peak_kib());
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("history.jsonl");
    let operations = rounds(60_000, 2_000_000);
    write(&path, operations);
    let this = env::current_exe().expect("a running test has a file");
    let test = "a_long_history_is_judged_in_seconds_and_in_less_memory_than_it_has_bytes";
    let output = Command::new(this).args([test, "--exact", "--nocapture"]).env(HISTORY, &path).output();
    let output = output.expect("it can be run again");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    // The test runner may have begun the line.
    let (_, judged) = said.split_once("judged ").expect("it says what it did");
    let mut numbers = judged.split_whitespace().map_while(|word| word.parse::<u64>().ok());
    let mut next = || numbers.next().expect("three numbers");
    let (count, took_ms, peak_kib) = (next(), next(), next());
    assert!(count >= u64::from(operations), "{count}");
    let size = fs::metadata(&path).expect("a file").len();
    assert!(peak_kib * 1024 < size.max(64 << 20), "{peak_kib} KiB for a history of {size} bytes");
    println!(
        "measured: both checkers and the figures: operations, MB of history, ms, MiB of memory: {count}, {}, {took_ms}, {}",
        size / 1_000_000,
        peak_kib / 1024
    );
}
