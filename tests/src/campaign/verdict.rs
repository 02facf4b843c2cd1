//! What a run came to: whether the cluster healed, agrees and kept its promises, and whether the run is one that could
//! have shown otherwise.

mod evidence;

use std::{
    fs::{self, File},
    io::BufReader,
    path::PathBuf,
    time::{Duration, Instant},
};

use flagraft_chaos::{
    history::{Header, Reader, Unreadable},
    incidents::{self, Lives},
    operation::{Did, Operation, Outcome as Ended},
    report::{Collector, Figures, Report},
    revisions,
    schedule::Schedule,
    shrink::{Offence, shrink_file},
    verdict::{Verdict, Violation},
    zones,
};

use self::evidence::Evidence;
use super::{
    Order,
    nemesis::Ground,
    stage::{Stage, history_file, incidents_file},
    workload::reason,
};
use crate::{audit, load::Written};

/// A run that judged less than this, in each second for which faults were done, of something that it is there to judge has
/// proved nothing.
const JUDGED_A_SECOND: u64 = 1;

/// What a run has to have judged, as the checkers call it.
const TO_BE_JUDGED: [&str; 7] = [
    "ages",
    "events of streams",
    "minimum revisions",
    "operations of sessions",
    "reads confirmed",
    "values at revisions",
    "writes acknowledged",
];

/// How many violations are shortened to what shows them. One bug breaks many rules, many times.
const SHOWN: usize = 4;

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// What must not have happened. Empty: every promise was kept.
    pub broken: Vec<String>,
    /// Why the run could not have shown that: a fault that nothing showed, or hardly anything to judge. Such a run is
    /// neither passed nor failed.
    pub invalid: Vec<String>,
    /// Faults that were asked for and can't be done on this machine, each with the reason. They count for nothing.
    pub not_run: Vec<String>,
    /// The figures.
    pub figures: Figures,
    /// How long it took after the last fault until the cluster served in full.
    pub healed: Option<Duration>,
    /// All of it as text.
    pub summary: String,
    /// Where what is known of the run was left ([`super::Keep`]).
    pub folder: Option<PathBuf>,
}

impl Outcome {
    /// # Panics
    /// A promise was broken, or the run proves nothing.
    pub fn expect_passed(&self) {
        println!("{}", self.summary);
        if let Some(folder) = &self.folder {
            println!("see {}", folder.display());
        }
        let folder = self.folder.as_deref().unwrap_or("nowhere".as_ref()).display();
        assert!(self.broken.is_empty(), "broken, see {folder}: {:#?}", self.broken);
        assert!(self.invalid.is_empty(), "this run proves nothing, see {folder}: {:#?}", self.invalid);
    }
}

/// A history that was read through once.
struct Judged {
    header: Header,
    by_revision: Verdict,
    by_zones: Verdict,
    collector: Collector,
    written: Written,
    /// The reasons of writes that were refused.
    refused: Vec<String>,
}

/// A run that is over.
pub(super) struct Done<'a> {
    pub order: &'a Order,
    pub stage: Stage,
    pub ground: Ground,
    pub schedule: Schedule,
    pub healed: Result<Duration, String>,
    /// Until when all nodes have to say the same.
    pub agree_until: Instant,
    /// Answers that no client should have got.
    pub odd: Vec<String>,
    /// Faults that were asked for and can't be done on this machine.
    pub not_run: Vec<String>,
}

pub(super) async fn judge(done: Done<'_>) -> Outcome {
    let Done { order, stage, mut ground, schedule, healed, agree_until, odd: mut misdeeds, not_run } = done;
    // Before the rest, which takes its time.
    let agreed = ground.cluster.agreed_within(agree_until.saturating_duration_since(Instant::now())).await;
    misdeeds.append(&mut ground.misdeeds);
    misdeeds.extend(healed.as_ref().err().map(|why| format!("it did not heal: {why}")));
    let incidents = incidents::read(&incidents_file(&stage.folder)).expect("it was written a moment ago");
    let lives = Lives::of(&incidents);
    let history = history_file(&stage.folder);
    let Judged { header, by_revision, by_zones, collector, written, refused } =
        read_through(|| Reader::open(&history), &lives).expect("it was written a moment ago");
    let figures = collector.finish(&incidents);

    match agreed {
        Ok(_) => misdeeds.extend(audited(&ground, &written, &refused).await),
        Err(said) => misdeeds.push(format!("the nodes do not agree: {said}")),
    }
    for node in ground.cluster.ids() {
        let log = ground.cluster.log(node);
        let panics = log.lines().filter(|line| line.contains("panicked at"));
        misdeeds.extend(panics.map(|line| format!("node {node}: {line}")));
    }
    let verdicts = [("by revision", &by_revision), ("by zones", &by_zones)];
    let violations = verdicts.iter().flat_map(|(checker, verdict)| {
        verdict.violations.iter().map(move |violation| format!("{checker}: {violation}"))
    });
    let broken: Vec<String> = misdeeds.iter().cloned().chain(violations).collect();
    let offences =
        if broken.is_empty() { Vec::new() } else { offences(&header, &lives, &verdicts, &history) };
    let invalid = without_proof(&figures, &by_revision, order.settings.seconds);
    let report = Report {
        figures: &figures,
        verdicts: &verdicts,
        offences: &offences,
        misdeeds: &misdeeds,
        healed_ms: healed.as_ref().ok().map(|healed| u64::try_from(healed.as_millis()).unwrap_or(u64::MAX)),
        without_proof: &invalid,
        not_run: &not_run,
    };
    let summary = report.text();
    let is_good = broken.is_empty() && invalid.is_empty();
    let folder = order.keep.leaves(is_good).map(|is_whole| {
        let evidence = Evidence { report: &report, schedule: &schedule, again: &order.again, is_whole };
        evidence.leave(&stage.folder, &ground.cluster, &header);
        stage.folder.clone()
    });
    if folder.is_none()
        && let Err(error) = fs::remove_dir_all(&stage.folder)
    {
        println!("{}: {error}", stage.folder.display());
    }
    Outcome { broken, invalid, not_run, healed: healed.ok(), summary, folder, figures }
}

/// Reads a history, for all who want to know something of it.
fn read_through(
    open: impl Fn() -> Result<Reader<BufReader<File>>, Unreadable>,
    lives: &Lives,
) -> Result<Judged, Unreadable> {
    let mut reader = open()?;
    let header = reader.header().clone();
    let mut by_revision = revisions::Checker::new(&header, lives);
    let mut by_zones = zones::Checker::new(&header);
    let mut collector = Collector::new(&header, lives.clone());
    let (mut written, mut refused) = (Written::default(), Vec::new());
    for operation in reader.by_ref() {
        let operation = operation?;
        by_revision.observe(&operation);
        by_zones.observe(&operation);
        collector.observe(&operation);
        let Did::Write { set } = &operation.did else { continue };
        let Some((_, value)) = set.first() else { continue };
        match (operation.outcome, operation.revision) {
            (Ended::Ok, Some(revision)) => written.acknowledged.push((reason(*value), revision)),
            (Ended::Failed, _) => refused.push(reason(*value)),
            _ => written.unknown.push(reason(*value)),
        }
    }
    let (by_revision, by_zones) = (by_revision.finish(), by_zones.finish());
    Ok(Judged { header, by_revision, by_zones, collector, written, refused })
}

/// What the audit log has, compared with what the clients were told. All nodes have the same, by its root; one that serves
/// no more was told of already.
async fn audited(ground: &Ground, written: &Written, refused: &[String]) -> Option<String> {
    let mut read = Err("no node lives".to_owned());
    for node in ground.cluster.living() {
        read = audit::read(&ground.cluster.admin(node)).await;
        if read.is_ok() {
            break;
        }
    }
    let records = match read {
        Ok(records) => records,
        Err(fault) => return Some(format!("the audit log can't be read: {fault}")),
    };
    let accepted = audit::accepted_by_reason(&records);
    let wrong = audit::compare(&records, written).err();
    let taken = || refused.iter().find(|reason| accepted.contains_key(*reason));
    wrong
        .or_else(|| taken().map(|reason| format!("{reason:?} was refused, and is there")))
        .map(|wrong| format!("the audit log: {wrong}"))
}

/// The operations that show the first violations.
fn offences(
    header: &Header,
    lives: &Lives,
    verdicts: &[(&str, &Verdict); 2],
    history: &std::path::Path,
) -> Vec<Offence> {
    let open = || Reader::open(history);
    let by_revision = |_: &Header, part: &[Operation]| revisions::check(header, lives, part);
    let by_zones = |_: &Header, part: &[Operation]| zones::check(header, part);
    let firsts = |verdict: &Verdict| -> Vec<Violation> {
        let first = |rule| verdict.violations.iter().find(|violation| violation.rule == rule).cloned();
        verdict.broken.keys().filter_map(|rule| first(*rule)).take(SHOWN).collect()
    };
    let [(_, revisions), (_, zones)] = verdicts;
    let shown = firsts(revisions).into_iter().filter_map(|v| shrink_file(&v, open, by_revision).ok());
    shown.chain(firsts(zones).into_iter().filter_map(|v| shrink_file(&v, open, by_zones).ok())).collect()
}

/// Why the run could not have shown a broken promise.
fn without_proof(figures: &Figures, by_revision: &Verdict, seconds: u64) -> Vec<String> {
    let none = figures.faults.is_empty().then(|| "no fault was done".to_owned());
    let faults = figures.faults.iter().filter(|fault| fault.proof.is_none());
    let shown =
        faults.map(|fault| format!("nothing showed that fault {} ({}) took effect", fault.fault, fault.kind));
    let judged = |what: &&str| by_revision.judged.get(*what).copied().unwrap_or_default();
    let served = figures.nodes.values().map(|node| node.local_reads).sum();
    let little = TO_BE_JUDGED
        .iter()
        .map(|what| (*what, judged(what)))
        .chain([("ordinary reads through nodes that served", served)])
        .filter(|(_, count)| *count < seconds * JUDGED_A_SECOND)
        .map(|(what, count)| format!("only {count} {what} were judged"));
    none.into_iter().chain(shown).chain(little).collect()
}
