//! The campaign: a thousand ways to tamper with a node's files, made from a seed. Each must be caught, by the checks that are
//! meant to and under its right name: when the node starts, when the others compare what they sign, when an export is
//! verified, or by a witness.

mod files;
mod forger;
mod layers;
mod running;
mod sound;
mod ways;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};

use self::{
    layers::{Caught, Layer, Proof, examine},
    sound::{SIZE, Sound, VOTERS},
    ways::{Tampering, WAYS, tamper},
};
use crate::raft::testing;

const SEED: u64 = 0x0a0d_1716;
/// Repeats a run's choices when set; printed by every run.
const SEED_VARIABLE: &str = "FLAGRAFT_TEST_SEED";
/// With folders of a node that is down, with files of such a folder, and with the disk of a node that runs.
const MUTATIONS: [usize; 3] = [400, 150, 450];
/// Whatever is asked for is there.
const NO_PATIENCE: Duration = Duration::ZERO;
/// The cluster answers within this.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many mutations of a kind a check was the first to catch.
#[derive(Default)]
struct Tally {
    caught: BTreeMap<(&'static str, &'static str), BTreeMap<Layer, usize>>,
    nothing: usize,
    wrong: Vec<String>,
}

impl Tally {
    /// Holds what the checks said against what they have to say.
    fn note(&mut self, tampering: &Tampering, caught: &[Caught]) {
        let Tampering { kind, what, caught: expected, .. } = tampering;
        let first = caught.first().map(|caught| caught.layer);
        if let Some(first) = first {
            *self.caught.entry(*kind).or_default().entry(first).or_default() += 1;
        }
        let is_right = |(caught, (layer, names)): (&Caught, &(Layer, Vec<String>))| {
            let is_named = |name: &String| match layer {
                Layer::Verify | Layer::Witness => caught.said == *name,
                _ => caught.said.contains(name),
            };
            caught.layer == *layer && names.iter().any(is_named)
        };
        if expected.is_empty() || caught.len() != expected.len() || !caught.iter().zip(expected).all(is_right)
        {
            self.wrong.push(format!("{kind:?} {what}: {caught:?} where it had to be {expected:?}"));
        }
    }

    fn show(&self) {
        println!("{:<64}  Start   Kept Signed Others Export Verify Witness", "caught first by:");
        for ((kind, care), by) in &self.caught {
            use Layer::{Export, Kept, Others, SignedLast, Start, Verify, Witness};
            let counts = [Start, Kept, SignedLast, Others, Export, Verify, Witness]
                .map(|layer| format!("{:>7}", by.get(&layer).copied().unwrap_or(0)));
            println!("{:<64}{}", format!("{kind}: {care}"), counts.concat());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_mutations_of_a_nodes_files_are_caught_and_named() {
    let seed = std::env::var(SEED_VARIABLE).ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    println!("{SEED_VARIABLE}={seed}");
    let began = Instant::now();
    let sound = Arc::new(Sound::new(seed).await);
    assert!(examine(sound.copy().path(), &sound, Proof::Genuine).await.is_empty(), "untouched, it is good");
    println!("a folder of {SIZE} records after {:?}", began.elapsed());
    let mut tally = Tally::default();

    let [folders, files, running] = MUTATIONS;
    let tampered = (0..folders).map(|number| {
        let sound = Arc::clone(&sound);
        tokio::spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed ^ u64::try_from(number).expect("small") << 32);
            let copy = sound.copy();
            let tampering = tamper(number % WAYS, &sound, copy.path(), &mut random).await;
            if tampering.goes_on {
                let storage = testing::open(copy.path());
                let entries = tampering.entries.as_ref().unwrap_or(&sound.missed);
                testing::grow(&storage, &VOTERS, SIZE + 1, entries).await;
            }
            let caught = examine(copy.path(), &sound, tampering.proof).await;
            (tampering, caught)
        })
    });
    let mut tampered = stream::iter(tampered).buffered(2);
    while let Some(done) = tampered.next().await {
        let (tampering, caught) = done.expect("no panic");
        tally.note(&tampering, &caught);
    }
    println!("after {:?}", began.elapsed());
    files::campaign(&sound, seed, files, &mut tally).await;
    println!("after {:?}", began.elapsed());
    running::campaign(&sound, seed, running, &mut tally).await;
    println!("after {:?}", began.elapsed());

    tally.show();
    let all: usize = tally.caught.values().flat_map(BTreeMap::values).sum();
    println!(
        "measured: mutations of a node's files caught: {all} (and {} bits that changed nothing)",
        tally.nothing
    );
    assert!(tally.wrong.is_empty(), "{} were not:\n{}", tally.wrong.len(), tally.wrong.join("\n"));
    assert_eq!(all, MUTATIONS.iter().sum::<usize>());
}
