//! What is printed: the machine and the table, as Markdown.

use flagraft_bench_common::{
    machine,
    statistics::{Spread, millis, percentile},
};

use super::{CatalogArgs, Figures, content::SEGMENTS};

/// Says what is measured, and on what.
pub fn head(args: &CatalogArgs) {
    println!("{}", machine::description());
    if let Some(load) = machine::load() {
        println!("load average of the last minute: {load:.2}");
    }
    println!(
        "{} flags of 3 rules in {} environment(s), {SEGMENTS} segments; {} changes\n",
        args.flags, args.environments, args.changes
    );
}

/// Prints what was measured.
pub fn table(args: &CatalogArgs, mut figures: Figures) {
    println!("| What | Figure |");
    println!("|---|---:|");
    if let Some(spread) = Spread::of(figures.compilations.iter().map(|took| millis(*took))) {
        println!("| compile all of it | {:.1} ms ({:.1}-{:.1}) |", spread.median, spread.min, spread.max);
    }
    for (what, took) in [
        ("compile again after one changed flag", &mut figures.flag_changes),
        ("compile again after one changed segment", &mut figures.segment_changes),
    ] {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| percentile(took, share).as_secs_f64() * 1e6);
        println!("| {what} | p50 {p50:.1} us, p99 {p99:.1} us, at most {max:.1} us |");
    }
    println!("| memory of the state | {:.1} MB |", megabytes(figures.state_bytes));
    println!("| memory of the compiled catalog, besides | {:.1} MB |", megabytes(figures.compiled_bytes));
    println!(
        "| the same for one flag | {:.0} bytes |",
        figures.compiled_bytes as f64 / (args.flags * args.environments) as f64
    );
}

fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}
