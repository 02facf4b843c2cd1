//! Comparing numbers by what they are worth, to the last bit.

use std::cmp::Ordering;

use serde_json::Number;

/// A number as `mantissa * 2^exponent`.
struct Binary {
    mantissa: i128,
    exponent: i32,
}

pub(super) fn compare(one: &Number, other: &Number) -> Ordering {
    let (one, other) = (binary(one), binary(other));
    if one.mantissa.signum() != other.mantissa.signum() || one.mantissa == 0 {
        return one.mantissa.signum().cmp(&other.mantissa.signum());
    }
    // Of one sign, and neither is zero. The place of the highest bit decides, unless it is the same; then both fit when
    // they are brought to one exponent, for mantissas have at most 65 bits.
    let sign = one.mantissa.signum();
    let place = |number: &Binary| {
        let bits = i128::BITS - number.mantissa.unsigned_abs().leading_zeros();
        i32::try_from(bits).expect("at most 128") + number.exponent
    };
    if place(&one) != place(&other) {
        let larger = place(&one).cmp(&place(&other));
        return if sign > 0 { larger } else { larger.reverse() };
    }
    let exponent = one.exponent.min(other.exponent);
    let aligned = |number: &Binary| number.mantissa << (number.exponent - exponent);
    aligned(&one).cmp(&aligned(&other))
}

fn binary(number: &Number) -> Binary {
    if let Some(integer) = number.as_i128() {
        return Binary { mantissa: integer, exponent: 0 };
    }
    let double = number.as_f64().expect("a number of JSON is an integer or a double");
    let bits = double.to_bits();
    let fraction = i128::from(bits & ((1 << 52) - 1));
    let stored = i32::try_from((bits >> 52) & 0x7ff).expect("eleven bits");
    // The form of IEEE 754: the smallest doubles have no leading one.
    let (magnitude, exponent) =
        if stored == 0 { (fraction, -1074) } else { (fraction + (1 << 52), stored - 1075) };
    Binary { mantissa: if double.is_sign_negative() { -magnitude } else { magnitude }, exponent }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn by_worth() {
        let ascending = [
            json!(-1e300),
            json!(i64::MIN),
            json!(-9_007_199_254_740_993_i64),
            json!(-9_007_199_254_740_992.0),
            json!(-1),
            json!(-0.5),
            json!(-5e-324),
            json!(0),
            json!(5e-324),
            json!(0.1),
            json!(0.3),
            json!(0.300_000_000_000_000_04),
            json!(1),
            json!(1.000_000_000_000_000_2),
            json!(9_007_199_254_740_992.0),
            json!(9_007_199_254_740_993_i64),
            json!(i64::MAX),
            json!(9_223_372_036_854_775_808.0),
            json!(u64::MAX),
            json!(18_446_744_073_709_551_616.0),
            json!(1e300),
        ];
        let number = |value: &Value| value.as_number().expect("a number").clone();
        for (at, one) in ascending.iter().enumerate() {
            for (beside, other) in ascending.iter().enumerate() {
                assert_eq!(compare(&number(one), &number(other)), at.cmp(&beside), "{one} {other}");
            }
        }
        for (one, other) in
            [(json!(1), json!(1.0)), (json!(0), json!(-0.0)), (json!(1e15), json!(1_000_000_000_000_000_i64))]
        {
            assert_eq!(compare(&number(&one), &number(&other)), Ordering::Equal, "{one} {other}");
        }
    }
}
