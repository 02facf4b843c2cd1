//! What an import tells: a table and notes for people, lists by action for programs.

use serde_json::{Map, Value, json};

use super::{
    Format, ImportArgs, Source,
    plan::{Action, Item, Kind},
    target::Written,
    translation::Translation,
};
use crate::output::table;

const ACTIONS: [(Action, &str); 5] = [
    (Action::Create, "created"),
    (Action::Configure, "configured"),
    (Action::Replace, "replaced"),
    (Action::Skip, "skipped"),
    (Action::Unchanged, "unchanged"),
];

/// All that is known at the end of an import.
pub(super) struct Report<'a> {
    pub(super) args: &'a ImportArgs,
    pub(super) source: &'a Source,
    pub(super) items: &'a [Item],
    pub(super) batches: usize,
    pub(super) written: Written,
}

impl Report<'_> {
    pub(super) fn to_json(&self) -> Value {
        let mut report = json!({
            "dry_run": self.args.dry_run,
            "batches": self.batches,
            "batches_already_in": self.written.already,
            "revision": self.written.revision,
            "untranslatable": self.source.untranslatable(),
            "translations": self.source.translations,
        });
        for kind in [Kind::Project, Kind::Environment, Kind::Segment, Kind::Flag] {
            let of_action = |action: Action| -> Vec<&str> {
                let items = self.items.iter().filter(|item| item.kind == kind && item.action == action);
                items.map(|item| item.key.as_str()).collect()
            };
            let lists: Map<String, Value> = ACTIONS
                .iter()
                .map(|(action, name)| ((*name).to_owned(), json!(of_action(*action))))
                .collect();
            report[format!("{}s", kind.name())] = Value::Object(lists);
        }
        report
    }

    pub(super) fn to_text(&self) -> String {
        let rows = self.items.iter().map(|item| {
            let environments = item.object["environments"].as_object().filter(|_| item.kind == Kind::Flag);
            let rules = environments
                .map(|e| e.values().map(|e| e["rules"].as_array().map_or(0, Vec::len)).sum::<usize>());
            let of_item =
                |translation: &&Translation| item.kind == Kind::Flag && translation.flag == item.key;
            let translation = self.source.translations.iter().find(of_item);
            vec![
                item.kind.name().to_owned(),
                item.key.clone(),
                item.object["type"].as_str().unwrap_or_default().to_owned(),
                rules.map(|rules| rules.to_string()).unwrap_or_default(),
                translation.map(|translation| translation.sureness().as_str()).unwrap_or_default().to_owned(),
                ACTIONS
                    .iter()
                    .find(|(action, _)| *action == item.action)
                    .map_or("", |(_, name)| name)
                    .to_owned(),
            ]
        });
        let table = table(
            &["WHAT", "KEY", "TYPE", "RULES", "TRANSLATION", "RESULT"],
            rows.collect(),
            "the file holds nothing to import",
        );
        let told = self.source.translations.iter().filter(|translation| !translation.is_plain());
        let translations: String = told.map(|translation| format!("\n{}", translation.to_text())).collect();
        let notes: String = self.notes().into_iter().map(|note| format!("note: {note}\n")).collect();
        let separator = if notes.is_empty() { "" } else { "\n" };
        format!("{table}\n{translations}{separator}{notes}\n{}", self.conclusion())
    }

    /// What holds for all flags.
    fn notes(&self) -> Vec<&'static str> {
        if self.args.format != Format::Flagd {
            return Vec::new();
        }
        let mut all = Vec::new();
        if self.items.iter().any(|item| item.object["environments"].to_string().contains("\"attribute\"")) {
            all.push(
                "an attribute that is a list matches a rule when one of its elements does; flagd's engines differ on \
                 lists",
            );
        }
        all.push("a disabled flag leaves callers with the default in their own code, as in flagd");
        all
    }

    fn conclusion(&self) -> String {
        match (self.args.dry_run, self.written.revision) {
            (true, _) if self.batches > 1 => {
                let batches = self.batches;
                format!(
                    "nothing was written; this would go in as {batches} changes, of which the first would be accepted"
                )
            }
            (true, _) => "nothing was written; the cluster would accept this".to_owned(),
            (false, Some(revision)) => format!("imported at revision {revision}"),
            (false, None) => "nothing to do: everything is there already".to_owned(),
        }
    }
}
