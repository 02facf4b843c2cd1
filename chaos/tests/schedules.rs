//! What a seed decides, and what every plan of faults keeps to.

use std::{collections::BTreeMap, fs, path::Path};

use flagraft_chaos::schedule::{
    Schedule, Settings,
    fault::{Extent, Kind, Layer},
    nemesis::{AT_ONCE, Fault, Target},
    workload::{Action, Profile},
};

fn settings(seed: u64, seconds: u64) -> Settings {
    let profile = Profile { writers: 1, readers: 1, sessions: 1, followers: 1, ..Profile::default() };
    Settings { seed, seconds, nodes: 3, kinds: Kind::ALL.to_vec(), profile }
}

/// A seed in the report of a bug is to give the same run in a year. Whoever changes this text on purpose makes all
/// earlier seeds worthless.
#[test]
fn the_same_seed_gives_the_same_schedule_for_ever() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/schedule-of-seed-7.txt");
    let text = Schedule::new(settings(7, 180)).text(8);
    if std::env::var_os("FLAGRAFT_FREEZE").is_some() {
        fs::write(&path, &text).expect("the fixture can be written");
    }
    assert_eq!(text, fs::read_to_string(&path).expect("the fixture is there"));
    assert_ne!(text, Schedule::new(settings(8, 180)).text(8), "another seed gives another one");
}

/// The faults that have begun and not ended when this one begins, and itself.
fn at_once<'a>(faults: &'a [Fault], fault: &Fault) -> Vec<&'a Fault> {
    let lasts =
        |other: &&Fault| other.start_ms <= fault.start_ms && fault.start_ms < other.start_ms + other.lasts_ms;
    faults.iter().filter(lasts).collect()
}

#[test]
fn faults_overlap_but_never_in_one_thing() {
    let mut counts = [0; AT_ONCE + 1];
    for seed in 0..50 {
        let schedule = Schedule::new(settings(seed, 1200));
        let faults = schedule.faults();
        assert!(faults.is_sorted_by_key(|fault| fault.start_ms));
        for fault in faults {
            assert!(fault.start_ms + fault.lasts_ms <= 1_200_000, "seed {seed}: beyond the end: {fault}");
            let together = at_once(faults, fault);
            counts[together.len()] += 1;
            for other in together.iter().filter(|other| other.fault != fault.fault) {
                let nodes = |fault: &Fault| match &fault.target {
                    Target::Nodes(nodes) => nodes.clone(),
                    Target::Leader | Target::All => vec![1, 2, 3],
                };
                let same_node = nodes(fault).iter().any(|node| nodes(other).contains(node));
                for layer in fault.kind.layers().iter().filter(|layer| other.kind.layers().contains(layer)) {
                    assert!(!same_node && *layer != Layer::Data, "seed {seed}: {fault} beside {other}");
                }
            }
        }
    }
    assert!(counts[1] > 100 && counts[2] > 100 && counts[3] > 100, "one, two and three at once: {counts:?}");
}

#[test]
fn every_kind_comes_as_often_as_every_other() {
    let schedule = Schedule::new(settings(1, 3600));
    let mut counts: BTreeMap<(Kind, bool), u64> = BTreeMap::new();
    for fault in schedule.faults() {
        *counts.entry((fault.kind, fault.target == Target::Leader)).or_default() += 1;
    }
    for kind in Kind::ALL {
        let count: u64 = counts.iter().filter(|((of, _), _)| *of == kind).map(|(_, count)| count).sum();
        let expected = kind.extents().len() as u64 * 10;
        assert!(count >= expected, "{kind} comes {count} times in an hour");
        let leader = counts.get(&(kind, true)).copied().unwrap_or(0);
        assert_eq!(
            kind.extents().contains(&Extent::Leader),
            leader >= 10,
            "{kind}: {leader} times to the leader"
        );
    }
    assert!(schedule.faults().len() >= 300, "{} faults in an hour", schedule.faults().len());
}

#[test]
fn what_is_asked_for_is_all_that_is_done() {
    let kinds = vec![Kind::Pause, Kind::Delay];
    let schedule = Schedule::new(Settings { kinds: kinds.clone(), ..settings(3, 300) });
    assert!(schedule.faults().len() > 10);
    assert!(schedule.faults().iter().all(|fault| kinds.contains(&fault.kind)));
    assert!(Schedule::new(Settings { kinds: vec![], ..settings(3, 300) }).faults().is_empty());
    for kind in Kind::ALL {
        assert_eq!(kind.name().parse(), Ok(kind));
    }
    let error = "kil".parse::<Kind>().expect_err("no such").to_string();
    assert!(error.contains("\"kil\"") && error.contains("power-loss"), "{error}");
}

#[test]
fn no_value_is_written_twice() {
    let profile = Profile { writers: 5, ..Profile::default() };
    let schedule = Schedule::new(Settings { profile, ..settings(3, 10) });
    let mut values = BTreeMap::new();
    for mut client in schedule.clients() {
        for _ in 0..2_000 {
            let Action::Write { set } = client.next_step().action else { continue };
            for (flag, value) in set {
                assert_eq!(values.insert((flag, value), ()), None);
            }
        }
    }
    assert!(values.len() > 5_000, "{}", values.len());
}
