//! JSON as requests send it: no object names a field twice, or as serde_json names a text within a text. Readers disagree on which of the two counts, so what a
//! proxy or a reviewer saw need not be what would be done.

use std::fmt;

use flagraft_core::parse::RESERVED_NAME;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value, map::Entry};

/// Reads JSON text.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice::<Strict>(bytes).map(|strict| strict.0)
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is finite"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            if name == RESERVED_NAME {
                return Err(A::Error::custom(format!("no field may be named {name:?}; choose another name")));
            }
            match object.entry(name) {
                Entry::Vacant(place) => {
                    let Strict(value) = fields.next_value()?;
                    place.insert(value);
                }
                Entry::Occupied(place) => {
                    let name = place.key();
                    return Err(A::Error::custom(format!("the field {name:?} is given twice in one object")));
                }
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_serde_json_reads() {
        for text in [
            "null",
            "true",
            "-1",
            "18446744073709551615",
            "0.1",
            "1.0",
            "5e-324",
            "1e300",
            "\"a\\u0041\"",
            "[1, [], {}]",
            "{\"a\": {\"b\": [null, 1.5]}}",
            "9007199254740993",
            "-0.0",
        ] {
            let expected: Value = serde_json::from_str(text).expect(text);
            assert_eq!(parse(text.as_bytes()).expect(text), expected, "{text}");
        }
    }

    #[test]
    fn a_field_is_not_named_as_serde_json_names_a_text() {
        for text in [
            "{\"$serde_json::private::RawValue\": \"1\"}",
            "[{\"a\": {\"\\u0024serde_json::private::RawValue\": \"[]\"}}]",
        ] {
            let error = parse(text.as_bytes()).expect_err(text).to_string();
            assert!(error.contains("choose another name"), "{error}");
        }
    }

    #[test]
    fn a_field_given_twice_is_refused_at_any_depth() {
        for text in ["{\"a\": 1, \"a\": 1}", "[{\"b\": {\"a\": 1, \"\\u0061\": 2}}]"] {
            let error = parse(text.as_bytes()).expect_err(text).to_string();
            assert!(error.contains("\"a\" is given twice"), "{error}");
        }
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        for text in ["", "{", "1 2", "nan", "1e999", "{\"a\": 1,}", deep.as_str()] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
