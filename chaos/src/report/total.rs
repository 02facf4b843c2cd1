//! Several runs taken together.

use std::fmt::Write as _;

use super::{
    Done, Figures, Outcomes, SECOND, by_kind,
    text::{FAULTS, faults, table, time},
    took_effect,
};

/// The figures of a campaign: run after run, each with a seed of its own.
#[derive(Clone, Debug, Default)]
pub struct Total {
    runs: Vec<Run>,
    faults: Vec<Done>,
    outcomes: Outcomes,
    lasted_ns: u64,
    local_reads: u64,
    failed_local_reads: u64,
    leader_changes: usize,
}

#[derive(Clone, Debug)]
struct Run {
    seed: u64,
    operations: u64,
    faults: usize,
    healed_ms: Option<u64>,
    came_to: &'static str,
}

impl Total {
    /// Adds a run: its figures, within how many milliseconds it healed, and what it came to in a word.
    pub fn add(&mut self, figures: &Figures, healed_ms: Option<u64>, came_to: &'static str) {
        let outcomes = figures.operations();
        let (seed, operations, faults) = (figures.seed, outcomes.all(), figures.took_effect());
        self.runs.push(Run { seed, operations, faults, healed_ms, came_to });
        self.faults.extend(figures.faults.iter().cloned());
        self.outcomes.add(outcomes);
        self.lasted_ns += figures.end_ns;
        self.leader_changes += figures.leader_changes();
        for node in figures.nodes.values() {
            self.local_reads += node.local_reads;
            self.failed_local_reads += node.failed;
        }
    }

    /// The summary for a terminal.
    pub fn text(&self) -> String {
        let Outcomes { ok, failed, unknown } = self.outcomes;
        let mut text = format!(
            "{} runs, {:.1} minutes, {} operations ({ok} ok, {failed} refused, {unknown} unknown), {} of {} faults \
             took effect, the lead passed on {} times, {} of {} local reads on living nodes failed\n",
            self.runs.len(),
            self.lasted_ns as f64 / SECOND as f64 / 60.0,
            self.outcomes.all(),
            took_effect(&self.faults),
            self.faults.len(),
            self.leader_changes,
            self.failed_local_reads,
            self.local_reads,
        );
        let row = |run: &Run| {
            let healed = run.healed_ms.map_or_else(|| "-".to_owned(), |ms| time(ms * 1_000_000));
            let counts = [run.operations, run.faults as u64].map(|count| count.to_string());
            let [operations, faults] = counts;
            vec![run.seed.to_string(), operations, faults, healed, run.came_to.to_owned()]
        };
        let heads = ["runs: seed", "operations", "faults", "healed within", "came to"];
        let tables = [
            table(&heads, self.runs.iter().map(row).collect()),
            table(&FAULTS, faults(by_kind(&self.faults))),
        ];
        for table in tables {
            let _ = write!(text, "\n{}\n", table.trim_fmt());
        }
        text
    }
}
