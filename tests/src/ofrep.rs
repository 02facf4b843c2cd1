//! OFREP's answers as the naive interpreter has its own.

use reqwest::Url;
use serde_json::Value;

use crate::{
    api::{Api, Call},
    naive::{Answer, Context},
};

/// Evaluation of one flag, whatever characters its key has.
pub fn evaluate(node: &Api, key: &str, context: &Context) -> Call {
    let mut url = Url::parse(node.base()).expect("a node's address is a URL");
    url.path_segments_mut().expect("HTTP has paths").push(key);
    node.evaluate(url.path().trim_start_matches('/'), &Value::Object(context.clone()))
}

/// What a flag is, by its answer or its part of a bulk answer.
///
/// # Panics
/// It is no such answer.
pub fn answer(item: &Value) -> Answer {
    Answer {
        variant: text(item, "variant"),
        value: item.get("value").cloned(),
        reason: text(item, "reason"),
        detail: item["metadata"].get("detail").map(|_| text(&item["metadata"], "detail")),
    }
}

/// What each flag is, by a bulk answer: in its order, with the keys.
///
/// # Panics
/// It is no such answer.
pub fn bulk_answers(body: &Value) -> Vec<(String, Answer)> {
    let flags = body["flags"].as_array().unwrap_or_else(|| panic!("no flags: {body}"));
    flags.iter().map(|item| (text(item, "key"), answer(item))).collect()
}

fn text(item: &Value, field: &str) -> String {
    item[field].as_str().unwrap_or_else(|| panic!("no {field}: {item}")).to_owned()
}
