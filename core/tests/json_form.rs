//! The features of `serde_json` that the formats rest on. Cargo unites the features that all crates of a build ask
//! for, so a dependency could switch one on: state, digests and records would then differ between two builds.

use serde_json::{Value, json};

/// With `preserve_order` maps would keep the order in which they were written.
#[test]
fn maps_are_sorted() {
    let value: Value = serde_json::from_str(r#"{"b":1,"a":{"d":1,"c":2}}"#).expect("JSON");
    assert_eq!(value.to_string(), r#"{"a":{"c":2,"d":1},"b":1}"#);
}

/// With `arbitrary_precision` numbers would keep the text in which they were written.
#[test]
fn numbers_are_integers_or_doubles() {
    for (text, form) in [
        ("1.10", "1.1"),
        ("1E2", "100.0"),
        ("-0", "-0.0"),
        ("12345678901234567890123", "1.2345678901234568e22"),
    ] {
        let value: Value = serde_json::from_str(text).expect("JSON");
        let written: Value = serde_json::from_str(form).expect("JSON");
        assert_eq!(value, written, "{text}");
        assert_ne!(value.to_string(), text, "the text is not kept");
    }
    assert!(serde_json::from_str::<Value>("1e400").is_err(), "beyond a double");
}

/// Without `float_roundtrip` the last bit of a double may change when it is read.
#[test]
fn doubles_are_read_exactly() {
    // Without the feature each of the first three comes back as its neighbour.
    for double in [
        1.071_566_039_146_582_6e-75,
        -1.819_967_304_027_17e-179,
        9.643_915_712_060_552e-234,
        0.1 + 0.2,
        f64::MAX,
        f64::MIN_POSITIVE,
    ] {
        let read: f64 = serde_json::from_str(&json!(double).to_string()).expect("JSON");
        assert_eq!(read.to_bits(), double.to_bits(), "{double:e}");
    }
}
