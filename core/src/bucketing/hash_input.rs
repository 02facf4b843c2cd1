//! The text of an attribute's value, as it is hashed and looked up in lists.

use serde_json::Value;

/// The text of a value: text as it is, integers in decimal, booleans by their names. A double that is a whole number is
/// one: `1.0` counts as `1`. It is made without allocation.
#[derive(Clone, Copy, Debug)]
pub struct HashInput<'a>(Text<'a>);

#[derive(Clone, Copy, Debug)]
enum Text<'a> {
    Given(&'a str),
    Decimal(Decimal),
}

impl<'a> HashInput<'a> {
    /// The text of a value. `None` of what counts as missing: `null`, arrays, objects, and numbers with a fraction or so
    /// great that a double does not tell them from their neighbours.
    #[inline]
    pub fn of(value: &'a Value) -> Option<Self> {
        let text = match value {
            Value::String(text) => Text::Given(text),
            Value::Bool(true) => Text::Given("true"),
            Value::Bool(false) => Text::Given("false"),
            Value::Number(number) => Text::Decimal(if let Some(integer) = number.as_i64() {
                Decimal::of(integer)
            } else if let Some(integer) = number.as_u64() {
                Decimal::of(integer)
            } else {
                Decimal::of(whole(number.as_f64()?)?)
            }),
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
        };
        Some(Self(text))
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Given(text) => text,
            Text::Decimal(decimal) => decimal.as_str(),
        }
    }
}

fn whole(double: f64) -> Option<i64> {
    // Doubles beyond this are not told apart from their neighbours; within it the decimal form is exact.
    let is_whole = double.fract() == 0.0 && double.abs() <= 9_007_199_254_740_991.0;
    #[expect(clippy::cast_possible_truncation, reason = "a whole number within 2^53")]
    is_whole.then_some(double as i64)
}

/// The decimal form of an integer. The longest ones, of `i64::MIN` and `u64::MAX`, have 20 bytes.
#[derive(Clone, Copy, Debug)]
struct Decimal {
    bytes: [u8; 20],
    length: u8,
}

impl Decimal {
    fn of(integer: impl itoa::Integer) -> Self {
        let mut digits = itoa::Buffer::new();
        let text = digits.format(integer).as_bytes();
        let mut bytes = [0; 20];
        if let Some(room) = bytes.get_mut(..text.len()) {
            room.copy_from_slice(text);
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most 20")]
        let length = text.len() as u8;
        Self { bytes, length }
    }

    fn as_str(&self) -> &str {
        // Digits and a sign: never the empty text.
        self.bytes
            .get(..usize::from(self.length))
            .and_then(|bytes| str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn text(value: &Value) -> Option<String> {
        HashInput::of(value).map(|input| input.as_str().to_owned())
    }

    #[test]
    fn what_is_hashed() {
        for (value, input) in [
            (json!("a b"), Some("a b")),
            (json!(""), Some("")),
            (json!(42), Some("42")),
            (json!(0), Some("0")),
            (json!(-1), Some("-1")),
            (json!(i64::MIN), Some("-9223372036854775808")),
            (json!(18_446_744_073_709_551_615_u64), Some("18446744073709551615")),
            (json!(42.0), Some("42")),
            (json!(-0.0), Some("0")),
            (json!(-9_007_199_254_740_991.0), Some("-9007199254740991")),
            (json!(9_007_199_254_740_992.0), None),
            (json!(1.5), None),
            (json!(1e300), None),
            (json!(true), Some("true")),
            (json!(false), Some("false")),
            (json!(null), None),
            (json!(["a"]), None),
            (json!({"a": 1}), None),
        ] {
            assert_eq!(text(&value).as_deref(), input, "{value}");
        }
    }

    proptest! {
        #[test]
        fn integers_are_written_in_decimal(signed: i64, unsigned: u64) {
            prop_assert_eq!(text(&json!(signed)), Some(signed.to_string()));
            prop_assert_eq!(text(&json!(unsigned)), Some(unsigned.to_string()));
        }
    }
}
