//! What an expression gives, as a list of cases: a condition and what is given where it holds, the first that holds
//! counts.

use flagraft_core::limits::CONDITIONS_MAX;
use serde_json::Value;

use super::{
    Translated,
    condition::{Condition, too_many_conditions},
    refuse,
};

/// The most cases that one expression is taken apart into: beyond them nobody could read the rules.
const CASES_MAX: usize = 256;

/// What an expression gives in one case.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Leaf {
    Constant(Value),
    /// What the context has under a name.
    Attribute(String),
    /// An attribute's text with constant texts around it, as `cat` makes it.
    Around {
        before: String,
        name: String,
        after: String,
    },
    /// A part of an attribute's text, as `substr` takes it.
    Part {
        name: String,
        from: i64,
        length: Option<i64>,
    },
    /// A list of which only is known when it has elements.
    List(Condition),
    Split(Split),
}

/// A `fractional`: it gives nothing to a context whose attribute can't be hashed, for which the next case counts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Split {
    pub(super) by: String,
    pub(super) seed: String,
    /// What is given, and its weight, in order.
    pub(super) shares: Vec<(Value, u32)>,
}

/// One case.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Case {
    pub(super) when: Condition,
    pub(super) leaf: Leaf,
}

/// Cases in order. Together they hold for every context: the last one holds for all.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cases {
    cases: Vec<Case>,
    /// How many comparisons their conditions are made of.
    comparisons: usize,
    /// How many were pushed: more than are kept, once there are too many.
    pushed: usize,
}

impl Cases {
    /// The same for every context.
    pub(super) fn always(leaf: Leaf) -> Self {
        let mut cases = Self::default();
        cases.push(Condition::Always, leaf);
        cases
    }

    pub(super) fn constant(value: impl Into<Value>) -> Self {
        Self::always(Leaf::Constant(value.into()))
    }

    /// `true` where the condition holds, else `false`.
    pub(super) fn boolean(condition: Condition) -> Self {
        let mut cases = Self::default();
        cases.push(condition, Leaf::Constant(Value::Bool(true)));
        cases.push(Condition::Always, Leaf::Constant(Value::Bool(false)));
        cases
    }

    /// Adds a case, unless none of the contexts that are left can be in it. Of too many none is kept: what is asked to be
    /// [`checked`](Self::checked) anyhow need not be held until then.
    pub(super) fn push(&mut self, when: Condition, leaf: Leaf) {
        if when == Condition::Never || self.is_complete() {
            return;
        }
        self.pushed += 1;
        self.comparisons += when.comparisons();
        match self.check() {
            Ok(()) => self.cases.push(Case { when, leaf }),
            Err(_) => self.cases.clear(),
        }
    }

    /// Adds cases, for the contexts that a condition holds for.
    pub(super) fn extend(&mut self, within: &Condition, cases: Self) {
        if cases.check().is_err() {
            // What has none of them kept has too many itself.
            self.pushed += cases.pushed;
            self.comparisons += cases.comparisons;
            self.cases.clear();
        }
        for Case { when, leaf } in cases.cases {
            self.push(Condition::all([within.clone(), when]), leaf);
        }
    }

    /// Itself, unless there are too many.
    pub(super) fn checked(self) -> Translated<Self> {
        self.check().map(|()| self)
    }

    fn check(&self) -> Translated<()> {
        if self.pushed > CASES_MAX {
            return too_many();
        }
        if self.comparisons > CONDITIONS_MAX {
            return too_many_conditions();
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.cases
            .last()
            .is_some_and(|case| case.when == Condition::Always && !matches!(case.leaf, Leaf::Split(_)))
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Case> {
        self.cases.iter()
    }

    /// What is given, where it is the same constant for every context.
    pub(super) fn single(&self) -> Option<&Value> {
        match self.cases.as_slice() {
            [Case { when: Condition::Always, leaf: Leaf::Constant(value) }] => Some(value),
            _ => None,
        }
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = Case> {
        self.cases.into_iter()
    }
}

/// What several operands give together: a case for each combination, in the order in which the first that holds is the
/// one of the first case of each that holds.
pub(super) fn combinations(operands: &[Cases]) -> Translated<Vec<(Condition, Vec<Leaf>)>> {
    let mut all = vec![(Condition::Always, Vec::new())];
    for operand in operands {
        if operand.iter().any(|case| matches!(case.leaf, Leaf::Split(_))) {
            return refuse("a `fractional` as an operand");
        }
        operand.check()?;
        let mut comparisons = 0;
        let mut longer = Vec::with_capacity(all.len());
        for (when, leaves) in &all {
            for case in operand.iter() {
                let when = Condition::all([when.clone(), case.when.clone()]);
                if when != Condition::Never {
                    comparisons += when.comparisons();
                    if comparisons > CONDITIONS_MAX {
                        return too_many_conditions();
                    }
                    let leaves: Vec<Leaf> = leaves.iter().chain([&case.leaf]).cloned().collect();
                    longer.push((when, leaves));
                }
            }
        }
        if longer.len() > CASES_MAX {
            return too_many();
        }
        all = longer;
    }
    Ok(all)
}

fn too_many<T>() -> Translated<T> {
    refuse(format!("an expression with more than {CASES_MAX} cases; make several flags of it"))
}
