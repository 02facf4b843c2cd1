//! Which variant a rollout gives.

use serde_json::Value;

use super::{
    Context, Naive,
    attributes::{find, hash_input},
    by, given,
    hashes::{crc32, fnv1a, murmur3, sha1_first_15_digits},
    list, text, whole,
};

/// The seed of the second hash of Unleash, which divides users over variants.
const UNLEASH_VARIANT_SEED: u32 = 86_028_157;

/// Where a user stands among the weights.
enum Place {
    /// In a bucket: the first variant has it whose weight, added to those before it, is larger.
    Bucket(u64),
    /// At a share of the whole, in the double precision of two systems.
    Share { at: f64, of_weight: fn(u64, u64) -> f64 },
    /// At a share of the whole, in the single precision of another one.
    SingleShare(f32),
}

impl Naive<'_> {
    /// `None` where the rollout says nothing.
    pub(super) fn rolled_out<'v>(&self, rollout: &'v Value, context: &Context) -> Option<&'v str> {
        let method = given(rollout, "method").map_or("murmur3", |method| method.as_str().expect("a name"));
        let row = row(method);
        let Some(attribute) = find(context, by(rollout)) else {
            self.mark("hashed", "missing");
            self.mark(row, "no value");
            return None;
        };
        self.mark("hashed", kind(attribute));
        let Some(value) = hash_input(attribute) else {
            self.mark(row, "no value");
            return None;
        };
        let weights = list(rollout, "weights");
        let total: u64 = weights.iter().map(|weighted| whole(weighted, "weight")).sum();
        let given = match place(method, text(rollout, "seed"), &value, total) {
            Place::Bucket(bucket) => {
                let mut sum = 0;
                weights.iter().find(|weighted| {
                    sum += whole(weighted, "weight");
                    sum > bucket
                })
            }
            Place::Share { at, of_weight } => {
                let mut sum = 0.0;
                weights.iter().find(|weighted| {
                    sum += of_weight(whole(weighted, "weight"), total);
                    at < sum
                })
            }
            Place::SingleShare(at) => {
                let mut sum = 0.0_f32;
                let found = weights.iter().find(|weighted| {
                    sum += single(whole(weighted, "weight")) / 100_000.0;
                    at < sum
                });
                if found.is_none() {
                    self.mark(row, "beyond the last");
                    return weights.last().map(|weighted| text(weighted, "variant"));
                }
                found
            }
        };
        self.mark(row, if given.is_some() { "a variant" } else { "beyond the last" });
        given.map(|weighted| text(weighted, "variant"))
    }
}

fn place(method: &str, seed: &str, value: &str, total: u64) -> Place {
    let murmur = |text: String, seed: u32| u64::from(murmur3(text.as_bytes(), seed));
    match method {
        "murmur3" => Place::Bucket((murmur(format!("{seed}:{value}"), 0) * total) >> 32),
        "unleash" => Place::Bucket(murmur(format!("{seed}:{value}"), 0) % total),
        "unleash_variant" => Place::Bucket(murmur(format!("{seed}:{value}"), UNLEASH_VARIANT_SEED) % total),
        "launchdarkly" => {
            let hash = sha1_first_15_digits(&format!("{seed}.{value}"));
            Place::SingleShare(single(hash) / single(0x0FFF_FFFF_FFFF_FFFF))
        }
        "flagd" => Place::Bucket((murmur(format!("{seed}{value}"), 0) * total) >> 32),
        "flagd_percent" => {
            let hash = murmur3(format!("{seed}{value}").as_bytes(), 0).cast_signed();
            Place::Share {
                at: f64::from(hash).abs() / 2_147_483_647.0 * 100.0,
                of_weight: |weight, total| double(100 * weight) / double(total),
            }
        }
        "flipt" => Place::Bucket(u64::from(crc32(format!("{seed}{value}").as_bytes())) % 1000),
        "flipt_threshold" => Place::Bucket(u64::from(crc32(format!("{value}{seed}").as_bytes())) % 100),
        "go_feature_flag" => Place::Bucket(u64::from(fnv1a(format!("{seed}{value}").as_bytes())) % total),
        "growthbook_v1" => {
            let hash = fnv1a(format!("{value}{seed}").as_bytes());
            Place::Share { at: f64::from(hash % 1000) / 1e3, of_weight: part_of }
        }
        "growthbook_v2" => {
            let first = fnv1a(format!("{seed}{value}").as_bytes());
            let hash = fnv1a(first.to_string().as_bytes());
            Place::Share { at: f64::from(hash % 10_000) / 1e4, of_weight: part_of }
        }
        _ => panic!("{method} was accepted as a method"),
    }
}

fn part_of(weight: u64, total: u64) -> f64 {
    double(weight) / double(total)
}

/// Weights and their sums are below 2^31, a hundred times that is below 2^53: all exact.
#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
fn double(number: u64) -> f64 {
    number as f64
}

/// Rounds to the nearest, as the system does that this is to agree with.
#[expect(clippy::cast_precision_loss, reason = "that system's own loss")]
fn single(number: u64) -> f32 {
    number as f32
}

fn row(method: &str) -> &'static str {
    match method {
        "murmur3" => "by murmur3",
        "unleash" => "by unleash",
        "unleash_variant" => "by unleash_variant",
        "launchdarkly" => "by launchdarkly",
        "flagd" => "by flagd",
        "flagd_percent" => "by flagd_percent",
        "flipt" => "by flipt",
        "flipt_threshold" => "by flipt_threshold",
        "go_feature_flag" => "by go_feature_flag",
        "growthbook_v1" => "by growthbook_v1",
        "growthbook_v2" => "by growthbook_v2",
        _ => panic!("{method} was accepted as a method"),
    }
}

fn kind(attribute: &Value) -> &'static str {
    match attribute {
        Value::String(text) if text.is_empty() => "empty text",
        Value::String(_) => "text",
        Value::Bool(_) => "boolean",
        Value::Number(number) if !number.is_f64() => "integer",
        Value::Number(_) if hash_input(attribute).is_some() => "whole double",
        Value::Number(_) => "fraction",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::Null => unreachable!("null is missing"),
    }
}
