//! flagd's targeting, which is JsonLogic, as rules of ours.
//!
//! A translation is exact or it is refused. JsonLogic coerces where our conditions are strict by type, so a
//! comparison often becomes more than one condition:
//!
//! * A missing attribute is `null`: never equal to a text, number or boolean (`==` does not match, `!=` does,
//!   and ours agree, because a missing attribute matches nothing and its negation everything), but 0 in `<`,
//!   `<=`, `>` and `>=`. Where 0 satisfies the comparison, "the attribute is missing" is added as an
//!   alternative; the same goes for `false` and `""`, which are 0 too, and `true`, which is 1.
//! * `==` and `!=` equate a number with the text that spells it and with a boolean: the other spellings are
//!   added to the values. `===`, `!==` and `in` are strict in both.
//!
//! Two kinds of context stay outside, because no finite list of values holds them or because flagd's own
//! engines disagree about them. One is a text that spells a number unusually or where a range is asked for
//! (`"1e1"`, `"17" < 18`): the report names the attributes concerned. The other is an attribute that is a
//! list or an object: here a list matches when one of its elements does. What the engines that flagd
//! documents do not agree on (a bare attribute inside `and`, texts such as `"0x10"`) is refused.

mod condition;
mod operand;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use self::{
    condition::Condition,
    operand::{Operand, attribute, only, operand, operation, pair, plain, spelled},
};

/// A flag's targeting as rules, tried in order; where none matches, flagd's default variant is served.
#[derive(Debug, PartialEq)]
pub struct Translation {
    /// The rules as the API takes them.
    pub rules: Vec<Value>,
    /// For which contexts the rules and the targeting agree, where that is not all of them.
    pub notes: BTreeSet<String>,
}

/// Why a targeting can't be translated.
#[derive(Debug, PartialEq, Eq)]
pub struct Untranslatable(pub String);

type Translated<T> = Result<T, Untranslatable>;

fn refuse<T>(why: impl Into<String>) -> Translated<T> {
    Err(Untranslatable(why.into()))
}

/// Translates a flag's targeting. `is_variant` says which names a result may have.
pub fn translate(targeting: &Value, is_variant: &dyn Fn(&str) -> bool) -> Translated<Translation> {
    let mut translator =
        Translator { is_variant, rules: Vec::new(), to_default: Vec::new(), notes: BTreeSet::new() };
    translator.result(targeting, &Condition::Always)?;
    Ok(Translation { rules: translator.rules, notes: translator.notes })
}

/// The four orderings, by JsonLogic's name.
#[derive(Clone, Copy)]
struct Ordering {
    op: &'static str,
    holds: fn(f64, f64) -> bool,
    flipped: &'static str,
}

const ORDERINGS: [(&str, Ordering); 4] = [
    ("<", Ordering { op: "lt", holds: |a, b| a < b, flipped: ">" }),
    ("<=", Ordering { op: "lte", holds: |a, b| a <= b, flipped: ">=" }),
    (">", Ordering { op: "gt", holds: |a, b| a > b, flipped: "<" }),
    (">=", Ordering { op: "gte", holds: |a, b| a >= b, flipped: "<=" }),
];

fn ordering(name: &str) -> Option<Ordering> {
    ORDERINGS.iter().find(|(known, _)| *known == name).map(|(_, ordering)| *ordering)
}

struct Translator<'a> {
    is_variant: &'a dyn Fn(&str) -> bool,
    rules: Vec<Value>,
    /// What came out as `null`: those contexts get the default variant, so no later rule may match them.
    to_default: Vec<Condition>,
    notes: BTreeSet<String>,
}

impl Translator<'_> {
    /// Translates an expression whose result names a variant, for the contexts that `within` matches.
    fn result(&mut self, expression: &Value, within: &Condition) -> Translated<()> {
        match expression {
            Value::Null => {
                self.to_default.push(within.clone());
                Ok(())
            }
            Value::String(variant) => self.serve(variant, within),
            // flagd takes true and false for variants of these names.
            Value::Bool(variant) => self.serve(if *variant { "true" } else { "false" }, within),
            Value::Object(_) => match operation(expression)? {
                ("if" | "?:", arguments) => self.chain(arguments, within),
                ("var", _) => refuse("it serves the variant that an attribute names"),
                _ => {
                    let condition = self.condition(expression)?;
                    self.result(&Value::Bool(true), &Condition::all([within.clone(), condition]))?;
                    self.result(&Value::Bool(false), within)
                }
            },
            Value::Number(_) | Value::Array(_) => {
                refuse(format!("its result {expression} is not the name of a variant"))
            }
        }
    }

    /// `if a then x, else if b then y, else z`.
    fn chain(&mut self, arguments: &Value, within: &Condition) -> Translated<()> {
        let Value::Array(arguments) = arguments else { return refuse("`if` without a list of branches") };
        let mut branches = arguments.chunks_exact(2);
        for branch in &mut branches {
            let [condition, then] = branch else { continue };
            let condition = self.condition(condition)?;
            self.result(then, &Condition::all([within.clone(), condition]))?;
        }
        // Without an `else` the result is null.
        self.result(branches.remainder().first().unwrap_or(&Value::Null), within)
    }

    fn serve(&mut self, variant: &str, within: &Condition) -> Translated<()> {
        if !(self.is_variant)(variant) {
            return refuse(format!("its result \"{variant}\" is not one of its variants"));
        }
        let not_default = self.to_default.iter().cloned().map(Condition::not);
        let when = Condition::all([within.clone()].into_iter().chain(not_default));
        let open_ended = self.rules.last().is_some_and(|rule| rule.get("when").is_none());
        let rule = match when {
            Condition::Never => return Ok(()),
            // What follows a rule for everyone is never reached.
            _ if open_ended => return Ok(()),
            Condition::Always => json!({"id": "else", "serve": {"variant": variant}}),
            Condition::When(when) => {
                json!({"id": format!("if-{}", self.rules.len() + 1), "when": when, "serve": {"variant": variant}})
            }
        };
        self.rules.push(rule);
        Ok(())
    }

    /// Translates an expression into the condition that its result is true, or counts as true.
    fn condition(&mut self, expression: &Value) -> Translated<Condition> {
        match expression {
            Value::Bool(true) => return Ok(Condition::Always),
            Value::Bool(false) | Value::Null => return Ok(Condition::Never),
            Value::Object(_) => {}
            _ => return refuse(format!("the constant {expression} as a condition")),
        }
        let (name, arguments) = operation(expression)?;
        match name {
            "var" => Ok(self.truthy(attribute(arguments)?)),
            "!" => Ok(self.condition(only(name, arguments)?)?.not()),
            "!!" => self.condition(only(name, arguments)?),
            "==" => self.equal(arguments, true),
            "!=" => Ok(self.equal(arguments, true)?.not()),
            "===" => self.equal(arguments, false),
            "!==" => Ok(self.equal(arguments, false)?.not()),
            "in" => self.member(arguments),
            "or" => Ok(Condition::any(self.each(name, arguments)?)),
            "and" => {
                let bare = |part: &Value| matches!(operation(part), Ok(("var", _)));
                if arguments.as_array().is_some_and(|parts| parts.iter().any(bare)) {
                    return refuse(
                        "a bare attribute inside `and`, which flagd's engines read differently; \
                         write {\"!!\": [{\"var\": ...}]}",
                    );
                }
                Ok(Condition::all(self.each(name, arguments)?))
            }
            "if" | "?:" => refuse("`if` inside a condition"),
            "$ref" => refuse("a $ref to a shared evaluator"),
            _ => match ordering(name) {
                Some(_) => self.ordered(name, arguments),
                None => refuse(format!("the operator `{name}`")),
            },
        }
    }

    fn each(&mut self, name: &str, arguments: &Value) -> Translated<Vec<Condition>> {
        match arguments {
            Value::Array(parts) if !parts.is_empty() => {
                parts.iter().map(|part| self.condition(part)).collect()
            }
            _ => refuse(format!("`{name}` without a list of conditions")),
        }
    }

    /// An attribute as a condition: it is there, and neither false nor zero nor empty.
    fn truthy(&mut self, name: &str) -> Condition {
        self.named(name);
        let falsy = Condition::attribute(name, "in", vec![json!(false), json!(0), json!("")]);
        Condition::all([Condition::missing(name).not(), falsy.not()])
    }

    fn equal(&mut self, arguments: &Value, coerce: bool) -> Translated<Condition> {
        let (name, constant) = match pair("an equality", arguments)? {
            (Operand::Attribute(name), Operand::Constant(constant))
            | (Operand::Constant(constant), Operand::Attribute(name)) => (name, constant),
            (Operand::Attribute(_), Operand::Attribute(_)) => {
                return refuse("a comparison of two attributes");
            }
            (Operand::Constant(_), Operand::Constant(_)) => return refuse("a comparison of two constants"),
        };
        if constant.is_null() {
            return Ok(Condition::missing(name));
        }
        if constant.is_array() {
            return refuse(format!("a comparison of \"{name}\" with a list"));
        }
        self.named(name);
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
                self.notes.insert(format!(
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
    fn ordered(&mut self, name: &str, arguments: &Value) -> Translated<Condition> {
        let operands = match arguments {
            Value::Array(operands) if (2..=3).contains(&operands.len()) => operands,
            _ => return refuse(format!("`{name}` without two or three operands")),
        };
        let steps = operands.windows(2).map(|step| match step {
            [left, right] => self.step(name, operand(left)?, operand(right)?),
            _ => Ok(Condition::Always),
        });
        Ok(Condition::all(steps.collect::<Translated<Vec<_>>>()?))
    }

    fn step(&mut self, name: &str, left: Operand<'_>, right: Operand<'_>) -> Translated<Condition> {
        let Some(found) = ordering(name) else { return refuse(format!("the operator `{name}`")) };
        let (attribute, constant, found) = match (left, right) {
            (Operand::Attribute(name), Operand::Constant(constant)) => (name, constant, Some(found)),
            (Operand::Constant(constant), Operand::Attribute(name)) => {
                (name, constant, ordering(found.flipped))
            }
            (Operand::Attribute(_), Operand::Attribute(_)) => {
                return refuse("a comparison of two attributes");
            }
            (Operand::Constant(_), Operand::Constant(_)) => return refuse("a comparison of two constants"),
        };
        let (Some(Ordering { op, holds, .. }), Some(bound)) = (found, constant.as_f64()) else {
            return refuse(format!("`{name}` with {constant}, which is not a number"));
        };
        self.named(attribute);
        self.notes.insert(format!("\"{attribute}\": exact unless it is a text that spells a number"));
        let mut alternatives = vec![Condition::attribute(attribute, op, vec![constant.clone()])];
        let mut also = Vec::new();
        if holds(0.0, bound) {
            alternatives.push(Condition::missing(attribute));
            also.extend([json!(false), json!("")]);
        }
        if holds(1.0, bound) {
            also.push(json!(true));
        }
        alternatives.push(Condition::one_of(attribute, also));
        Ok(Condition::any(alternatives))
    }

    /// `in` with a list of constants.
    fn member(&mut self, arguments: &Value) -> Translated<Condition> {
        match pair("`in`", arguments)? {
            (Operand::Attribute(name), Operand::Constant(Value::Array(list))) => {
                if list.iter().any(|element| element.is_array() || element.is_object()) {
                    return refuse("`in` with a list that holds more than texts, numbers and booleans");
                }
                self.named(name);
                let (nulls, values): (Vec<_>, Vec<_>) = list.iter().cloned().partition(Value::is_null);
                let missing = if nulls.is_empty() { Condition::Never } else { Condition::missing(name) };
                Ok(Condition::any([Condition::one_of(name, values), missing]))
            }
            (_, Operand::Attribute(name)) => refuse(format!(
                "`in` with the attribute \"{name}\" as its second operand: a part of a text or a member of a list, \
                 as the context has it"
            )),
            _ => refuse("`in` without an attribute and a list"),
        }
    }

    /// Notes what is particular to an attribute's name.
    fn named(&mut self, name: &str) {
        if name.contains('.') {
            self.notes.insert(format!("\"{name}\": an attribute of exactly this name goes before the path"));
        }
    }
}

#[cfg(test)]
mod tests;
