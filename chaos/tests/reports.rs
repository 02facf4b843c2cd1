//! What a report says of a run of which all is known.

use flagraft_chaos::{
    dice::Dice,
    incidents::{Incident, What},
    report::{Collector, Figures, Report, Total},
    revisions,
    shrink::shrink,
    simulate::{Simulation, Size, plant::Plant},
    verdict::Verdict,
};

const MS: u64 = 1_000_000;
const SIZE: Size = Size { clients: 9, operations: 400, flags: 4, nodes: 3, streams: 2 };

/// A run in which nothing was acknowledged from 1,000 to 1,500 ms, for node 2 was cut off, or so it says; and a fault of
/// which nothing showed that it was there.
fn run() -> (Simulation, Vec<Incident>) {
    let mut simulation = Simulation::new(3, SIZE);
    simulation.operations.retain(|o| o.session.is_some() || !(1_000 * MS..1_500 * MS).contains(&o.end_ns));
    let mut incidents = simulation.incidents.clone();
    for (at, what) in [
        (0, What::Leader { node: Some(2), term: 1 }),
        (1_000, What::FaultBegins { fault: 1, kind: "partition".to_owned(), nodes: vec![2] }),
        (1_010, What::TookEffect { fault: 1, proof: "<7 packets> lost".to_owned() }),
        (1_100, What::Leader { node: None, term: 2 }),
        (1_200, What::Leader { node: Some(3), term: 2 }),
        (1_200, What::Leader { node: Some(3), term: 2 }),
        (1_300, What::FaultEnds { fault: 1 }),
        (2_000, What::FaultBegins { fault: 2, kind: "kill".to_owned(), nodes: vec![1] }),
        (2_100, What::FaultEnds { fault: 2 }),
    ] {
        incidents.push(Incident { at_ns: at * MS, what });
    }
    (simulation, incidents)
}

fn figures(simulation: &Simulation, incidents: &[Incident]) -> Figures {
    let mut collector = Collector::new(&simulation.header, simulation.lives());
    simulation.operations.iter().for_each(|operation| collector.observe(operation));
    collector.finish(incidents)
}

#[test]
fn figures_are_those_of_the_run() {
    let (simulation, incidents) = run();
    let figures = figures(&simulation, &incidents);
    let counted: u64 = figures.kinds.values().map(|tally| tally.outcomes.all()).sum();
    assert_eq!(counted, simulation.operations.len() as u64);
    assert_eq!(figures.operations().all(), counted - figures.kinds["stream event"].outcomes.all());
    assert_eq!(figures.leader_changes(), 1);
    assert_eq!(figures.reigns.len(), 3);
    let faults = figures.faults_by_kind();
    let (partition, kill) = (&faults["partition"], &faults["kill"]);
    assert_eq!((partition.took_effect, partition.without_effect), (1, 0));
    assert!((490 * MS..600 * MS).contains(&partition.worst_gap_ns), "{partition:?}");
    assert_eq!((kill.took_effect, kill.without_effect, kill.worst_gap_ns), (0, 1, 0));
    assert!(figures.nodes.values().all(|node| node.local_reads > 0 && node.failed == 0));
    let write = &figures.kinds["write"];
    let (p50, p99) = (write.latency_us(0.5), write.latency_us(0.99));
    assert!((1_500..4_500).contains(&p50) && p99 > p50, "{p50} and {p99} us");
}

#[test]
fn runs_are_taken_together() {
    let (simulation, incidents) = run();
    let figures = figures(&simulation, &incidents);
    let mut total = Total::default();
    total.add(&figures, Some(1_500), "passed");
    total.add(&figures, None, "broken");
    let text = total.text();
    let operations = 2 * figures.operations().all();
    for said in [
        &format!("2 runs, 0.1 minutes, {operations} operations"),
        "2 of 4 faults took effect",
        "1.50 s",
        "passed",
        "broken",
    ] {
        assert!(text.contains(said), "{said} is not in {text}");
    }
}

#[test]
fn a_read_that_a_living_node_failed_is_counted() {
    let (mut simulation, incidents) = run();
    assert!(Plant::Unavailable.put(&mut simulation, &mut Dice::new(1)));
    let figures = figures(&simulation, &incidents);
    assert_eq!(figures.nodes.values().map(|node| node.failed).sum::<u64>(), 1);
}

/// Whether each element that is opened is closed again, in its order.
fn is_well_formed(html: &str) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    for tag in html.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap_or_default();
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        if let Some(closed) = tag.strip_prefix('/') {
            let last = open.pop();
            if last != Some(closed) {
                return Err(format!("{last:?} is open, and {closed} is closed"));
            }
        } else if !tag.ends_with('/') && !["!doctype", "meta"].contains(&name) {
            open.push(name);
        }
    }
    if open.is_empty() { Ok(()) } else { Err(format!("{open:?} are not closed")) }
}

#[test]
fn the_page_and_the_summary_tell_it() {
    let (mut simulation, incidents) = run();
    let lives = simulation.lives();
    let good = Verdict::default();
    let of_good = figures(&simulation, &incidents);
    let not_run = ["clock-jump: there is no libfaketime".to_owned()];
    let quiet = Report {
        figures: &of_good,
        verdicts: &[("none", &good)],
        offences: &[],
        misdeeds: &[],
        healed_ms: Some(2_500),
        without_proof: &[],
        not_run: &not_run,
    };
    assert!(quiet.is_good() && quiet.text().contains("No rule was broken."));
    assert!(quiet.text().contains("healed within 2.50 s") && quiet.page().contains("healed within 2.50 s"));
    assert!(quiet.text().contains("not run here: clock-jump"));
    is_well_formed(&quiet.page()).expect("HTML");
    let unproved = ["nothing showed that <kill> took effect".to_owned()];
    let idle = Report { without_proof: &unproved, ..quiet };
    assert!(idle.is_good() && idle.page().contains("proves nothing") && idle.page().contains("&lt;kill&gt;"));
    let unhealed = ["it did not heal".to_owned()];
    let ill = Report { misdeeds: &unhealed, ..quiet };
    assert!(
        !ill.is_good() && ill.text().contains("broken once") && ill.text().contains("broken: it did not")
    );

    assert!(Plant::StaleValue.put(&mut simulation, &mut Dice::new(1)));
    let verdict = revisions::check(&simulation.header, &lives, &simulation.operations);
    let check = |part: &[_]| revisions::check(&simulation.header, &lives, part);
    let offences = [shrink(&verdict.violations[0], &simulation.operations, check)];
    let report = Report {
        figures: &of_good,
        verdicts: &[("by revision", &verdict)],
        offences: &offences,
        not_run: &[],
        ..quiet
    };
    let (text, page) = (report.text(), report.page());
    is_well_formed(&page).expect("HTML");
    for said in ["partition", "read of a minimum revision", "node 3", verdict.violations[0].rule.broken()] {
        assert!(text.contains(said), "{said} is not in {text}");
        assert!(page.contains(said), "{said} is not on the page");
    }
    assert!(
        page.contains("&lt;7 packets&gt; lost") && !page.contains("<7 packets>"),
        "what others said is escaped"
    );
    let op = format!("{{&quot;op&quot;:{}", offences[0].operations[0].op);
    assert!(page.contains(&op), "the offending operations are on the page");
    for fetched in ["http:", "https:", "src=", "url(", "<script", "@import"] {
        assert!(!page.contains(fetched), "the page needs {fetched}");
    }
}
