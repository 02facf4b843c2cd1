//! Terms: what a record is about, in the words that filters use.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

/// One thing that a record is about. `S` is how its names are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Term<S> {
    /// The project whose objects the operations name.
    Project(S),
    /// A project's environment that the record touches, that one of its operations names, or whose evaluations it counts.
    Environment(S, S),
    /// A project's flag that an operation writes or names as the one it is about, or whose evaluations are counted.
    Flag(S, S),
    /// A project's segment that an operation writes.
    Segment(S, S),
    /// The type and id of who asked, or of whose reads are counted.
    Actor(S, S),
    /// The ticket.
    Ticket(S),
    /// The record's kind.
    Kind(S),
    /// What became of it.
    Outcome(S),
}

impl<S: AsRef<str>> Term<S> {
    pub(super) fn borrowed(&self) -> Term<&str> {
        match self {
            Self::Project(project) => Term::Project(project.as_ref()),
            Self::Environment(project, key) => Term::Environment(project.as_ref(), key.as_ref()),
            Self::Flag(project, key) => Term::Flag(project.as_ref(), key.as_ref()),
            Self::Segment(project, key) => Term::Segment(project.as_ref(), key.as_ref()),
            Self::Actor(actor_type, id) => Term::Actor(actor_type.as_ref(), id.as_ref()),
            Self::Ticket(ticket) => Term::Ticket(ticket.as_ref()),
            Self::Kind(kind) => Term::Kind(kind.as_ref()),
            Self::Outcome(outcome) => Term::Outcome(outcome.as_ref()),
        }
    }

    /// Whether it takes a record's operations and counts to tell that it is about this.
    pub(super) fn is_inside(&self) -> bool {
        matches!(self, Self::Environment(..) | Self::Flag(..) | Self::Segment(..) | Self::Actor(..))
    }
}

impl Term<&str> {
    /// The first 32 bits of the SHA-256 of its text. Part of the format of summaries.
    pub(super) fn hash(self) -> u32 {
        let (what, scope, name) = self.parts();
        let mut hash = Sha256::new_with_prefix(what);
        hash.update(":");
        if let Some(scope) = scope {
            hash.update(scope);
            hash.update("/");
        }
        hash.update(name);
        let hash: [u8; 32] = hash.finalize().into();
        hash.first_chunk().map_or(0, |first| u32::from_be_bytes(*first))
    }
}

impl<'a> Term<&'a str> {
    /// What its text is made of. Neither a project's key nor an actor's type has a slash in it.
    fn parts(self) -> (&'static str, Option<&'a str>, &'a str) {
        match self {
            Self::Project(project) => ("project", None, project),
            Self::Environment(project, key) => ("environment", Some(project), key),
            Self::Flag(project, key) => ("flag", Some(project), key),
            Self::Segment(project, key) => ("segment", Some(project), key),
            Self::Actor(actor_type, id) => ("actor", Some(actor_type), id),
            Self::Ticket(ticket) => ("ticket", None, ticket),
            Self::Kind(kind) => ("kind", None, kind),
            Self::Outcome(outcome) => ("outcome", None, outcome),
        }
    }
}

impl fmt::Display for Term<&str> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            (what, None, name) => write!(f, "{what}:{name}"),
            (what, Some(scope), name) => write!(f, "{what}:{scope}/{name}"),
        }
    }
}

/// What of a record filters look at, as far as possible borrowed from its bytes.
#[derive(Deserialize)]
pub(super) struct Told<'a> {
    pub(super) time_ms: i64,
    #[serde(borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    actor: ToldActor<'a>,
    #[serde(borrow)]
    project: Option<Text<'a>>,
    #[serde(borrow)]
    touches: ToldTouches<'a>,
    #[serde(borrow)]
    ticket: Option<Text<'a>>,
    #[serde(borrow)]
    operations: &'a RawValue,
    #[serde(borrow, default)]
    evaluations: Option<&'a RawValue>,
    #[serde(borrow, default)]
    access: Option<&'a RawValue>,
    #[serde(borrow)]
    outcome: Text<'a>,
}

#[derive(Deserialize)]
struct ToldActor<'a> {
    #[serde(rename = "type", borrow)]
    actor_type: Text<'a>,
    #[serde(borrow)]
    id: Text<'a>,
}

#[derive(Deserialize)]
struct ToldTouches<'a> {
    #[serde(borrow)]
    environments: Vec<Text<'a>>,
}

/// A string that is borrowed unless it has escapes. A `Cow` alone, in an `Option` or a list, never borrows.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Recorded<'a> {
    #[serde(borrow)]
    operation: Named<'a>,
}

/// The names in an operation that say what it is about.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow, default)]
    flag: Object<'a>,
    #[serde(borrow, default)]
    segment: Object<'a>,
    #[serde(borrow, default)]
    environment: Object<'a>,
    /// Where a copy goes to.
    #[serde(borrow, default)]
    to: Object<'a>,
}

/// An object as operations name it: by its key, or by the whole that has its key in it.
#[derive(Default)]
struct Object<'a> {
    key: Option<Text<'a>>,
    /// Of a whole flag, the environments that it configures.
    environments: Vec<Text<'a>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key, or an object")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Object { key: Some(Text(Cow::Borrowed(key))), environments: Vec::new() })
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Object { key: Some(Text(Cow::Owned(key.to_owned()))), environments: Vec::new() })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut object = Object::default();
        while let Some(Text(name)) = fields.next_key()? {
            match name.as_ref() {
                "key" => object.key = Some(fields.next_value()?),
                "environments" => object.environments = fields.next_value::<Names<'de>>()?.0,
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(object)
    }

    // What else stands under one of the names, as the node that leadership goes `to`, names no object of a project.
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Object::default())
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Object::default())
    }
}

/// The names of an object's fields.
struct Names<'a>(Vec<Text<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Names<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamesVisitor;

        impl<'de> Visitor<'de> for NamesVisitor {
            type Value = Names<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = fields.next_entry()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }

        deserializer.deserialize_map(NamesVisitor)
    }
}

/// What was evaluated, of a record that counts it.
#[derive(Deserialize)]
struct Evaluated<'a> {
    #[serde(borrow)]
    environment: Text<'a>,
    #[serde(borrow)]
    entries: Vec<OfFlag<'a>>,
    #[serde(borrow, default)]
    full: Vec<OfFlag<'a>>,
    #[serde(borrow, default)]
    full_exceeded: Option<Exceeded<'a>>,
}

#[derive(Deserialize)]
struct Exceeded<'a> {
    #[serde(borrow)]
    flags: Vec<OfFlag<'a>>,
}

#[derive(Deserialize)]
struct OfFlag<'a> {
    #[serde(borrow)]
    flag: Text<'a>,
}

/// Who read, of a record that counts it.
#[derive(Deserialize)]
struct Accessed<'a> {
    #[serde(borrow)]
    entries: Vec<OfActor<'a>>,
}

#[derive(Deserialize)]
struct OfActor<'a> {
    #[serde(borrow)]
    actor: ToldActor<'a>,
}

impl<'a> Told<'a> {
    /// What a row of the audit log tells. `None` where there is no record any more, or none that can be read.
    pub(super) fn read(row: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(row).ok()
    }

    /// Visits what the record is about; what its operations and counts tell, if `inside`. `None` where they can't be read.
    ///
    /// Reads of a project that are counted do not make the record one of that project: it counts those of others too, and
    /// who may see a record goes by its project.
    pub(super) fn terms(&self, inside: bool, mut visit: impl FnMut(Term<&str>)) -> Option<()> {
        visit(Term::Kind(&self.kind.0));
        visit(Term::Outcome(&self.outcome.0));
        visit(Term::Actor(&self.actor.actor_type.0, &self.actor.id.0));
        if let Some(Text(ticket)) = &self.ticket {
            visit(Term::Ticket(ticket));
        }
        if let Some(access) = self.access.filter(|_| inside) {
            let Accessed { entries } = serde_json::from_str(access.get()).ok()?;
            for OfActor { actor } in &entries {
                visit(Term::Actor(&actor.actor_type.0, &actor.id.0));
            }
        }
        let Some(Text(project)) = &self.project else { return Some(()) };
        visit(Term::Project(project));
        if !inside {
            return Some(());
        }
        if let Some(evaluations) = self.evaluations {
            let evaluated: Evaluated<'_> = serde_json::from_str(evaluations.get()).ok()?;
            visit(Term::Environment(project, &evaluated.environment.0));
            let exceeded = evaluated.full_exceeded.iter().flat_map(|exceeded| &exceeded.flags);
            for OfFlag { flag: Text(flag) } in evaluated.entries.iter().chain(&evaluated.full).chain(exceeded)
            {
                visit(Term::Flag(project, flag));
            }
        }
        for Text(environment) in &self.touches.environments {
            visit(Term::Environment(project, environment));
        }
        let operations: Vec<Recorded<'_>> = serde_json::from_str(self.operations.get()).ok()?;
        for Recorded { operation: Named { flag, segment, environment, to } } in &operations {
            // Of a change that was refused, these say what was tried.
            for Text(environment) in flag.environments.iter().chain(&environment.key).chain(&to.key) {
                visit(Term::Environment(project, environment));
            }
            if let Some(Text(key)) = &flag.key {
                visit(Term::Flag(project, key));
            }
            if let Some(Text(key)) = &segment.key {
                visit(Term::Segment(project, key));
            }
        }
        Some(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A record of these operations, with what a filter looks at.
    pub(in super::super) fn record(at: &Value) -> Vec<u8> {
        let mut record = json!({
            "sequence": 0, "time_ms": 0, "kind": "change", "project": "shop", "ticket": null, "reason": "r",
            "actor": {"type": "user", "id": "ada", "name": "Ada", "groups": [], "token": "tok_1"},
            "touches": {"environments": [], "critical": false}, "operations": [], "outcome": "accepted",
        });
        for (name, value) in at.as_object().expect("an object") {
            record[name.as_str()] = value.clone();
        }
        record.to_string().into_bytes()
    }

    pub(in super::super) fn operations(operations: &[Value]) -> Value {
        let recorded =
            operations.iter().map(|o| json!({"operation": o, "before": null, "after": {"key": "not-me"}}));
        Value::Array(recorded.collect())
    }

    fn terms(record: &[u8]) -> Vec<Term<String>> {
        let mut found = Vec::new();
        let told = Told::read(record).expect("a record");
        told.terms(true, |term| {
            found.push(match term {
                Term::Project(a) => Term::Project(a.to_owned()),
                Term::Environment(a, b) => Term::Environment(a.to_owned(), b.to_owned()),
                Term::Flag(a, b) => Term::Flag(a.to_owned(), b.to_owned()),
                Term::Segment(a, b) => Term::Segment(a.to_owned(), b.to_owned()),
                Term::Actor(a, b) => Term::Actor(a.to_owned(), b.to_owned()),
                Term::Ticket(a) => Term::Ticket(a.to_owned()),
                Term::Kind(a) => Term::Kind(a.to_owned()),
                Term::Outcome(a) => Term::Outcome(a.to_owned()),
            });
        })
        .expect("operations");
        found
    }

    #[test]
    fn a_record_is_about_what_it_touches_and_what_its_operations_name() {
        let in_shop =
            |make: fn(String, String) -> Term<String>, key: &str| make("shop".to_owned(), key.to_owned());
        let (environment, flag, segment) = (Term::Environment, Term::Flag, Term::Segment);
        let cases: Vec<(Value, Vec<Term<String>>)> = vec![
            (
                json!({"op": "flag.disable", "flag": "a", "environment": "live"}),
                vec![in_shop(flag, "a"), in_shop(environment, "live")],
            ),
            (
                json!({"op": "flag.put", "flag": {"key": "a\u{e9}\n", "environments": {"live": {"key": "x"}, "dev": {}}}}),
                vec![in_shop(flag, "a\u{e9}\n"), in_shop(environment, "live"), in_shop(environment, "dev")],
            ),
            (
                json!({"op": "flag.copy", "flag": "a", "from": "dev", "to": "live"}),
                vec![in_shop(flag, "a"), in_shop(environment, "live")],
            ),
            (
                json!({"op": "rule.put", "flag": "a", "environment": "live", "rule": {"id": "r"}}),
                vec![in_shop(flag, "a"), in_shop(environment, "live")],
            ),
            (
                json!({"op": "environment.put", "environment": {"key": "live"}}),
                vec![in_shop(environment, "live")],
            ),
            (
                json!({"op": "segment.members.add", "segment": "s", "members": ["a"]}),
                vec![in_shop(segment, "s")],
            ),
            (
                json!({"op": "segment.put", "segment": {"key": "s", "environments": {}}}),
                vec![in_shop(segment, "s")],
            ),
            (json!({"op": "system.leadership", "to": 3}), vec![]),
        ];
        let usual = 4;
        for (operation, expected) in cases {
            let found = terms(&record(&json!({"operations": operations(std::slice::from_ref(&operation))})));
            let mut of_operation: Vec<_> = found.into_iter().skip(usual).collect();
            of_operation.sort();
            let mut expected = expected;
            expected.sort();
            assert_eq!(of_operation, expected, "{operation}");
        }
        let found = terms(&record(&json!({
            "touches": {"environments": ["live"], "critical": true}, "ticket": "OPS-\u{1f600}", "kind": "of-tomorrow",
        })));
        assert_eq!(
            found,
            [
                Term::Kind("of-tomorrow".to_owned()),
                Term::Outcome("accepted".to_owned()),
                Term::Actor("user".to_owned(), "ada".to_owned()),
                Term::Ticket("OPS-\u{1f600}".to_owned()),
                Term::Project("shop".to_owned()),
                in_shop(environment, "live"),
            ]
        );
        let counted = terms(&record(&json!({
            "kind": "evaluations", "outcome": "noted",
            "evaluations": {
                "environment": "live", "entries": [{"flag": "a", "count": 2}, {"flag": "b", "count": 1}],
                "full": [{"flag": "c"}], "full_exceeded": {"flags": [{"flag": "d", "count": 9}]},
            },
        })));
        let flags = ["a", "b", "c", "d"].map(|key| in_shop(flag, key));
        assert_eq!(counted[usual..], [[in_shop(environment, "live")].as_slice(), &flags].concat());
        let reads = terms(&record(&json!({
            "kind": "access", "outcome": "noted", "project": null,
            "access": {"entries": [{"actor": {"type": "service", "id": "ci"}, "project": "shop", "count": 3}]},
        })));
        assert_eq!(
            reads.last(),
            Some(&Term::Actor("service".to_owned(), "ci".to_owned())),
            "and no project: {reads:?}"
        );
        assert!(Told::read(b"\0thirty-two bytes of a leaf's hash").is_none());
    }

    #[test]
    fn hashes_are_frozen() {
        // The beginnings of `printf flag:shop/a | sha256sum` and the like.
        let of = |text: &str| {
            let hash: [u8; 32] = Sha256::digest(text).into();
            u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
        };
        assert_eq!(Term::Flag("shop", "a").hash(), of("flag:shop/a"));
        assert_eq!(Term::Actor("user", "a/b").hash(), of("actor:user/a/b"));
        assert_eq!(Term::Ticket("OPS-1").hash(), of("ticket:OPS-1"));
        assert_eq!(Term::Kind("change").hash(), 0xb2bb_e75f);
    }
}
