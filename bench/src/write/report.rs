//! What is printed: the machine, progress, and the tables, as Markdown.

use std::time::Duration;

use flagraft_bench_common::{
    machine,
    statistics::{Spread, millis},
};

use super::{Sample, System, Target, WriteArgs};
use crate::system::{WriteKind, etcd_version};

/// Says what is measured on.
pub fn head(args: &WriteArgs, (p50, p99): (Duration, Duration)) {
    println!("{}", machine::description());
    println!("fdatasync of 400 bytes: p50 {} us, p99 {} us", p50.as_micros(), p99.as_micros());
    if let Some(etcd) = &args.etcd {
        println!("{}", etcd_version(etcd));
    }
    println!(
        "{} rounds; {} s each after {} s of warming up; values of {} bytes; flags are {}\n",
        args.rounds,
        args.seconds,
        args.warm_up,
        args.value_bytes,
        match args.kind {
            WriteKind::Put => "put",
            WriteKind::Switch => "turned off and on",
        },
    );
}

/// Says what one measurement came to.
pub fn progress(args: &WriteArgs, sample: &Sample) {
    eprintln!(
        "round {}/{}  {:<8}  {:<8}  {:>3} clients  {:>6.0} writes/s  p50 {:>6.2} ms  p99 {:>6.2} ms",
        sample.round + 1,
        args.rounds,
        sample.system.name(),
        name(sample.to),
        sample.clients,
        sample.writes_per_second,
        millis(sample.p50),
        millis(sample.p99),
    );
}

/// Prints a table for each node that was written to.
pub fn tables(args: &WriteArgs, samples: &[Sample]) {
    let reference = if args.etcd.is_some() { System::Etcd } else { System::Baseline };
    for to in &args.to {
        println!(
            "\nWrites to the {}: medians of {} rounds, in brackets the least and the greatest\n",
            name(*to),
            args.rounds
        );
        println!(
            "| Clients | System | Writes/s | Times {} | p50 ms | p99 ms | Writes per fsync | CPU s per 1,000 writes | of the load |",
            reference.name()
        );
        println!("|---:|---|---:|---:|---:|---:|---:|---:|---:|");
        for clients in &args.clients {
            for system in [System::Etcd, System::Baseline, System::Flagraft] {
                let of = |system| {
                    let its = move |s: &&Sample| (s.system, s.to, s.clients) == (system, *to, *clients);
                    samples.iter().filter(its)
                };
                let figure = |of_sample: fn(&Sample) -> f64| Spread::of(of(system).map(of_sample));
                let Some(rate) = figure(|s| s.writes_per_second) else { continue };
                // Of the same round, so that both had the same machine.
                let ratios = of(system).filter_map(|sample| {
                    let other = of(reference).find(|other| other.round == sample.round)?;
                    Some(sample.writes_per_second / other.writes_per_second)
                });
                let ratio = Spread::of(ratios).filter(|_| system != reference);
                let median = |of_sample| figure(of_sample).map_or(0.0, |spread| spread.median);
                println!(
                    "| {clients} | {} | {:.0} ({:.0}-{:.0}) | {} | {:.2} | {:.2} | {:.1} | {:.2} | {:.2} |",
                    system.name(),
                    rate.median,
                    rate.min,
                    rate.max,
                    ratio.map_or(String::new(), |r| format!("{:.2} ({:.2}-{:.2})", r.median, r.min, r.max)),
                    median(|s| millis(s.p50)),
                    median(|s| millis(s.p99)),
                    median(|s| s.writes_per_sync),
                    median(|s| s.cpu.as_secs_f64()),
                    median(|s| s.load_cpu.as_secs_f64()),
                );
            }
        }
    }
}

fn name(to: Target) -> &'static str {
    match to {
        Target::Leader => "leader",
        Target::Follower => "follower",
    }
}
