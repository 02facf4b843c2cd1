//! The shortest part of a history that still breaks a rule: what a person looks at first.
//!
//! A violation names the operations that can't all be true. With the writes of what these saw they are mostly enough; if
//! they are not, a history in memory is halved as long as it goes, and of one in a file they are given as they are. Then
//! each operation is left out that is not needed.

use std::{collections::HashSet, io::BufRead};

use serde::{Deserialize, Serialize};

use crate::{
    history::{Header, Reader, Unreadable},
    operation::{Did, Event, Operation},
    verdict::{Verdict, Violation},
};

/// A violation, and operations that show it by themselves, so that none of them can be left out; or those that it names,
/// if they do not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offence {
    /// What is wrong.
    pub violation: Violation,
    /// The operations, in the order of the history.
    pub operations: Vec<Operation>,
}

/// Shortens a history to what breaks a violation's rule. `check` judges it, as the checker did that found it.
pub fn shrink(
    violation: &Violation,
    operations: &[Operation],
    check: impl Fn(&[Operation]) -> Verdict,
) -> Offence {
    let breaks = |operations: &[Operation]| -> Option<Violation> {
        check(operations).violations.into_iter().find(|found| found.rule == violation.rule)
    };
    let mut kept = named(violation, operations);
    if breaks(&kept).is_none() {
        kept = halved(operations.to_vec(), |part| breaks(part).is_some());
    }
    // From the last to the first: what comes late often needs what was before.
    for index in (0..kept.len()).rev() {
        let mut fewer = kept.clone();
        fewer.remove(index);
        if breaks(&fewer).is_some() {
            kept = fewer;
        }
    }
    // What the short history says is said in fewer words.
    let violation = breaks(&kept).unwrap_or_else(|| violation.clone());
    Offence { violation, operations: kept }
}

/// The same of a history in a file, of which only the operations that are named, and the writes of what they saw, are read
/// into memory. Where these are not enough to show it, for it needs what others saw, they are given as they are.
///
/// # Errors
/// The history can't be read.
pub fn shrink_file<R: BufRead>(
    violation: &Violation,
    mut open: impl FnMut() -> Result<Reader<R>, Unreadable>,
    check: impl Fn(&Header, &[Operation]) -> Verdict,
) -> Result<Offence, Unreadable> {
    let mut reader = open()?;
    let header = reader.header().clone();
    let mut accused = Vec::new();
    for operation in reader.by_ref() {
        let operation = operation?;
        if violation.ops.contains(&operation.op) {
            accused.push(operation);
        }
    }
    let values = values(&accused);
    let mut kept = Vec::new();
    for operation in open()? {
        let operation = operation?;
        if violation.ops.contains(&operation.op) || writes(&operation, &values) {
            kept.push(operation);
        }
    }
    if !check(&header, &kept).broken.contains_key(&violation.rule) {
        return Ok(Offence { violation: violation.clone(), operations: kept });
    }
    Ok(shrink(violation, &kept, |part| check(&header, part)))
}

/// The operations that are named, and the writes of what they saw.
fn named(violation: &Violation, operations: &[Operation]) -> Vec<Operation> {
    let accused: Vec<Operation> =
        operations.iter().filter(|operation| violation.ops.contains(&operation.op)).cloned().collect();
    let values = values(&accused);
    let needed = |o: &&Operation| violation.ops.contains(&o.op) || writes(o, &values);
    operations.iter().filter(needed).cloned().collect()
}

/// All values that operations saw.
fn values(operations: &[Operation]) -> HashSet<(String, u64)> {
    let mut values = HashSet::new();
    for operation in operations {
        match &operation.did {
            Did::Read { saw, .. } | Did::Stream { event: Event::Snapshot { flags: saw, .. }, .. } => {
                values.extend(saw.iter().filter_map(|(flag, value)| Some((flag.clone(), (*value)?))));
            }
            Did::Stream { event: Event::Change { set, .. }, .. } => values.extend(set.iter().cloned()),
            _ => {}
        }
    }
    values
}

fn writes(operation: &Operation, values: &HashSet<(String, u64)>) -> bool {
    matches!(&operation.did, Did::Write { set } if set.iter().any(|one| values.contains(one)))
}

/// Leaves out as large parts as it can.
fn halved(mut operations: Vec<Operation>, breaks: impl Fn(&[Operation]) -> bool) -> Vec<Operation> {
    let mut size = operations.len() / 2;
    while size > 1 {
        let mut from = 0;
        while from < operations.len() {
            let to = (from + size).min(operations.len());
            let rest = [&operations[..from], &operations[to..]].concat();
            if breaks(&rest) {
                operations = rest;
            } else {
                from = to;
            }
        }
        size /= 2;
    }
    operations
}
