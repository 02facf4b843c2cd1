//! `flagraft-bench-catalog`: what a large catalog costs: to compile it whole, to compile it again after a change, and to
//! keep it. `scripts/bench` builds and starts it.

mod content;
mod report;

use std::{
    hint::black_box,
    process::ExitCode,
    time::{Duration, Instant},
};

use cap::Cap;
use clap::Parser;
use flagraft_bench_common::failure::Failure;
use flagraft_bench_eval::catalog::Catalog;
use flagraft_core::{compiled::CompiledCatalog, state::State};
use serde_json::{Value, json};

/// That of Flagraft's binary, with its live bytes counted.
#[global_allocator]
static ALLOCATOR: Cap<mimalloc::MiMalloc> = Cap::new(mimalloc::MiMalloc, usize::MAX);

/// Operations of one change.
const BATCH: usize = 100;
/// How often the whole catalog is compiled.
const COMPILATIONS: usize = 9;

/// A large catalog: how long it takes to compile, how long after a change, and how much memory it takes.
#[derive(Parser, Clone, Debug)]
#[command(name = "bench catalog")]
struct CatalogArgs {
    /// How many flags there are, with three rules each
    #[arg(long, default_value_t = 10_000)]
    flags: usize,
    /// In how many environments each flag is configured
    #[arg(long, default_value_t = 1)]
    environments: usize,
    /// How often one flag is changed
    #[arg(long, default_value_t = 1_000)]
    changes: usize,
    /// A tenth of all that, to see that it works
    #[arg(long)]
    quick: bool,
}

/// What was measured.
struct Figures {
    /// Live bytes of the state: what the compiled catalog is made of.
    state_bytes: usize,
    /// Live bytes that compiling adds.
    compiled_bytes: usize,
    compilations: Vec<Duration>,
    flag_changes: Vec<Duration>,
    segment_changes: Vec<Duration>,
}

fn main() -> ExitCode {
    match run(CatalogArgs::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut args: CatalogArgs) -> Result<(), Failure> {
    if args.quick {
        (args.flags, args.changes) = (args.flags / 10, args.changes / 10);
    }
    if args.flags == 0 || args.changes == 0 || args.environments == 0 {
        return Err(Failure("give at least one flag, one change and one environment".to_owned()));
    }
    let begun = Instant::now();
    report::head(&args);
    let environments: Vec<String> = (0..args.environments).map(|n| format!("environment-{n}")).collect();

    let before = ALLOCATOR.allocated();
    let mut catalog = made(&args, &environments);
    let state_bytes = ALLOCATOR.allocated().saturating_sub(before);

    let before = ALLOCATOR.allocated();
    let compiled = CompiledCatalog::compile(&catalog.state);
    let compiled_bytes = ALLOCATOR.allocated().saturating_sub(before);
    require_all(&args, &environments, &compiled)?;

    let compilations = (0..COMPILATIONS).map(|_| {
        let begun = Instant::now();
        let compiled = black_box(CompiledCatalog::compile(black_box(&catalog.state)));
        let took = begun.elapsed();
        drop(compiled);
        took
    });
    let compilations = compilations.collect();
    // Every flag is reached in the end, and no two in a row are neighbours.
    let flags = (0..args.changes).map(|n| content::flag(n * 7_919 % args.flags, n + 1, &environments));
    let (compiled, flag_changes) = timed(&mut catalog, compiled, flags)?;
    let segments = (0..args.changes.div_ceil(10)).map(|n| content::segment(n % content::SEGMENTS, n + 1));
    let (compiled, segment_changes) = timed(&mut catalog, compiled, segments)?;
    require_all(&args, &environments, &compiled)?;

    report::table(
        &args,
        Figures { state_bytes, compiled_bytes, compilations, flag_changes, segment_changes },
    );
    println!("\nTook {} s.", begun.elapsed().as_secs());
    Ok(())
}

/// The state with all segments and flags.
fn made(args: &CatalogArgs, environments: &[String]) -> Catalog {
    let environments_of: Vec<&str> = environments.iter().map(String::as_str).collect();
    let mut catalog = Catalog::new(&environments_of);
    let segments = (0..content::SEGMENTS).map(|n| content::segment(n, 0));
    let flags = (0..args.flags).map(|n| content::flag(n, 0, environments));
    let operations: Vec<Value> = segments.chain(flags).collect();
    for batch in operations.chunks(BATCH) {
        catalog.must(json!(batch));
    }
    catalog
}

/// Applies each operation as a change, and times how long the compiled catalog takes to follow.
fn timed(
    catalog: &mut Catalog,
    mut compiled: CompiledCatalog,
    operations: impl Iterator<Item = Value>,
) -> Result<(CompiledCatalog, Vec<Duration>), Failure> {
    let mut took = Vec::new();
    for operation in operations {
        let before: State = catalog.state.clone();
        catalog.must(json!([operation]));
        if before.revision() == catalog.state.revision() {
            return Err(Failure("a change changed nothing, so there was nothing to time".to_owned()));
        }
        let begun = Instant::now();
        let next = black_box(compiled.updated(black_box(&before), black_box(&catalog.state)));
        took.push(begun.elapsed());
        // What it replaces goes when its last reader does, not before it is published.
        compiled = next;
    }
    Ok((compiled, took))
}

/// Makes sure that all flags are there.
fn require_all(
    args: &CatalogArgs,
    environments: &[String],
    compiled: &CompiledCatalog,
) -> Result<(), Failure> {
    for environment in environments {
        let found = compiled.environment(flagraft_bench_eval::catalog::PROJECT, environment);
        let flags = found.map_or(0, |found| found.len());
        if flags != args.flags {
            return Err(Failure(format!("{environment} has {flags} flags compiled of {}", args.flags)));
        }
    }
    Ok(())
}
