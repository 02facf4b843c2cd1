//! What is printed: the machine, progress, and the tables, as Markdown.

use flagraft_bench_common::{
    machine,
    statistics::{Spread, millis},
};

use super::{ReadArgs, Sample, System};
use crate::system::{Freshness, etcd_version};

/// Says what is measured on.
pub fn head(args: &ReadArgs) {
    println!("{}", machine::description());
    if let Some(etcd) = &args.etcd {
        println!("{}", etcd_version(etcd));
    }
    println!(
        "{} rounds; {} s each after {} s of warming up; all clients read from one follower\n",
        args.rounds, args.seconds, args.warm_up,
    );
}

/// Says what one measurement came to.
pub fn progress(args: &ReadArgs, sample: &Sample) {
    eprintln!(
        "round {}/{}  {:<8}  {:<12}  {:>3} clients  {:>6.0} reads/s  p50 {:>6.2} ms  p99 {:>6.2} ms",
        sample.round + 1,
        args.rounds,
        sample.system.name(),
        name(sample.freshness),
        sample.clients,
        sample.reads_per_second,
        millis(sample.p50),
        millis(sample.p99),
    );
}

/// Prints a table for each freshness.
pub fn tables(args: &ReadArgs, samples: &[Sample]) {
    for freshness in &args.freshness {
        println!(
            "\nReads from a follower, {}: medians of {} rounds, in brackets the least and the greatest\n",
            name(*freshness),
            args.rounds
        );
        println!(
            "| Clients | System | Reads/s | Times etcd | p50 ms | p99 ms | Reads per confirmation | CPU s per 1,000 reads | of the load |"
        );
        println!("|---:|---|---:|---:|---:|---:|---:|---:|---:|");
        for clients in &args.clients {
            for system in [System::Etcd, System::Flagraft] {
                row(samples, *freshness, *clients, system);
            }
        }
    }
}

fn row(samples: &[Sample], freshness: Freshness, clients: usize, system: System) {
    let of = |system| {
        let its = move |s: &&Sample| (s.system, s.freshness, s.clients) == (system, freshness, clients);
        samples.iter().filter(its)
    };
    let figure = |of_sample: fn(&Sample) -> f64| Spread::of(of(system).map(of_sample));
    let Some(rate) = figure(|s| s.reads_per_second) else { return };
    // Of the same round, so that both had the same machine.
    let ratios = of(system).filter_map(|sample| {
        let other = of(System::Etcd).find(|other| other.round == sample.round)?;
        Some(sample.reads_per_second / other.reads_per_second)
    });
    let ratio = Spread::of(ratios).filter(|_| system != System::Etcd);
    let shared = Spread::of(of(system).filter_map(|sample| sample.reads_per_confirmation));
    let shared = shared.filter(|_| freshness == Freshness::Linearizable);
    let median = |of_sample| figure(of_sample).map_or(0.0, |spread| spread.median);
    println!(
        "| {clients} | {} | {:.0} ({:.0}-{:.0}) | {} | {:.2} | {:.2} | {} | {:.2} | {:.2} |",
        system.name(),
        rate.median,
        rate.min,
        rate.max,
        ratio.map_or(String::new(), |r| format!("{:.2} ({:.2}-{:.2})", r.median, r.min, r.max)),
        median(|s| millis(s.p50)),
        median(|s| millis(s.p99)),
        shared.map_or(String::new(), |shared| format!("{:.1}", shared.median)),
        median(|s| s.cpu.as_secs_f64()),
        median(|s| s.load_cpu.as_secs_f64()),
    );
}

fn name(freshness: Freshness) -> &'static str {
    match freshness {
        Freshness::Linearizable => "linearizable",
        Freshness::Local => "local",
    }
}
