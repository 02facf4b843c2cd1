use clap::Parser;

use super::{target::Written, *};
use crate::import::catalog::{self, ENVIRONMENT, PROJECT};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: ImportArgs,
}

fn args(line: &str) -> ImportArgs {
    let words = ["import", "-", "--reason", "why"].into_iter().chain(line.split_whitespace());
    Line::try_parse_from(words).expect("a command line").args
}

/// A flagd file with something of everything.
fn flagd_file() -> Value {
    json!({
        "$schema": "https://flagd.dev/schema/v0/flags.json",
        "metadata": {"team": "box-office"},
        "flags": {
            "encore": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on"},
            "seats": {
                "state": "ENABLED", "variants": {"few": 10, "many": 200}, "defaultVariant": "few",
                "targeting": {"if": [{"in": [{"var": "city"}, ["Vienna", "Linz"]]}, "many"]},
            },
            "shared": {
                "state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on",
                "targeting": {"if": [{"$ref": "isStaff"}, "on", "off"]},
            },
            "split": {
                "state": "DISABLED", "variants": {"a": "a", "b": "b"}, "defaultVariant": "a",
                "targeting": {"fractional": [["a", 1], ["b", 1]]},
            },
            "odd": {
                "state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on",
                "targeting": {"if": [{"==": [{"%": [{"var": "id"}, 2]}, 1]}, "on", "off"]},
            },
            "night": {
                "state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": null,
                "targeting": {"if": [{">": [{"var": "$flagd.timestamp"}, 1_900_000_000]}, "on", "off"]},
            },
        },
        "$evaluators": {"isStaff": {"in": [{"var": "role"}, ["staff"]]}},
    })
}

fn puts(objects: &[(Kind, Value)]) -> Vec<Value> {
    let items = plan::items(objects.to_vec(), |_, _| None, OnConflict::Fail);
    items.iter().filter_map(Item::operation).collect()
}

#[test]
fn a_flagd_file_is_read_and_what_cannot_be_is_named() {
    let args = args("--format flagd -p shop -e production");
    let source = read(&args, &flagd_file(), PROJECT).expect("a flagd file");
    let refused = source.untranslatable();
    assert_eq!(refused.keys().copied().collect::<Vec<_>>(), ["night", "odd"]);
    let failure = untranslatable(&refused);
    assert_eq!(failure.exit, Exit::Rejected);
    let text = failure.to_string();
    for part in [
        "2 flags have",
        "odd: its `targeting` has `%` of the attribute \"id\"",
        "night: its `targeting` has flagd's own attribute",
        "send the time as an attribute",
        "--skip-untranslatable",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    catalog::catalog(puts(&source.objects));
}

#[test]
fn the_report_says_what_became_of_each_flag_and_how_sure_that_is() {
    let args = args("--format flagd -p shop -e production --dry-run --skip-untranslatable");
    let source = read(&args, &flagd_file(), PROJECT).expect("a flagd file");
    let items = plan::items(source.objects.clone(), |_, _| None, OnConflict::Fail);
    let report =
        Report { args: &args, source: &source, items: &items, batches: 1, written: Written::default() };
    let json = report.to_json();
    assert_eq!(
        json["untranslatable"].as_object().map(|flags| flags.keys().map(String::as_str).collect::<Vec<_>>()),
        Some(vec!["night", "odd"])
    );
    let of = |flag: &str| {
        let translations = json["translations"].as_array().expect("a list");
        translations.iter().find(|translation| translation["flag"] == flag).cloned().expect(flag)
    };
    assert_eq!(
        of("seats"),
        json!({
            "flag": "seats", "sureness": "exact", "refused": null,
            "rules": [r#"if-1: city in ["Vienna", "Linz"] -> many"#, "default -> few"], "except": [], "notes": [],
        })
    );
    assert_eq!(of("odd")["sureness"], "refused");
    assert_eq!(of("odd")["rules"], json!([]));
    let split = of("split");
    assert_eq!(split["sureness"], "exact_except");
    assert_eq!(
        split["rules"],
        json!([
            r#"split-1: everyone -> a 1 : b 1 by targetingKey, seed "split", method flagd"#,
            "default -> a"
        ])
    );
    assert!(split["except"][0].as_str().is_some_and(|except| except.contains("targetingKey")), "{split}");
    let text = report.to_text();
    for part in [
        "TRANSLATION",
        "seats: exact\n  if-1: city in [\"Vienna\", \"Linz\"] -> many\n  default -> few\n",
        "split: exact, except\n",
        "  except: \"targetingKey\": exact unless",
        "shared: exact\n",
        "  note: the shared evaluator \"isStaff\" is written out in its rules\n",
        "odd: left out: its `targeting` has `%`",
        "nothing was written",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("\nencore: "), "a flag without rules has nothing to tell: {text}");
}

/// The demo catalog goes into an empty cluster, in the order that the import makes of it.
#[test]
fn the_demo_catalog_is_accepted_as_it_is() {
    let document = serde_json::from_str(include_str!("../../demo/shop.json")).expect("JSON");
    let mut objects = exported(&document, "demo").expect("an export");
    assert!(objects.iter().filter(|(kind, _)| *kind == Kind::Flag).count() >= 20);
    // Whatever order the file has.
    let first_flag = objects.iter().position(|(kind, _)| *kind == Kind::Flag).expect("a flag");
    objects[first_flag..].reverse();
    let flags: Vec<Value> = objects.drain(first_flag..).map(|(_, flag)| flag).collect();
    objects.extend(plan::needed_first(flags, plan::prerequisites).into_iter().map(|flag| (Kind::Flag, flag)));
    let mut state = catalog::catalog(Vec::new());
    for batch in puts(&objects).chunks(7) {
        state = catalog::change_with_ticket(&state, "demo", batch.to_vec(), "DEMO-1").expect("accepted");
    }
    assert!(state.project("demo").is_some_and(|project| project.flags.len() >= 20));
}

#[test]
fn what_a_flagd_file_cannot_define_is_made_only_if_asked_for() {
    let objects = || vec![(Kind::Flag, json!({"key": "f"}))];
    let plain = args("--format flagd -p shop -e production");
    let existing = Existing::default();
    let failure = with_tenancy(&plain, PROJECT, objects(), &existing).expect_err("no project");
    assert_eq!(failure.exit, Exit::NotFound);
    let text = failure.to_string();
    assert!(text.contains("flagraft project put shop") && text.contains("--create"), "{text}");
    let mut existing = Existing::default();
    existing.add(Kind::Project, json!({"key": PROJECT}));
    let failure = with_tenancy(&plain, PROJECT, objects(), &existing).expect_err("no environment");
    assert!(failure.to_string().contains("flagraft environment put production --project shop"), "{failure}");
    let create = args("--format flagd -p shop -e production --create");
    let made = with_tenancy(&create, PROJECT, objects(), &Existing::default()).expect("made");
    let kinds: Vec<Kind> = made.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Kind::Project, Kind::Environment, Kind::Flag]);
    assert_eq!(made[1].1, json!({"key": ENVIRONMENT}));
    // A file of our own defines them itself.
    let own = args("--format flagraft");
    let mut all = vec![(Kind::Project, json!({"key": PROJECT}))];
    all.extend(objects());
    assert_eq!(with_tenancy(&own, PROJECT, all.clone(), &Existing::default()).expect("defined"), all);
}

#[test]
fn conflicts_are_named_all_at_once() {
    let conflict = |key: &str| Item {
        kind: Kind::Flag,
        key: key.to_owned(),
        object: json!({"key": key}),
        action: Action::Conflict,
    };
    let failure = refuse_conflicts(&[conflict("a"), conflict("b")]).expect_err("conflicts");
    assert_eq!(failure.exit, Exit::Rejected);
    assert!(failure.to_string().contains("flag a, flag b"), "{failure}");
    assert!(failure.to_string().contains("--on-conflict skip"), "{failure}");
    assert!(refuse_conflicts(&[]).is_ok());
}

#[test]
fn a_file_of_ours_is_checked_before_anything_is_written() {
    for document in
        [json!({}), json!([]), json!({"project": 7}), json!({"flags": {}}), json!({"flags": [{"name": "x"}]})]
    {
        assert!(exported(&document, "demo").is_err(), "{document}");
    }
    let twice = json!({"segments": [{"key": "a"}], "flags": [{"key": "a"}, {"key": "b"}, {"key": "a"}]});
    let failure = exported(&twice, "demo").expect_err("two with one key");
    assert!(failure.to_string().ends_with("`flags` has several with one key: a"), "{failure}");
    let document =
        json!({"project": {"key": "old", "system": {}}, "flags": [{"key": "f", "system": {"revision": 7}}]});
    let objects = exported(&document, "new").expect("an export");
    assert_eq!(objects, [(Kind::Project, json!({"key": "new"})), (Kind::Flag, json!({"key": "f"}))]);
}
