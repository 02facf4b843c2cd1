//! The engine and the naive interpreter agree on everything that the generator makes: flag by flag and context by context,
//! in the engine itself and over OFREP on every node of a cluster.

#[path = "../../core/tests/common/mod.rs"]
mod applied;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use fastrand::Rng;
use flagraft_core::{
    compiled::CompiledCatalog, context::EvaluationContext, resolution::Resolution, state::State,
};
use flagraft_tests::{
    catalog::Caller,
    cluster::Cluster,
    generate::{ENVIRONMENTS, World},
    naive::{Answer, Context, Coverage, Naive},
    ofrep,
    settings::{measured, rng, rounds},
};
use serde_json::{Value, json};

/// Flags of one generated catalog, and the contexts that each is evaluated for.
const FLAGS: usize = 12;
const CONTEXTS: usize = 40;

/// One evaluation, for a person who is to find out why it came out in two ways.
fn shown(seed: u64, world: &World, environment: &str, key: &str, context: &Context) -> String {
    let flags: Vec<&Value> = world.catalog.flags.iter().filter(|flag| flag["key"] == key).collect();
    format!(
        "{key} in {environment}, of the catalog with the seed {seed}\n  context  {}\n  flag     {}\n  segments {}",
        json!(context),
        json!(flags),
        json!(world.catalog.segments),
    )
}

fn answer(resolution: &Resolution<'_>) -> Answer {
    Answer {
        variant: resolution.variant.to_owned(),
        value: resolution.value.cloned(),
        reason: resolution.reason.to_string(),
        detail: resolution.detail.map(str::to_owned),
    }
}

/// Evaluates all flags of one catalog for many contexts in both ways; gives how many pairs it compared. The engine
/// compiles every other catalog change by change, as a node does, and the rest as a whole, as a node does at its start.
fn compare_one_catalog(seed: u64, coverage: &mut Coverage) -> Result<u64, String> {
    let mut rng = Rng::with_seed(seed);
    let world = World::new(&mut rng, FLAGS);
    let by_change = rng.bool();
    let mut catalog = applied::Catalog::new(&ENVIRONMENTS);
    let mut compiled = CompiledCatalog::compile(&catalog.state);
    for operation in world.operations() {
        let before: State = catalog.state.clone();
        catalog.must(json!([operation]));
        if by_change {
            compiled = compiled.updated(&before, &catalog.state);
        }
    }
    if !by_change {
        compiled = CompiledCatalog::compile(&catalog.state);
    }
    let mut pairs = 0;
    for (environment, contexts) in ENVIRONMENTS.into_iter().zip([CONTEXTS - CONTEXTS / 10, CONTEXTS / 10]) {
        let naive = Naive::new(&world.catalog, environment);
        let engine = compiled.environment(applied::PROJECT, environment).expect("it was put");
        for _ in 0..contexts {
            let context = world.context(&mut rng);
            let given = EvaluationContext::new(context.clone());
            for key in world.keys() {
                let by_naive = naive.evaluate(key, &context);
                let by_engine = engine.evaluate(key, &given).ok().map(|resolution| answer(&resolution));
                if by_naive != by_engine {
                    return Err(format!(
                        "two answers for {}\n  naive    {by_naive:?}\n  engine   {by_engine:?}",
                        shown(seed, &world, environment, key, &context)
                    ));
                }
                pairs += 1;
            }
        }
        coverage.add(&naive.coverage());
    }
    Ok(pairs)
}

#[test]
fn the_engine_agrees_with_the_naive_interpreter() {
    let wanted = u64::from(rounds(200_000, 10_000_000));
    let mut rng = rng();
    let threads = thread::available_parallelism().map_or(1, |threads| threads.get());
    let seeds: Vec<u64> = (0..threads).map(|_| rng.u64(..)).collect();
    let compared = AtomicU64::new(0);
    let work = |seed: u64| -> Result<Coverage, String> {
        let (mut rng, mut coverage) = (Rng::with_seed(seed), Coverage::default());
        while compared.load(Ordering::Relaxed) < wanted {
            let pairs = compare_one_catalog(rng.u64(..), &mut coverage)?;
            compared.fetch_add(pairs, Ordering::Relaxed);
        }
        Ok(coverage)
    };
    let outcomes: Vec<Result<Coverage, String>> = thread::scope(|scope| {
        let workers: Vec<_> = seeds.iter().map(|seed| scope.spawn(|| work(*seed))).collect();
        workers.into_iter().map(|worker| worker.join().expect("no panic")).collect()
    });
    let mut coverage = Coverage::default();
    for outcome in outcomes {
        coverage.add(&outcome.unwrap_or_else(|difference| panic!("{difference}")));
    }
    println!("{coverage}");
    assert_eq!(coverage.unlisted(), Vec::<String>::new(), "outcomes that stand in no row of the table");
    assert_eq!(coverage.missed(), Vec::<String>::new(), "outcomes that the generator never led to");
    measured(
        "engine and naive interpreter: pairs of flag and context, differences, outcomes come across of those there are",
        format!("{}, 0, {} of {}", compared.load(Ordering::Relaxed), Coverage::cells(), Coverage::cells()),
    );
}

/// Flags of a catalog that is put to a cluster: all are evaluated with one request.
const FLAGS_OF_A_CLUSTER: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn every_node_agrees_with_the_naive_interpreter_over_ofrep() {
    let wanted = u64::from(rounds(2_000, 100_000));
    let contexts = rounds(10, 100);
    let mut rng = rng();
    let cluster = Cluster::of_three().await;
    let mut compared = 0;
    for catalog in 0.. {
        if compared >= wanted {
            break;
        }
        let seed = rng.u64(..);
        let mut rng = Rng::with_seed(seed);
        let world = World::new(&mut rng, FLAGS_OF_A_CLUSTER);
        let (project, environment) = (format!("generated-{catalog}"), ENVIRONMENTS[0]);
        cluster.create_project(&project, &ENVIRONMENTS).await;
        let mut revision = 0;
        for operations in world.operations().chunks(20) {
            let change = cluster.admin(1).change(&project, "a generated catalog", operations.to_vec());
            revision = change.ok().await.body["revision"].as_u64().expect("a change has a revision");
        }
        cluster.published(revision).await;
        let (_, token) = cluster.create_token(&Caller::service(&project, environment)).await;
        let naive = Naive::new(&world.catalog, environment);
        for _ in 0..contexts {
            let context = world.context_of_a_request(&mut rng);
            let mut expected: Vec<(String, Answer)> = world
                .keys()
                .filter_map(|key| Some((key.to_owned(), naive.evaluate(key, &context)?)))
                .collect();
            expected.sort_by(|(one, _), (other, _)| one.cmp(other));
            for id in cluster.ids() {
                let body = cluster.with_token(id, &token).evaluate_all(&json!(context)).ok().await.body;
                let answers = ofrep::bulk_answers(&body);
                let keys = |answers: &[(String, Answer)]| {
                    answers.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>()
                };
                assert_eq!(keys(&answers), keys(&expected), "the flags that node {id} answers");
                for ((key, by_naive), (_, by_node)) in expected.iter().zip(answers) {
                    assert!(
                        *by_naive == by_node,
                        "two answers for {}\n  naive    {by_naive:?}\n  node {id}   {by_node:?}",
                        shown(seed, &world, environment, key, &context)
                    );
                }
            }
            compared += u64::try_from(expected.len()).expect("few");
        }
    }
    measured(
        "three nodes over OFREP and naive interpreter: pairs of flag and context, each on each node, differences",
        format!("{compared}, 0"),
    );
}
