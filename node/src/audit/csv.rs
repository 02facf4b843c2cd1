//! Exports as CSV (RFC 4180): a row for each record, for people and their spreadsheets. What proves the records is in lines
//! that begin with `#`.
//!
//! The last column is the record as it is stored. The others are made from it, and made again to check them: a file in which
//! they say something else is no good. A row is always one line.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;

/// The names of the columns, as a line.
pub const NAMES: &str =
    "sequence,time,kind,outcome,actor,project,environments,operations,reason,ticket,record\n";
/// What begins a line that is no row.
pub const COMMENT: &[u8] = b"#";

/// What the columns before the record are made of.
#[derive(Deserialize)]
struct Columns<'a> {
    sequence: u64,
    time_ms: i64,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    outcome: Cow<'a, str>,
    #[serde(borrow)]
    actor: Actor<'a>,
    project: Option<Cow<'a, str>>,
    #[serde(borrow)]
    touches: Touches<'a>,
    #[serde(borrow)]
    operations: Vec<Recorded<'a>>,
    #[serde(borrow)]
    reason: Cow<'a, str>,
    ticket: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Actor<'a> {
    #[serde(rename = "type", borrow)]
    actor_type: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Touches<'a> {
    environments: Vec<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Recorded<'a> {
    #[serde(borrow)]
    operation: Operation<'a>,
}

#[derive(Deserialize)]
struct Operation<'a> {
    #[serde(borrow)]
    op: Cow<'a, str>,
}

/// Appends the row of a record, without the end of the line. Of a record that can't be read the other columns are empty.
pub fn row(record: &[u8], to: &mut Vec<u8>) {
    if let Ok(columns) = serde_json::from_slice::<Columns<'_>>(record) {
        let Columns { sequence, time_ms, kind, outcome, actor, project, touches, operations, reason, ticket } =
            columns;
        let time = Timestamp::from_millisecond(time_ms)
            .map_or_else(|_| time_ms.to_string(), |time| time.to_string());
        let operations: Vec<&str> =
            operations.iter().map(|recorded| recorded.operation.op.as_ref()).collect();
        cell(&sequence.to_string(), to);
        cell(&time, to);
        cell(&kind, to);
        cell(&outcome, to);
        cell(&format!("{}/{}", actor.actor_type, actor.id), to);
        cell(project.as_deref().unwrap_or_default(), to);
        cell(&touches.environments.join(" "), to);
        cell(&operations.join(" "), to);
        cell(&reason, to);
        cell(ticket.as_deref().unwrap_or_default(), to);
    } else {
        to.extend_from_slice(&b","[..].repeat(NAMES.matches(',').count()));
    }
    quote(record.iter().copied(), to);
}

/// The record in a row. `None` where this is no row, or where the other columns do not say what the record says.
pub fn record(line: &[u8]) -> Option<Vec<u8>> {
    // The last column is always quoted, and is an object: nothing in the columns before it looks like its beginning, for
    // there every quote is doubled.
    let start = find(line, b",\"{")? + 2;
    let quoted = line.get(start..)?.strip_suffix(b"\"")?;
    let mut record = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter();
    while let Some(byte) = bytes.next() {
        if *byte == b'"' && bytes.next() != Some(&b'"') {
            return None;
        }
        record.push(*byte);
    }
    let mut again = Vec::with_capacity(line.len());
    row(&record, &mut again);
    (again == line).then_some(record)
}

fn find(line: &[u8], what: &[u8]) -> Option<usize> {
    // Within quotes a comma and a quote may stand side by side, so that only an even number of quotes counts.
    let mut quoted = false;
    for (at, byte) in line.iter().enumerate() {
        if !quoted && line.get(at..)?.starts_with(what) {
            return Some(at);
        }
        quoted ^= *byte == b'"';
    }
    None
}

/// Appends a cell and the comma after it.
fn cell(text: &str, to: &mut Vec<u8>) {
    // What a spreadsheet would take for a formula, somebody may have written to have it computed.
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) };
    if text.contains(|c: char| c == ',' || c == '"' || c == '#' || c.is_control()) {
        quote(text.bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte }), to);
    } else {
        to.extend_from_slice(text.as_bytes());
    }
    to.push(b',');
}

fn quote(bytes: impl Iterator<Item = u8>, to: &mut Vec<u8>) {
    to.push(b'"');
    for byte in bytes {
        if byte == b'"' {
            to.push(b'"');
        }
        to.push(byte);
    }
    to.push(b'"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record_of(reason: &str, actor: &str) -> Vec<u8> {
        json!({
            "sequence": 7, "time_ms": 0, "kind": "change", "outcome": "accepted", "project": "shop", "reason": reason,
            "actor": {"type": "user", "id": actor}, "touches": {"environments": ["dev", "live"]}, "ticket": null,
            "operations": [{"operation": {"op": "flag.enable"}}, {"operation": {"op": "flag.disable"}}],
        })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn a_row_is_one_line_of_columns_and_gives_the_record_back() {
        let mut line = Vec::new();
        row(&record_of("a, \"b\"\nc", "ada"), &mut line);
        let text = String::from_utf8(line).expect("UTF-8");
        let begin = "7,1970-01-01T00:00:00Z,change,accepted,user/ada,shop,dev live,flag.enable flag.disable,\"a, \"\"b\"\" c\",,\"{\"\"";
        assert!(text.starts_with(begin), "{text}");
        assert!(!text.contains('\n'));
        for reason in [
            "",
            "plain",
            ",\"{",
            "\",\"{\"\"x\"\":1}",
            "=1+1",
            "\"",
            "\u{e9}\u{1f600}",
            "#",
            "a\r\nb",
            ",\"{\"\"}\"",
        ] {
            let record = record_of(reason, ",\"{");
            let mut line = Vec::new();
            row(&record, &mut line);
            assert_eq!(super::record(&line).as_deref(), Some(record.as_slice()), "{reason}");
        }
        let mut line = Vec::new();
        row(b"{\"of\":\"tomorrow\"}", &mut line);
        assert_eq!(super::record(&line).as_deref(), Some(&b"{\"of\":\"tomorrow\"}"[..]));
    }

    #[test]
    fn columns_that_say_something_else_than_the_record_are_noticed() {
        let mut line = Vec::new();
        row(&record_of("because", "ada"), &mut line);
        let good = String::from_utf8(line).expect("UTF-8");
        for (from, to) in [
            ("7,", "8,"),
            ("accepted,", "rejected,"),
            ("user/ada", "user/eve"),
            ("because,", "why not,"),
            ("because,", "\"because\","),
            ("}\"", "}"),
            ("}\"", "}\" "),
            ("\"{", "{"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert_eq!(super::record(bad.as_bytes()), None, "{from} -> {to}");
        }
    }

    #[test]
    fn no_cell_is_a_formula() {
        let mut line = Vec::new();
        row(&record_of("=HYPERLINK(\"http://x\")", "ada"), &mut line);
        assert!(String::from_utf8(line).expect("UTF-8").contains(",\"'=HYPERLINK("));
    }
}
