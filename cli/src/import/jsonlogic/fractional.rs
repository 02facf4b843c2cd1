//! flagd's `fractional`: a division of the users, hashed exactly as there.

use flagraft_core::{
    bucketing::{Divider, Method},
    context::TARGETING_KEY,
};
use serde_json::{Value, json};

use super::{
    Translated, Translator,
    cases::{Case, Cases, Leaf, Split, combinations},
    condition::Condition,
    refuse,
};

/// The greatest weight, and the greatest sum of weights.
const WEIGHT_MAX: i64 = i32::MAX as i64;

/// What is given, and its weight.
type Share = (Value, u32);

impl Translator<'_> {
    /// `fractional`: shares in order, and what to divide by before them.
    pub(super) fn fractional(&mut self, arguments: &Value) -> Translated<Cases> {
        let Value::Array(arguments) = arguments else { return refuse("`fractional` without a list") };
        let (bucketing, entries) = match arguments.split_first() {
            Some((first, entries)) if !first.is_array() => (Some(self.value(first)?), entries),
            _ => (None, arguments.as_slice()),
        };
        if entries.is_empty() {
            return refuse("`fractional` without shares");
        }
        let mut operands = Vec::new();
        for entry in entries {
            let (variant, weight) = match entry.as_array().map(Vec::as_slice) {
                Some([variant]) => (variant, &Value::Null),
                Some([variant, weight]) => (variant, weight),
                _ => return refuse(format!("`fractional` with the share {entry}; write [variant, weight]")),
            };
            let variant = self.value(variant)?;
            operands.push(self.by_constants(variant)?);
            operands.push(self.value(weight)?);
        }
        let mut cases = Cases::default();
        for (when, leaves) in combinations(&operands)? {
            let shares = leaves.chunks(2).map(share).collect::<Translated<Vec<Share>>>()?;
            cases.extend(&when, self.divided(bucketing.as_ref(), shares)?);
        }
        self.notes.insert(
            "`fractional` is divided as flagd does now, by the hash times the sum of the weights; a flagd of before, which \
             divides by percentages, gives other users other variants"
                .to_owned(),
        );
        cases.checked()
    }

    /// What an attribute names as a share: the variants, each for whom it is the attribute's value.
    fn by_constants(&mut self, cases: Cases) -> Translated<Cases> {
        let mut constants = Cases::default();
        for Case { when, leaf } in cases.into_iter() {
            let Leaf::Attribute(name) = leaf else {
                constants.push(when, leaf);
                continue;
            };
            for variant in self.source.variants.keys() {
                let named = Condition::one_of(&name, vec![json!(variant)]);
                constants.push(Condition::all([when.clone(), named]), Leaf::Constant(json!(variant)));
            }
            self.except.insert(format!(
                "\"{name}\": exact unless it is something else than the name of a variant: flagd answers with an error \
                 then, and here it is the default"
            ));
            constants.push(when, Leaf::Constant(Value::Null));
        }
        Ok(constants)
    }

    fn divided(&mut self, bucketing: Option<&Cases>, shares: Vec<Share>) -> Translated<Cases> {
        let total: i64 = shares.iter().map(|(_, weight)| i64::from(*weight)).sum();
        if total > WEIGHT_MAX {
            return refuse(format!("`fractional` with weights that add up to more than {WEIGHT_MAX}"));
        }
        if total == 0 {
            self.except.insert(
                "a `fractional` whose weights are all 0 gives the default here, as in flagd now; before, flagd answered with \
                 an error"
                    .to_owned(),
            );
            return Ok(Cases::constant(Value::Null));
        }
        let Some(bucketing) = bucketing else {
            return Ok(match shares.as_slice() {
                [(only, _)] => {
                    self.except.insert(
                        "a `fractional` with one share gives it to everybody here, as in flagd now; before, flagd gave the \
                         default"
                            .to_owned(),
                    );
                    Cases::constant(only.clone())
                }
                _ => self.by_key(shares),
            });
        };
        let mut cases = Cases::default();
        for Case { when, leaf } in bucketing.iter() {
            let divided = match leaf {
                Leaf::Constant(Value::Null) => self.by_key(shares.clone()),
                Leaf::Constant(Value::String(text)) => Cases::constant(chosen(text, &shares)),
                // What is neither a text nor null flagd takes for a share, which it is not.
                Leaf::Constant(_) => Cases::constant(Value::Null),
                Leaf::Attribute(name) => self.by_attribute(name, shares.clone()),
                Leaf::Around { before, name, after } if after.is_empty() => {
                    self.by_attribute_with_seed(name, before, shares.clone())
                }
                Leaf::Around { name, after, .. } => {
                    return refuse(format!(
                        "`fractional` by \"{name}\" with {after:?} after it; only what goes before the attribute can be a \
                         seed here"
                    ));
                }
                Leaf::Part { name, .. } => {
                    return refuse(format!("`fractional` by a part of the text of \"{name}\""));
                }
                Leaf::List(_) | Leaf::Split(_) => {
                    return refuse("`fractional` by something else than a text");
                }
            };
            cases.extend(when, divided);
        }
        Ok(cases)
    }

    /// Without anything to divide by: the flag's key and the targeting key.
    fn by_key(&mut self, shares: Vec<Share>) -> Cases {
        self.except.insert(format!(
            "\"{TARGETING_KEY}\": exact unless it is a number or a boolean, by which flagd does not divide, or a list or an object"
        ));
        let split = Split { by: TARGETING_KEY.to_owned(), seed: self.source.key.to_owned(), shares };
        let mut cases = Cases::always(Leaf::Split(split));
        cases.push(Condition::Always, Leaf::Constant(Value::Null));
        cases
    }

    /// By an attribute alone; where it is missing, as if nothing were given to divide by.
    fn by_attribute(&mut self, name: &str, shares: Vec<Share>) -> Cases {
        self.except.insert(format!(
            "\"{name}\": exact unless it is a number or a boolean, by which flagd does not divide, or a list or an object"
        ));
        let split = Split { by: name.to_owned(), seed: String::new(), shares: shares.clone() };
        let mut cases = Cases::always(Leaf::Split(split));
        if name != TARGETING_KEY {
            let by_key = self.by_key(shares);
            cases.extend(&Condition::missing(name), by_key);
        }
        cases.push(Condition::Always, Leaf::Constant(Value::Null));
        cases
    }

    /// By an attribute with a text before it; where it is missing, by that text alone, which is the same for all.
    fn by_attribute_with_seed(&mut self, name: &str, seed: &str, shares: Vec<Share>) -> Cases {
        self.except.insert(format!(
            "\"{name}\": exact unless it is a boolean, a number with a fraction, a list or an object, or a text that begins \
             or ends with white space, which flagd's Go engine cuts off"
        ));
        let chosen = chosen(seed, &shares);
        let split = Split { by: name.to_owned(), seed: seed.to_owned(), shares };
        let mut cases = Cases::always(Leaf::Split(split));
        cases.push(Condition::Always, Leaf::Constant(chosen));
        cases
    }
}

/// A share's constant and its weight; without one it weighs 1.
fn share(pair: &[Leaf]) -> Translated<Share> {
    let [Leaf::Constant(variant), Leaf::Constant(weight)] = pair else {
        return refuse("`fractional` with a share or a weight that an attribute's value makes");
    };
    if !matches!(variant, Value::String(_) | Value::Bool(_) | Value::Null) {
        return refuse(format!("`fractional` with the share {variant}, which is not the name of a variant"));
    }
    let whole = match weight {
        Value::Null => Some(1.0),
        Value::Number(number) => number.as_f64().filter(|number| number.fract() == 0.0),
        _ => None,
    };
    match whole.filter(|weight| (0.0..=WEIGHT_MAX as f64).contains(weight)) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked just above
        Some(weight) => Ok((variant.clone(), weight as u32)),
        None => refuse(format!(
            "`fractional` with the weight {weight}, which flagd's versions read differently; give a whole number from 0 to \
             {WEIGHT_MAX}"
        )),
    }
}

/// What everybody gets where a constant is hashed.
fn chosen(text: &str, shares: &[Share]) -> Value {
    let divider = Divider::new(Method::Flagd, text, shares.iter().map(|(_, weight)| *weight));
    let index = divider.choose("").index;
    index.and_then(|index| shares.get(index)).map_or(Value::Null, |(value, _)| value.clone())
}

/// The weights of variants, each of which has one: those of neighbours are added up, for they divide alike.
pub(super) fn united(weights: &[(String, u32)]) -> Translated<Vec<(String, u32)>> {
    let has_other = |at: usize, variant: &str| {
        weights
            .iter()
            .enumerate()
            .any(|(other, (name, weight))| other != at && name == variant && *weight > 0)
    };
    let mut united: Vec<(String, u32)> = Vec::new();
    for (at, (variant, weight)) in weights.iter().enumerate() {
        if *weight == 0 && has_other(at, variant) {
            continue;
        }
        if let Some((_, sum)) = united.last_mut().filter(|(last, _)| last == variant) {
            *sum = sum.saturating_add(*weight);
        } else if united.iter().any(|(known, _)| known == variant) {
            return refuse(format!(
                "`fractional` with shares of \"{variant}\" in several places; here a variant has one, and to move the \
                 others next to it would move users"
            ));
        } else {
            united.push((variant.clone(), *weight));
        }
    }
    Ok(united)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_united_and_others_refused() {
        let weights = |list: &[(&str, u32)]| -> Vec<(String, u32)> {
            list.iter().map(|(variant, weight)| ((*variant).to_owned(), *weight)).collect()
        };
        for (given, expected) in [
            (weights(&[("a", 1), ("b", 2)]), weights(&[("a", 1), ("b", 2)])),
            (weights(&[("a", 1), ("a", 2), ("b", 3)]), weights(&[("a", 3), ("b", 3)])),
            (weights(&[("a", 0), ("b", 2)]), weights(&[("a", 0), ("b", 2)])),
            (weights(&[("a", 5), ("b", 2), ("a", 0)]), weights(&[("a", 5), ("b", 2)])),
            (weights(&[("a", 5), ("b", 0), ("a", 1), ("b", 1)]), weights(&[("a", 6), ("b", 1)])),
        ] {
            assert_eq!(united(&given).expect("united"), expected, "{given:?}");
        }
        let refused = united(&weights(&[("a", 1), ("b", 1), ("a", 1)])).expect_err("in two places");
        assert!(refused.0.contains("\"a\" in several places"), "{refused:?}");
    }
}
