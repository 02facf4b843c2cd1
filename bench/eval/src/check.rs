//! What every engine has to answer before it is timed: an engine that is fast at a wrong answer is no peer.

use flagraft_bench_common::{
    failure::Failure,
    flags::{self, NINE_RULES, NO_RULES, ONE_RULE, TEN_RULES, User},
};

use crate::engines::Candidate;

/// How many users are tried until one falls into the same half of every engine's rollout.
const USERS: usize = 10_000;

/// Checks all engines, and leaves them with a user for whom all flags that are timed are on.
pub fn check(engines: &mut [Box<dyn Candidate>]) -> Result<User, Failure> {
    // Without a rollout all engines agree on every user.
    for user in [
        User { country: "BR".to_owned(), ..flags::user(0) },
        User { plan: "free".to_owned(), ..flags::user(0) },
        User { version: "2.0.9".to_owned(), ..flags::user(0) },
        User { version: "2.1.0-rc.1".to_owned(), ..flags::user(0) },
    ] {
        all_say(engines, &user, &[(NO_RULES, true), (ONE_RULE, false), (TEN_RULES, false)])?;
    }
    // Each engine hashes in its own way, so a user is looked for whom all of them put into one half.
    let out = half(engines, false)?;
    all_say(engines, &out, &[(NO_RULES, true), (ONE_RULE, false), (TEN_RULES, false)])?;
    let user = half(engines, true)?;
    all_say(engines, &user, &[(NO_RULES, true), (ONE_RULE, true), (TEN_RULES, true), (NINE_RULES, false)])?;
    Ok(user)
}

fn half(engines: &mut [Box<dyn Candidate>], on: bool) -> Result<User, Failure> {
    for user in (0..USERS).map(flags::user) {
        set(engines, &user)?;
        let agree = |key: &str| engines.iter().all(|engine| engine.is_on(key) == on);
        if agree(ONE_RULE) && agree(TEN_RULES) {
            return Ok(user);
        }
    }
    Err(Failure(format!(
        "no user of {USERS} is in one half of every engine: one of them answers something else"
    )))
}

fn all_say(
    engines: &mut [Box<dyn Candidate>],
    user: &User,
    expected: &[(&str, bool)],
) -> Result<(), Failure> {
    set(engines, user)?;
    for engine in engines {
        for (key, on) in expected {
            if engine.is_on(key) != *on {
                let said = if *on { "off" } else { "on" };
                return Err(Failure(format!("{}: {key} is {said} for {user:?}", engine.name())));
            }
        }
    }
    Ok(())
}

fn set(engines: &mut [Box<dyn Candidate>], user: &User) -> Result<(), Failure> {
    engines.iter_mut().try_for_each(|engine| engine.set_user(user))
}
