//! The flags that every engine gets, and who they are evaluated for, before they are written out in each engine's own
//! form.

pub mod document;

/// A boolean flag. With no rules it is on for everyone, else off for whom no rule matches.
#[derive(Clone, Debug)]
pub struct Flag {
    /// Its key; also what its rollouts are seeded with.
    pub key: String,
    /// The first that matches decides.
    pub rules: Vec<Rule>,
}

/// Three conditions, all of which have to hold, in this order; then the flag is on for half of the users.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The user's country is one of these.
    pub countries: Vec<String>,
    /// The user's plan is one of these.
    pub plans: Vec<String>,
    /// The user's version is at least this.
    pub version: String,
}

/// Whom a flag is evaluated for.
#[derive(Clone, Debug)]
pub struct User {
    /// Names the user, and is what rollouts divide by.
    pub key: String,
    /// Where the user is.
    pub country: String,
    /// What the user pays for.
    pub plan: String,
    /// The version of the program that the user has.
    pub version: String,
}

/// The flag without rules.
pub const NO_RULES: &str = "new-checkout";
/// The flag with one rule.
pub const ONE_RULE: &str = "express-delivery";
/// The flag with ten, of which the first nine fail at their third condition.
pub const TEN_RULES: &str = "personal-offers";
/// The first nine of those ten, to check that they do fail.
pub const NINE_RULES: &str = "personal-offers-before";
/// How many flags are loaded besides.
pub const OTHERS: usize = 1_000;

const COUNTRIES: [&str; 12] = ["AT", "BE", "CH", "DE", "DK", "ES", "FI", "FR", "IT", "NL", "PL", "SE"];
const PLANS: [&str; 4] = ["free", "pro", "business", "enterprise"];

/// All flags.
pub fn all() -> Vec<Flag> {
    let rule = |version: String| Rule {
        countries: texts(&["DE", "FR", "NL"]),
        plans: texts(&["pro", "enterprise"]),
        version,
    };
    let failing: Vec<Rule> = (0..9).map(|n| rule(format!("9.{n}.0"))).collect();
    let matching = rule("2.1.0".to_owned());
    let mut ten = failing.clone();
    ten.push(matching.clone());
    let flag = |key: &str, rules| Flag { key: key.to_owned(), rules };
    let mut flags = vec![
        flag(NO_RULES, Vec::new()),
        flag(ONE_RULE, vec![matching]),
        flag(TEN_RULES, ten),
        flag(NINE_RULES, failing),
    ];
    flags.extend((0..OTHERS).map(|n| flag(&format!("other-flag-{n:04}"), vec![varied(n)])));
    flags
}

/// A rule like the others with other values.
pub fn varied(n: usize) -> Rule {
    let some = |of: &[&str], count: usize| {
        let first = n % of.len();
        texts(&of.iter().copied().cycle().skip(first).take(count).collect::<Vec<_>>())
    };
    Rule {
        countries: some(&COUNTRIES, 2 + n % 5),
        plans: some(&PLANS, 1 + n % 3),
        version: format!("{}.{}.{}", n % 7, n % 11, n % 13),
    }
}

/// A user of whom all of a matching rule's conditions hold.
pub fn user(n: usize) -> User {
    User {
        key: format!("user-{n}"),
        country: "DE".to_owned(),
        plan: "enterprise".to_owned(),
        version: "2.4.1".to_owned(),
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}
