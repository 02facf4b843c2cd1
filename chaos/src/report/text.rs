//! The summary for a terminal.

use std::{collections::BTreeMap, fmt::Write as _};

use comfy_table::{CellAlignment, Table, presets::NOTHING};

use super::{OfKind, Report};

/// A time as a person reads it.
pub(super) fn time(ns: u64) -> String {
    match ns / 1000 {
        us @ 0..1_000 => format!("{us} us"),
        us @ 1_000..100_000 => format!("{}.{} ms", us / 1000, us % 1000 / 100),
        us @ 100_000..1_000_000 => format!("{} ms", us / 1000),
        us => format!("{}.{:02} s", us / 1_000_000, us % 1_000_000 / 10_000),
    }
}

pub(super) fn table(heads: &[&str], rows: Vec<Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(heads.to_vec());
    table.add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_cell_alignment(if index == 0 { CellAlignment::Left } else { CellAlignment::Right });
    }
    table
}

/// What each kind of operation came to.
pub(super) const OPERATIONS: [&str; 7] = ["operations", "ok", "failed", "unknown", "p50", "p99", "longest"];

pub(super) fn operations(report: &Report<'_>) -> Vec<Vec<String>> {
    let row = |(kind, tally): (&&str, &super::Tally)| {
        let counts =
            [tally.outcomes.ok, tally.outcomes.failed, tally.outcomes.unknown].map(|count| count.to_string());
        let has_latency = tally.latency_us(1.0) > 0;
        let latency = |share| if has_latency { time(tally.latency_us(share) * 1000) } else { "-".to_owned() };
        [(*kind).to_owned()].into_iter().chain(counts).chain([0.5, 0.99, 1.0].map(latency)).collect()
    };
    report.figures.kinds.iter().map(row).collect()
}

/// What each kind of fault did to writes.
pub(super) const FAULTS: [&str; 5] =
    ["faults", "took effect", "without effect", "writes stopped: worst", "median"];

pub(super) fn faults(faults: BTreeMap<&str, OfKind>) -> Vec<Vec<String>> {
    let row = |(kind, of): (&str, OfKind)| {
        let gap = |ns| if of.took_effect > 0 { time(ns) } else { "-".to_owned() };
        vec![
            kind.to_owned(),
            of.took_effect.to_string(),
            of.without_effect.to_string(),
            gap(of.worst_gap_ns),
            gap(of.median_gap_ns),
        ]
    };
    faults.into_iter().map(row).collect()
}

/// What each node did for ordinary reads.
pub(super) const NODES: [&str; 3] = ["nodes", "local reads while it served", "of which failed"];

pub(super) fn nodes(report: &Report<'_>) -> Vec<Vec<String>> {
    let row = |(node, of): (&u64, &super::Node)| {
        vec![format!("node {node}"), of.local_reads.to_string(), of.failed.to_string()]
    };
    report.figures.nodes.iter().map(row).collect()
}

/// The sentence above all.
pub(super) fn headline(report: &Report<'_>) -> String {
    let rules: u64 = report.verdicts.iter().flat_map(|(_, verdict)| verdict.broken.values()).sum();
    match rules + report.misdeeds.len() as u64 {
        0 if report.without_proof.is_empty() => "No rule was broken.".to_owned(),
        0 => "No rule was broken, but this run proves nothing.".to_owned(),
        1 => "A rule was broken once.".to_owned(),
        times => format!("Rules were broken {times} times."),
    }
}

/// What a run was, in one line.
pub(super) fn outline(report: &Report<'_>) -> String {
    let figures = report.figures;
    let healed = match report.healed_ms {
        Some(ms) => format!("healed within {}", time(ms * 1_000_000)),
        None => "not healed".to_owned(),
    };
    format!(
        "seed {}, {}, {} operations ({:.0} a second), {} faults, the lead passed on {} times, {healed}",
        figures.seed,
        time(figures.end_ns),
        figures.operations().all(),
        figures.operations_per_second(),
        figures.faults.len(),
        figures.leader_changes()
    )
}

/// What is said line by line, under what heading.
pub(super) fn remarks<'a>(report: &Report<'a>) -> [(&'static str, &'a [String]); 3] {
    [("broken", report.misdeeds), ("without proof", report.without_proof), ("not run here", report.not_run)]
}

pub(super) fn summary(report: &Report<'_>) -> String {
    let mut text = format!("{}\n{}\n", headline(report), outline(report));
    let tables = [
        table(&OPERATIONS, operations(report)),
        table(&FAULTS, faults(report.figures.faults_by_kind())),
        table(&NODES, nodes(report)),
    ];
    for table in tables {
        let _ = write!(text, "\n{}\n", table.trim_fmt());
    }
    for (checker, verdict) in report.verdicts {
        let judged: Vec<String> =
            verdict.judged.iter().map(|(what, count)| format!("{count} {what}")).collect();
        let _ = write!(text, "\njudged {checker}: {}\n", judged.join(", "));
        for violation in &verdict.violations {
            let _ = writeln!(text, "  {violation}");
        }
    }
    for (what, lines) in remarks(report) {
        lines.iter().for_each(|line| text.push_str(&format!("{what}: {line}\n")));
    }
    text
}
