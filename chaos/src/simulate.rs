//! A cluster that is only arithmetic: its histories are right by construction, so they are what checkers are tested on.
//!
//! First every client's plan is laid down with random delays: when each operation begins, takes effect and ends. The
//! effects of the writes, sorted, are the revisions. Each node knows the state as it was at its last of some random
//! moments. Everything that is read follows from that. [`plant`] then makes one thing of it wrong.

pub mod plant;

use std::collections::BTreeMap;

use crate::{
    dice::Dice,
    history::{FORMAT, Header},
    incidents::{Incident, Lives, What},
    operation::{Asked, Consistency, Did, Event, Operation, Outcome},
};

/// A millisecond.
const MS: u64 = 1_000_000;
/// Where the histories begin.
const BASE: u64 = 10;

/// How large a history is to be.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Clients, of which every third is a session of reads through one node.
    pub clients: u32,
    /// Operations of each client.
    pub operations: u32,
    /// Flags that are written and read. At least two.
    pub flags: u64,
    /// Nodes.
    pub nodes: u64,
    /// Followers of the stream.
    pub streams: u64,
}

/// A history, and what was the case.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// Where it begins.
    pub header: Header,
    /// What was seen, in the order in which it ended.
    pub operations: Vec<Operation>,
    /// What happened to the nodes: nothing.
    pub incidents: Vec<Incident>,
    truth: Truth,
}

/// The values of each flag, by the revision of the change that made it so.
#[derive(Clone, Debug)]
struct Truth {
    flags: Vec<String>,
    values: BTreeMap<String, BTreeMap<u64, Option<u64>>>,
    /// The changes, sorted: when each took effect, and what it set.
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
struct Change {
    at: u64,
    revision: u64,
    set: Vec<(String, u64)>,
}

/// What a client is going to do.
#[derive(Debug)]
struct Plan {
    operation: Operation,
    /// When it takes effect; `None`: never.
    effect: Option<u64>,
}

impl Truth {
    /// The revision at a time, and how many changes there were.
    fn revision_at(&self, at: u64) -> u64 {
        let count = self.changes.partition_point(|change| change.at <= at);
        count.checked_sub(1).map_or(BASE, |last| self.changes[last].revision)
    }

    fn value(&self, flag: &str, revision: u64) -> Option<u64> {
        self.values[flag].range(..=revision).next_back().and_then(|(_, value)| *value)
    }

    fn all(&self, revision: u64) -> Vec<(String, Option<u64>)> {
        self.flags.iter().map(|flag| (flag.clone(), self.value(flag, revision))).collect()
    }

    /// The last revision up to this one that touched the environment.
    fn touched(&self, revision: u64) -> u64 {
        let count = self.changes.partition_point(|change| change.revision <= revision);
        count.checked_sub(1).map_or(BASE, |last| self.changes[last].revision)
    }
}

impl Simulation {
    /// Makes a history from a seed.
    pub fn new(seed: u64, size: Size) -> Self {
        let dice = Dice::new(seed);
        let flags: Vec<String> = (0..size.flags).map(|flag| format!("flag-{flag}")).collect();
        // The last one is not there at the beginning.
        let there = flags.iter().take(flags.len() - 1);
        let header = Header {
            format: FORMAT,
            seed,
            revision: BASE,
            flags: there.map(|flag| (flag.clone(), 0)).collect(),
        };
        let mut plans = plans(&dice, size, &flags);
        let truth = truth(&dice, &header, flags, &mut plans);
        let until = plans.iter().map(|plan| plan.operation.end_ns).max().unwrap_or(0);
        let nodes: Vec<Vec<u64>> =
            (1..=size.nodes).map(|node| moments(&mut dice.named(&format!("node {node}")), until)).collect();
        let mut dice_of_reads = dice.named("reads");
        let mut operations = Vec::new();
        // What each client knows of: the revision of its last acknowledged write, and when that ended.
        let mut wrote: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for plan in plans {
            let mut operation = plan.operation;
            if let (Outcome::Ok, Some(revision), Did::Write { .. }) =
                (operation.outcome, operation.revision, &operation.did)
            {
                wrote.insert(operation.client, (revision, operation.end_ns));
            }
            let Some(effect) = plan.effect.filter(|_| matches!(operation.did, Did::Read { .. })) else {
                operations.push(operation);
                continue;
            };
            let knows = &nodes[usize::try_from(operation.node - 1).unwrap_or(0)];
            let token = wrote.get(&operation.client).filter(|(_, end)| *end < operation.start_ns);
            answer(
                &mut operation,
                effect,
                &truth,
                knows,
                token.map(|(revision, _)| *revision),
                &mut dice_of_reads,
            );
            operations.push(operation);
        }
        for stream in 1..=size.streams {
            let mut dice = dice.named(&format!("stream {stream}"));
            operations.extend(follow(stream, size.clients, until, &truth, &nodes, &mut dice));
        }
        operations.sort_by_key(|operation| operation.end_ns);
        for (number, operation) in (1..).zip(&mut operations) {
            operation.op = number;
        }
        let incidents =
            (1..=size.nodes).map(|node| Incident { at_ns: 0, what: What::Serves { node } }).collect();
        Self { header, operations, incidents, truth }
    }

    /// When which nodes served.
    pub fn lives(&self) -> Lives {
        Lives::of(&self.incidents)
    }
}

/// Lays down what each client does, in order of the beginnings.
fn plans(dice: &Dice, size: Size, flags: &[String]) -> Vec<Plan> {
    let mut plans = Vec::new();
    // A value says who wrote it, so no two write the same.
    let mut value = 0;
    for client in 1..=size.clients {
        let mut dice = dice.named(&format!("client {client}"));
        let mut now = dice.from_to(1, 10 * MS);
        let session = client % 3 == 0;
        let own_node = dice.from_to(1, size.nodes);
        for _ in 0..size.operations {
            now += dice.around(4 * MS);
            let lasts = dice.around(3 * MS).max(3);
            let (start_ns, end_ns) = (now, now + lasts);
            let effect = start_ns + dice.from_to(1, lasts - 1);
            now = end_ns;
            let mut operation = Operation {
                op: 0,
                client,
                node: if session { own_node } else { dice.from_to(1, size.nodes) },
                session: session.then(|| u64::from(client)),
                start_ns,
                end_ns,
                outcome: Outcome::Ok,
                revision: None,
                did: Did::Write { set: Vec::new() },
            };
            let mut effect = Some(effect);
            if session || dice.percent(60) {
                operation.did = read(session, flags, &mut dice);
            } else {
                value += 1;
                let mut which: Vec<&String> = flags.iter().collect();
                dice.shuffle(&mut which);
                which.truncate(if dice.percent(30) { 2 } else { 1 });
                let set = which.into_iter().map(|flag| (flag.clone(), value)).collect();
                operation.did = Did::Write { set };
                match dice.below(100) {
                    0..3 => (operation.outcome, effect) = (Outcome::Failed, None),
                    3..6 => (operation.outcome, effect) = (Outcome::Unknown, None),
                    // It takes effect, but maybe only when its client has long given up.
                    6..10 => {
                        operation.outcome = Outcome::Unknown;
                        effect = Some(start_ns + dice.from_to(1, 20 * lasts));
                    }
                    _ => {}
                }
            }
            plans.push(Plan { operation, effect });
        }
    }
    plans.sort_by_key(|plan| plan.operation.start_ns);
    plans
}

/// A read that asks something and has seen nothing yet.
fn read(session: bool, flags: &[String], dice: &mut Dice) -> Did {
    let asked = match dice.below(if session { 20 } else { 100 }) {
        0..20 => Asked::Ordinary,
        20..70 => Asked::Critical,
        70..80 => Asked::Linearizable,
        80..90 => Asked::MinRevision(0),
        _ => Asked::MaxAgeMs(dice.from_to(1, 100)),
    };
    let one = dice.pick(flags).into_iter();
    let which: Vec<&String> = if dice.percent(30) { flags.iter().collect() } else { one.collect() };
    let saw = which.into_iter().map(|flag| (flag.clone(), None)).collect();
    Did::Read { asked, saw, consistency: None, age_ms: None }
}

/// Gives the writes their revisions, in the order in which they take effect.
fn truth(dice: &Dice, header: &Header, flags: Vec<String>, plans: &mut [Plan]) -> Truth {
    let mut dice = dice.named("revisions");
    let mut effects: Vec<(u64, usize)> = plans
        .iter()
        .enumerate()
        .filter(|(_, plan)| matches!(plan.operation.did, Did::Write { .. }))
        .filter_map(|(index, plan)| Some((plan.effect?, index)))
        .collect();
    effects.sort_unstable();
    let beginning = |flag: &String| (flag.clone(), BTreeMap::from([(BASE, header.flags.get(flag).copied())]));
    let values = flags.iter().map(beginning).collect();
    let mut truth = Truth { flags, values, changes: Vec::new() };
    let mut revision = BASE;
    for (at, index) in effects {
        // Some revisions are of changes elsewhere.
        revision += if dice.percent(10) { 2 } else { 1 };
        let operation = &mut plans[index].operation;
        let Did::Write { set } = &operation.did else { continue };
        for (flag, value) in set {
            truth.values.entry(flag.clone()).or_default().insert(revision, Some(*value));
        }
        truth.changes.push(Change { at, revision, set: set.clone() });
        if operation.outcome == Outcome::Ok {
            operation.revision = Some(revision);
        }
    }
    truth
}

/// When a node comes to know the newest state: mostly every few milliseconds, sometimes not for a while.
fn moments(dice: &mut Dice, until: u64) -> Vec<u64> {
    let (mut moments, mut now) = (vec![0], 0);
    while now <= until {
        now += if dice.percent(3) { dice.from_to(20 * MS, 200 * MS) } else { dice.around(3 * MS) };
        moments.push(now);
    }
    moments
}

/// What a node answers to a read.
fn answer(
    operation: &mut Operation,
    effect: u64,
    truth: &Truth,
    knows: &[u64],
    token: Option<u64>,
    dice: &mut Dice,
) {
    let Did::Read { asked, saw, consistency, age_ms } = &mut operation.did else { return };
    let known = |at: u64| knows[knows.partition_point(|moment| *moment <= at).saturating_sub(1)];
    let mut as_of = known(effect);
    let mut answered = effect;
    let mut says = Consistency::Local;
    match asked {
        Asked::Ordinary => {}
        Asked::Critical if dice.percent(5) => says = Consistency::SafeVariant,
        Asked::Critical | Asked::Linearizable => (says, as_of) = (Consistency::Linearizable, effect),
        Asked::MinRevision(minimum) => {
            *minimum = token.unwrap_or(BASE);
            // It waits until the node has it.
            let arrives =
                knows.iter().find(|moment| truth.revision_at(**moment) >= *minimum && **moment >= as_of);
            as_of = arrives.copied().unwrap_or(as_of);
            answered = answered.max(as_of);
            operation.end_ns = operation.end_ns.max(answered + 1);
            if truth.revision_at(as_of) < *minimum {
                operation.outcome = Outcome::Failed;
            }
        }
        Asked::MaxAgeMs(bound) => {
            // It asks a quorum then, or refuses.
            if answered - as_of > *bound * MS {
                (says, as_of) = (Consistency::Linearizable, effect);
                if dice.percent(30) {
                    operation.outcome = Outcome::Failed;
                }
            }
        }
    }
    if operation.outcome != Outcome::Ok {
        saw.clear();
        return;
    }
    let revision = truth.revision_at(as_of);
    operation.revision = Some(revision);
    *consistency = Some(says);
    let states_age = dice.percent(95) || matches!(asked, Asked::MaxAgeMs(_));
    *age_ms = states_age.then(|| (answered - as_of).div_ceil(MS));
    if says == Consistency::SafeVariant {
        saw.clear();
    }
    for (flag, value) in saw {
        *value = truth.value(flag, revision);
    }
}

/// What a follower of the stream is sent, which moves from node to node.
fn follow(
    stream: u64,
    clients: u32,
    until: u64,
    truth: &Truth,
    nodes: &[Vec<u64>],
    dice: &mut Dice,
) -> Vec<Operation> {
    let client = clients + u32::try_from(stream).unwrap_or(0);
    let mut operations: Vec<Operation> = Vec::new();
    let mut position: Option<u64> = None;
    let mut now = dice.from_to(1, 20 * MS);
    while now < until {
        let node = dice.from_to(1, nodes.len() as u64);
        let knows = &nodes[usize::try_from(node - 1).unwrap_or(0)];
        let mut send = |now: u64, revision: Option<u64>, event: Event| {
            let did = Did::Stream { stream, event };
            let (start_ns, end_ns, outcome) = (now, now, Outcome::Ok);
            operations.push(Operation {
                op: 0,
                client,
                node,
                session: None,
                start_ns,
                end_ns,
                outcome,
                revision,
                did,
            });
        };
        send(now, None, Event::Asked { after: position });
        let leaves = now + dice.from_to(10 * MS, 200 * MS);
        for moment in &knows[knows.partition_point(|moment| *moment <= now)..] {
            if *moment > leaves {
                break;
            }
            // Whatever is sent for this moment has come before the next.
            let newest = truth.revision_at(*moment);
            // Whoever is ahead of the node waits.
            if position.is_some_and(|position| position > newest) {
                continue;
            }
            let mut at = *moment;
            match position {
                // It begins, or what it misses is not remembered any more.
                None => {
                    let event = Event::Snapshot { touched: truth.touched(newest), flags: truth.all(newest) };
                    send(at, Some(newest), event);
                }
                Some(before) if before + 20 < newest && dice.percent(50) => {
                    let event = Event::Snapshot { touched: truth.touched(newest), flags: truth.all(newest) };
                    send(at, Some(newest), event);
                }
                Some(before) => {
                    let first = truth.changes.partition_point(|change| change.revision <= before);
                    for change in &truth.changes[first..] {
                        if change.revision > newest {
                            break;
                        }
                        let previous = truth.touched(change.revision - 1);
                        send(at, Some(change.revision), Event::Change { previous, set: change.set.clone() });
                        at += 1;
                    }
                    if dice.percent(20) {
                        send(at, Some(newest), Event::Progress { touched: truth.touched(newest) });
                    }
                }
            }
            position = position.max(Some(newest));
        }
        now = leaves + dice.from_to(1, 5 * MS);
    }
    operations
}
