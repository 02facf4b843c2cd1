//! The table form: columns for people, and the record itself in the last one.
//!
//! The columns say nothing that the record does not say, so a verifier makes them again and compares.

use std::borrow::Cow;

use serde::Deserialize;

use crate::record::Performed;

/// The line that names the columns.
pub(super) const COLUMNS: &str = "sequence,time_ms,kind,outcome,actor_type,actor,project,environments,operations,reason,\
     ticket,revision_before,revision_after,record\r\n";

/// How many columns stand before the record.
const COLUMNS_BEFORE: usize = 13;

/// What the columns are made of.
#[derive(Deserialize)]
struct Record<'a> {
    sequence: u64,
    time_ms: i64,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    outcome: Cow<'a, str>,
    #[serde(borrow)]
    actor: Actor<'a>,
    #[serde(borrow)]
    project: Option<Cow<'a, str>>,
    #[serde(borrow)]
    touches: Touches<'a>,
    #[serde(borrow)]
    operations: Vec<Performed<'a>>,
    #[serde(borrow)]
    reason: Cow<'a, str>,
    #[serde(borrow)]
    ticket: Option<Cow<'a, str>>,
    revision_before: u64,
    revision_after: u64,
}

#[derive(Deserialize)]
struct Actor<'a> {
    #[serde(borrow, rename = "type")]
    actor_type: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Touches<'a> {
    #[serde(borrow)]
    environments: Vec<Cow<'a, str>>,
}

/// The row of a record, its end included. Of bytes that are no record all columns but the last are empty.
pub(super) fn row(json: &str) -> String {
    let columns = match serde_json::from_str::<Record<'_>>(json) {
        Err(_) => vec![String::new(); COLUMNS_BEFORE],
        Ok(record) => vec![
            record.sequence.to_string(),
            record.time_ms.to_string(),
            record.kind.into_owned(),
            record.outcome.into_owned(),
            record.actor.actor_type.into_owned(),
            record.actor.id.into_owned(),
            record.project.unwrap_or_default().into_owned(),
            record.touches.environments.join(" "),
            record.operations.iter().map(|performed| &*performed.operation.op).collect::<Vec<_>>().join(" "),
            record.reason.into_owned(),
            record.ticket.unwrap_or_default().into_owned(),
            record.revision_before.to_string(),
            record.revision_after.to_string(),
        ],
    };
    let mut row = String::with_capacity(json.len().saturating_mul(3) / 2);
    for column in &columns {
        show(column, &mut row);
        row.push(',');
    }
    quote(json, &mut row);
    row.push_str("\r\n");
    row
}

/// The record in a row without its end, whatever the other columns say. `None` when the row has no such column.
pub(super) fn record(row: &str) -> Option<Cow<'_, str>> {
    let mut rest = row;
    for _ in 0..COLUMNS_BEFORE {
        let end = match rest.strip_prefix('"') {
            None => rest.find(',')?,
            Some(within) => {
                within.len().checked_sub(closed(within)?.len()).and_then(|at| at.checked_add(1))?
            }
        };
        rest = rest.get(end..)?.strip_prefix(',')?;
    }
    let within = rest.strip_prefix('"')?;
    if !closed(within)?.is_empty() {
        return None;
    }
    let text = within.strip_suffix('"')?;
    Some(if text.contains('"') { text.replace("\"\"", "\"").into() } else { text.into() })
}

/// What follows the quote that ends a quoted column, from within which this is.
fn closed(within: &str) -> Option<&str> {
    let mut rest = within;
    loop {
        rest = rest.split_once('"')?.1;
        match rest.strip_prefix('"') {
            Some(doubled) => rest = doubled,
            None => return Some(rest),
        }
    }
}

/// Puts down a column as people see it: on one line, and no formula to a spreadsheet.
fn show(text: &str, row: &mut String) {
    let formula = text.starts_with(['=', '+', '-', '@']) && text.parse::<i64>().is_err();
    // Nearly all columns are words and numbers.
    if !formula && text.bytes().all(|b| b.is_ascii_graphic() && b != b',' && b != b'"' || b == b' ') {
        row.push_str(text);
        return;
    }
    let mut text = text.replace(char::is_control, " ");
    if formula {
        text.insert(0, '\'');
    }
    if text.contains([',', '"']) { quote(&text, row) } else { row.push_str(&text) }
}

/// Puts a text down in quotes, those within it doubled.
fn quote(text: &str, row: &mut String) {
    row.push('"');
    let mut parts = text.split('"');
    row.push_str(parts.next().unwrap_or_default());
    for part in parts {
        row.push_str("\"\"");
        row.push_str(part);
    }
    row.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_gives_its_record_back() {
        for json in ["{}", "", "{\"a\":\"\\\"\"}", "\"", "{\"reason\":\",\"}"] {
            let row = row(json);
            assert_eq!(record(row.trim_end()).as_deref(), Some(json), "{row}");
        }
        assert_eq!(record("1,2,3"), None);
        assert_eq!(record(",,,,,,,,,,,,,\"a\"b"), None);
        assert_eq!(record("\"a"), None);
    }

    #[test]
    fn columns_are_one_line_and_no_formula() {
        let shown = |text| {
            let mut row = String::new();
            show(text, &mut row);
            row
        };
        assert_eq!(shown("=1+1"), "'=1+1");
        assert_eq!(shown("\u{e4} b"), "\u{e4} b");
        assert_eq!(shown("-5"), "-5");
        assert_eq!(shown("a\nb, \"c\""), "\"a b, \"\"c\"\"\"");
    }
}
