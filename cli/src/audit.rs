//! `flagraft audit ...`: who changed what, when and why; as a list, as a file that proves itself, and the proof that nobody has
//! rewritten it.

mod accounts;
mod changes;
mod checkpoint;
mod export;
mod keys;
mod proof;
mod retention;
mod verify;
mod witness;

use std::collections::BTreeSet;

use clap::{
    Args, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use flagraft_client::admin::{self, audit::Selection as Asked};
use flagraft_core::record::{RecordKind, RecordOutcome};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use self::changes::between;
use crate::{
    failure::Failure,
    output::{self, cell, table},
    session::{Global, Session},
};

/// Records that are asked for at once.
const PAGE_RECORDS: u64 = 1_000;
/// What may have come of an entry.
const OUTCOMES: [&str; 4] = ["accepted", "unchanged", "rejected", "noted"];
/// The header that says where the next page begins.
const NEXT: &str = "flagraft-next";

/// Commands on the audit log.
#[derive(Subcommand, Debug)]
pub enum AuditCommand {
    /// List audit records, the newest first, each with what it changed; with --output json, one a line as it is stored
    ///
    /// Under a record stands what its operations changed of what evaluation goes by: what was there with `-`, what is there
    /// now with `+`. Conditions are written as in `rule put --when`. Of several operations each is named. Under a count of
    /// evaluations or reads stand its greatest entries, and what is missing before it.
    List(ListArgs),
    /// Write a stretch of the log, or what a filter leaves of it, to a file that proves itself
    Export(Box<export::ExportArgs>),
    /// Check an export with nothing but the file and the keys that you trust; exits with 8 if it is no good
    Verify(verify::VerifyArgs),
    /// Print the newest checkpoint that a majority of the nodes signed
    Checkpoint,
    /// Verify here that a record is in the log that the nodes signed; exits with 8 if it is not
    Proof(proof::ProofArgs),
    /// Print the keys that the nodes sign checkpoints with, as --trust takes them; or change them
    Keys {
        #[command(subcommand)]
        command: Option<keys::KeysCommand>,
    },
    /// Show for how long records are kept and what is held; or change that
    Retention {
        #[command(subcommand)]
        command: Option<retention::RetentionCommand>,
    },
    /// Watch that the log only grows: exits with 8 if it was rewritten, has shrunk, or is signed by too few
    ///
    /// Keeps the last checkpoint that it saw, and demands a proof that each next one goes on from it. Run it where those who
    /// run the cluster have no say.
    Witness(witness::WitnessArgs),
    /// Print the hash that stands for a person in the lists of evaluations of an environment
    ///
    /// The targeting key is read from standard input, one a line. It takes the secret that all members share, so it is for
    /// whoever runs the cluster.
    HashKey(accounts::HashKeyArgs),
}

/// Which records.
#[derive(Args, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    selection: Selection,
    /// How many records to show
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

/// What records have to be about.
#[derive(Args, Clone, Debug, Default)]
pub struct Selection {
    /// Only records of this project
    #[arg(short, long, env = "FLAGRAFT_PROJECT")]
    pub project: Option<String>,
    /// Only records that touch this environment of the project, or name it
    #[arg(short, long, env = "FLAGRAFT_ENVIRONMENT", requires = "project")]
    pub environment: Option<String>,
    #[command(flatten)]
    pub filters: Filters,
}

/// What records have to be about, where nothing but the command line says so.
#[derive(Args, Clone, Debug, Default)]
pub struct Filters {
    /// Only records that name this flag of the project
    #[arg(long, requires = "project")]
    pub flag: Option<String>,
    /// Only records that name this segment of the project
    #[arg(long, requires = "project")]
    pub segment: Option<String>,
    /// Only records of this actor: an id, or with its type before it, as user/ada
    #[arg(long)]
    pub actor: Option<String>,
    /// Only records under this ticket
    #[arg(long)]
    pub ticket: Option<String>,
    /// Only records of these kinds
    #[arg(long, value_delimiter = ',', value_parser = one_of::<RecordKind>(kinds()))]
    pub kind: Vec<RecordKind>,
    /// Only records with one of these outcomes
    #[arg(long, value_delimiter = ',', value_parser = one_of::<RecordOutcome>(OUTCOMES))]
    pub outcome: Vec<RecordOutcome>,
    /// Only records from this time on, as 2027-03-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only records before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

impl Selection {
    fn asked(&self) -> Asked {
        self.filters.asked(self.project.clone(), self.environment.clone())
    }
}

impl Filters {
    /// The records of a project and an environment that these take.
    fn asked(&self, project: Option<String>, environment: Option<String>) -> Asked {
        let Self { flag, segment, actor, ticket, kind, outcome, since, until } = self.clone();
        Asked {
            project,
            environment,
            flag,
            segment,
            actor,
            ticket,
            kinds: kind,
            outcomes: outcome,
            since,
            until,
        }
    }
}

/// The names of the kinds of records.
fn kinds() -> [&'static str; 6] {
    RecordKind::ALL.map(RecordKind::name)
}

/// Takes one of the words that a type is written as.
fn one_of<T>(words: impl IntoIterator<Item = &'static str>) -> impl TypedValueParser<Value = T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).try_map(|word| serde_json::from_value(Value::String(word)))
}

/// Runs a command on the audit log.
pub async fn run(command: AuditCommand, global: &Global) -> Result<(), Failure> {
    let session = || global.management();
    match command {
        AuditCommand::List(args) => {
            let session = session()?;
            let records = newest(&session, &args.selection, args.limit).await?;
            show(&session, &records, "no records")
        }
        AuditCommand::Export(args) => export::run(&session()?, &args).await,
        // Works on a file, and asks nobody.
        AuditCommand::Verify(args) => verify::run(&args, global),
        AuditCommand::Checkpoint => {
            let session = session()?;
            let note = checkpoint::newest(&session).await?;
            session.output.show(&json!({"note": note}), |_| note.clone())
        }
        AuditCommand::Proof(args) => proof::run(&session()?, &args).await,
        AuditCommand::Keys { command } => keys::run(&session()?, command).await,
        AuditCommand::Retention { command } => retention::run(&session()?, command).await,
        AuditCommand::Witness(args) => witness::run(&session()?, &args).await,
        // Asks nobody either.
        AuditCommand::HashKey(args) => accounts::hash_keys(&args),
    }
}

/// The newest records, the newest first, as they are stored.
pub async fn newest(session: &Session, selection: &Selection, limit: usize) -> Result<Vec<String>, Failure> {
    let mut records: Vec<String> = Vec::new();
    let mut before: Option<u64> = None;
    while records.len() < limit {
        let page = u64::try_from(limit - records.len()).map_or(PAGE_RECORDS, |left| left.min(PAGE_RECORDS));
        let answer = session.client.send(&admin::audit::newest(selection.asked(), before, page)).await?;
        records.extend(answer.text().lines().map(str::to_owned));
        // A page may be empty and not the last: a node looks at so many records for one request and no more.
        match answer.header(NEXT).parse() {
            Ok(next) => before = Some(next),
            Err(_) => break,
        }
    }
    Ok(records)
}

/// Writes the records that tell of a flag: as [`show`], and for people with those operations only that are about it.
pub fn show_of_flag(session: &Session, records: &[String], flag: &str, empty: &str) -> Result<(), Failure> {
    if session.output.is_json() {
        return show(session, records, empty);
    }
    let records: Vec<Value> = parsed(records).map(|record| of_flag(record, flag)).collect();
    output::line(&text(&records, empty))
}

/// A record with those operations only that name the flag, or take it away with more.
fn of_flag(mut record: Value, flag: &str) -> Value {
    if let Some(operations) = record["operations"].as_array_mut() {
        operations.retain(|recorded| {
            let operation = &recorded["operation"];
            let takes_more =
                matches!(operation["op"].as_str(), Some("environment.delete" | "project.delete"));
            takes_more || is_about_flag(operation) && object_key(operation) == Some(flag)
        });
    }
    record
}

fn parsed(records: &[String]) -> impl Iterator<Item = Value> {
    records.iter().filter_map(|line| serde_json::from_str(line).ok())
}

/// Writes records: a table for people, the stored JSON for programs, one a line.
pub fn show(session: &Session, records: &[String], empty: &str) -> Result<(), Failure> {
    if session.output.is_json() {
        return if records.is_empty() { Ok(()) } else { output::line(&records.join("\n")) };
    }
    let records: Vec<Value> = parsed(records).collect();
    output::line(&text(&records, empty))
}

/// The table, with what a record changed under its row.
fn text(records: &[Value], empty: &str) -> String {
    let headers = ["RECORD", "TIME (UTC)", "WHO", "OUTCOME", "WHAT", "WHY", "TICKET"];
    let table = table(&headers, records.iter().map(row).collect(), empty);
    let mut lines = Vec::new();
    // The first line is the headers'; what others wrote makes no further ones, for cells have no line breaks.
    let of_lines = std::iter::once(None).chain(records.iter().map(Some));
    for (line, record) in table.lines().zip(of_lines) {
        lines.push(line.to_owned());
        lines.extend(record.map(changes::changes).unwrap_or_default());
        lines.extend(record.map(accounts::lines).unwrap_or_default());
    }
    lines.join("\n")
}

fn row(record: &Value) -> Vec<String> {
    let time = record["time_ms"].as_i64().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    vec![
        cell(&record["sequence"]),
        time.map_or_else(|| "-".to_owned(), |t| t.strftime("%F %T").to_string()),
        cell(&record["actor"]["id"]),
        cell(&record["outcome"]),
        what(record),
        cell(&record["reason"]),
        cell(&record["ticket"]),
    ]
}

fn operations(record: &Value) -> impl Iterator<Item = &Value> {
    record["operations"].as_array().into_iter().flatten().map(|recorded| &recorded["operation"])
}

/// What the operations did, in a few words: the first one whole, the others by their number.
fn what(record: &Value) -> String {
    let words: Vec<String> = operations(record).map(words).collect();
    match words.as_slice() {
        [] => match &record["denials"]["count"] {
            Value::Null => accounts::summary(record).unwrap_or_else(|| cell(&record["kind"])),
            count => format!("{count} requests without a good token"),
        },
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

fn words(operation: &Value) -> String {
    let mut words = vec![cell(&operation["op"])];
    words.extend(object_key(operation).map(str::to_owned));
    if let Some(environment) = operation["environment"]
        .as_str()
        .filter(|_| object_key(operation) != operation["environment"].as_str())
    {
        words.push(format!("in {environment}"));
    }
    // What others wrote must not move the cursor of who reads it.
    cell(&Value::String(words.join(" ")))
}

/// The key of what an operation writes: of a `put` inside the object, else beside it.
fn object_key(operation: &Value) -> Option<&str> {
    let kind = operation["op"].as_str()?.split('.').next()?;
    let named = match kind {
        "rule" | "rollout" | "default" | "targets" => &operation["flag"],
        kind => &operation[kind],
    };
    named.as_str().or_else(|| named["key"].as_str()).or_else(|| named["id"].as_str())
}

fn is_about_flag(operation: &Value) -> bool {
    let kinds = BTreeSet::from(["flag", "rule", "rollout", "default", "targets"]);
    operation["op"].as_str().and_then(|op| op.split('.').next()).is_some_and(|kind| kinds.contains(kind))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(operations: &[Value]) -> Value {
        let recorded: Vec<Value> = operations.iter().map(|o| json!({"operation": o})).collect();
        json!({"sequence": 7, "time_ms": 0, "operations": recorded, "touches": {"environments": ["dev"]}})
    }

    #[test]
    fn operations_in_a_few_words() {
        let cases = [
            (json!({"op": "flag.disable", "flag": "a", "environment": "live"}), "flag.disable a in live"),
            (json!({"op": "flag.put", "flag": {"key": "a"}}), "flag.put a"),
            (
                json!({"op": "rule.delete", "flag": "a", "environment": "live", "rule": "r"}),
                "rule.delete a in live",
            ),
            (json!({"op": "environment.delete", "environment": "live"}), "environment.delete live"),
            (json!({"op": "token.create", "token": {"id": "tok_1"}}), "token.create tok_1"),
            (json!({"op": "segment.members.add", "segment": "s"}), "segment.members.add s"),
        ];
        for (operation, words) in &cases {
            assert_eq!(what(&record(std::slice::from_ref(operation))), *words);
        }
        assert_eq!(
            what(&record(&[cases[0].0.clone(), cases[1].0.clone()])),
            "flag.disable a in live and 1 more"
        );
        assert_eq!(
            what(&json!({"kind": "denied", "denials": {"count": 3}})),
            "3 requests without a good token"
        );
        assert_eq!(row(&record(&[]))[1], "1970-01-01 00:00:00");
    }

    #[test]
    fn what_changed_stands_under_its_record() {
        let rule = |country: &str| {
            let when = json!({"attribute": "country", "op": "eq", "values": [country]});
            json!({"rule": {"id": "eu", "when": when, "serve": {"variant": "on"}}})
        };
        let recorded = json!({
            "operation": {"op": "rule.put", "flag": "a", "environment": "live", "rule": {"id": "eu"}},
            "before": rule("DE"), "after": rule("FR"),
        });
        let change = json!({"sequence": 8, "time_ms": 0, "outcome": "accepted", "reason": "a\nb", "operations": [recorded]});
        let other = record(&[json!({"op": "environment.delete", "environment": "dev"})]);
        let text = text(&[change, other], "no records");
        let lines: Vec<&str> = text.lines().collect();
        let [headers, first, before, after, second] = lines.as_slice() else { panic!("{text}") };
        assert!(
            headers.starts_with("RECORD") && first.starts_with("8 ") && second.starts_with("7 "),
            "{text}"
        );
        assert_eq!(*before, r#"    - rule eu: country == "DE" -> on"#);
        assert_eq!(*after, r#"    + rule eu: country == "FR" -> on"#);
        assert_eq!(self::text(&[], "no records"), "no records");
    }

    #[test]
    fn of_a_change_of_many_flags_one_is_told() {
        let put = |flag: &str| json!({"op": "flag.put", "flag": {"key": flag}});
        let segment = json!({"op": "segment.put", "segment": {"key": "a"}});
        let record = record(&[put("b"), segment, put("a"), put("c")]);
        assert_eq!(what(&of_flag(record.clone(), "a")), "flag.put a");
        assert_eq!(what(&record), "flag.put b and 3 more");
        let gone = self::record(&[json!({"op": "environment.delete", "environment": "dev"})]);
        assert_eq!(what(&of_flag(gone, "a")), "environment.delete dev");
    }

    #[tokio::test]
    async fn the_newest_records_are_asked_for_page_by_page_until_there_are_enough_or_no_more() {
        use std::time::Duration;

        use axum::http::Response;

        use crate::{
            fake::Fake,
            output::{Format, Output},
            session::client,
        };

        let node = Fake::answering(|number| {
            let (next, body) = match number {
                0 | 3 => ("5000", "{\"sequence\":9001}\n"),
                1 => ("900", ""),
                _ => ("", "{\"sequence\":7}\n"),
            };
            let response = Response::builder().header("content-type", "application/x-ndjson");
            let response = if next.is_empty() { response } else { response.header(NEXT, next) };
            response.body(body.to_owned()).expect("a response")
        })
        .await;
        let second = Duration::from_secs(1);
        let client = client([node.url.as_str()], Some("fr_adm_x"), second, second).expect("a client");
        let session = Session { client, output: Output { format: Format::Json } };
        let selection = Selection {
            project: Some("shop".to_owned()),
            filters: Filters { kind: vec![RecordKind::Change, RecordKind::System], ..Filters::default() },
            ..Selection::default()
        };
        let records = newest(&session, &selection, 50).await.expect("three pages");
        assert_eq!(records, ["{\"sequence\":9001}", "{\"sequence\":7}"]);
        assert_eq!(newest(&session, &selection, 1).await.expect("one page"), ["{\"sequence\":9001}"]);
        assert_eq!(newest(&session, &selection, 0).await.expect("none"), Vec::<String>::new());
        let asked: Vec<String> = node.seen().into_iter().map(|seen| seen.uri).collect();
        let query = "project=shop&kind=change%2Csystem";
        assert_eq!(
            asked,
            [
                format!("/api/v1/audit?order=newest&limit=50&{query}"),
                format!("/api/v1/audit?order=newest&limit=49&to=5000&{query}"),
                format!("/api/v1/audit?order=newest&limit=49&to=900&{query}"),
                format!("/api/v1/audit?order=newest&limit=1&{query}"),
            ]
        );
    }
}
