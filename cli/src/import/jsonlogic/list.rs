//! Operators on lists: what is missing, and what holds for elements.

use serde_json::{Map, Value, json};

use super::{
    Translated, Translator,
    cases::{Cases, Leaf},
    condition::Condition,
    constant,
    operand::{Variable, variable},
    refuse,
    value::Scope,
};

/// The most alternatives that `missing_some` is written out in.
const ALTERNATIVES_MAX: usize = 64;

impl Translator<'_> {
    /// `missing`: the names of those attributes that are.
    pub(super) fn missing(&mut self, arguments: &Value) -> Translated<Cases> {
        let operands = self.operands(arguments)?;
        let names = self.folded("missing", &operands, |names| constant::computed("merge", names))?;
        let missing = self.missing_of("missing", &names)?;
        Ok(Cases::always(Leaf::List(Condition::any(missing))))
    }

    /// `missing_some`: the same, if fewer are there than are needed.
    pub(super) fn missing_some(&mut self, arguments: &Value) -> Translated<Cases> {
        let operands = self.operands(arguments)?;
        let [needed, names] = operands.as_slice() else {
            return refuse("`missing_some` without a number and a list");
        };
        let Some(needed) = needed.single() else { return refuse("`missing_some` without a constant number") };
        let needed = usize::try_from(constant::whole("missing_some", needed)?.max(0)).unwrap_or(usize::MAX);
        let missing = self.missing_of("missing_some", names)?;
        // Fewer than so many are there: of every choice of as many one is missing. Of none nothing is.
        let choices = choices(&missing, needed.min(missing.len()));
        let Some(choices) = choices else {
            return refuse(format!("`missing_some` with more than {ALTERNATIVES_MAX} ways to have enough"));
        };
        let lacking = choices.into_iter().map(Condition::any);
        Ok(Cases::always(Leaf::List(Condition::all(lacking))))
    }

    /// For each of the attributes that a constant list names, that it is missing.
    fn missing_of(&mut self, operator: &str, names: &Cases) -> Translated<Vec<Condition>> {
        let Some(Value::Array(names)) = names.single() else {
            return refuse(format!("`{operator}` without a constant list of names"));
        };
        if self.scope != Scope::Context {
            return refuse(format!("`{operator}` within a list's elements"));
        }
        let mut missing = Vec::new();
        for name in names {
            let Some(name) = name.as_str() else {
                return refuse(format!("`{operator}` with the name {name}"));
            };
            match variable(name)? {
                Variable::FlagKey => missing.push(Condition::Never),
                Variable::Attribute(name) => {
                    self.named(name);
                    self.except.insert(format!(
                        "\"{name}\": exact unless it is an empty text, which counts as missing to some of flagd's engines \
                         and not to others, nor here"
                    ));
                    missing.push(Condition::missing(name));
                }
            }
        }
        Ok(missing)
    }

    /// `some`, `none` and `all`.
    pub(super) fn quantified(&mut self, name: &str, arguments: &Value) -> Translated<Condition> {
        let [list, body] = arguments.as_array().map(Vec::as_slice).unwrap_or_default() else {
            return refuse(format!("`{name}` without a list and a condition"));
        };
        let list = self.value(list)?;
        let mut holds = Condition::Never;
        for case in list.iter().rev() {
            let then = match &case.leaf {
                Leaf::Constant(Value::Array(elements)) => {
                    let each = elements.iter().map(|element| {
                        self.within(Scope::Element(element.clone()), |translator| translator.condition(body))
                    });
                    let each = each.collect::<Translated<Vec<_>>>()?;
                    match name {
                        "some" => Condition::any(each),
                        "none" => Condition::any(each).not(),
                        _ if each.is_empty() => Condition::Never,
                        _ => Condition::all(each),
                    }
                }
                Leaf::Constant(Value::Null) => {
                    if name == "none" {
                        Condition::Always
                    } else {
                        Condition::Never
                    }
                }
                Leaf::Attribute(attribute) => self.some_element(name, attribute, body)?,
                _ => return refuse(format!("`{name}` of something else than a list")),
            };
            holds = case.when.clone().choose(then, holds);
        }
        Ok(holds)
    }

    /// `some` and `none` of the elements of an attribute.
    fn some_element(&mut self, name: &str, attribute: &str, body: &Value) -> Translated<Condition> {
        if name == "all" {
            return refuse(format!(
                "`all` of the list \"{attribute}\": conditions here ask whether some element matches, not all of them"
            ));
        }
        let scope = Scope::ElementOf(attribute.to_owned());
        let some = self.within(scope, |translator| translator.condition(body))?;
        if !is_of_one_element(&some) {
            return refuse(format!(
                "`{name}` of the list \"{attribute}\" with a condition that no single comparison of an element makes"
            ));
        }
        self.except.insert(format!(
            "\"{attribute}\": exact if it is a list; a single value matches here like a list of one"
        ));
        Ok(if name == "none" { some.not() } else { some })
    }

    /// `map`, `filter` and `reduce`, of constant lists.
    pub(super) fn worked_through(&mut self, name: &str, arguments: &Value) -> Translated<Cases> {
        let arguments = arguments.as_array().map(Vec::as_slice).unwrap_or_default();
        let (list, body) = match (name, arguments) {
            ("map" | "filter", [list, body]) | ("reduce", [list, body, _]) => (self.value(list)?, body),
            _ => return refuse(format!("`{name}` without a list and what to do with its elements")),
        };
        let Some(Value::Array(elements)) = list.single() else {
            return refuse(format!("`{name}` of a list that is no constant"));
        };
        match (name, arguments) {
            ("reduce", [_, _, start]) => {
                let mut accumulator = self.constant(name, start)?;
                for current in elements {
                    let scope = Scope::Element(json!({"current": current, "accumulator": accumulator}));
                    accumulator = self.within(scope, |translator| translator.constant(name, body))?;
                }
                Ok(Cases::constant(accumulator))
            }
            ("map", _) => {
                let each = elements.iter().map(|element| {
                    let scope = Scope::Element(element.clone());
                    self.within(scope, |translator| translator.constant(name, body))
                });
                Ok(Cases::constant(each.collect::<Translated<Vec<Value>>>()?))
            }
            _ => {
                let mut kept = Vec::new();
                for element in elements {
                    let scope = Scope::Element(element.clone());
                    match self.within(scope, |translator| translator.condition(body))? {
                        Condition::Always => kept.push(element.clone()),
                        Condition::Never => {}
                        Condition::When(_) => return refuse("`filter` by what the context has"),
                    }
                }
                Ok(Cases::constant(kept))
            }
        }
    }

    fn constant(&mut self, name: &str, expression: &Value) -> Translated<Value> {
        match self.value(expression)?.single() {
            Some(value) => Ok(value.clone()),
            None => refuse(format!("`{name}` with what the context has")),
        }
    }

    /// Translates with other data to look into.
    fn within<T>(
        &mut self,
        scope: Scope,
        translate: impl FnOnce(&mut Self) -> Translated<T>,
    ) -> Translated<T> {
        let outer = std::mem::replace(&mut self.scope, scope);
        let outer_number = std::mem::replace(&mut self.scope_number, self.scopes + 1);
        self.scopes += 1;
        let translated = translate(self);
        self.scope = outer;
        self.scope_number = outer_number;
        translated
    }
}

/// Whether a condition is one on a single element: then it is the same of some element of a list.
fn is_of_one_element(condition: &Condition) -> bool {
    fn is_comparison(condition: &Map<String, Value>) -> bool {
        match condition.get("any") {
            Some(Value::Array(any)) => any.iter().all(|part| part.as_object().is_some_and(is_comparison)),
            _ => condition.contains_key("attribute") && condition.get("op") != Some(&json!("exists")),
        }
    }
    match condition {
        Condition::Always | Condition::Never => false,
        Condition::When(when) => when.as_object().is_some_and(is_comparison),
    }
}

/// All choices of so many of the conditions; `None` if they are too many to write out.
fn choices(conditions: &[Condition], count: usize) -> Option<Vec<Vec<Condition>>> {
    let mut all: Vec<(usize, Vec<Condition>)> = vec![(0, Vec::new())];
    for _ in 0..count {
        let mut longer = Vec::new();
        for (from, chosen) in &all {
            for (at, condition) in conditions.iter().enumerate().skip(*from) {
                longer.push((at + 1, [chosen.as_slice(), std::slice::from_ref(condition)].concat()));
            }
        }
        if longer.len() > ALTERNATIVES_MAX {
            return None;
        }
        all = longer;
    }
    // Nothing chosen is no condition at all.
    Some(all.into_iter().map(|(_, chosen)| chosen).collect())
}
