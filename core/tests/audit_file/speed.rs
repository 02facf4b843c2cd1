//! How fast a file is verified. Run it in release: `cargo test --release -p flagraft-core --test audit_file -- --ignored --nocapture`.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "it measures, and prints what it measured"
)]

use std::time::Instant;

use flagraft_core::{
    audit_file::{Format, Verifier, Writer},
    merkle::{Frontier, leaf_hash},
};

use crate::log::{Log, signed, trusted};

const RECORDS: usize = 200_000;

#[test]
#[ignore = "measures; a figure of a debug build says nothing"]
fn records_a_second() {
    let log = Log::new(500, 1);
    let template = log.record(1);
    let mut tree = Frontier::default();
    let mut records = Vec::with_capacity(RECORDS);
    for sequence in 0..RECORDS {
        let mut record = if sequence == 0 { log.record(0) } else { template.clone() };
        record.sequence = sequence as u64;
        record.reason = "x".repeat(400);
        if sequence > 0 {
            record.revision_before = sequence as u64;
            record.revision_after = sequence as u64 + 1;
        }
        let bytes = record.to_bytes().bytes;
        tree.push(&bytes);
        records.push(bytes);
    }
    let bytes: usize = records.iter().map(Vec::len).sum();
    let mut checkpoint = log.checkpoint(1);
    checkpoint.size = tree.size();
    checkpoint.root = tree.root();
    checkpoint.time_ms = template.time_ms;

    for format in [Format::Ndjson, Format::Csv] {
        let mut header = log.whole().header();
        (header.to, header.size) = (tree.size(), tree.size());
        let mut out = Vec::new();
        let start = Instant::now();
        let mut writer = Writer::begin(format, &header, &mut out);
        records.iter().for_each(|record| writer.record(record, leaf_hash(record), &mut out));
        writer.finish(&signed(&checkpoint, &[1, 2]), &[], &mut out);
        let written = start.elapsed();

        let start = Instant::now();
        let mut verifier = Verifier::new(trusted(), None).expect("keys");
        for line in out.split_inclusive(|byte| *byte == b'\n') {
            verifier.line(line).expect("good");
        }
        let summary = verifier.finish().expect("good");
        let verified = start.elapsed();
        assert_eq!(summary.records, tree.size());
        println!(
            "{format:?}: {} records of {} bytes: {:.0} written/s, {:.0} verified/s",
            RECORDS,
            bytes / RECORDS,
            RECORDS as f64 / written.as_secs_f64(),
            RECORDS as f64 / verified.as_secs_f64()
        );
    }
}
