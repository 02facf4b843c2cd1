//! Which audit records a request asks for, and which of those its caller may see.

use std::ops::Range;

use flagraft_core::{
    key::{EnvironmentKey, FlagKey, ProjectKey, SegmentKey},
    record::{RecordKind, RecordOutcome},
    state::State,
    token::Role,
};
use serde::{Deserialize, de::value::StrDeserializer};

use super::{
    super::{App, auth::Caller, error::ApiError, time::parse_rfc3339},
    recorded_project,
};
use crate::audit::{Filter, Term};

/// The types that actors have.
const ACTOR_TYPES: [&str; 3] = ["user", "service", "system"];

/// The parameters of a query. Each is taken once; one that nobody takes is refused, for an ignored filter would be a lie.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn new(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// A parameter that may be given once.
    pub(super) fn take(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        let mut values = self.take_all(name);
        match (values.pop(), values.pop()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(ApiError::invalid(format!("the query is wrong: {name} is given twice"))),
        }
    }

    fn take_all(&mut self, name: &str) -> Vec<String> {
        self.0.extract_if(.., |(given, _)| given == name).map(|(_, value)| value).collect()
    }

    pub(super) fn number(&mut self, name: &str) -> Result<Option<u64>, ApiError> {
        let parse = |text: String| {
            text.parse()
                .map_err(|_| ApiError::invalid(format!("the query is wrong: {name} is a number from 0")))
        };
        self.take(name)?.map(parse).transpose()
    }

    fn time(&mut self, name: &str) -> Result<Option<i64>, ApiError> {
        let parse = |text: String| {
            parse_rfc3339(&text).map_err(|invalid| ApiError::invalid(format!("{name}: {}", invalid.message)))
        };
        self.take(name)?.map(parse).transpose()
    }

    /// One of a few words.
    pub(super) fn word<T: for<'de> Deserialize<'de>>(&mut self, name: &str) -> Result<Option<T>, ApiError> {
        self.take(name)?.map(|text| word(name, &text)).transpose()
    }

    /// Some of a few words, given with commas between them or one by one. Gives the texts.
    fn words<T: for<'de> Deserialize<'de>>(&mut self, name: &str) -> Result<Vec<String>, ApiError> {
        let mut words = Vec::new();
        for text in self.take_all(name) {
            for text in text.split(',') {
                word::<T>(name, text)?;
                words.push(text.to_owned());
            }
        }
        Ok(words)
    }

    /// The end: nothing is left.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                Err(ApiError::invalid(format!("the query is wrong: there is no parameter {name:?}")))
            }
        }
    }
}

fn word<T: for<'de> Deserialize<'de>>(name: &str, text: &str) -> Result<T, ApiError> {
    let deserializer: StrDeserializer<'_, serde::de::value::Error> = StrDeserializer::new(text);
    T::deserialize(deserializer).map_err(|error| ApiError::invalid(format!("{name}: {error}")))
}

/// The parameters that choose records.
pub(in super::super) const PARAMETERS: &[&str] = &[
    "from",
    "to",
    "since",
    "until",
    "project",
    "environment",
    "flag",
    "segment",
    "actor",
    "ticket",
    "kind",
    "outcome",
];

/// Which records are asked for.
#[derive(Clone, Debug)]
pub(super) struct Question {
    from: Option<u64>,
    to: Option<u64>,
    since_ms: Option<i64>,
    until_ms: Option<i64>,
    project: Option<String>,
    environment: Option<String>,
    flag: Option<String>,
    segment: Option<String>,
    actor: Option<String>,
    ticket: Option<String>,
    kinds: Vec<String>,
    outcomes: Vec<String>,
}

impl Question {
    /// Takes its parameters.
    pub(super) fn take(parameters: &mut Parameters) -> Result<Self, ApiError> {
        Ok(Self {
            from: parameters.number("from")?,
            to: parameters.number("to")?,
            since_ms: parameters.time("since")?,
            until_ms: parameters.time("until")?,
            project: parameters.take("project")?,
            environment: parameters.take("environment")?,
            flag: parameters.take("flag")?,
            segment: parameters.take("segment")?,
            actor: parameters.take("actor")?,
            ticket: parameters.take("ticket")?,
            kinds: parameters.words::<RecordKind>("kind")?,
            outcomes: parameters.words::<RecordOutcome>("outcome")?,
        })
    }

    /// The filter for what is asked and may be seen.
    pub(super) fn filter(&self, caller: &Caller, state: &State) -> Result<Filter, ApiError> {
        let mut filter = Filter::default();
        if let Some(projects) = self.projects(caller, state)? {
            filter = filter.any_of(projects.into_iter().map(|key| Term::Project(key.as_str().to_owned())));
        }
        let of_project = |name: &str| match &self.project {
            Some(project) => Ok(project.clone()),
            None => Err(ApiError::invalid(format!(
                "{name} names something of a project; say of which one with project="
            ))),
        };
        let wrong = |name: &'static str| {
            move |invalid: flagraft_core::invalid::Invalid| {
                ApiError::invalid(format!("{name}: {}", invalid.message))
            }
        };
        if let Some(key) = &self.environment {
            EnvironmentKey::new(key).map_err(wrong("environment"))?;
            filter = filter.any_of([Term::Environment(of_project("environment")?, key.clone())]);
        }
        if let Some(key) = &self.flag {
            FlagKey::new(key).map_err(wrong("flag"))?;
            filter = filter.any_of([Term::Flag(of_project("flag")?, key.clone())]);
        }
        if let Some(key) = &self.segment {
            SegmentKey::new(key).map_err(wrong("segment"))?;
            filter = filter.any_of([Term::Segment(of_project("segment")?, key.clone())]);
        }
        if let Some(actor) = &self.actor {
            filter = filter.any_of(actors(actor));
        }
        if let Some(ticket) = &self.ticket {
            filter = filter.any_of([Term::Ticket(ticket.clone())]);
        }
        if !self.kinds.is_empty() {
            filter = filter.any_of(self.kinds.iter().cloned().map(Term::Kind));
        }
        if !self.outcomes.is_empty() {
            filter = filter.any_of(self.outcomes.iter().cloned().map(Term::Outcome));
        }
        Ok(filter)
    }

    /// The projects whose records the caller gets. `None`: those of every project, and of none.
    fn projects(&self, caller: &Caller, state: &State) -> Result<Option<Vec<ProjectKey>>, ApiError> {
        if let Some(key) = &self.project {
            return Ok(Some(vec![recorded_project(caller, key)?]));
        }
        if caller.token.spec.allows_everywhere(Role::Reader) {
            return Ok(None);
        }
        let projects: Vec<ProjectKey> = state
            .projects()
            .map(|project| project.key())
            .filter(|key| caller.reads(key, None))
            .cloned()
            .collect();
        match projects.is_empty() {
            true => {
                Err(ApiError::forbidden("this needs a token with the role reader on a project as a whole"))
            }
            false => Ok(Some(projects)),
        }
    }

    /// Whether it is said where what is asked for ends.
    pub(super) fn has_end(&self) -> bool {
        self.to.is_some() || self.until_ms.is_some()
    }

    /// The sequences that are asked for, of a log of `size` records.
    pub(super) async fn range(&self, app: &App, size: u64) -> Result<Range<u64>, ApiError> {
        let end = self.to.map_or(size, |to| to.min(size));
        let mut range = self.from.unwrap_or(0).min(end)..end;
        let at = async |range: Range<u64>, time_ms: Option<i64>, otherwise: u64| match time_ms {
            None => Ok(otherwise),
            Some(time_ms) => app
                .node
                .first_audit_record_since(range, time_ms)
                .await
                .map_err(|error| ApiError::internal("looking for a time in the audit log", error)),
        };
        range.start = at(range.clone(), self.since_ms, range.start).await?;
        range.end = at(range.clone(), self.until_ms, range.end).await?;
        Ok(range)
    }
}

/// The terms for an actor's id, with its type before it or without.
fn actors(actor: &str) -> Vec<Term<String>> {
    match actor.split_once('/') {
        Some((actor_type, id)) if ACTOR_TYPES.contains(&actor_type) => {
            vec![Term::Actor(actor_type.to_owned(), id.to_owned())]
        }
        _ => ACTOR_TYPES.iter().map(|kind| Term::Actor((*kind).to_owned(), actor.to_owned())).collect(),
    }
}
