//! `scripts/chaos`: breaks a real cluster while clients use it, and judges what they saw.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use clap::Parser;
use flagraft_chaos::{
    report::Total,
    schedule::{Schedule, Settings, fault::Kind, workload::Profile},
};
use flagraft_tests::campaign::{self, Keep, Order, nemesis, verdict::Outcome};
use tokio::signal::unix::{SignalKind, signal};

/// What a run, or all of them, came to. What is worse is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum CameTo {
    Passed,
    /// Nothing was broken, but the run could not have shown it.
    ProvesNothing,
    Broken,
}

/// What a shell makes of SIGINT.
const INTERRUPTED: u8 = 130;

/// Breaks a cluster of real nodes on this machine while clients use it, and judges what they saw.
///
/// A seed decides what the clients do and what is done to the nodes. Ends with 0 if every promise was kept, with 1 if one
/// was broken, with 3 if nothing was broken but a fault did not take effect or hardly anything was judged, and with 2 if
/// it was called wrongly.
#[derive(Debug, Parser)]
#[command(name = "scripts/chaos", version)]
struct Args {
    /// How long faults are done, in minutes; each run takes about a minute more.
    #[arg(long, default_value_t = 5.0, value_parser = minutes)]
    minutes: f64,
    /// Decides all the rest. Of several runs, the first has it, and each other one the next number. [default: any]
    #[arg(long)]
    seed: Option<u64>,
    /// The faults to choose from, with commas between. [default: all that can be done on this machine]
    #[arg(long, value_delimiter = ',')]
    faults: Vec<Kind>,
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(3..=9))]
    nodes: u64,
    /// How many runs, each with a cluster of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// The long one: seven runs of ten minutes.
    #[arg(long, conflicts_with_all = ["minutes", "runs"])]
    campaign: bool,
    /// A bug to plant in every node: the run is to find it.
    #[arg(long)]
    canary: Option<String>,
    /// Leave the history and the logs of good runs too; they may be large.
    #[arg(long)]
    keep_all: bool,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Where each run leaves a folder.
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    folder: PathBuf,
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "use a number of minutes, such as 10 or 0.5".to_owned())?;
    // Whatever is shorter has no room for a fault between the calm before and after it.
    if (0.25..=600.0).contains(&minutes) { Ok(minutes) } else { Err("use 0.25 to 600 minutes".to_owned()) }
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut args = Args::parse();
    if args.campaign {
        (args.minutes, args.runs) = (10.0, 7);
    }
    if let Err(error) = std::fs::create_dir_all(&args.folder) {
        eprintln!("{}: {error}. Name another with --folder.", args.folder.display());
        return ExitCode::from(2);
    }
    let first = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000_000));
    let (mut total, mut worst) = (Total::default(), CameTo::Passed);
    for seed in first..first.saturating_add(args.runs) {
        let order = args.order(seed);
        say(&args.outline(&order));
        if args.dry_run {
            continue;
        }
        let outcome = tokio::select! {
            outcome = campaign::run(&order) => outcome,
            // Its nodes and their disks go with the run.
            () = interrupted() => return ExitCode::from(INTERRUPTED),
        };
        let came_to = CameTo::of(&outcome);
        say(&outcome.summary);
        say(&came_to.said(&outcome, &order.again));
        let healed_ms = outcome.healed.map(|healed| u64::try_from(healed.as_millis()).unwrap_or(u64::MAX));
        total.add(&outcome.figures, healed_ms, came_to.name());
        worst = worst.max(came_to);
    }
    if args.runs > 1 && !args.dry_run {
        say(&total.text());
    }
    ExitCode::from(worst.code())
}

/// Returns when somebody wants this to end.
async fn interrupted() {
    let mut terminate = signal(SignalKind::terminate()).expect("a runtime with signals");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// Prints a line, or more, to whoever still reads: `| head` may have seen enough, and a run goes on without it.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

impl Args {
    fn order(&self, seed: u64) -> Order {
        let kinds = if self.faults.is_empty() { Kind::ALL.to_vec() } else { self.faults.clone() };
        // What can't be done here is no part of the plan: with it, the same seed would give another one.
        let names: Vec<&str> = nemesis::done_here(&kinds).0.iter().map(|kind| kind.name()).collect();
        let canary = self.canary.iter().map(|name| format!(" --canary {name}")).collect::<String>();
        let again = format!(
            "./scripts/chaos --seed {seed} --minutes {} --nodes {} --faults {}{canary}",
            self.minutes,
            self.nodes,
            names.join(",")
        );
        let settings =
            Settings { seed, seconds: self.seconds(), nodes: self.nodes, kinds, profile: Profile::default() };
        Order {
            settings,
            again,
            canary: self.canary.clone(),
            folder: self.folder.clone(),
            keep: if self.keep_all { Keep::All } else { Keep::Reports },
            shows_progress: true,
        }
    }

    fn seconds(&self) -> u64 {
        // In bounds, and what is lost of a second does not matter.
        (self.minutes * 60.0) as u64
    }

    /// What is about to be done: all of it, if nothing else is asked for.
    fn outline(&self, order: &Order) -> String {
        let (kinds, not_run) = nemesis::done_here(&order.settings.kinds);
        let schedule = Schedule::new(Settings { kinds, ..order.settings.clone() });
        if self.dry_run {
            return schedule.to_string();
        }
        let mut text = schedule.to_string().lines().next().unwrap_or_default().to_owned();
        not_run.iter().for_each(|why| text += &format!("\nnot run here: {why}"));
        text
    }
}

impl CameTo {
    fn of(outcome: &Outcome) -> Self {
        match (outcome.broken.is_empty(), outcome.invalid.is_empty()) {
            (false, _) => Self::Broken,
            (true, false) => Self::ProvesNothing,
            (true, true) => Self::Passed,
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Broken => 1,
            Self::ProvesNothing => 3,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::ProvesNothing => "proves nothing",
            Self::Broken => "broken",
        }
    }

    /// The last word on a run: where to look, and what to do.
    fn said(self, outcome: &Outcome, again: &str) -> String {
        let folder = outcome.folder.as_deref().unwrap_or("nowhere".as_ref()).display();
        match self {
            Self::Passed => format!("Passed. Look at {folder}/report.html"),
            Self::ProvesNothing => {
                format!(
                    "This run proves nothing (above: why). Look at {folder}/report.html, and run it again:\n{again}"
                )
            }
            Self::Broken => format!(
                "A promise was broken (above: which). {folder} has the history, the operations that show it, each node's log \
                 and report.html. Run it again:\n{again}"
            ),
        }
    }
}
