//! Segments: two layers upon the first, each naming what lies below it.

use fastrand::Rng;
use serde_json::{Value, json};

use super::{
    ENVIRONMENTS, chance,
    conditions::{Attribute, condition},
    pools::users,
};

const LAYERS: usize = 3;

pub(super) fn segments(rng: &mut Rng, attributes: &[Attribute], width: usize) -> Vec<Value> {
    let key = |layer: usize, at: usize| format!("segment {layer}-{at}");
    let mut segments = Vec::new();
    for layer in 0..LAYERS {
        let below: Vec<String> =
            (0..layer).flat_map(|layer| (0..width).map(move |at| key(layer, at))).collect();
        let below: Vec<&str> = below.iter().map(String::as_str).collect();
        for at in 0..width {
            let mut segment = parts(rng, attributes, &below, layer > 0);
            segment["key"] = json!(key(layer, at));
            for environment in ENVIRONMENTS {
                if chance(rng, 40) {
                    segment["environments"][environment] = parts(rng, attributes, &below, false);
                }
            }
            segments.push(segment);
        }
    }
    segments
}

/// The segment without its own lists, which a later one of the same key would inherit.
pub(super) fn without_lists(mut segment: Value) -> Value {
    if let Some(fields) = segment.as_object_mut() {
        fields.retain(|name, _| name != "included" && name != "excluded");
    }
    segment
}

/// Some of the lists and the condition; with `deeper`, mostly a condition that names a segment.
fn parts(rng: &mut Rng, attributes: &[Attribute], below: &[&str], deeper: bool) -> Value {
    let mut parts = json!({});
    for list in ["included", "excluded"] {
        if chance(rng, 40) {
            // A member has a byte at least; a target's value may have none.
            let members: Vec<String> = users(rng, 4).into_iter().filter(|user| !user.is_empty()).collect();
            parts[list] = json!(members);
        }
    }
    if deeper && chance(rng, 60) {
        let inner = json!({"segment": super::pick(rng, below)});
        let beside = condition(rng, attributes, below, 1);
        parts["when"] = match rng.u8(0..3) {
            0 => inner,
            1 => json!({"any": [beside, inner]}),
            _ => json!({"all": [{"not": inner}, beside]}),
        };
    } else if chance(rng, 70) {
        parts["when"] = condition(rng, attributes, below, 2);
    }
    parts
}
