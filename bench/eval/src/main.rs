//! `flagraft-bench-eval`: how long does one evaluation take, beside other engines? `scripts/bench` builds and starts it.
//!
//! Each round measures every engine on every case, one after the other and each round in another order, so that what
//! else the machine does hits all of them alike.

mod check;
mod engines;
mod report;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use flagraft_bench_common::{
    failure::Failure,
    flags::{self, NO_RULES, ONE_RULE, TEN_RULES},
};

use self::engines::Candidate;

/// For all engines the one that Flagraft's binary has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One evaluation in this process, beside other systems' engines: same flags, same user, same run.
#[derive(Parser, Clone, Debug)]
#[command(name = "bench eval")]
pub struct EvalArgs {
    /// How often each engine is measured on each case
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// How long one measurement is at least, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 50)]
    millis: u64,
    /// Three short rounds, to see that it works
    #[arg(long)]
    quick: bool,
}

/// What is measured: a flag, and what is said of it.
const CASES: [Case; 3] = [
    Case { key: NO_RULES, name: "no rules" },
    Case { key: ONE_RULE, name: "one rule" },
    Case { key: TEN_RULES, name: "ten rules" },
];

/// One of the cases.
#[derive(Clone, Copy, Debug)]
struct Case {
    key: &'static str,
    name: &'static str,
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
struct Sample {
    engine: &'static str,
    case: &'static str,
    round: usize,
    nanoseconds: f64,
}

fn main() -> ExitCode {
    match run(EvalArgs::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut args: EvalArgs) -> Result<(), Failure> {
    if args.quick {
        (args.rounds, args.millis) = (3, 10);
    }
    let begun = Instant::now();
    let mut engines = engines::load(&flags::all())?;
    let user = check::check(&mut engines)?;
    report::head(&args, &user);

    let least = Duration::from_millis(args.millis);
    let mut counts = Vec::new();
    for case in CASES {
        for (index, engine) in engines.iter().enumerate() {
            counts.push((case.key, index, calibrate(engine.as_ref(), case.key, least)));
        }
    }
    let mut samples = Vec::new();
    for round in 0..args.rounds {
        for (key, index, count) in &counts {
            let (Some(engine), Some(case)) =
                (engines.get(*index), CASES.iter().find(|case| case.key == *key))
            else {
                continue;
            };
            let nanoseconds = engine.time(key, *count).as_secs_f64() * 1e9 / *count as f64;
            samples.push(Sample { engine: engine.name(), case: case.name, round, nanoseconds });
        }
        // The next round in another order.
        counts.rotate_left(1);
        report::progress(&args, round);
    }
    report::table(&args, &engines, &samples);
    println!("\nTook {} s.", begun.elapsed().as_secs());
    Ok(())
}

/// How many evaluations take at least as long as one measurement is to be. Warms up, too.
fn calibrate(engine: &dyn Candidate, key: &str, least: Duration) -> u64 {
    let mut count = 100;
    loop {
        let took = engine.time(key, count);
        if took >= least {
            return count;
        }
        // Never more than tenfold, so that one odd measurement at the beginning does no harm.
        let factor = least.as_secs_f64() / took.as_secs_f64().max(1e-9) * 1.1;
        count = (count as f64 * factor.clamp(1.1, 10.0)).ceil() as u64;
    }
}
