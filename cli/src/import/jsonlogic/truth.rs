//! For whom an expression counts as true.

use serde_json::{Value, json};

use super::{
    Translated, Translator,
    cases::{Cases, Leaf, Split},
    condition::Condition,
    constant,
    operand::{only, operation},
    refuse,
};

/// The operators that give true or false for every context, so that `and` means the same to every engine.
const BOOLEAN: [&str; 15] =
    ["==", "!=", "===", "!==", "<", "<=", ">", ">=", "!", "!!", "in", "some", "none", "all", "or"];

impl Translator<'_> {
    /// Translates an expression into the condition that its result is true, or counts as true.
    pub(super) fn condition(&mut self, expression: &Value) -> Translated<Condition> {
        let Value::Object(_) = expression else {
            let cases = self.value(expression)?;
            return self.truth(&cases);
        };
        let place = self.place(expression);
        if let Some(known) = self.conditions.get(&place) {
            return Ok(known.clone());
        }
        let (name, arguments) = operation(expression)?;
        let condition = self.nested(|translator| translator.holds(name, arguments, expression))?.checked()?;
        self.conditions.insert(place, condition.clone());
        Ok(condition)
    }

    fn holds(&mut self, name: &str, arguments: &Value, expression: &Value) -> Translated<Condition> {
        match name {
            "!" => Ok(self.condition(only(name, arguments)?)?.not()),
            "!!" => self.condition(only(name, arguments)?),
            "==" | "!=" | "===" | "!==" | "<" | "<=" | ">" | ">=" => {
                let operands = self.operands(arguments)?;
                self.compared(name, &operands)
            }
            "in" => {
                let operands = self.operands(arguments)?;
                self.member(&operands)
            }
            "some" | "none" | "all" => self.quantified(name, arguments),
            "or" => Ok(Condition::any(self.each(name, arguments)?)),
            "and" => {
                if let Value::Array(parts) = arguments {
                    self.check_conjunction(parts)?;
                }
                Ok(Condition::all(self.each(name, arguments)?))
            }
            "if" | "?:" => match arguments {
                Value::Array(arguments) => self.chosen(arguments),
                _ => refuse("`if` without a list of branches"),
            },
            "$ref" => self.shared(arguments, Self::condition),
            "var"
            | "log"
            | "cat"
            | "substr"
            | "starts_with"
            | "ends_with"
            | "sem_ver"
            | "fractional"
            | "fractionalEvaluation"
            | "missing"
            | "missing_some"
            | "map"
            | "filter"
            | "reduce"
            | "merge"
            | "+"
            | "-"
            | "*"
            | "/"
            | "%"
            | "max"
            | "min" => {
                let cases = self.value(expression)?;
                self.truth(&cases)
            }
            _ => refuse(format!("the operator `{name}`")),
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

    fn chosen(&mut self, arguments: &[Value]) -> Translated<Condition> {
        let (pairs, otherwise) = arguments.as_chunks::<2>();
        let branches =
            pairs.iter().map(|[condition, then]| Ok((self.condition(condition)?, self.condition(then)?)));
        let branches = branches.collect::<Translated<Vec<_>>>()?;
        let mut chosen = otherwise.first().map_or(Ok(Condition::Never), |last| self.condition(last))?;
        for (condition, then) in branches.into_iter().rev() {
            chosen = condition.choose(then, chosen).checked()?;
        }
        Ok(chosen)
    }

    /// For whom the cases give what counts as true.
    pub(super) fn truth(&mut self, cases: &Cases) -> Translated<Condition> {
        let mut truth = Condition::Never;
        for case in cases.iter().rev() {
            let (when, then) = match &case.leaf {
                // To whom a split says nothing is left to the next case.
                Leaf::Split(split) => {
                    let hashed = Condition::missing(&split.by).not();
                    (Condition::all([case.when.clone(), hashed]), truth_of_shares(split)?)
                }
                leaf => (case.when.clone(), self.truthy(leaf)?),
            };
            truth = match when {
                Condition::Always => then,
                when => when.choose(then, truth),
            };
        }
        Ok(truth)
    }

    /// For whom what is given in one case counts as true.
    pub(super) fn truthy(&mut self, leaf: &Leaf) -> Translated<Condition> {
        match leaf {
            Leaf::Constant(value) => {
                Ok(if constant::truthy(value) { Condition::Always } else { Condition::Never })
            }
            Leaf::Attribute(name) => {
                // It is there, and neither false nor zero nor empty.
                let falsy = Condition::attribute(name, "in", vec![json!(false), json!(0), json!("")]);
                Ok(Condition::all([Condition::missing(name).not(), falsy.not()]))
            }
            Leaf::Around { before, after, .. } if !before.is_empty() || !after.is_empty() => {
                Ok(Condition::Always)
            }
            Leaf::Around { name, .. } | Leaf::Part { name, .. } => {
                refuse(format!("the text of \"{name}\" as a condition"))
            }
            Leaf::List(has_elements) => Ok(has_elements.clone()),
            Leaf::Split(_) => refuse("a `fractional` among conditions"),
        }
    }

    /// Refuses what `and` reads differently in flagd's engines: one of them ends it at a list, and takes null and 0 for
    /// true.
    pub(super) fn check_conjunction(&mut self, parts: &[Value]) -> Translated<()> {
        for part in parts {
            let name = match part {
                Value::Object(_) => operation(part)?.0,
                _ => "",
            };
            if BOOLEAN.contains(&name) {
                continue;
            }
            for case in self.value(part)?.iter() {
                match &case.leaf {
                    Leaf::Constant(Value::Bool(_) | Value::String(_)) | Leaf::Around { .. } => {}
                    Leaf::Constant(Value::Null)
                        if matches!(name, "starts_with" | "ends_with" | "sem_ver") =>
                    {
                        self.except.insert(format!(
                            "`{name}` inside `and`: exact where it is given what it compares; of anything else flagd's Go \
                             engine takes it for true, and here, as in flagd's other engines, it is false"
                        ));
                    }
                    Leaf::Constant(value) if constant::truthy(value) && value.is_number() => {}
                    Leaf::Attribute(_) => {
                        return refuse(
                            "a bare attribute inside `and`, which flagd's engines read differently; \
                             write {\"!!\": [{\"var\": ...}]}",
                        );
                    }
                    _ => {
                        return refuse(
                            "something else than a condition inside `and`, which flagd's engines read differently; \
                             write {\"!!\": [...]} around it",
                        );
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether what a split gives counts as true, if that is the same for all.
fn truth_of_shares(split: &Split) -> Translated<Condition> {
    let mut shares = split.shares.iter().filter(|(_, weight)| *weight > 0);
    let first = shares.next().is_some_and(|(value, _)| constant::truthy(value));
    match shares.all(|(value, _)| constant::truthy(value) == first) {
        true if first => Ok(Condition::Always),
        true => Ok(Condition::Never),
        false => refuse("a `fractional` inside a condition; divide in the result, where rules do"),
    }
}
