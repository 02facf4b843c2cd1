//! `flagraft import`: flags from flagd, or a project that `export` wrote.
//!
//! Nothing is written until the whole file is understood. Then the objects go in as changes of at most 100
//! operations, each of them all or nothing, what is needed first; a run that was cut off is resumed by
//! running it again, because what is there already, exactly as in the file, is left out.

#[cfg(test)]
mod catalog;
mod flagd;
mod jsonlogic;
mod plan;
mod report;
mod target;
mod translation;

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use flagraft_client::admin::{
    AdminErrorKind, environments,
    flags::{self, Filter},
    projects,
};
use serde_json::{Value, json};

use self::{
    plan::{Action, Item, Kind, OnConflict},
    report::Report,
    target::{Target, pending},
    translation::Translation,
};
use crate::{
    export::{all_segments, objects, without_system},
    failure::{Exit, Failure},
    input,
    session::{Global, Session, Why},
};

/// What a file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// flagd's flag definitions, into one environment
    Flagd,
    /// What `flagraft export` writes: a project with its environments, segments and flags
    Flagraft,
}

/// What to import and where to.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// The file (`-`: standard input)
    file: String,
    /// What the file is written in
    #[arg(long, value_enum)]
    format: Format,
    /// The project; without it, the one that a file of Flagraft's own names
    #[arg(short, long, env = "FLAGRAFT_PROJECT", required_if_eq("format", "flagd"))]
    project: Option<String>,
    /// The environment that flagd's flags are for
    #[arg(short, long, env = "FLAGRAFT_ENVIRONMENT", required_if_eq("format", "flagd"))]
    environment: Option<String>,
    #[command(flatten)]
    why: Why,
    /// What to do with an object that exists and differs from the file's
    #[arg(long, value_enum, default_value_t)]
    on_conflict: OnConflict,
    /// Import the others where some flags can't be translated exactly
    #[arg(long)]
    skip_untranslatable: bool,
    /// Create the project and the environment if they do not exist
    #[arg(long)]
    create: bool,
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
}

/// The file's objects, in the order in which they go in.
struct Source {
    objects: Vec<(Kind, Value)>,
    /// How each flag was translated, where the file is another system's.
    translations: Vec<Translation>,
}

impl Source {
    /// The flags that can't be translated, and why.
    fn untranslatable(&self) -> BTreeMap<&str, &str> {
        let refused = self.translations.iter().filter_map(|t| Some((t.flag.as_str(), t.refused.as_deref()?)));
        refused.collect()
    }
}

/// Imports a file.
pub async fn run(args: ImportArgs, global: &Global) -> Result<(), Failure> {
    let text = input::read(&args.file)?;
    let document: Value =
        serde_json::from_str(&text).map_err(|e| Failure::usage(format!("{} is not JSON: {e}", args.file)))?;
    let named = args.project.as_deref().or_else(|| document["project"]["key"].as_str());
    let Some(project) = named.map(str::to_owned) else {
        return Err(Failure::usage("the file names no project").next("name one with --project"));
    };
    let source = read(&args, &document, &project)?;
    let refused = source.untranslatable();
    if !refused.is_empty() && !args.skip_untranslatable {
        return Err(untranslatable(&refused));
    }
    let session = global.management()?;
    let existing = Existing::read(&session, &project).await?;
    let target = Target {
        session: &session,
        project: &project,
        why: &args.why,
        file: text.as_bytes(),
        planned_at: &existing.revision,
    };
    let objects = with_tenancy(&args, &project, source.objects.clone(), &existing)?;
    let items = plan::items(objects, |kind, key| existing.get(kind, key), args.on_conflict);
    refuse_conflicts(&items)?;
    let batches = plan::batches(&items);
    let written = if args.dry_run {
        target.dry_run(&batches).await?
    } else {
        target.write(&batches, session.output.is_json()).await?
    };
    let report =
        Report { args: &args, source: &source, items: &items, batches: pending(&batches).0, written };
    session.output.show(&report.to_json(), |_| report.to_text())
}

/// Loads what `export` wrote, without a word, leaving alone what exists.
pub async fn load(session: &Session, project: &str, text: &str, why: &Why) -> Result<(), Failure> {
    let document =
        serde_json::from_str(text).map_err(|e| Failure::usage(format!("the catalog is not JSON: {e}")))?;
    let existing = Existing::read(session, project).await?;
    let objects = exported(&document, project)?;
    let items = plan::items(objects, |kind, key| existing.get(kind, key), OnConflict::Skip);
    let target = Target { session, project, why, file: text.as_bytes(), planned_at: &existing.revision };
    target.write(&plan::batches(&items), true).await.map(drop)
}

fn read(args: &ImportArgs, document: &Value, project: &str) -> Result<Source, Failure> {
    let mut source = Source { objects: Vec::new(), translations: Vec::new() };
    match args.format {
        Format::Flagd => {
            let environment = args.environment.as_deref().unwrap_or_default();
            for imported in flagd::read(document, environment)? {
                source.translations.push(Translation::of(&imported));
                if let Ok(flag) = imported.flag {
                    source.objects.push((Kind::Flag, flag));
                }
            }
        }
        Format::Flagraft => source.objects = exported(document, project)?,
    }
    Ok(source)
}

/// The objects of a file that `export` wrote.
fn exported(document: &Value, project: &str) -> Result<Vec<(Kind, Value)>, Failure> {
    let wrong = |what: &str| Failure::usage(format!("the file is no export of Flagraft: {what}"));
    let mut objects = Vec::new();
    if let Some(found) = document.get("project") {
        let mut found = without_system(found.clone());
        if !found.is_object() {
            return Err(wrong("`project` is no object"));
        }
        // The file's project may be imported under another key.
        found["key"] = json!(project);
        objects.push((Kind::Project, found));
    }
    let list = |field: &str| match document.get(field) {
        None => Ok(Vec::new()),
        Some(Value::Array(items)) if items.iter().all(|i| i["key"].is_string()) => {
            let repeated = plan::repeated(items.iter().filter_map(|item| item["key"].as_str()));
            match repeated.is_empty() {
                true => Ok(items.iter().cloned().map(without_system).collect()),
                false => Err(wrong(&format!("`{field}` has several with one key: {}", repeated.join(", ")))),
            }
        }
        Some(_) => Err(wrong(&format!("`{field}` is no list of objects with keys"))),
    };
    objects.extend(list("environments")?.into_iter().map(|e| (Kind::Environment, e)));
    let segments = plan::needed_first(list("segments")?, plan::contained_segments);
    objects.extend(segments.into_iter().map(|s| (Kind::Segment, s)));
    let flags = plan::needed_first(list("flags")?, plan::prerequisites);
    objects.extend(flags.into_iter().map(|f| (Kind::Flag, f)));
    match objects.is_empty() {
        true => Err(wrong("it has no project, environments, segments or flags")),
        false => Ok(objects),
    }
}

/// What the project holds before the import.
#[derive(Default)]
struct Existing {
    objects: BTreeMap<(Kind, String), Value>,
    /// The catalog's revision when it was read, `<history>.<revision>`: what is in `objects` is not older.
    revision: String,
}

impl Existing {
    async fn read(session: &Session, project: &str) -> Result<Self, Failure> {
        // Before all else, and of the newest state: what is planned must not be older than what it is planned for.
        let client = &session.client;
        let newest = client.send(&projects::list().query("limit", Some("1")).confirmed()).await?;
        let revision =
            format!("{}.{}", newest.header("flagraft-history"), newest.header("flagraft-revision"));
        let mut existing = Self { revision, ..Self::default() };
        match client.send(&projects::get(project).confirmed()).await {
            Ok(answer) => existing.add(Kind::Project, answer.into_json()),
            Err(error) if error.kind() == AdminErrorKind::NotFound => return Ok(existing),
            Err(error) => return Err(error.into()),
        }
        for environment in objects(client.list(&environments::list(project).confirmed()).await?) {
            existing.add(Kind::Environment, environment);
        }
        for segment in all_segments(session, project).await? {
            existing.add(Kind::Segment, segment);
        }
        for archived in [false, true] {
            let filter = Filter { archived, ..Filter::default() };
            for flag in objects(client.list(&flags::list(project, filter).confirmed()).await?) {
                existing.add(Kind::Flag, flag);
            }
        }
        Ok(existing)
    }

    fn add(&mut self, kind: Kind, object: Value) {
        let key = object["key"].as_str().unwrap_or_default().to_owned();
        self.objects.insert((kind, key), object);
    }

    fn get(&self, kind: Kind, key: &str) -> Option<&Value> {
        self.objects.get(&(kind, key.to_owned()))
    }
}

/// The objects, after the project and environments that they need and that do not exist.
///
/// A file that defines them is their definition. A flagd file knows of neither: those are made only if asked
/// for, because a typing error would make them too.
fn with_tenancy(
    args: &ImportArgs,
    project: &str,
    objects: Vec<(Kind, Value)>,
    existing: &Existing,
) -> Result<Vec<(Kind, Value)>, Failure> {
    let defines =
        |kind: Kind, key: &str| objects.iter().any(|(k, object)| *k == kind && object["key"] == *key);
    let mut made = Vec::new();
    let mut need = |kind: Kind, key: &str, create: String| {
        if existing.get(kind, key).is_some() || defines(kind, key) {
            return Ok(());
        }
        if !args.create {
            return Err(Failure::new(Exit::NotFound, format!("there is no {} {key}", kind.name()))
                .next(format!("give --create, or first run: {create}")));
        }
        made.push((kind, json!({"key": key})));
        Ok(())
    };
    need(Kind::Project, project, format!("flagraft project put {project} --reason WHY"))?;
    if let (Format::Flagd, Some(environment)) = (args.format, &args.environment) {
        let create = format!("flagraft environment put {environment} --project {project} --reason WHY");
        need(Kind::Environment, environment, create)?;
    }
    made.extend(objects);
    Ok(made)
}

fn untranslatable(flags: &BTreeMap<&str, &str>) -> Failure {
    let list: String = flags.iter().map(|(flag, why)| format!("\n  {flag}: {why}")).collect();
    let plural = if flags.len() == 1 { "flag has" } else { "flags have" };
    let mut failure = Failure::new(
        Exit::Rejected,
        format!("{} {plural} no exact equal here, so nothing was written:{list}", flags.len()),
    )
    .next("give --skip-untranslatable to import the others");
    failure.code = "untranslatable".to_owned();
    failure.details = Some(Box::new(json!({ "untranslatable": flags })));
    failure
}

fn refuse_conflicts(items: &[Item]) -> Result<(), Failure> {
    let conflicts: Vec<String> = items
        .iter()
        .filter(|item| item.action == Action::Conflict)
        .map(|item| format!("{} {}", item.kind.name(), item.key))
        .collect();
    if conflicts.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::new(
        Exit::Rejected,
        format!("nothing was written: these exist and differ from the file: {}", conflicts.join(", ")),
    )
    .next("give --on-conflict skip to leave them, or --on-conflict replace to replace them");
    failure.code = "conflict".to_owned();
    failure.details = Some(Box::new(json!({ "conflicts": conflicts })));
    Err(failure)
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
