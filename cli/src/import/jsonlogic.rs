//! flagd's targeting, which is JsonLogic, as rules of ours.
//!
//! A translation is exact or it is refused. An expression is taken apart into cases (`cases`): for whom it gives which
//! constant, attribute or share. Constants are worked out (`constant`), the cases of the whole targeting become
//! rules in order.
//!
//! JsonLogic coerces where our conditions are strict by type, so a comparison often becomes more than one condition:
//!
//! * A missing attribute is `null`: never equal to a text, number or boolean (`==` does not match, `!=` does,
//!   and ours agree, because a missing attribute matches nothing and its negation everything), but 0 in `<`,
//!   `<=`, `>` and `>=`. Where 0 satisfies the comparison, "the attribute is missing" is added as an
//!   alternative; the same goes for `false` and `""`, which are 0 too, and `true`, which is 1.
//! * `==` and `!=` equate a number with the text that spells it and with a boolean: the other spellings are
//!   added to the values. `===`, `!==` and `in` are strict in both.
//!
//! Some contexts stay outside, because no finite list of values holds them or because flagd's own engines disagree
//! about them: a text that spells a number unusually or where a range is asked for (`"1e1"`, `"17" < 18`), a list where
//! one value is expected. The report names the attributes concerned. What the engines that flagd documents do not agree
//! on in ordinary contexts (a bare attribute inside `and`, texts such as `"0x10"`) is refused.

mod cases;
mod comparison;
mod condition;
mod constant;
mod fractional;
mod list;
mod operand;
mod text;
mod truth;
mod value;
mod version;

use std::collections::{BTreeMap, BTreeSet};

use flagraft_core::limits::CONDITIONS_MAX;
use serde_json::{Map, Value, json};

use self::{
    cases::{Cases, Leaf, Split},
    condition::{Condition, too_many_conditions},
    value::Scope,
};

/// How deep expressions may be nested: each level is a call. JSON is read to 128 levels, of which one may count twice, as a
/// value and as a condition; what is nested deeper is shared evaluators that name one another.
const DEPTH_MAX: usize = 256;
/// How many expressions are translated for one flag. One with as many conditions as a flag may have has a third of it.
const EXPRESSIONS_MAX: usize = 10_000;

/// The flag that a targeting belongs to, and what surrounds it.
pub struct Source<'a> {
    /// The flag's key.
    pub key: &'a str,
    /// Its variants.
    pub variants: &'a Map<String, Value>,
    /// The variant that flagd serves where the targeting gives `null`.
    pub default: Option<&'a str>,
    /// The file's `$evaluators`, by name.
    pub evaluators: &'a Map<String, Value>,
}

/// A flag's targeting as rules, tried in order; where none matches, flagd's default variant is served.
#[derive(Debug, PartialEq)]
pub struct Translation {
    /// The rules as the API takes them.
    pub rules: Vec<Value>,
    /// For which contexts the rules and the targeting may disagree; for all others they agree.
    pub except: BTreeSet<String>,
    /// What else to know.
    pub notes: BTreeSet<String>,
}

/// Why a targeting can't be translated.
#[derive(Debug, PartialEq, Eq)]
pub struct Untranslatable(pub String);

type Translated<T> = Result<T, Untranslatable>;

fn refuse<T>(why: impl Into<String>) -> Translated<T> {
    Err(Untranslatable(why.into()))
}

/// Translates a flag's targeting.
pub fn translate(targeting: &Value, source: &Source<'_>) -> Translated<Translation> {
    let mut translator = Translator {
        source,
        scope: Scope::Context,
        evaluators: Vec::new(),
        scope_number: 0,
        scopes: 0,
        values: BTreeMap::new(),
        conditions: BTreeMap::new(),
        depth: 0,
        left: EXPRESSIONS_MAX,
        except: BTreeSet::new(),
        notes: BTreeSet::new(),
    };
    let mut rules = Rules { source, rules: Vec::new(), comparisons: 0, to_default: Vec::new() };
    for case in translator.value(targeting)?.into_iter() {
        match case.leaf {
            Leaf::Constant(value) => rules.serve(&value, &case.when)?,
            Leaf::Split(split) => rules.split(&split, &case.when)?,
            Leaf::Attribute(name) => {
                for variant in source.variants.keys() {
                    let named = Condition::one_of(&name, vec![json!(variant)]);
                    rules.serve(&json!(variant), &Condition::all([case.when.clone(), named]))?;
                }
                translator.except.insert(format!(
                    "\"{name}\": exact unless it is something else than the name of a variant: flagd answers with an \
                     error then, and here it is the default"
                ));
                rules.serve(&Value::Null, &case.when)?;
            }
            Leaf::Around { name, .. } | Leaf::Part { name, .. } => {
                return refuse(format!("a result that is made of the text of \"{name}\""));
            }
            Leaf::List(_) => return refuse("a result that is a list and not the name of a variant"),
        }
    }
    Ok(Translation { rules: rules.rules, except: translator.except, notes: translator.notes })
}

/// What is known while a targeting is translated.
struct Translator<'a> {
    source: &'a Source<'a>,
    /// What a `var` looks into.
    scope: Scope,
    /// The scope's number, which no other has.
    scope_number: usize,
    /// How many scopes there were beside the context.
    scopes: usize,
    /// What expressions give, and for whom they count as true: asked for both ways, and of each other at every level, each
    /// is worked out once.
    values: BTreeMap<Place, Cases>,
    conditions: BTreeMap<Place, Condition>,
    /// The shared evaluators that are being written out, the outermost first.
    evaluators: Vec<String>,
    /// How many expressions the present one is within.
    depth: usize,
    /// How many more expressions are translated.
    left: usize,
    except: BTreeSet<String>,
    notes: BTreeSet<String>,
}

/// An expression by where it stands in the file, which outlives its translation, and the scope that it is read in.
type Place = (*const Value, usize);

impl Translator<'_> {
    fn place(&self, expression: &Value) -> Place {
        (std::ptr::from_ref(expression), self.scope_number)
    }

    /// Translates an expression within the present one. Shared evaluators are written out where they are named, so that a
    /// short file can hold expressions of any depth and number; this is where they end.
    fn nested<T>(&mut self, translate: impl FnOnce(&mut Self) -> Translated<T>) -> Translated<T> {
        if self.depth == DEPTH_MAX {
            return refuse(format!(
                "expressions that are nested more than {DEPTH_MAX} deep, those of its shared evaluators included"
            ));
        }
        let Some(left) = self.left.checked_sub(1) else {
            return refuse(format!(
                "more than {EXPRESSIONS_MAX} expressions, those of a shared evaluator as often as it is named; make several \
                 flags of it"
            ));
        };
        self.left = left;
        self.depth += 1;
        let translated = translate(self);
        self.depth -= 1;
        translated
    }
}

/// Rules under construction.
struct Rules<'a> {
    source: &'a Source<'a>,
    rules: Vec<Value>,
    /// How many comparisons their conditions are made of.
    comparisons: usize,
    /// What came out as `null`: those contexts get the default variant, so no later rule may match them.
    to_default: Vec<Condition>,
}

impl Rules<'_> {
    /// Serves the variant that a constant names.
    fn serve(&mut self, value: &Value, when: &Condition) -> Translated<()> {
        match self.variant(value)? {
            None => self.to_default.push(when.clone()),
            Some(variant) => self.push(when, json!({ "variant": variant }))?,
        }
        Ok(())
    }

    /// Divides the users. Whoever it says nothing about is left to what follows.
    fn split(&mut self, split: &Split, when: &Condition) -> Translated<()> {
        let mut weights = Vec::new();
        for (value, weight) in &split.shares {
            let variant = match self.variant(value)? {
                Some(variant) => variant,
                None => match self.source.default {
                    Some(default) => default.to_owned(),
                    None => {
                        return refuse("a `fractional` with a share for the default in the caller's code");
                    }
                },
            };
            weights.push((variant, *weight));
        }
        let weights: Vec<Value> = fractional::united(&weights)?
            .into_iter()
            .map(|(variant, weight)| json!({"variant": variant, "weight": weight}))
            .collect();
        let rollout = json!({"by": split.by, "seed": split.seed, "method": "flagd", "weights": weights});
        self.push(when, json!({ "rollout": rollout }))
    }

    /// The variant that a constant names; `None` for the default.
    fn variant(&self, value: &Value) -> Translated<Option<String>> {
        let variant = match value {
            Value::Null => return Ok(None),
            Value::String(variant) => variant.clone(),
            // flagd takes true and false for variants of these names.
            Value::Bool(variant) => variant.to_string(),
            other => return refuse(format!("its result {other} is not the name of a variant")),
        };
        match self.source.variants.contains_key(&variant) {
            true => Ok(Some(variant)),
            false => refuse(format!("its result \"{variant}\" is not one of its variants")),
        }
    }

    fn push(&mut self, within: &Condition, serve: Value) -> Translated<()> {
        let not_default = self.to_default.iter().cloned().map(Condition::not);
        let when = Condition::all([within.clone()].into_iter().chain(not_default));
        let is_open_ended =
            |rule: &Value| rule.get("when").is_none() && rule["serve"].get("variant").is_some();
        // What follows a variant for everyone is never reached.
        if self.rules.last().is_some_and(is_open_ended) {
            return Ok(());
        }
        self.comparisons += when.comparisons();
        if self.comparisons > CONDITIONS_MAX {
            return too_many_conditions();
        }
        let number = self.rules.len() + 1;
        let rule = match when {
            Condition::Never => return Ok(()),
            Condition::Always if serve.get("rollout").is_some() => {
                json!({"id": format!("split-{number}"), "serve": serve})
            }
            Condition::Always => json!({"id": "else", "serve": serve}),
            Condition::When(when) => json!({"id": format!("if-{number}"), "when": when, "serve": serve}),
        };
        self.rules.push(rule);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
