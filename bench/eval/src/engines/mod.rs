//! The engines that are compared. Each gets the same flags and the same user in its own form, and holds them as a
//! service that uses it would.

mod client;
mod flagd;
mod flagraft;
mod launchdarkly;
mod unleash;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use flagraft_bench_common::{
    failure::Failure,
    flags::{self, Flag, User},
};

/// An engine with all flags loaded.
trait Engine: Sized + 'static {
    /// Its name in the tables.
    const NAME: &'static str;
    /// Who a flag is evaluated for, in the engine's own form.
    type Context;

    /// Loads the flags.
    fn load(flags: &[Flag]) -> Result<Self, Failure>;

    /// Makes the engine's form of a user.
    fn context(user: &User) -> Result<Self::Context, Failure>;

    /// Evaluates one flag, which is looked up by its key. The engine's own result has to go through [`black_box`], so
    /// that none of the work on it is left out because only one bit of it is used here.
    fn is_on(&self, key: &str, context: &Self::Context) -> bool;
}

/// An engine and the user that it evaluates for, whatever their types.
pub trait Candidate {
    /// The engine's name.
    fn name(&self) -> &'static str;

    /// Whether it is what others are measured by.
    fn is_peer(&self) -> bool;

    /// Evaluates for this user from now on.
    fn set_user(&mut self, user: &User) -> Result<(), Failure>;

    /// Whether a flag is on for the user.
    fn is_on(&self, key: &str) -> bool;

    /// How long `count` evaluations of a flag take, one after the other.
    fn time(&self, key: &str, count: u64) -> Duration;
}

struct Loaded<E: Engine> {
    engine: E,
    context: E::Context,
    is_peer: bool,
}

impl<E: Engine> Candidate for Loaded<E> {
    fn name(&self) -> &'static str {
        E::NAME
    }

    fn is_peer(&self) -> bool {
        self.is_peer
    }

    fn set_user(&mut self, user: &User) -> Result<(), Failure> {
        self.context = E::context(user)?;
        Ok(())
    }

    fn is_on(&self, key: &str) -> bool {
        self.engine.is_on(key, &self.context)
    }

    fn time(&self, key: &str, count: u64) -> Duration {
        let begun = Instant::now();
        for _ in 0..count {
            black_box(self.engine.is_on(black_box(key), black_box(&self.context)));
        }
        begun.elapsed()
    }
}

/// All engines, with the flags loaded.
pub fn load(flags: &[Flag]) -> Result<Vec<Box<dyn Candidate>>, Failure> {
    Ok(vec![
        loaded::<flagraft::Published>(flags, false)?,
        loaded::<flagraft::InHand>(flags, false)?,
        loaded::<client::Linked>(flags, false)?,
        loaded::<client::Read>(flags, false)?,
        loaded::<unleash::Yggdrasil>(flags, true)?,
        loaded::<launchdarkly::ByStore>(flags, true)?,
        loaded::<launchdarkly::InHand>(flags, true)?,
        loaded::<flagd::Flagd>(flags, true)?,
    ])
}

fn loaded<E: Engine>(flags: &[Flag], is_peer: bool) -> Result<Box<dyn Candidate>, Failure> {
    let context = E::context(&flags::user(0))?;
    Ok(Box::new(Loaded { engine: E::load(flags)?, context, is_peer }))
}
