//! Reading JSON so that an error points at the fault.

mod without;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use crate::{
    invalid::{Invalid, escape_segment},
    limits::JSON_DEPTH_MAX,
};

pub(crate) use self::without::{TakeFields, Without};

/// Reads a value of type `T`; the error's path is a JSON pointer to the field at fault.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Invalid> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path: String = error
            .path()
            .iter()
            .filter_map(|segment| match segment {
                Segment::Seq { index } => Some(format!("/{index}")),
                Segment::Map { key } => Some(format!("/{}", escape_segment(key))),
                Segment::Enum { .. } | Segment::Unknown => None,
            })
            .collect();
        let message = error.into_inner().to_string();
        // A type that checks itself, such as a flag's document, knows where within it the fault is. serde carries its
        // error as text, so that the pointer stands in front of the message, as `Invalid` displays it.
        match message.split_once(": ") {
            Some((inner, message)) if inner.starts_with('/') => Invalid::new(path + inner, message),
            _ => Invalid::new(path, message),
        }
    })
}

/// The one name that no field may have. serde_json takes an object that begins with it for a text of JSON and reads that
/// instead (its feature `raw_value`), so that what was checked would not be what is stored, recorded and hashed.
pub const RESERVED_NAME: &str = "$serde_json::private::RawValue";

/// Refuses [`RESERVED_NAME`].
pub(crate) fn check_name(name: &str) -> Result<(), Invalid> {
    if name == RESERVED_NAME {
        return Err(Invalid::here(format!("no field may be named {RESERVED_NAME:?}; choose another name")));
    }
    Ok(())
}

/// Refuses a JSON value that is nested deeper than [`JSON_DEPTH_MAX`]; the path leads to the first level too many. And one
/// with a field of [`RESERVED_NAME`].
pub(crate) fn check_json(value: &Value) -> Result<(), Invalid> {
    check_below(value, JSON_DEPTH_MAX)
}

/// Refuses attributes by name that together, as one object, are nested deeper than [`JSON_DEPTH_MAX`], or have
/// [`RESERVED_NAME`].
pub(crate) fn check_attributes(attributes: &BTreeMap<String, Value>) -> Result<(), Invalid> {
    let levels = JSON_DEPTH_MAX.saturating_sub(1);
    attributes.iter().try_for_each(|(name, value)| {
        check_name(name).and_then(|()| check_below(value, levels)).map_err(|invalid| invalid.under(name))
    })
}

/// Recursion ends with the levels that are allowed.
fn check_below(value: &Value, levels: usize) -> Result<(), Invalid> {
    let inner: Box<dyn Iterator<Item = (String, &Value)>> = match value {
        Value::Array(items) => {
            Box::new(items.iter().enumerate().map(|(index, item)| (index.to_string(), item)))
        }
        Value::Object(fields) => Box::new(fields.iter().map(|(name, field)| (name.clone(), field))),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return Ok(()),
    };
    let Some(levels) = levels.checked_sub(1) else {
        return Err(Invalid::here(format!(
            "the JSON is nested more than {JSON_DEPTH_MAX} levels deep; flatten it, or give the inner part as a string"
        )));
    };
    let mut inner = inner;
    let is_object = value.is_object();
    inner.try_for_each(|(name, item)| {
        let named = if is_object { check_name(&name) } else { Ok(()) };
        named.and_then(|()| check_below(item, levels)).map_err(|invalid| invalid.under(name))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::operation::Operation;

    #[test]
    fn depth_counts_objects_and_arrays_and_the_path_leads_to_the_level_too_many() {
        let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!({"a": [inner]}));
        assert_eq!(check_json(&nested(JSON_DEPTH_MAX / 2)), Ok(()));
        let fault = check_json(&json!([nested(JSON_DEPTH_MAX / 2)])).expect_err("too deep");
        assert_eq!(fault.path, format!("/0{}", "/a/0".repeat(JSON_DEPTH_MAX / 2 - 1) + "/a"));
        for flat in [json!(null), json!(1), json!("text"), json!([]), json!({})] {
            assert_eq!(check_json(&flat), Ok(()), "{flat}");
        }
    }

    /// What begins with this name is read by serde_json as the JSON in its text, by whoever reads records and requests.
    #[test]
    fn the_reserved_name_is_refused_wherever_a_person_names_a_field() {
        let named = json!({RESERVED_NAME: "1"});
        assert_eq!(
            check_json(&json!([{"a": named.clone()}])).expect_err("reserved").path,
            "/0/a/$serde_json::private::RawValue"
        );
        let attributes = BTreeMap::from([(RESERVED_NAME.to_owned(), json!("1"))]);
        assert!(check_attributes(&attributes).is_err());
        assert_eq!(serde_json::from_value::<Value>(named).expect("read"), json!(1), "why it is reserved");
        let spec: crate::flag::FlagSpec = serde_json::from_value(json!({
            "key": "a", "type": "boolean", "variants": {"on": true}, "metadata": {RESERVED_NAME: "1"},
        }))
        .expect("well-formed");
        assert_eq!(
            crate::flag::FlagDefinition::new(spec).expect_err("reserved").path,
            "/metadata/$serde_json::private::RawValue"
        );
    }

    #[test]
    fn a_fault_deep_in_a_flag_is_pointed_at() {
        for (flag, path) in [
            (json!({"key": "a/b", "type": "boolean", "variants": {"on": true}}), "/flag/key"),
            (json!({"key": "a", "type": "colour", "variants": {"on": true}}), "/flag/type"),
            (
                json!({"key": "a", "type": "boolean", "variants": {"on": true},
                       "environments": {"dev": {"rules": [{"id": "r", "serve": {"variant": 1}}]}}}),
                "/flag/environments/dev/rules/0/serve/variant",
            ),
        ] {
            let fault = Operation::from_value(json!({"op": "flag.put", "flag": flag})).expect_err(path);
            assert_eq!(fault.path, path, "{fault}");
            assert!(!fault.message.starts_with('/'), "{fault}");
        }
    }
}
