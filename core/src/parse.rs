//! Reading JSON so that an error points at the fault.

mod without;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use crate::invalid::{Invalid, escape_segment};

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::operation::Operation;

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
