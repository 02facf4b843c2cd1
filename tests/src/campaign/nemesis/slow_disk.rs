//! A node's disk does a few writes a second, as the system allows its process.

use flagraft_chaos::dice::Dice;

use super::{Ground, Wrong, asked::Asked, question::metrics_until, share::Share};
use crate::{api::Api, metrics::Metrics};

/// The controller that can do it.
pub(super) const CONTROLLER: &str = "blkio";
/// How many writes a second a device takes of the group.
pub(super) const LIMIT: &str = "blkio.throttle.write_iops_device";
/// How many it has taken.
const TAKEN: &str = "blkio.throttle.io_serviced";
/// Few enough to be felt under a light load.
const WRITES_PER_SECOND: (u64, u64) = (20, 60);
/// How many syncs show how long one takes.
const SYNCS: f64 = 10.0;

pub(super) struct SlowDisk {
    node: u64,
    per_second: u64,
    /// Dropped, the process has its share of the disk again.
    share: Option<Share>,
    slow: Option<Asked<Syncs>>,
}

/// Syncs of a node's log, and how long all of them took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Syncs {
    count: f64,
    seconds: f64,
}

impl Syncs {
    fn of(metrics: &Metrics) -> Self {
        let value = |of: &str| metrics.value(&format!("flagraft_storage_sync_seconds_{of}"));
        Self { count: value("count"), seconds: value("sum") }
    }

    fn since(self, before: Self) -> Self {
        Self { count: self.count - before.count, seconds: self.seconds - before.seconds }
    }

    /// Whether they take as long as they have to where each waits for a write, of which there are so many a second.
    fn are_slow(self, per_second: u64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a few")]
        let least_seconds = 0.5 / per_second as f64;
        self.count >= SYNCS && self.seconds / self.count >= least_seconds
    }
}

impl SlowDisk {
    pub(super) fn of(node: u64, dice: &mut Dice) -> Self {
        let per_second = dice.from_to(WRITES_PER_SECOND.0, WRITES_PER_SECOND.1);
        Self { node, per_second, share: None, slow: None }
    }

    /// Takes in the process that the node is now: another one counts its syncs anew.
    fn follow(&mut self, ground: &mut Ground) {
        if self.share.as_mut().is_some_and(|share| share.take_in(ground)) {
            self.slow = Some(Asked::of(slow_syncs(ground.cluster.admin(self.node), self.per_second)));
        }
    }
}

impl Wrong for SlowDisk {
    fn begin(&mut self, ground: &mut Ground) {
        let device = ground.cluster.disk(self.node).device();
        let limit = format!("{device} {}", self.per_second);
        self.share = Some(Share::of(&[self.node], CONTROLLER, (LIMIT, limit)));
        self.follow(ground);
    }

    fn look(&mut self, ground: &mut Ground) -> Option<String> {
        self.follow(ground);
        let Syncs { count, seconds } = self.slow.as_ref()?.answer()?;
        let device = ground.cluster.disk(self.node).device();
        let taken = writes_taken(&self.share.as_ref()?.read(TAKEN)?, &device).filter(|taken| *taken > 0)?;
        let ms = seconds / count * 1000.0;
        Some(format!(
            "its device took {taken} writes, {} a second at most; {count} syncs took {ms:.1} ms each",
            self.per_second
        ))
    }

    fn end(&mut self, _: &mut Ground) {
        self.slow = None;
        self.share = None;
    }
}

/// Asks a node until its syncs are slow.
async fn slow_syncs(node: Api, per_second: u64) -> Syncs {
    let node = [node];
    let before = metrics_until(&node, |metrics| Some(Syncs::of(metrics))).await;
    let since = |metrics: &Metrics| Syncs::of(metrics).since(before);
    metrics_until(&node, |metrics| Some(since(metrics)).filter(|syncs| syncs.are_slow(per_second))).await
}

/// How many writes a device has taken, by what a group counts.
fn writes_taken(counts: &str, device: &str) -> Option<u64> {
    let of_device = |line: &str| line.strip_prefix(device)?.strip_prefix(" Write ")?.trim().parse().ok();
    counts.lines().find_map(of_device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_of_a_device_are_found_among_those_of_others() {
        let counts = "7:1 Read 1\n7:1 Write 2\n7:12 Read 3\n7:12 Write 45\n7:12 Total 48\nTotal 51\n";
        assert_eq!(writes_taken(counts, "7:12"), Some(45));
        assert_eq!(writes_taken(counts, "7:1"), Some(2));
        assert_eq!(writes_taken(counts, "7:2"), None);
    }

    #[test]
    fn a_few_syncs_or_fast_ones_show_nothing() {
        let syncs = |count, seconds| Syncs { count, seconds };
        assert!(syncs(10.0, 0.25).are_slow(20));
        assert!(!syncs(9.0, 9.0).are_slow(20));
        assert!(!syncs(1_000.0, 5.0).are_slow(20));
        assert_eq!(syncs(12.0, 3.0).since(syncs(2.0, 1.0)), syncs(10.0, 2.0));
    }
}
