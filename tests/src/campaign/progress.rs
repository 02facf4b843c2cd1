//! How far a run is, said while it lasts: on one line of a terminal, else a line now and then.

use std::{fmt::Write as _, io::IsTerminal as _, sync::Arc, time::Duration};

use flagraft_chaos::{incidents, recorder::Recorder, schedule::Schedule};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

use super::stage::Stage;
use crate::wait;

const SECOND: u64 = 1_000_000_000;
/// How often it is said on a terminal.
const ON_TERMINAL: Duration = Duration::from_millis(500);
/// How often it is said to a file.
const ELSEWHERE: Duration = Duration::from_secs(10);

/// Says it until it is dropped.
pub(super) struct Progress {
    bar: ProgressBar,
    task: JoinHandle<()>,
}

/// What it is said of.
struct Watched {
    recorder: Arc<Recorder>,
    incidents: Arc<incidents::Log>,
    planned: usize,
}

impl Progress {
    /// # Panics
    /// Outside of an asynchronous runtime.
    pub(super) fn start(stage: &Stage, schedule: &Schedule) -> Self {
        let watched = Watched {
            recorder: Arc::clone(&stage.recorder),
            incidents: Arc::clone(&stage.incidents),
            planned: schedule.faults().len(),
        };
        let style = ProgressStyle::with_template("{elapsed_precise} {wide_msg}");
        let bar = ProgressBar::new_spinner().with_style(style.expect("a template that is known"));
        let is_terminal = std::io::stderr().is_terminal();
        let shown = bar.clone();
        let task = tokio::spawn(async move {
            loop {
                wait::pace(if is_terminal { ON_TERMINAL } else { ELSEWHERE }).await;
                match is_terminal {
                    true => shown.set_message(watched.line()),
                    false => eprintln!("{:>5} s  {}", watched.recorder.now_ns() / SECOND, watched.line()),
                }
            }
        });
        Self { bar, task }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.task.abort();
        self.bar.finish_and_clear();
    }
}

impl Watched {
    fn line(&self) -> String {
        let (pulse, now, now_ns) = (self.recorder.pulse(), self.incidents.now(), self.recorder.now_ns());
        let rate = pulse.operations * SECOND / now_ns.max(1);
        // What lasts may be the worst already.
        let silent_ns = now_ns.saturating_sub(pulse.last_write_ns);
        let worst_ms = pulse.worst_gap_ns.max(silent_ns) / 1_000_000;
        let leader =
            now.leader.map_or_else(|| "nobody leads".to_owned(), |node| format!("node {node} leads"));
        let mut line = format!(
            "{} operations ({rate}/s), {} of {} faults, {} took effect, {leader} ({} reigns), longest without a write \
             {}.{:03} s",
            pulse.operations,
            now.begun,
            self.planned,
            now.took_effect,
            now.reigns,
            worst_ms / 1000,
            worst_ms % 1000,
        );
        for (index, kind) in now.faults.values().enumerate() {
            let _ = write!(line, "{}{kind}", if index == 0 { "; now: " } else { ", " });
        }
        line
    }
}
