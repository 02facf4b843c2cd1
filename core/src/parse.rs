//! Reading JSON so that an error points at the fault.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use crate::invalid::{Invalid, escape_segment};

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
        Invalid::new(path, error.into_inner().to_string())
    })
}
