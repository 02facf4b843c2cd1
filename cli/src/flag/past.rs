//! When: the options of commands that can look into the past.

use clap::Args;
use flagraft_client::admin::Call;
use serde_json::Value;

use crate::output::cell;

/// A moment to look at, in place of now.
#[derive(Args, Clone, Debug, Default)]
pub struct PastArgs {
    /// As it was at this revision: a number, or HISTORY.REVISION as the headers of answers have it
    #[arg(long, value_name = "REVISION", conflicts_with = "at")]
    at_revision: Option<String>,
    /// As it was at this time, such as 2027-03-01T12:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

impl PastArgs {
    /// Whether a moment is given.
    pub fn is_given(&self) -> bool {
        self.at_revision.is_some() || self.at.is_some()
    }

    /// The call, about that moment.
    pub fn on<T>(&self, call: Call<T>) -> Call<T> {
        call.query("at_revision", self.at_revision.clone()).query("at", self.at.clone())
    }
}

/// One moment, however it is said: a revision or a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A revision.
    Revision(String),
    /// A time.
    Time(String),
}

impl Moment {
    /// A time has a colon in it, and no revision has.
    pub fn parse(text: &str) -> Self {
        if text.contains(':') { Self::Time(text.to_owned()) } else { Self::Revision(text.to_owned()) }
    }

    /// The call, about this moment.
    pub fn on<T>(&self, call: Call<T>) -> Call<T> {
        match self {
            Self::Revision(revision) => call.query("at_revision", Some(revision.as_str())),
            Self::Time(time) => call.query("at", Some(time.as_str())),
        }
    }
}

/// What an answer says of when it was, in one line.
pub fn when(at: &Value) -> String {
    format!("revision {}, made at {}", at["revision"], cell(&at["time"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_revision_or_a_time() {
        for (text, is_time) in [
            ("7", false),
            ("00000000000000ab.7", false),
            ("2027-03-01T12:00:00Z", true),
            ("2027-03-01T12:00:00.5+01:00", true),
        ] {
            assert_eq!(matches!(Moment::parse(text), Moment::Time(_)), is_time, "{text}");
        }
    }
}
