//! Rules as JSON: conditions and whole flags are read or refused, and what is accepted is written and read without loss.

use flagraft_core::{condition::Condition, document::FlagDocument, expression, parse};
use serde::Serialize;
use serde_json::Value;

/// Reads the bytes as JSON, and that as a condition and as a flag.
pub fn run(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
    if let Ok(condition) = parse::from_value::<Condition>(value.clone()) {
        read_condition(&condition);
    }
    if let Ok(document) = FlagDocument::from_value(value) {
        read_flag(&document);
    }
}

fn read_condition(condition: &Condition) {
    if condition.validate().is_err() {
        return;
    }
    let written = json(condition);
    let again: Condition = serde_json::from_str(&written).expect("what is written is read");
    assert_eq!(json(&again), written, "JSON loses nothing");
    let text = expression::text(condition);
    match expression::parse(&text) {
        Ok(again) => assert_eq!(json(&again), written, "{text}"),
        Err(fault) => panic!("{fault}\n{}", fault.pointed_at(&text)),
    }
}

fn read_flag(document: &FlagDocument) {
    let Ok((definition, environments)) = document.checked() else { return };
    let spec = FlagDocument {
        definition: (*definition).clone(),
        environments: environments.iter().map(|(key, checked)| (key.clone(), checked.to_spec())).collect(),
    };
    let written = json(&spec);
    let value = serde_json::from_str(&written).expect("JSON");
    let again = FlagDocument::from_value(value).expect("what is written is read");
    assert_eq!(json(&again), written, "JSON loses nothing");
    let (defined, configured) = again.checked().expect("what was accepted is accepted again");
    assert!(defined == definition && configured == environments, "{written}");
    let conditions = environments.values().flat_map(|configured| &configured.rules);
    conditions.filter_map(|rule| rule.when.as_ref()).for_each(read_condition);
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("it is written as JSON")
}
