//! `flag diff`: what differs between two revisions, of one flag or of all that a project evaluates.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde_json::{Value, json};

use super::past::Moment;
use flagraft_client::admin::{Answer, Call, Page};

use crate::{
    audit,
    failure::{Exit, Failure},
    output::cell,
    session::{ProjectArg, Session},
};

/// What to compare.
#[derive(Args, Debug)]
pub struct DiffArgs {
    /// The flag's key; without it, all flags, segments and environments of the project
    key: Option<String>,
    #[command(flatten)]
    project: ProjectArg,
    /// The earlier moment: a revision, or a time such as 2027-03-01T12:00:00Z
    #[arg(long, value_name = "WHEN")]
    from: String,
    /// The later one. Default: now
    #[arg(long, value_name = "WHEN")]
    to: Option<String>,
}

/// Something that is not the same.
struct Difference {
    kind: &'static str,
    key: String,
    before: Value,
    after: Value,
}

/// A project at one moment.
struct Side<'s> {
    session: &'s Session,
    project: &'s str,
    moment: Moment,
    at: Value,
    environments: Vec<Value>,
}

/// Shows what differs.
pub async fn run(session: &Session, args: &DiffArgs) -> Result<(), Failure> {
    let project = &args.project.project;
    let from = Side::at(session, project, Some(&args.from)).await?;
    let to = Side::at(session, project, args.to.as_deref()).await?;
    let mut found = Vec::new();
    match &args.key {
        Some(key) => found.extend(differs("flag", key, from.flag(key).await?, to.flag(key).await?)),
        None => {
            found.extend(compare("environment", &from.environments, &to.environments));
            found.extend(compare("flag", &from.flags().await?, &to.flags().await?));
            found.extend(compare(
                "segment",
                &from.items("segments", None).await?,
                &to.items("segments", None).await?,
            ));
        }
    }
    let changes: Vec<Value> = found
        .iter()
        .map(|d| json!({"kind": d.kind, "key": d.key, "before": d.before, "after": d.after}))
        .collect();
    let all = json!({"project": project, "from": from.at, "to": to.at, "changes": changes});
    session.output.show(&all, |_| text(&from.at, &to.at, &found))
}

impl<'s> Side<'s> {
    /// The project at a moment, which is a revision from here on: all that is read of it is of one.
    async fn at(session: &'s Session, project: &'s str, when: Option<&str>) -> Result<Self, Failure> {
        let call = Call::get(["api", "v1", "projects", project, "environments"]).query("limit", Some("500"));
        let call = match when {
            Some(when) => Moment::parse(when).on(call),
            // Once more, at the revision that is newest: so that this side says when that was made, too.
            None => {
                let now = session.client.send(&call).await?;
                Moment::Revision(token(&now)?).on(call)
            }
        };
        let answer = session.client.send(&call).await?;
        let environments = answer.json()["items"].as_array().cloned().unwrap_or_default();
        let moment = Moment::Revision(token(&answer)?);
        let revision = answer.header("flagraft-revision").parse::<u64>().ok();
        let at = json!({
            "history": answer.header("flagraft-history"), "revision": revision,
            "time": answer.header("flagraft-time"),
        });
        Ok(Self { session, project, moment, at, environments })
    }

    /// `null` where it was not there.
    async fn flag(&self, key: &str) -> Result<Value, Failure> {
        let call = Call::get(["api", "v1", "projects", self.project, "flags", key]);
        match self.session.client.send(&self.moment.on(call)).await {
            Ok(answer) => Ok(answer.into_json()),
            Err(missing) if missing.code() == Some("not_found") => Ok(Value::Null),
            Err(error) => Err(error.into()),
        }
    }

    async fn flags(&self) -> Result<Vec<Value>, Failure> {
        let mut flags = self.items("flags", None).await?;
        flags.extend(self.items("flags", Some("true")).await?);
        Ok(flags)
    }

    async fn items(&self, kind: &str, archived: Option<&str>) -> Result<Vec<Value>, Failure> {
        let call = Call::get(["api", "v1", "projects", self.project, kind]).query("archived", archived);
        let items = self.session.client.list(&self.moment.on(call).answering::<Page<Value>>()).await?;
        Ok(items.read()?)
    }
}

/// The revision that an answer is of, as it is asked for again.
fn token(answer: &Answer) -> Result<String, Failure> {
    match (answer.header("flagraft-history"), answer.header("flagraft-revision")) {
        ("" | "null", _) | (_, "") => {
            Err(Failure::new(Exit::Other, "the node does not say which revision it answered from"))
        }
        (history, revision) => Ok(format!("{history}.{revision}")),
    }
}

fn compare(kind: &'static str, before: &[Value], after: &[Value]) -> Vec<Difference> {
    let by_key = |items: &[Value]| -> BTreeMap<String, Value> {
        let key = |item: &Value| item["key"].as_str().unwrap_or_default().to_owned();
        items.iter().map(|item| (key(item), item.clone())).collect()
    };
    let (mut before, mut after) = (by_key(before), by_key(after));
    let keys: BTreeSet<String> = before.keys().chain(after.keys()).cloned().collect();
    keys.into_iter()
        .filter_map(|key| {
            let (was, is) = (before.remove(&key), after.remove(&key));
            differs(kind, &key, was.unwrap_or_default(), is.unwrap_or_default())
        })
        .collect()
}

/// What the system knows changes with every change: of it only what says something else counts.
fn differs(kind: &'static str, key: &str, before: Value, after: Value) -> Option<Difference> {
    let stated = |object: &Value| {
        let mut object = object.clone();
        let members_at = (kind == "segment").then(|| object["system"]["revision"].clone());
        let archived = object["system"]["archived"].clone();
        if let Some(fields) = object.as_object_mut() {
            fields.remove("system");
        }
        (object, archived, members_at)
    };
    (stated(&before) != stated(&after)).then(|| Difference { kind, key: key.to_owned(), before, after })
}

fn text(from: &Value, to: &Value, found: &[Difference]) -> String {
    let when = |at: &Value| format!("revision {} ({})", at["revision"], cell(&at["time"]));
    let mut lines = vec![format!("from {} to {}", when(from), when(to))];
    if found.is_empty() {
        lines.push("nothing differs".to_owned());
    }
    for Difference { kind, key, before, after } in found {
        let did = match (before.is_null(), after.is_null()) {
            (true, _) => " is new",
            (_, true) => " is gone",
            _ => "",
        };
        lines.push(format!("\n{kind} {}{did}", cell(&json!(key))));
        lines.extend(audit::between(before, after).into_iter().map(|line| format!("  {line}")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flag(key: &str, enabled: bool, revision: u64) -> Value {
        json!({
            "key": key, "type": "boolean", "variants": {"on": true, "off": false}, "off_variant": "off",
            "environments": {"live": {"enabled": enabled, "default": {"variant": "on"}, "rules": []}},
            "system": {"revision": revision, "archived": null},
        })
    }

    #[test]
    fn what_differs_is_shown_and_nothing_else() {
        let before = [flag("a", true, 1), flag("b", true, 2), flag("c", true, 3)];
        let mut renamed = flag("b", true, 9);
        renamed["off_variant"] = json!("on");
        renamed["owner"] = json!("ops\u{1b}");
        let after = [flag("a", false, 7), renamed, flag("c", true, 8), flag("d", true, 9)];
        let found = compare("flag", &before, &after);
        let at = |revision: u64| json!({"revision": revision, "time": "2027-03-01T00:00:00Z"});
        let expected = r#"from revision 1 (2027-03-01T00:00:00Z) to revision 9 (2027-03-01T00:00:00Z)

flag a
  - live, enabled: yes
  + live, enabled: no

flag b
  - off_variant: "off"
  + off_variant: "on"
  + owner: "ops\u001b"

flag d is new
  + live, enabled: yes
  + live, default: on
  + off_variant: "off"
  + type: "boolean"
  + variants: {"off":false,"on":true}"#;
        let printed = text(&at(1), &at(9), &found);
        assert_eq!(printed, expected, "it prints:\n{printed}");
        assert_eq!(text(&at(1), &at(1), &[]).lines().last(), Some("nothing differs"));
    }

    #[test]
    fn members_and_archiving_differ_by_what_the_system_says() {
        let segment = |revision: u64| json!({"key": "staff", "system": {"revision": revision, "included_count": 1, "excluded_count": 0}});
        let [one] = &compare("segment", &[segment(4)], &[segment(5)])[..] else { panic!("one differs") };
        assert_eq!(
            audit::between(&one.before, &one.after),
            [
                "- members: 1 included, 0 excluded, as of revision 4",
                "+ members: 1 included, 0 excluded, as of revision 5"
            ]
        );
        let mut archived = flag("a", true, 2);
        archived["system"]["archived"] = json!({"by": "ann", "revision": 2, "at_ms": 0});
        let [one] = &compare("flag", &[flag("a", true, 1)], &[archived])[..] else { panic!("one differs") };
        assert_eq!(audit::between(&one.before, &one.after), ["+ archived: by ann"]);
    }
}
