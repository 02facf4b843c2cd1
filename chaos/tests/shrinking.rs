//! From a long history in which one thing is wrong to the few operations that show it.

use std::{fs::File, io::BufReader, io::Write as _};

use flagraft_chaos::{
    dice::Dice,
    history::Reader,
    revisions,
    shrink::{shrink, shrink_file},
    simulate::{Simulation, Size, plant::Plant},
    verdict::{Rule, Violation},
    zones,
};

const SIZE: Size = Size { clients: 9, operations: 60, flags: 4, nodes: 3, streams: 3 };

fn planted(plant: Plant, from_seed: u64) -> Simulation {
    for seed in from_seed.. {
        let mut simulation = Simulation::new(seed, SIZE);
        if plant.put(&mut simulation, &mut Dice::new(seed)) {
            return simulation;
        }
    }
    unreachable!("some seed has a place for it")
}

#[test]
fn a_few_operations_show_what_is_wrong_and_none_is_too_many() {
    let mut longest = 0;
    for plant in Plant::ALL {
        for seed in [1, 100, 200] {
            let simulation = planted(plant, seed);
            let (header, lives) = (&simulation.header, simulation.lives());
            let check = |part: &[_]| revisions::check(header, &lives, part);
            let violation = check(&simulation.operations).violations.swap_remove(0);
            let offence = shrink(&violation, &simulation.operations, check);
            let rule = violation.rule;
            assert!(check(&offence.operations).broken.contains_key(&rule), "{plant:?}: {offence:#?}");
            for index in 0..offence.operations.len() {
                let mut fewer = offence.operations.clone();
                fewer.remove(index);
                assert!(
                    !check(&fewer).broken.contains_key(&rule),
                    "{plant:?}: one is too many: {offence:#?}"
                );
            }
            longest = longest.max(offence.operations.len());
        }
    }
    assert!(longest <= 6, "{longest} operations to show one thing");
}

#[test]
fn the_same_from_a_file() {
    let simulation = planted(Plant::LostWrite, 1);
    let (header, lives) = (&simulation.header, simulation.lives());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("history.jsonl");
    let mut file = File::create(&path).expect("a file");
    writeln!(file, "{}", serde_json::to_string(header).expect("JSON")).expect("written");
    for operation in &simulation.operations {
        writeln!(file, "{}", serde_json::to_string(operation).expect("JSON")).expect("written");
    }
    let open = || Reader::<BufReader<File>>::open(&path);
    let shrunk = |violation: &Violation| {
        let by_revision = shrink_file(violation, open, |header, part| revisions::check(header, &lives, part));
        by_revision.expect("it can be read")
    };
    let violation = revisions::check(header, &lives, &simulation.operations).violations.swap_remove(0);
    assert!((2..=4).contains(&shrunk(&violation).operations.len()));
    // And what the zones found.
    let violation = zones::check(header, &simulation.operations).violations.swap_remove(0);
    let offence =
        shrink_file(&violation, open, |header, part| zones::check(header, part)).expect("it can be read");
    assert!((2..=6).contains(&offence.operations.len()), "{offence:#?}");
    // What they do not show by themselves is given as it is named.
    let violation = Violation { rule: Rule::Foreseen, ..violation };
    let offence =
        shrink_file(&violation, open, |header, part| zones::check(header, part)).expect("it can be read");
    assert_eq!(offence.violation, violation);
    assert!(violation.ops.iter().all(|op| offence.operations.iter().any(|operation| operation.op == *op)));
}
