//! Comparisons: equality, order, and being in a list or a text.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::{
    Translated, Translator,
    cases::{Cases, Leaf, combinations},
    condition::Condition,
    constant,
    operand::{pair, plain, spelled},
    refuse,
};

/// The four orderings, by JsonLogic's name.
#[derive(Clone, Copy)]
struct Ordered {
    name: &'static str,
    op: &'static str,
    holds: fn(Ordering) -> bool,
    flipped: &'static str,
}

const ORDERINGS: [Ordered; 4] = [
    Ordered { name: "<", op: "lt", holds: Ordering::is_lt, flipped: ">" },
    Ordered { name: "<=", op: "lte", holds: Ordering::is_le, flipped: ">=" },
    Ordered { name: ">", op: "gt", holds: Ordering::is_gt, flipped: "<" },
    Ordered { name: ">=", op: "gte", holds: Ordering::is_ge, flipped: "<=" },
];

impl Ordered {
    fn of(name: &str) -> Option<Self> {
        ORDERINGS.into_iter().find(|ordering| ordering.name == name)
    }

    fn holds(self, one: f64, other: f64) -> bool {
        one.partial_cmp(&other).is_some_and(self.holds)
    }
}

impl Translator<'_> {
    /// An equality or an ordering.
    pub(super) fn compared(&mut self, name: &str, operands: &[Cases]) -> Translated<Condition> {
        if let Some(ordering) = Ordered::of(name) {
            return self.joined(operands, |translator, leaves| translator.ordered(ordering, leaves));
        }
        let coerce = matches!(name, "==" | "!=");
        let equal = self.joined(operands, |translator, leaves| {
            let (left, right) = pair(name, leaves)?;
            translator.equal(left, right, coerce)
        })?;
        Ok(if name.starts_with('!') { equal.not() } else { equal })
    }

    /// `in`
    pub(super) fn member(&mut self, operands: &[Cases]) -> Translated<Condition> {
        self.joined(operands, |translator, leaves| {
            let (needle, haystack) = pair("in", leaves)?;
            translator.contained(needle, haystack)
        })
    }

    /// A condition on operands, in each of their cases.
    fn joined(
        &mut self,
        operands: &[Cases],
        condition: impl Fn(&mut Self, &[Leaf]) -> Translated<Condition>,
    ) -> Translated<Condition> {
        let mut joined = Condition::Never;
        for (when, leaves) in combinations(operands)?.into_iter().rev() {
            let then = condition(self, &leaves)?;
            joined = match when {
                Condition::Always => then,
                when => when.choose(then, joined),
            };
        }
        Ok(joined)
    }

    fn equal(&mut self, left: &Leaf, right: &Leaf, coerce: bool) -> Translated<Condition> {
        match (left, right) {
            (Leaf::Constant(left), Leaf::Constant(right)) => {
                let equal =
                    if coerce { constant::equal(left, right)? } else { constant::identical(left, right)? };
                Ok(if equal { Condition::Always } else { Condition::Never })
            }
            (Leaf::Constant(constant), other) | (other, Leaf::Constant(constant)) => match other {
                Leaf::Attribute(name) => self.equals(name, constant, coerce),
                Leaf::Around { before, name, after } => self.around_equals(before, name, after, constant),
                Leaf::Part { name, from, length } => self.part_equals(name, *from, *length, constant),
                _ => refuse("a comparison of a list that the context decides"),
            },
            _ => refuse("a comparison of two attributes"),
        }
    }

    /// An attribute equals a constant.
    pub(super) fn equals(&mut self, name: &str, constant: &Value, coerce: bool) -> Translated<Condition> {
        if constant.is_null() {
            return Ok(Condition::missing(name));
        }
        if constant.is_array() {
            return refuse(format!("a comparison of \"{name}\" with a list"));
        }
        if !coerce {
            return Ok(Condition::one_of(name, vec![constant.clone()]));
        }
        let number = match constant {
            Value::String(text) => spelled(text)?,
            Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
            other => other.as_f64(),
        };
        let mut values = vec![constant.clone()];
        if let Some(number) = number {
            let mut add = |value: Value| {
                if !values.contains(&value) {
                    values.push(value);
                }
            };
            if !constant.is_number() {
                add(plain(number));
            }
            // A text constant is compared with texts as text: other spellings are other texts.
            if !constant.is_string() {
                add(Value::String(plain(number).to_string()));
                if number == 0.0 {
                    add(json!(""));
                }
                self.except.insert(format!(
                    "\"{name}\": exact unless it is a text that spells a number in another way than {}",
                    plain(number)
                ));
            }
            if number == 1.0 {
                add(json!(true));
            }
            if number == 0.0 {
                add(json!(false));
            }
        }
        Ok(Condition::one_of(name, values))
    }

    /// `a < b`, and `a < b < c`, which JsonLogic has for ranges.
    fn ordered(&mut self, ordering: Ordered, leaves: &[Leaf]) -> Translated<Condition> {
        if !(2..=3).contains(&leaves.len()) {
            return refuse(format!("`{}` without two or three operands", ordering.name));
        }
        let steps = leaves.windows(2).map(|step| match step {
            [left, right] => self.step(ordering, left, right),
            _ => Ok(Condition::Always),
        });
        Ok(Condition::all(steps.collect::<Translated<Vec<_>>>()?))
    }

    fn step(&mut self, ordering: Ordered, left: &Leaf, right: &Leaf) -> Translated<Condition> {
        let (attribute, constant, found) = match (left, right) {
            (Leaf::Constant(left), Leaf::Constant(right)) => {
                let holds = constant::order(left, right)?.is_some_and(ordering.holds);
                return Ok(if holds { Condition::Always } else { Condition::Never });
            }
            (Leaf::Attribute(name), Leaf::Constant(constant)) => (name, constant, Some(ordering)),
            (Leaf::Constant(constant), Leaf::Attribute(name)) => {
                (name, constant, Ordered::of(ordering.flipped))
            }
            (Leaf::Attribute(_), Leaf::Attribute(_)) => return refuse("a comparison of two attributes"),
            _ => {
                return refuse(format!(
                    "`{}` of something else than an attribute and a number",
                    ordering.name
                ));
            }
        };
        let bound = match constant {
            Value::Null => Some(0.0),
            Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
            other => other.as_f64(),
        };
        let (Some(found), Some(bound)) = (found, bound) else {
            return refuse(format!("`{}` with {constant}, which is not a number", ordering.name));
        };
        self.except.insert(format!("\"{attribute}\": exact unless it is a text that spells a number"));
        let value = if constant.is_number() { constant.clone() } else { plain(bound) };
        let mut alternatives = vec![Condition::attribute(attribute, found.op, vec![value])];
        let mut also = Vec::new();
        if found.holds(0.0, bound) {
            if bound == 0.0 {
                self.except.insert(format!(
                    "\"{attribute}\": exact unless it is missing: in flagd's Go engine 0 is neither `<=` nor `>=` what is \
                     missing, and here, as in JsonLogic, it is"
                ));
            }
            alternatives.push(Condition::missing(attribute));
            also.extend([json!(false), json!("")]);
        }
        if found.holds(1.0, bound) {
            also.push(json!(true));
        }
        alternatives.push(Condition::one_of(attribute, also));
        Ok(Condition::any(alternatives))
    }

    fn contained(&mut self, needle: &Leaf, haystack: &Leaf) -> Translated<Condition> {
        match (needle, haystack) {
            (Leaf::Constant(needle), Leaf::Constant(haystack)) => {
                let found = constant::contains(needle, haystack)?;
                Ok(if found { Condition::Always } else { Condition::Never })
            }
            (Leaf::Attribute(name), Leaf::Constant(Value::Array(list))) => one_of_list(name, list),
            (Leaf::Around { before, name, after }, Leaf::Constant(Value::Array(list))) => {
                let each = list.iter().map(|element| self.around_equals(before, name, after, element));
                Ok(Condition::any(each.collect::<Translated<Vec<_>>>()?))
            }
            (Leaf::Part { name, from, length }, Leaf::Constant(Value::Array(list))) => {
                let each = list.iter().map(|element| self.part_equals(name, *from, *length, element));
                Ok(Condition::any(each.collect::<Translated<Vec<_>>>()?))
            }
            (Leaf::Constant(needle), Leaf::Attribute(name)) => self.has(name, needle),
            (_, Leaf::Constant(Value::String(text))) => refuse(format!(
                "`in` with an attribute as a part of {text:?}; write a list to say which texts are meant"
            )),
            (_, Leaf::Attribute(name)) => {
                refuse(format!("`in` with two attributes, the second of them \"{name}\""))
            }
            _ => refuse("`in` without an attribute and a list"),
        }
    }

    /// A constant is a part of an attribute's text, or an element of the list that it is. Both can't be asked at once: our
    /// `contains` looks into the elements of a list.
    fn has(&mut self, name: &str, needle: &Value) -> Translated<Condition> {
        match needle {
            Value::String(part) => {
                self.except.insert(format!(
                    "\"{name}\": exact unless it is a list, of which flagd asks for an element that is all of {part:?}; if it \
                     is one, write `in` instead of `contains`"
                ));
                Ok(Condition::attribute(name, "contains", vec![needle.clone()]))
            }
            Value::Number(_) | Value::Bool(_) => {
                self.except.insert(format!(
                    "\"{name}\": exact if it is a list; a single value matches here like a list of one"
                ));
                Ok(Condition::one_of(name, vec![needle.clone()]))
            }
            _ => refuse(format!("`in` with {needle} and the attribute \"{name}\"")),
        }
    }
}

/// An attribute is in a list of constants.
fn one_of_list(name: &str, list: &[Value]) -> Translated<Condition> {
    if list.iter().any(|element| element.is_array() || element.is_object()) {
        return refuse("`in` with a list that holds more than texts, numbers and booleans");
    }
    let (nulls, values): (Vec<_>, Vec<_>) = list.iter().cloned().partition(Value::is_null);
    let missing = if nulls.is_empty() { Condition::Never } else { Condition::missing(name) };
    Ok(Condition::any([Condition::one_of(name, values), missing]))
}
