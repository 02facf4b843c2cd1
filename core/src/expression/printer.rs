//! The canonical text of a condition. Each kind of condition can be shown by itself, too.

use std::fmt;

use serde::Serialize as _;
use serde_json::Value;

use super::{
    quoted,
    words::{Sign, is_bare_name, operator, takes_bare_text},
};
use crate::condition::{AttributeCondition, Bucket, Condition, Operator};

/// The condition on one line, as [`crate::expression::parse`] reads it.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(inner) => group(f, "all", "and", inner),
            Self::Any(inner) => group(f, "any", "or", inner),
            Self::Not(inner) => {
                f.write_str("not ")?;
                part(f, inner)
            }
            Self::Segment(segment) => {
                f.write_str("segment(")?;
                quoted::write(f, segment, '"')?;
                f.write_str(")")
            }
            Self::Bucket(bucket) => write!(f, "{bucket}"),
            Self::Attribute(attribute) => write!(f, "{attribute}"),
        }
    }
}

/// The conditions between words; no condition, or one, as a call, so that the group is still seen.
fn group(f: &mut fmt::Formatter<'_>, call: &str, word: &str, inner: &[Condition]) -> fmt::Result {
    match inner {
        [] => write!(f, "{call}()"),
        [only] => write!(f, "{call}({only})"),
        [first, others @ ..] => {
            part(f, first)?;
            others.iter().try_for_each(|other| {
                write!(f, " {word} ")?;
                part(f, other)
            })
        }
    }
}

/// A condition within another one. A group stands in parentheses even where `and` binds tighter than `or`: nobody has to
/// know which does.
fn part(f: &mut fmt::Formatter<'_>, condition: &Condition) -> fmt::Result {
    match condition {
        Condition::All(inner) | Condition::Any(inner) if inner.len() > 1 => write!(f, "({condition})"),
        _ => write!(f, "{condition}"),
    }
}

/// The range as [`crate::expression::parse`] reads it: `bucket(targetingKey, "layer-1") in [0, 25) of 100`.
impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { by, seed, from, to, of } = self;
        f.write_str("bucket(")?;
        name(f, by)?;
        f.write_str(", ")?;
        quoted::write(f, seed, '"')?;
        write!(f, ") in [{from}, {to}) of {of}")
    }
}

/// The comparison as [`crate::expression::parse`] reads it: `country in ["DE", "FR"]`.
impl fmt::Display for AttributeCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attribute, op, values, ignore_case } = self;
        name(f, attribute)?;
        f.write_str(" ")?;
        compared(f, *op, values)?;
        f.write_str(if *ignore_case { " ignoring case" } else { "" })
    }
}

/// The operator and its values, in the readable spelling where there is one for such values.
fn compared(f: &mut fmt::Formatter<'_>, op: Operator, values: &[Value]) -> fmt::Result {
    match values {
        [] if op == Operator::Exists => return f.write_str("exists"),
        [only] => {
            if let Some(sign) = Sign::of_plain(op).filter(|sign| sign.compares_with(only)) {
                write!(f, "{} ", sign.as_str())?;
                return value(f, only);
            }
            if let (Some(sign), Value::String(version)) = (Sign::of_version(op), only) {
                write!(f, "{} semver(", sign.as_str())?;
                quoted::write(f, version, '"')?;
                return f.write_str(")");
            }
            if takes_bare_text(op) && only.is_string() {
                write!(f, "{op} ")?;
                return value(f, only);
            }
        }
        _ => {}
    }
    if op == Operator::Cidr && !values.is_empty() && values.iter().all(Value::is_string) {
        f.write_str("in cidr(")?;
        separated(f, values, value)?;
        return f.write_str(")");
    }
    write!(f, "{op} [")?;
    separated(f, values, value)?;
    f.write_str("]")
}

/// An attribute's name, in backticks where it would be taken for something else, or could be mistaken for it.
fn name(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    if is_bare_name(name) && operator(name).is_none() {
        return f.write_str(name);
    }
    quoted::write(f, name, '`')
}

/// A value as JSON, with a space after each comma and colon.
fn value(f: &mut fmt::Formatter<'_>, json: &Value) -> fmt::Result {
    match json {
        Value::Null => f.write_str("null"),
        Value::Bool(boolean) => write!(f, "{boolean}"),
        Value::Number(number) => write!(f, "{number}"),
        Value::String(text) => quoted::write(f, text, '"'),
        Value::Array(items) => {
            f.write_str("[")?;
            separated(f, items, value)?;
            f.write_str("]")
        }
        Value::Object(fields) => {
            f.write_str("{")?;
            separated(f, fields, |f, (name, field)| {
                quoted::write(f, name, '"')?;
                f.write_str(": ")?;
                value(f, field)
            })?;
            f.write_str("}")
        }
    }
}

fn separated<T>(
    f: &mut fmt::Formatter<'_>,
    items: impl IntoIterator<Item = T>,
    write: impl Fn(&mut fmt::Formatter<'_>, T) -> fmt::Result,
) -> fmt::Result {
    items.into_iter().enumerate().try_for_each(|(index, item)| {
        f.write_str(if index > 0 { ", " } else { "" })?;
        write(f, item)
    })
}

/// The operator's name in JSON.
impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
