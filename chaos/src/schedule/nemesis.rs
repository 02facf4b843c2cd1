//! The plan of faults: short storms of one to three of them at a time, each followed by a rest in which the cluster has to
//! come back.

use std::fmt;

use crate::dice::Dice;

use super::{
    Settings,
    fault::{Extent, Kind, Layer},
};

/// How many faults there are at a time, at most.
pub const AT_ONCE: usize = 3;

/// Before the first fault, and after the last one, in milliseconds.
const CALM_MS: u64 = 3_000;

/// One fault of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its number, from 1.
    pub fault: u64,
    /// When it begins, in milliseconds from the beginning of the schedule.
    pub start_ms: u64,
    /// How long it lasts. One that is over by itself, such as a rolling restart, has this much time.
    pub lasts_ms: u64,
    /// What it is.
    pub kind: Kind,
    /// Whom it is done to.
    pub target: Target,
    /// Whatever else has to be decided: which bit, by how much, how many percent.
    pub dice: u64,
}

/// Whom a fault is done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Who leads when it begins.
    Leader,
    /// These nodes, by their numbers from 1 at the beginning of the run.
    Nodes(Vec<u64>),
    /// All nodes.
    All,
}

impl Fault {
    fn end_ms(&self) -> u64 {
        self.start_ms + self.lasts_ms
    }

    /// Whether both occupy the same thing of the same node, so that they can't be done at the same time.
    pub fn clashes(&self, other: &Self) -> bool {
        let same_node = match (&self.target, &other.target) {
            (Target::Nodes(these), Target::Nodes(those)) => these.iter().any(|node| those.contains(node)),
            // Nobody knows yet who leads.
            _ => true,
        };
        let shared = |layer: &&Layer| other.kind.layers().contains(layer);
        self.kind.layers().iter().filter(shared).any(|layer| same_node || layer.is_of_cluster())
    }
}

/// Draws a plan: every kind, with each of its extents, as often as the others.
pub fn plan(settings: &Settings, mut dice: Dice) -> Vec<Fault> {
    let mut faults: Vec<Fault> = Vec::new();
    let all: Vec<(Kind, Extent)> =
        settings.kinds.iter().flat_map(|kind| kind.extents().iter().map(|extent| (*kind, *extent))).collect();
    if all.is_empty() {
        return faults;
    }
    let mut bag: Vec<(Kind, Extent)> = Vec::new();
    let end_ms = settings.seconds.saturating_mul(1000).saturating_sub(CALM_MS);
    let mut now = CALM_MS;
    loop {
        let storm = faults.len();
        let size = storm + usize::try_from(dice.from_to(1, AT_ONCE as u64)).unwrap_or(1);
        while faults.len() < size {
            let refill = bag.is_empty();
            if refill {
                bag.clone_from(&all);
                dice.shuffle(&mut bag);
            }
            let Some((kind, extent)) = bag.pop() else { break };
            let (shortest, longest) = kind.lasts_ms();
            let fault = Fault {
                fault: faults.len() as u64 + 1,
                start_ms: now,
                lasts_ms: dice.from_to(shortest, longest),
                kind,
                target: target(extent, settings.nodes, &mut dice),
                dice: dice.draw(),
            };
            if faults[storm..].iter().any(|other| fault.clashes(other)) {
                // It begins the next storm instead.
                bag.push((kind, extent));
                break;
            }
            if fault.end_ms() > end_ms {
                return faults;
            }
            // The next one while this one lasts.
            now += dice.from_to(0, fault.lasts_ms * 3 / 4);
            faults.push(fault);
        }
        let over = faults[storm..].iter().map(Fault::end_ms).max().unwrap_or(now);
        now = over + dice.from_to(1_500, 5_000);
    }
}

fn target(extent: Extent, nodes: u64, dice: &mut Dice) -> Target {
    let count = match extent {
        Extent::Leader => return Target::Leader,
        Extent::All => return Target::All,
        Extent::One => 1,
        Extent::Majority => nodes / 2 + 1,
    };
    let mut all: Vec<u64> = (1..=nodes).collect();
    dice.shuffle(&mut all);
    all.truncate(usize::try_from(count).unwrap_or(1));
    all.sort_unstable();
    Target::Nodes(all)
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leader => f.write_str("the leader"),
            Self::All => f.write_str("all nodes"),
            Self::Nodes(nodes) => {
                let nodes: Vec<String> = nodes.iter().map(u64::to_string).collect();
                write!(f, "node {}", nodes.join(" and "))
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, start_ms, lasts_ms, kind, target, dice } = self;
        let seconds = |ms: &u64| format!("{}.{:03}", ms / 1000, ms % 1000);
        write!(
            f,
            "{fault:>3} {:>9} s  {:>6} s  {kind:<17} {target}  dice {dice:016x}",
            seconds(start_ms),
            seconds(lasts_ms)
        )
    }
}
