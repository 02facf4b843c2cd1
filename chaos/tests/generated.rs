//! Both checkers on histories that are right by construction, and on the same with one thing wrong.

use std::collections::BTreeMap;

use flagraft_chaos::{
    dice::Dice,
    revisions,
    simulate::{Simulation, Size, plant::Plant},
    zones,
};

mod common;
use common::rounds;

const SIZE: Size = Size { clients: 9, operations: 40, flags: 4, nodes: 3, streams: 3 };

#[test]
fn what_is_right_passes() {
    let mut judged: BTreeMap<String, u64> = BTreeMap::new();
    for seed in 0..u64::from(rounds(150, 5_000)) {
        let simulation = Simulation::new(seed, SIZE);
        let by_revision = revisions::check(&simulation.header, &simulation.lives(), &simulation.operations);
        assert!(by_revision.is_good(), "seed {seed}: {:#?}", by_revision.violations);
        let by_zones = zones::check(&simulation.header, &simulation.operations);
        assert!(by_zones.is_good(), "seed {seed}: {:#?}", by_zones.violations);
        for (what, count) in by_revision.judged {
            *judged.entry(what).or_default() += count;
        }
    }
    for what in [
        "ages",
        "events of streams",
        "minimum revisions",
        "operations of sessions",
        "reads confirmed",
        "reads that failed",
        "values at revisions",
        "writes acknowledged",
        "writes of which nobody knows",
        "writes refused",
    ] {
        assert!(judged.get(what).is_some_and(|count| *count > 10), "hardly any {what}: {judged:?}");
    }
}

#[test]
fn each_planted_fault_is_found_by_the_rule_that_it_breaks() {
    for plant in Plant::ALL {
        let (mut planted, mut seed) = (0, 0);
        while planted < rounds(30, 1_000) {
            seed += 1;
            assert!(seed < 20_000, "{plant:?} has hardly ever a place");
            let mut simulation = Simulation::new(seed, SIZE);
            if !plant.put(&mut simulation, &mut Dice::new(seed)) {
                continue;
            }
            planted += 1;
            let verdict = revisions::check(&simulation.header, &simulation.lives(), &simulation.operations);
            assert!(
                plant.breaks().iter().any(|rule| verdict.broken.contains_key(rule)),
                "{plant:?} with seed {seed} breaks {:?}: {:#?}",
                verdict.broken,
                verdict.violations
            );
            if plant.breaks_zones() {
                let verdict = zones::check(&simulation.header, &simulation.operations);
                assert!(!verdict.is_good(), "the zones know nothing of {plant:?} with seed {seed}");
            }
        }
    }
}
