//! What is printed: the machine, progress, and the table, as Markdown.

use flagraft_bench_common::{
    flags::{OTHERS, User},
    machine,
    statistics::Spread,
};

use crate::{CASES, EvalArgs, Sample, engines::Candidate};

/// Says what is measured, and on what.
pub fn head(args: &EvalArgs, user: &User) {
    println!("{}", machine::description());
    if let Some(load) = machine::load() {
        println!("load average of the last minute: {load:.2}");
    }
    println!(
        "{} rounds of at least {} ms for each engine and case; {OTHERS} other flags loaded; evaluated for {}\n",
        args.rounds, args.millis, user.key
    );
}

/// Says that a round is done.
pub fn progress(args: &EvalArgs, round: usize) {
    eprintln!("round {}/{}", round + 1, args.rounds);
}

/// Prints the figures of every engine on every case.
pub fn table(args: &EvalArgs, engines: &[Box<dyn Candidate>], samples: &[Sample]) {
    println!("One evaluation: medians of {} rounds, in brackets the least and the greatest\n", args.rounds);
    println!("| Case | Engine | ns | Times the fastest peer |");
    println!("|---|---|---:|---:|");
    for case in CASES {
        let of = |engine: &'static str| {
            samples.iter().filter(move |sample| (sample.engine, sample.case) == (engine, case.name))
        };
        let figures = |engine| Spread::of(of(engine).map(|sample| sample.nanoseconds));
        let median = |engine| figures(engine).map_or(f64::INFINITY, |spread| spread.median);
        let peers = engines.iter().filter(|engine| engine.is_peer()).map(|engine| engine.name());
        let fastest = peers.min_by(|a, b| median(a).total_cmp(&median(b)));
        for engine in engines.iter().map(|engine| engine.name()) {
            let Some(spread) = figures(engine) else { continue };
            // Of the same round, so that both had the same machine.
            let ratios = of(engine).filter_map(|sample| {
                let other = of(fastest?).find(|other| other.round == sample.round)?;
                Some(sample.nanoseconds / other.nanoseconds)
            });
            let ratio = Spread::of(ratios).filter(|_| Some(engine) != fastest);
            println!(
                "| {} | {engine} | {} ({}-{}) | {} |",
                case.name,
                nanoseconds(spread.median),
                nanoseconds(spread.min),
                nanoseconds(spread.max),
                ratio.map_or("the fastest peer".to_owned(), |r| format!(
                    "{:.2} ({:.2}-{:.2})",
                    r.median, r.min, r.max
                )),
            );
        }
    }
}

fn nanoseconds(figure: f64) -> String {
    if figure < 100.0 { format!("{figure:.1}") } else { format!("{figure:.0}") }
}
