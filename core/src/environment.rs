//! Projects and environments as a person states them: names, order, and the policy a change must satisfy.

use regex::RegexBuilder;
use serde::{Deserialize, Serialize};

use crate::{
    invalid::Invalid,
    key::{EnvironmentKey, ProjectKey},
    limits::{LONG_TEXT_BYTES_MAX, TICKET_PATTERN_BYTES_MAX, TICKET_PATTERN_COMPILED_BYTES_MAX},
    version::ClusterVersion,
};

/// A project: a tenant with its own environments, flags and segments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectSpec {
    /// The project's key.
    pub key: ProjectKey,
    /// A name for people. Default: empty.
    #[serde(default)]
    pub name: String,
    /// What the project is. Default: empty.
    #[serde(default)]
    pub description: String,
}

impl ProjectSpec {
    /// Checks the lengths of its texts.
    pub fn validate(&self) -> Result<(), Invalid> {
        text("name", &self.name)?;
        text("description", &self.description)
    }
}

/// An environment of a project: development, staging, production.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentSpec {
    /// The environment's key.
    pub key: EnvironmentKey,
    /// A name for people. Default: empty.
    #[serde(default)]
    pub name: String,
    /// Where it stands among the others in lists, the smallest first. Default: 0.
    #[serde(default)]
    pub order: i32,
    /// What a change that touches this environment must satisfy. Default: nothing.
    #[serde(default)]
    pub policy: Policy,
}

impl EnvironmentSpec {
    /// Checks the lengths of its texts and that its policy is one that the newest cluster version enforces.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.validate_for(ClusterVersion::NEWEST.number())
    }

    /// The same, for a cluster of this version.
    pub(crate) fn validate_for(&self, cluster_version: u32) -> Result<(), Invalid> {
        text("name", &self.name)?;
        self.policy.validate_for(cluster_version).map_err(|invalid| invalid.under("policy"))
    }
}

/// What a change must satisfy. Of these `ticket` acts, and from cluster version 2 on `signed`; the others keep their place
/// in the format, and a value that would ask for more than is enforced is refused rather than ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Whether and how a change names a ticket.
    pub ticket: TicketPolicy,
    /// Whether a change must be signed with a key of its author.
    pub signed: bool,
    /// How many people besides the author agree.
    pub approvals: ApprovalPolicy,
    /// Windows of time in which nothing changes.
    pub freezes: Vec<serde_json::Value>,
    /// Set while the whole environment is put to sleep.
    pub hibernated: Option<serde_json::Value>,
}

/// The cluster version that enforces [`Policy::signed`].
const SIGNED_SINCE: u32 = 2;

/// Whether and how a change names a ticket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TicketPolicy {
    /// Whether a change without a ticket is rejected.
    pub required: bool,
    /// A linear-time regular expression that a given ticket matches somewhere (anchor it with `^` and `$`).
    pub pattern: Option<String>,
}

/// How many people besides the author agree with a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApprovalPolicy {
    /// The least number of approvals.
    pub min: u32,
}

impl Policy {
    /// Whether it asks for something of every change, so of one that makes a token for every project too.
    pub(crate) fn has_a_say_in_tokens(&self) -> bool {
        self.ticket.required || self.signed
    }

    fn validate_for(&self, cluster_version: u32) -> Result<(), Invalid> {
        let later = |field: &str| {
            Err(Invalid::new(
                format!("/{field}"),
                format!("{field} is not enforced by this version; leave it out"),
            ))
        };
        if self.signed && cluster_version < SIGNED_SINCE {
            return later("signed");
        }
        if self.approvals.min > 0 {
            return later("approvals");
        }
        if !self.freezes.is_empty() {
            return later("freezes");
        }
        if self.hibernated.is_some() {
            return later("hibernated");
        }
        self.ticket.validate().map_err(|invalid| invalid.under("ticket"))
    }
}

impl TicketPolicy {
    fn validate(&self) -> Result<(), Invalid> {
        let Some(pattern) = &self.pattern else { return Ok(()) };
        if pattern.len() > TICKET_PATTERN_BYTES_MAX {
            return Err(Invalid::new(
                "/pattern",
                format!("a ticket pattern has at most {TICKET_PATTERN_BYTES_MAX} bytes"),
            ));
        }
        compile(pattern)
            .map(drop)
            // The library's own words stay out: a rejection is part of the replicated state, and they may change.
            .map_err(|_| Invalid::new("/pattern", "this is not a regular expression, or too large a one; give a linear-time one such as ^[A-Z]+-[0-9]+$"))
    }

    /// Says what is wrong with a change that names this ticket (or none); `Ok` when nothing is.
    pub fn check(&self, ticket: Option<&str>) -> Result<(), String> {
        match (ticket, &self.pattern) {
            (None, _) if self.required => Err("it requires a ticket; name one with `ticket`".to_owned()),
            (Some(ticket), Some(pattern)) if !compile(pattern).is_ok_and(|regex| regex.is_match(ticket)) => {
                Err(format!("the ticket {ticket:?} does not match its pattern {pattern}"))
            }
            _ => Ok(()),
        }
    }
}

fn compile(pattern: &str) -> Result<regex::Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(TICKET_PATTERN_COMPILED_BYTES_MAX).build()
}

fn text(field: &str, text: &str) -> Result<(), Invalid> {
    if text.len() > LONG_TEXT_BYTES_MAX {
        return Err(Invalid::new(
            format!("/{field}"),
            format!("{field} has {} bytes; at most {LONG_TEXT_BYTES_MAX} are kept", text.len()),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets() {
        let policy = TicketPolicy { required: true, pattern: Some("^[A-Z]+-[0-9]+$".to_owned()) };
        assert!(policy.validate().is_ok());
        assert!(policy.check(Some("OPS-812")).is_ok());
        assert!(policy.check(None).is_err_and(|message| message.contains("requires a ticket")));
        assert!(policy.check(Some("ops 812")).is_err_and(|message| message.contains("ops 812")));
        assert!(TicketPolicy::default().check(None).is_ok());
    }

    #[test]
    fn a_policy_that_would_not_be_enforced_is_refused() {
        for (json, path) in [
            (r#"{"key":"dev","policy":{"approvals":{"min":1}}}"#, "/policy/approvals"),
            (r#"{"key":"dev","policy":{"freezes":[{}]}}"#, "/policy/freezes"),
            (r#"{"key":"dev","policy":{"ticket":{"pattern":"("}}}"#, "/policy/ticket/pattern"),
        ] {
            let spec: EnvironmentSpec = serde_json::from_str(json).expect(json);
            assert_eq!(spec.validate().expect_err(json).path, path);
        }
        let signed: EnvironmentSpec =
            serde_json::from_str(r#"{"key":"dev","policy":{"signed":true}}"#).expect("an environment");
        assert_eq!(signed.validate(), Ok(()));
        assert_eq!(signed.validate_for(1).expect_err("not enforced yet").path, "/policy/signed");
    }
}
