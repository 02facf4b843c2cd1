//! flagd's flag definitions as flags of ours.

use std::collections::BTreeSet;

use flagraft_core::{
    document::FlagDocument,
    flag::{FlagDefinition, FlagEnvironment},
    invalid::Invalid,
};
use serde_json::{Map, Value, json};

use super::{jsonlogic, plan::repeated};
use crate::failure::Failure;

/// The fields of a flag that are translated.
const FIELDS: [&str; 6] = ["state", "variants", "defaultVariant", "targeting", "metadata", "description"];
/// The greatest whole number that a double holds exactly.
const INTEGER_MAX: i64 = (1 << 53) - 1;

/// One flag of the file.
#[derive(Debug)]
pub struct Imported {
    /// The flag's key.
    pub key: String,
    /// The flag as the API takes it, or why it can't be translated exactly.
    pub flag: Result<Value, String>,
    /// How far the translation goes.
    pub remarks: Remarks,
}

/// What to know about a translation.
#[derive(Debug, Default)]
pub struct Remarks {
    /// The contexts for which the flag and its translation may disagree.
    pub except: BTreeSet<String>,
    /// What else.
    pub notes: BTreeSet<String>,
}

/// Translates a file, for one environment.
///
/// Only a file that is no flagd file at all is an error here; a flag that can't be translated says so itself.
pub fn read(document: &Value, environment: &str) -> Result<Vec<Imported>, Failure> {
    let no_flagd = |what: &str| {
        Failure::usage(format!("the file is no flagd definition: {what}"))
            .next("it needs `flags`, an object of flags by key")
    };
    let object = |field: &str| match document.get(field) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(object)) => Ok(object.clone()),
        Some(_) => Err(no_flagd(&format!("`{field}` is no object"))),
    };
    let file = File { environment, metadata: object("metadata")?, evaluators: object("$evaluators")? };
    let translate = |key: &str, flag: &Value| {
        let mut remarks = Remarks::default();
        let flag = self::flag(key, flag, &file, &mut remarks);
        Imported { key: key.to_owned(), flag, remarks }
    };
    match document.get("flags") {
        Some(Value::Object(flags)) => Ok(flags.iter().map(|(key, flag)| translate(key, flag)).collect()),
        // flagd takes a list too, in which each flag names itself.
        Some(Value::Array(flags)) => {
            let named = flags.iter().map(|flag| Some((flag.get("key")?.as_str()?, flag)));
            let named = named.collect::<Option<Vec<(&str, &Value)>>>();
            let named = named.ok_or_else(|| no_flagd("a flag in the list `flags` has no `key`"))?;
            let repeated = repeated(named.iter().map(|(key, _)| *key));
            if !repeated.is_empty() {
                let keys = repeated.join(", ");
                return Err(Failure::usage(format!(
                    "the list `flags` has several flags with one key: {keys}"
                ))
                .next("leave one of each"));
            }
            Ok(named.into_iter().map(|(key, flag)| translate(key, flag)).collect())
        }
        _ => Err(no_flagd("it has no `flags`")),
    }
}

/// What all flags of a file share.
struct File<'a> {
    environment: &'a str,
    metadata: Map<String, Value>,
    evaluators: Map<String, Value>,
}

fn flag(key: &str, source: &Value, file: &File<'_>, remarks: &mut Remarks) -> Result<Value, String> {
    let source = source.as_object().ok_or("it is no object")?;
    let enabled = match source.get("state").and_then(Value::as_str) {
        Some("ENABLED") => true,
        Some("DISABLED") => false,
        _ => return Err("its `state` is neither ENABLED nor DISABLED".to_owned()),
    };
    let variants = match source.get("variants") {
        Some(Value::Object(variants)) if !variants.is_empty() => variants,
        _ => return Err("it has no `variants`".to_owned()),
    };
    let kind = kind_of(variants)?;
    let default = match source.get("defaultVariant") {
        // The caller's code default, as in flagd.
        None | Some(Value::Null) => Value::Null,
        Some(Value::String(name)) if variants.contains_key(name) => json!({"variant": name}),
        Some(other) => return Err(format!("its `defaultVariant` {other} is not one of its variants")),
    };
    let targeting = source.get("targeting").filter(|t| !t.is_null() && *t != &json!({}));
    let rules = match targeting {
        None => Vec::new(),
        Some(targeting) => {
            let source = jsonlogic::Source {
                key,
                variants,
                default: default["variant"].as_str(),
                evaluators: &file.evaluators,
            };
            let translation = jsonlogic::translate(targeting, &source)
                .map_err(|jsonlogic::Untranslatable(why)| format!("its `targeting` has {why}"))?;
            remarks.except.extend(translation.except);
            remarks.notes.extend(translation.notes);
            translation.rules
        }
    };
    for field in source.keys().filter(|field| !FIELDS.contains(&field.as_str()) && *field != "key") {
        remarks.notes.insert(format!("its field `{field}` means nothing to flagd and is left out"));
    }
    let mut flag = json!({
        "key": key,
        "type": kind,
        "variants": typed(kind, variants),
        // A disabled flag of flagd leaves the caller with its code default; so does this.
        "off_variant": null,
        "environments": {file.environment: {"enabled": enabled, "rules": rules, "default": default}},
    });
    match source.get("description") {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) => flag["description"] = json!(text),
        Some(_) => return Err("its `description` is no text".to_owned()),
    }
    let metadata = metadata(source.get("metadata"), &file.metadata)?;
    if !metadata.is_empty() {
        flag["metadata"] = Value::Object(metadata);
    }
    check(&flag)
        .map_err(|Invalid { path, message }| format!("it is no valid flag here: {message} (at {path})"))?;
    Ok(flag)
}

/// Asks the domain itself, so that a flag it would refuse is named here and not in the middle of an import.
fn check(flag: &Value) -> Result<(), Invalid> {
    let document = FlagDocument::from_value(flag.clone())?;
    let definition = FlagDefinition::new(document.definition)?;
    for (key, environment) in document.environments {
        let checked = FlagEnvironment::new(environment, &definition);
        checked.map_err(|invalid| invalid.under(key).under("environments"))?;
    }
    Ok(())
}

/// The type that all variants have. All-integer variants are `integer`, any fraction makes `number`.
fn kind_of(variants: &Map<String, Value>) -> Result<&'static str, String> {
    let kinds: BTreeSet<&str> = variants.values().map(kind).collect();
    let kinds: Vec<&str> = kinds.into_iter().collect();
    let kind = match kinds.as_slice() {
        [kind] => *kind,
        ["integer", "number"] => "number",
        kinds => return Err(format!("its variants have different types: {}", kinds.join(", "))),
    };
    match kind {
        "null" | "list" => Err(format!("a variant of it is a {kind}, which no flag can be")),
        "integer" => {
            let big =
                |value: &&Value| value.as_i64().is_none_or(|i| !(-INTEGER_MAX..=INTEGER_MAX).contains(&i));
            match variants.values().find(big) {
                Some(value) => {
                    Err(format!("its variant {value} is beyond 2^53-1, where numbers lose digits"))
                }
                None => Ok(kind),
            }
        }
        kind => Ok(kind),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "boolean",
        Value::String(_) => "string",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::Object(_) => "object",
        Value::Array(_) => "list",
        Value::Null => "null",
    }
}

/// The variants, whole numbers among fractions written with a fraction too.
fn typed(kind: &str, variants: &Map<String, Value>) -> Value {
    let value = |value: &Value| match value.as_f64() {
        Some(number) if kind == "number" => json!(number),
        _ => value.clone(),
    };
    variants.iter().map(|(name, v)| (name.clone(), value(v))).collect::<Map<_, _>>().into()
}

/// The flag's metadata over the file's.
fn metadata(own: Option<&Value>, shared: &Map<String, Value>) -> Result<Map<String, Value>, String> {
    let mut metadata = shared.clone();
    match own {
        None | Some(Value::Null) => {}
        Some(Value::Object(own)) => metadata.extend(own.clone()),
        Some(_) => return Err("its `metadata` is no object".to_owned()),
    }
    match metadata.iter().find(|(_, v)| !(v.is_string() || v.is_number() || v.is_boolean())) {
        Some((name, _)) => Err(format!("its metadata `{name}` is no text, number or boolean")),
        None => Ok(metadata),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(flag: Value) -> Imported {
        let flags = read(&json!({"flags": {"f": flag}, "metadata": {"team": "a", "v": 1}}), "production");
        flags.expect("a flagd file").remove(0)
    }

    #[test]
    fn types_are_inferred() {
        let cases = [
            (json!({"a": true, "b": false}), Ok("boolean")),
            (json!({"a": "x"}), Ok("string")),
            (json!({"a": 1, "b": -2}), Ok("integer")),
            (json!({"a": 1, "b": 0.5}), Ok("number")),
            (json!({"a": 1.0}), Ok("number")),
            (json!({"a": {"x": 1}}), Ok("object")),
            (json!({"a": 1, "b": "x"}), Err("different types")),
            (json!({"a": [1]}), Err("list")),
            (json!({"a": null}), Err("null")),
            (json!({"a": 9_007_199_254_740_992_i64}), Err("2^53-1")),
            (json!({"a": u64::MAX}), Err("2^53-1")),
        ];
        for (variants, expected) in cases {
            let kind = kind_of(variants.as_object().expect("an object"));
            match (kind, expected) {
                (Ok(kind), Ok(expected)) => assert_eq!(kind, expected, "{variants}"),
                (Err(why), Err(part)) => assert!(why.contains(part), "{variants}: {why}"),
                (kind, _) => panic!("{variants}: {kind:?}"),
            }
        }
    }

    #[test]
    fn whole_numbers_among_fractions_get_a_fraction() {
        let imported =
            one(json!({"state": "ENABLED", "variants": {"off": 0, "half": 0.5}, "defaultVariant": "off"}));
        let flag = imported.flag.expect("translated");
        assert_eq!(flag["variants"].to_string(), r#"{"half":0.5,"off":0.0}"#);
    }

    #[test]
    fn states_defaults_and_metadata() {
        let imported = one(json!({
            "state": "DISABLED", "variants": {"on": true, "off": false}, "defaultVariant": null,
            "metadata": {"team": "b"}, "description": "what", "extra": 1,
        }));
        assert!(imported.remarks.notes.iter().any(|note| note.contains("`extra`")));
        assert_eq!(
            imported.flag.expect("translated"),
            json!({
                "key": "f", "type": "boolean", "variants": {"on": true, "off": false}, "off_variant": null,
                "description": "what", "metadata": {"team": "b", "v": 1},
                "environments": {"production": {"enabled": false, "rules": [], "default": null}},
            })
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let good =
            json!({"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on"});
        let cases = [
            ("state", json!("enabled"), "neither ENABLED nor DISABLED"),
            ("variants", json!({}), "no `variants`"),
            ("defaultVariant", json!("purple"), "not one of its variants"),
            ("metadata", json!({"a": [1]}), "no text, number or boolean"),
            ("targeting", json!({"%": [{"var": "id"}, 2]}), "`%` of the attribute"),
            ("targeting", json!({"if": [true, "purple"]}), "not one of its variants"),
        ];
        assert!(one(good.clone()).flag.is_ok());
        for (field, value, part) in cases {
            let mut flag = good.clone();
            flag[field] = value;
            let why = one(flag).flag.expect_err(part);
            assert!(why.contains(part), "{field}: {why}");
        }
        for document in [
            json!([]),
            json!({}),
            json!({"flags": 1}),
            json!({"flags": [{}]}),
            json!({"flags": {}, "metadata": 1}),
            json!({"flags": {}, "$evaluators": []}),
        ] {
            assert!(read(&document, "production").is_err(), "{document}");
        }
    }

    #[test]
    fn a_list_of_flags_is_read_like_an_object() {
        let flag = json!({"key": "f", "state": "ENABLED", "variants": {"on": true}, "defaultVariant": "on"});
        let flags = read(&json!({"flags": [flag]}), "production").expect("a flagd file");
        assert_eq!(flags[0].key, "f");
        assert!(flags[0].flag.is_ok() && flags[0].remarks.notes.is_empty());
    }

    #[test]
    fn a_list_with_one_key_twice_is_refused_by_name() {
        let flag = |key: &str| json!({"key": key, "state": "ENABLED", "variants": {"on": true}});
        // Whether the second one could be translated is of no matter.
        let flags = json!([flag("b"), flag("a"), flag("c"), flag("a"), {"key": "b"}, flag("a")]);
        let failure = read(&json!({ "flags": flags }), "production").expect_err("two with one key");
        assert_eq!(
            failure.to_string(),
            "the list `flags` has several flags with one key: a, b; leave one of each"
        );
    }
}
