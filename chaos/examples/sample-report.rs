//! Writes a report of a simulated run, to look at: `cargo run -p flagraft-chaos --example sample-report -- FILE [bad]`.
//! With `bad`, two things in it are wrong.

use std::{env, error::Error, fs};

use flagraft_chaos::{
    dice::Dice,
    incidents::{Incident, What},
    operation::{Did, Outcome},
    report::{Collector, Report},
    revisions,
    schedule::{Schedule, Settings, fault::Kind, nemesis::Target, workload::Profile},
    shrink::shrink,
    simulate::{Simulation, Size, plant::Plant},
    zones,
};

const MS: u64 = 1_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let file = arguments.next().ok_or("name the file to write")?;
    let size = Size { clients: 24, operations: 18_000, flags: 8, nodes: 3, streams: 3 };
    let mut simulation = Simulation::new(7, size);
    if arguments.next().is_some_and(|kind| kind == "bad") {
        // Of those whose places are found quickly in a long history.
        for plant in [Plant::MinRevision, Plant::StreamSwapped] {
            plant.put(&mut simulation, &mut Dice::new(1));
        }
    }
    let incidents = incidents(&mut simulation);
    let by_revision = revisions::check(&simulation.header, &simulation.lives(), &simulation.operations);
    let by_zones = zones::check(&simulation.header, &simulation.operations);
    let mut collector = Collector::new(&simulation.header, simulation.lives());
    simulation.operations.iter().for_each(|operation| collector.observe(operation));
    let figures = collector.finish(&incidents);
    let lives = simulation.lives();
    let offences: Vec<_> = by_revision
        .violations
        .iter()
        .take(3)
        .map(|violation| {
            shrink(violation, &simulation.operations, |part| {
                revisions::check(&simulation.header, &lives, part)
            })
        })
        .collect();
    let report = Report {
        figures: &figures,
        verdicts: &[("by revision", &by_revision), ("by zones", &by_zones)],
        offences: &offences,
        misdeeds: &[],
        healed_ms: Some(1_200),
        without_proof: &[],
        not_run: &["nothing was: this cluster is only arithmetic, and its faults are names".to_owned()],
    };
    fs::write(file, report.page())?;
    println!("{}", report.text());
    Ok(())
}

/// Faults as a schedule has them. Some of them take the leader away for a while.
fn incidents(simulation: &mut Simulation) -> Vec<Incident> {
    let settings =
        Settings { seed: 7, seconds: 115, nodes: 3, kinds: Kind::ALL.to_vec(), profile: Profile::default() };
    let schedule = Schedule::new(settings);
    let mut incidents = simulation.incidents.clone();
    let mut note = |at_ns, what| incidents.push(Incident { at_ns, what });
    let (mut leader, mut term) = (1, 4);
    note(0, What::Leader { node: Some(leader), term });
    for fault in schedule.faults() {
        let (from, to) = (fault.start_ms * MS, (fault.start_ms + fault.lasts_ms) * MS);
        let nodes = match &fault.target {
            Target::Leader => vec![leader],
            Target::Nodes(nodes) => nodes.clone(),
            Target::All => vec![1, 2, 3],
        };
        let id = fault.fault;
        note(from, What::FaultBegins { fault: id, kind: fault.kind.to_string(), nodes: nodes.clone() });
        if id % 7 != 0 {
            note(from + 20 * MS, What::TookEffect { fault: id, proof: "so the sample says".to_owned() });
        }
        note(to, What::FaultEnds { fault: id });
        if nodes.contains(&leader) {
            // Whoever writes meanwhile is not answered.
            for operation in &mut simulation.operations {
                let silent = (from..from + 1_400 * MS).contains(&operation.end_ns);
                if silent && matches!(operation.did, Did::Write { .. }) && operation.outcome == Outcome::Ok {
                    (operation.outcome, operation.revision) = (Outcome::Unknown, None);
                }
            }
            term += 1;
            leader = leader % 3 + 1;
            note(from + 300 * MS, What::Leader { node: None, term });
            note(from + 1_200 * MS, What::Leader { node: Some(leader), term });
        }
    }
    incidents
}
