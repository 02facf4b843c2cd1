//! What an expression gives: its cases.

use serde_json::Value;

use super::{
    Translated, Translator,
    cases::{Case, Cases, Leaf, Split, combinations},
    condition::Condition,
    constant,
    operand::{Variable, only, operation, variable},
    refuse,
};

/// What a `var` looks into.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scope {
    /// The evaluation context.
    Context,
    /// Each element of a constant list in turn.
    Element(Value),
    /// Whichever element of the list that an attribute is.
    ElementOf(String),
}

impl Translator<'_> {
    pub(super) fn value(&mut self, expression: &Value) -> Translated<Cases> {
        let is_constant = |value: &Value| !value.is_object() && !value.is_array();
        match expression {
            Value::Array(elements) if !elements.iter().all(is_constant) => self.nested(|translator| {
                translator.computed("a list", elements, |elements| Ok(Value::Array(elements.to_vec())))
            }),
            Value::Object(_) => {
                let place = self.place(expression);
                if let Some(known) = self.values.get(&place) {
                    return Ok(known.clone());
                }
                let (name, arguments) = operation(expression)?;
                let cases =
                    self.nested(|translator| translator.operator(name, arguments, expression))?.checked()?;
                self.values.insert(place, cases.clone());
                Ok(cases)
            }
            constant => Ok(Cases::constant(constant.clone())),
        }
    }

    fn operator(&mut self, name: &str, arguments: &Value, expression: &Value) -> Translated<Cases> {
        match name {
            "var" => self.variable(arguments),
            "$ref" => self.shared(arguments, Self::value),
            "if" | "?:" => self.branches(arguments),
            "or" => self.choice(name, arguments, true),
            "and" => self.choice(name, arguments, false),
            "log" => {
                self.notes.insert("`log` gives what it is given; here it writes nothing".to_owned());
                self.value(only(name, arguments)?)
            }
            "cat" => self.cat(arguments),
            "substr" => self.substr(arguments),
            "starts_with" | "ends_with" => self.begins_or_ends(name, arguments),
            "sem_ver" => self.sem_ver(arguments),
            "fractional" => self.fractional(arguments),
            "fractionalEvaluation" => {
                refuse("`fractionalEvaluation`, which flagd has no more; write it as `fractional`")
            }
            "missing" => self.missing(arguments),
            "missing_some" => self.missing_some(arguments),
            "map" | "filter" | "reduce" => self.worked_through(name, arguments),
            "merge" | "+" | "-" | "*" | "/" | "%" | "max" | "min" => {
                let operands = self.operands(arguments)?;
                self.folded(name, &operands, |operands| constant::computed(name, operands))
            }
            _ => Ok(Cases::boolean(self.condition(expression)?)),
        }
    }

    /// An operator's operands, each with its cases. One that is no list is the only one.
    pub(super) fn operands(&mut self, arguments: &Value) -> Translated<Vec<Cases>> {
        match arguments {
            Value::Array(list) => list.iter().map(|operand| self.value(operand)).collect(),
            single => Ok(vec![self.value(single)?]),
        }
    }

    fn computed(
        &mut self,
        name: &str,
        operands: &[Value],
        compute: impl Fn(&[Value]) -> Translated<Value>,
    ) -> Translated<Cases> {
        let operands = operands.iter().map(|operand| self.value(operand)).collect::<Translated<Vec<_>>>()?;
        self.folded(name, &operands, compute)
    }

    /// What is made of operands that are constants in every case.
    pub(super) fn folded(
        &self,
        name: &str,
        operands: &[Cases],
        compute: impl Fn(&[Value]) -> Translated<Value>,
    ) -> Translated<Cases> {
        let mut cases = Cases::default();
        for (when, leaves) in combinations(operands)? {
            let constants = leaves.into_iter().map(|leaf| constant_of(name, leaf));
            let value = compute(&constants.collect::<Translated<Vec<Value>>>()?)?;
            cases.push(when, Leaf::Constant(value));
        }
        Ok(cases)
    }

    /// `var`: what the context has under a name, or else a default.
    fn variable(&mut self, arguments: &Value) -> Translated<Cases> {
        let (name, default) = match arguments {
            Value::Array(list) => match list.as_slice() {
                [] => ("", &Value::Null),
                [Value::String(name)] => (name.as_str(), &Value::Null),
                [Value::String(name), default] => (name.as_str(), default),
                _ => return refuse("a `var` that names no attribute"),
            },
            Value::String(name) => (name.as_str(), &Value::Null),
            _ => return refuse("a `var` that names no attribute"),
        };
        match self.scope.clone() {
            Scope::Context => {}
            Scope::Element(element) => return element_part(&element, name),
            Scope::ElementOf(attribute) if name.is_empty() => {
                return Ok(Cases::always(Leaf::Attribute(attribute)));
            }
            Scope::ElementOf(_) => return refuse(format!("\"{name}\" of an element of a list")),
        }
        let name = match variable(name)? {
            Variable::FlagKey => return Ok(Cases::constant(self.source.key)),
            Variable::Attribute(name) => name,
        };
        self.named(name);
        let mut cases = Cases::default();
        let default = self.value(default)?;
        if default.single() != Some(&Value::Null) {
            self.except
                .insert(format!("\"{name}\": exact unless it is null, of which flagd's engines differ"));
            cases.extend(&Condition::missing(name), default);
        }
        cases.push(Condition::Always, Leaf::Attribute(name.to_owned()));
        Ok(cases)
    }

    /// Notes what is particular to an attribute's name.
    pub(super) fn named(&mut self, name: &str) {
        if name.contains('.') {
            self.except.insert(format!("\"{name}\": an attribute of exactly this name goes before the path"));
        }
    }

    /// A shared evaluator, written out where it is named.
    pub(super) fn shared<T>(
        &mut self,
        name: &Value,
        translate: impl FnOnce(&mut Self, &Value) -> Translated<T>,
    ) -> Translated<T> {
        let Some(name) = name.as_str() else { return refuse("a $ref that names no evaluator") };
        let Some(evaluator) = self.source.evaluators.get(name) else {
            return refuse(format!("a $ref to \"{name}\", which is not one of the file's $evaluators"));
        };
        if self.evaluators.iter().any(|open| open == name) {
            let chain = [self.evaluators.as_slice(), &[name.to_owned()]].concat().join("\" -> \"");
            return refuse(format!("a $ref that leads back to itself: \"{chain}\""));
        }
        self.notes.insert(format!("the shared evaluator \"{name}\" is written out in its rules"));
        self.evaluators.push(name.to_owned());
        let translated = translate(self, evaluator);
        self.evaluators.pop();
        translated
    }

    /// `if a then x, else if b then y, else z`.
    fn branches(&mut self, arguments: &Value) -> Translated<Cases> {
        let Value::Array(arguments) = arguments else { return refuse("`if` without a list of branches") };
        let (pairs, otherwise) = arguments.as_chunks::<2>();
        let branches = pairs.iter().map(|[condition, then]| {
            let test = match operation(condition) {
                Ok(("fractional", _)) => Test::Fractional(self.value(condition)?),
                _ => Test::Condition(self.condition(condition)?),
            };
            Ok((test, self.value(then)?))
        });
        let branches = branches.collect::<Translated<Vec<_>>>()?;
        // Without an `else` the result is null.
        let mut cases =
            otherwise.first().map_or(Ok(Cases::constant(Value::Null)), |last| self.value(last))?;
        for (test, then) in branches.into_iter().rev() {
            let condition = match test {
                Test::Condition(condition) => condition,
                Test::Fractional(shares) => match shared_out(&shares, &then, &cases) {
                    Some(divided) => {
                        cases = divided.checked()?;
                        continue;
                    }
                    None => self.truth(&shares)?,
                },
            };
            let mut longer = Cases::default();
            longer.extend(&condition, then);
            longer.extend(&Condition::Always, cases);
            cases = longer.checked()?;
        }
        Ok(cases)
    }

    /// `or` gives the first operand that counts as true, `and` the first that does not; if there is none, the last.
    fn choice(&mut self, name: &str, arguments: &Value, wanted: bool) -> Translated<Cases> {
        let parts = match arguments {
            Value::Array(parts) if !parts.is_empty() => parts,
            _ => return refuse(format!("`{name}` without a list of conditions")),
        };
        let mut values = parts.iter().map(|part| self.value(part)).collect::<Translated<Vec<Cases>>>()?;
        let is_boolean = |case: &Case| matches!(case.leaf, Leaf::Constant(Value::Bool(_)));
        if values.iter().all(|cases| cases.iter().all(is_boolean)) {
            let parts = parts.iter().map(|part| self.condition(part)).collect::<Translated<Vec<_>>>()?;
            return Ok(Cases::boolean(if wanted { Condition::any(parts) } else { Condition::all(parts) }));
        }
        if !wanted {
            self.check_conjunction(parts)?;
        }
        self.except.insert(format!(
            "`{name}` gives what its deciding operand is; where none decides flagd's engines differ"
        ));
        let mut rest = values.pop().unwrap_or_default();
        for value in values.into_iter().rev() {
            let mut cases = Cases::default();
            for Case { when, leaf } in value.into_iter() {
                let truth = self.truthy(&leaf)?;
                let decides = if wanted { truth } else { truth.not() };
                let goes_on = decides != Condition::Always;
                cases.push(Condition::all([when.clone(), decides]), leaf);
                if goes_on {
                    cases.extend(&when, rest.clone());
                }
            }
            rest = cases.checked()?;
        }
        Ok(rest)
    }
}

/// The condition of a branch.
enum Test {
    Condition(Condition),
    Fractional(Cases),
}

/// A `fractional` as the condition between two constants: a division between the two.
fn shared_out(shares: &Cases, then: &Cases, otherwise: &Cases) -> Option<Cases> {
    let (then, otherwise) = (then.single()?, otherwise.single()?);
    let either = |value: &Value| if constant::truthy(value) { then.clone() } else { otherwise.clone() };
    let mut cases = Cases::default();
    for Case { when, leaf } in shares.iter() {
        let leaf = match leaf {
            Leaf::Constant(value) => Leaf::Constant(either(value)),
            Leaf::Split(Split { by, seed, shares }) => Leaf::Split(Split {
                by: by.clone(),
                seed: seed.clone(),
                shares: shares.iter().map(|(value, weight)| (either(value), *weight)).collect(),
            }),
            _ => return None,
        };
        cases.push(when.clone(), leaf);
    }
    Some(cases)
}

/// The constant that an operand is, where an operator works on constants alone.
pub(super) fn constant_of(name: &str, leaf: Leaf) -> Translated<Value> {
    match leaf {
        Leaf::Constant(value) => Ok(value),
        Leaf::Attribute(attribute)
        | Leaf::Around { name: attribute, .. }
        | Leaf::Part { name: attribute, .. } => refuse(format!("`{name}` of the attribute \"{attribute}\"")),
        Leaf::List(_) => refuse(format!("`{name}` of a list that the context decides")),
        Leaf::Split(_) => refuse(format!("`{name}` of a `fractional`")),
    }
}

/// What a `var` finds in an element of a constant list.
fn element_part(element: &Value, name: &str) -> Translated<Cases> {
    if name.is_empty() {
        return Ok(Cases::constant(element.clone()));
    }
    let found = name.split('.').try_fold(element, |value, field| value.get(field));
    match element.is_object() {
        true => Ok(Cases::constant(found.cloned().unwrap_or_default())),
        false => {
            refuse(format!("\"{name}\" within a list's elements, where flagd's engines look differently"))
        }
    }
}
