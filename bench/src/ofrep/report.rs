//! What is printed: the machine, progress, and the table, as Markdown.

use flagraft_bench_common::{
    machine,
    statistics::{Spread, millis},
};

use super::{Case, HttpArgs, Sample, System, bare::Answer, wrk::Request};

/// Says what is measured, and on what.
pub fn head(args: &HttpArgs, answers: &[(Case, Request, Answer)]) {
    println!("{}", machine::description());
    if let Some(load) = machine::load() {
        println!("load average of the last minute: {load:.2}");
    }
    for (case, request, answer) in answers {
        println!("{}: {} bytes in, {} bytes out", case.name(), request.body.len(), answer.body_bytes());
    }
    println!(
        "{} rounds; {} s each; {} connections of one thread of wrk\n",
        args.rounds, args.seconds, args.connections
    );
}

/// Says what one measurement came to.
pub fn progress(args: &HttpArgs, sample: &Sample) {
    eprintln!(
        "round {}/{}  {:<9}  {:<18}  {:>6.0} requests/s  p50 {:>6.2} ms  p99 {:>6.2} ms",
        sample.round + 1,
        args.rounds,
        sample.case.name(),
        sample.system.name(),
        sample.requests_per_second,
        millis(sample.p50),
        millis(sample.p99),
    );
}

/// Prints the figures of both servers in every case.
pub fn table(args: &HttpArgs, samples: &[Sample]) {
    println!("Medians of {} rounds, in brackets the least and the greatest\n", args.rounds);
    println!(
        "| Request | Server | Requests/s | Times the bare handler | p50 ms | p99 ms | CPU us per request | Times the bare handler's | Evaluations per CPU second |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|");
    for case in Case::ALL {
        for system in System::ALL {
            let of = |system| samples.iter().filter(move |s| (s.system, s.case) == (system, case));
            let figure = |of_sample: fn(&Sample) -> f64| Spread::of(of(system).map(of_sample));
            let Some(rate) = figure(|s| s.requests_per_second) else { continue };
            let beside_bare = |of_sample: fn(&Sample) -> f64| {
                let measured = Some(system).filter(|system| *system != System::Bare);
                let ratio = measured.and_then(|system| ratio(samples, case, system, System::Bare, of_sample));
                ratio.map_or(String::new(), |r| format!("{:.2} ({:.2}-{:.2})", r.median, r.min, r.max))
            };
            let median = |of_sample| figure(of_sample).map_or(0.0, |spread| spread.median);
            let cpu = median(|s| s.cpu.as_secs_f64());
            let evaluations = match system {
                System::Bare => String::new(),
                System::Flagraft | System::Counting => format!("{:.0}", case.evaluations() as f64 / cpu),
            };
            println!(
                "| {} | {} | {:.0} ({:.0}-{:.0}) | {} | {:.2} | {:.2} | {:.1} | {} | {evaluations} |",
                case.name(),
                system.name(),
                rate.median,
                rate.min,
                rate.max,
                beside_bare(|s| s.requests_per_second),
                median(|s| millis(s.p50)),
                median(|s| millis(s.p99)),
                cpu * 1e6,
                beside_bare(|s| s.cpu.as_secs_f64()),
            );
        }
    }
    println!();
    for case in Case::ALL {
        let counting = |of_sample| ratio(samples, case, System::Counting, System::Flagraft, of_sample);
        let (Some(rate), Some(cpu)) =
            (counting(|s| s.requests_per_second), counting(|s| s.cpu.as_secs_f64()))
        else {
            continue;
        };
        println!(
            "Counting, {}: {:.3} ({:.3}-{:.3}) times the requests, {:.3} ({:.3}-{:.3}) times the CPU of not counting",
            case.name(),
            rate.median,
            rate.min,
            rate.max,
            cpu.median,
            cpu.min,
            cpu.max,
        );
    }
}

/// How one compares to another, round by round, so that both had the same machine.
fn ratio(
    samples: &[Sample],
    case: Case,
    system: System,
    to: System,
    of_sample: fn(&Sample) -> f64,
) -> Option<Spread> {
    let of = |system| samples.iter().filter(move |s| (s.system, s.case) == (system, case));
    Spread::of(of(system).filter_map(|sample| {
        let other = of(to).find(|other| other.round == sample.round)?;
        Some(of_sample(sample) / of_sample(other))
    }))
}
