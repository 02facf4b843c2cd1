//! The text of a condition: it is read or refused with a place that can be pointed at, and what is read has one canonical
//! text, which says the same.

use flagraft_core::expression::{parse, text};

/// Reads the bytes as a condition's text.
pub fn run(bytes: &[u8]) {
    let Ok(given) = std::str::from_utf8(bytes) else { return };
    let condition = match parse(given) {
        Ok(condition) => condition,
        Err(fault) => {
            assert!(given.is_char_boundary(fault.offset), "{fault:?} is a place in {given:?}");
            assert!(!fault.message.is_empty() && fault.pointed_at(given).ends_with('^'));
            return;
        }
    };
    let canonical = text(&condition);
    assert!(!canonical.contains(['\n', '\r']), "one line: {canonical:?}");
    match parse(&canonical) {
        Ok(again) => {
            let json = |condition| serde_json::to_string(condition).expect("JSON");
            assert_eq!(json(&again), json(&condition), "{canonical}");
            assert_eq!(text(&again), canonical);
        }
        Err(fault) => panic!("{fault}\n{}", fault.pointed_at(&canonical)),
    }
}
