//! Operators on text: `cat`, `substr`, and flagd's `starts_with` and `ends_with`.

use serde_json::{Value, json};

use super::{
    Translated, Translator,
    cases::{Cases, Leaf, combinations},
    condition::Condition,
    constant,
    operand::plain,
    refuse,
    value::constant_of,
};

impl Translator<'_> {
    /// `cat`: texts one after the other. One of them may be an attribute.
    pub(super) fn cat(&mut self, arguments: &Value) -> Translated<Cases> {
        let operands = self.operands(arguments)?;
        let mut cases = Cases::default();
        for (when, leaves) in combinations(&operands)? {
            cases.push(when, concatenated(leaves)?);
        }
        Ok(cases)
    }

    /// `substr`
    pub(super) fn substr(&mut self, arguments: &Value) -> Translated<Cases> {
        let operands = self.operands(arguments)?;
        let mut cases = Cases::default();
        for (when, leaves) in combinations(&operands)? {
            let leaf = match leaves.as_slice() {
                [Leaf::Attribute(name), rest @ ..] => {
                    let rest = rest.iter().map(|leaf| constant_of("substr", leaf.clone()));
                    let (from, length) = match rest.collect::<Translated<Vec<Value>>>()?.as_slice() {
                        [from] => (constant::whole("substr", from)?, None),
                        [from, length] => {
                            (constant::whole("substr", from)?, Some(constant::whole("substr", length)?))
                        }
                        _ => return refuse("`substr` without two or three operands"),
                    };
                    Leaf::Part { name: name.clone(), from, length }
                }
                _ => {
                    let constants = leaves.into_iter().map(|leaf| constant_of("substr", leaf));
                    let constants = constants.collect::<Translated<Vec<Value>>>()?;
                    Leaf::Constant(constant::computed("substr", &constants)?)
                }
            };
            cases.push(when, leaf);
        }
        Ok(cases)
    }

    /// flagd's `starts_with` and `ends_with`: null unless both are texts.
    pub(super) fn begins_or_ends(&mut self, name: &str, arguments: &Value) -> Translated<Cases> {
        let Value::Array(_) = arguments else { return Ok(Cases::constant(Value::Null)) };
        let operands = self.operands(arguments)?;
        if operands.len() != 2 {
            self.notes
                .insert(format!("`{name}` without two operands gives nothing in flagd, and so does it here"));
            return Ok(Cases::constant(Value::Null));
        }
        let mut cases = Cases::default();
        for (when, leaves) in combinations(&operands)? {
            let tested = match leaves.as_slice() {
                [Leaf::Constant(Value::String(text)), Leaf::Constant(Value::String(part))] => {
                    let starts = name == "starts_with";
                    Cases::constant(if starts { text.starts_with(part) } else { text.ends_with(part) })
                }
                [Leaf::Attribute(attribute), Leaf::Constant(Value::String(part))] => {
                    tested(attribute, Condition::attribute(attribute, name, vec![json!(part)]))
                }
                [Leaf::Constant(_) | Leaf::Attribute(_), Leaf::Constant(_)]
                | [Leaf::Constant(Value::Null), _] => Cases::constant(Value::Null),
                _ => return refuse(format!("`{name}` without an attribute and a constant text")),
            };
            cases.extend(&when, tested);
        }
        Ok(cases)
    }

    /// The text of an attribute, with texts around it, equals a constant.
    pub(super) fn around_equals(
        &mut self,
        before: &str,
        name: &str,
        after: &str,
        constant: &Value,
    ) -> Translated<Condition> {
        let text = match constant {
            Value::String(text) => text,
            Value::Null | Value::Bool(_) if !before.is_empty() || !after.is_empty() => {
                return Ok(Condition::Never);
            }
            other => return refuse(format!("a comparison of a text that `cat` makes with {other}")),
        };
        let inner = text.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        self.except.insert(format!(
            "\"{name}\": exact unless it is a list or an object, or a text that begins or ends with white space, which \
             flagd's Go engine cuts off"
        ));
        let Some(inner) = inner else { return Ok(Condition::Never) };
        let mut values = vec![json!(inner)];
        let number = inner.parse::<f64>().ok().filter(|number| number.is_finite()).map(plain);
        values.extend(number.filter(|number| constant::text(number).is_ok_and(|text| text == inner)));
        values.extend(inner.parse::<bool>().ok().map(Value::Bool));
        // What is missing is the empty text.
        let missing = if inner.is_empty() { Condition::missing(name) } else { Condition::Never };
        Ok(Condition::any([Condition::one_of(name, values), missing]))
    }

    /// A part of an attribute's text equals a constant.
    pub(super) fn part_equals(
        &mut self,
        name: &str,
        from: i64,
        length: Option<i64>,
        constant: &Value,
    ) -> Translated<Condition> {
        let Value::String(text) = constant else {
            return refuse(format!("a comparison of a text that `substr` takes with {constant}"));
        };
        let (op, asked) = match (from, length) {
            (0, Some(length)) if length > 0 => ("starts_with", length),
            (from, None) if from < 0 => ("ends_with", from.saturating_neg()),
            _ => return refuse("a `substr` that is neither the beginning nor the end of a text"),
        };
        let count = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        // JavaScript takes a part of the word "null" of what is missing.
        if count == 0 || "null".starts_with(text) || "null".ends_with(text) || !text.is_ascii() {
            return refuse(format!(
                "a `substr` compared with {text:?}, which flagd's engines read differently"
            ));
        }
        self.except.insert(format!(
            "\"{name}\": exact unless it is a number or a boolean, of which flagd takes the text"
        ));
        Ok(match count.cmp(&asked) {
            std::cmp::Ordering::Equal => Condition::attribute(name, op, vec![constant.clone()]),
            // The text is shorter than what was asked for.
            std::cmp::Ordering::Less => Condition::one_of(name, vec![constant.clone()]),
            std::cmp::Ordering::Greater => Condition::Never,
        })
    }
}

/// A test that gives null for what is no text.
fn tested(attribute: &str, holds: Condition) -> Cases {
    let mut cases = Cases::default();
    cases.push(holds, Leaf::Constant(Value::Bool(true)));
    cases.push(Condition::is_text(attribute), Leaf::Constant(Value::Bool(false)));
    cases.push(Condition::Always, Leaf::Constant(Value::Null));
    cases
}

fn concatenated(leaves: Vec<Leaf>) -> Translated<Leaf> {
    let mut before = String::new();
    let mut around: Option<(String, String)> = None;
    for leaf in leaves {
        let text = match leaf {
            Leaf::Attribute(name) if around.is_none() => {
                around = Some((name, String::new()));
                continue;
            }
            Leaf::Around { before: more, name, after } if around.is_none() => {
                before.push_str(&more);
                around = Some((name, after));
                continue;
            }
            Leaf::Attribute(_) | Leaf::Around { .. } => return refuse("`cat` of two attributes"),
            other => constant::text(&constant_of("cat", other)?)?,
        };
        match &mut around {
            None => before.push_str(&text),
            Some((_, after)) => after.push_str(&text),
        }
    }
    let after = around.as_ref().map_or("", |(_, after)| after);
    let is_cut = match (before.is_empty(), after.is_empty()) {
        (_, true) => before.trim() != before,
        (true, false) => after.trim() != after,
        (false, false) => before.trim_start() != before || after.trim_end() != after,
    };
    if is_cut {
        return refuse("`cat` of a text that white space begins or ends, which flagd's Go engine cuts off");
    }
    Ok(match around {
        None => Leaf::Constant(Value::String(before)),
        Some((name, after)) => Leaf::Around { before, name, after },
    })
}
