//! Which characters a key or a text may hold.
//!
//! Two binaries built a year apart must take and refuse the same keys. So the tables are written out here, not taken from
//! the standard library's current Unicode version, and the crate with the table of normal forms is pinned exactly: a
//! character that Unicode adds later may be in no normal form by a newer table. A key that was accepted once stays
//! accepted, for stored keys are read by the same check; see `docs/decisions/0012-what-apply-depends-on-is-pinned.md`.

use crate::invalid::Invalid;
use unicode_normalization::is_nfc;

/// Characters of general category Cf (format; the bidi controls are among them), in order, as inclusive ranges.
const FORMAT: [(u32, u32); 21] = [
    (0x00AD, 0x00AD),
    (0x0600, 0x0605),
    (0x061C, 0x061C),
    (0x06DD, 0x06DD),
    (0x070F, 0x070F),
    (0x0890, 0x0891),
    (0x08E2, 0x08E2),
    (0x180E, 0x180E),
    (0x200B, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x206F),
    (0xFEFF, 0xFEFF),
    (0xFFF9, 0xFFFB),
    (0x110BD, 0x110BD),
    (0x110CD, 0x110CD),
    (0x13430, 0x1343F),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0001, 0xE0001),
    (0xE0020, 0xE007F),
    (0xE0080, 0xE00FF),
];

/// Characters with the property White_Space, in order, as inclusive ranges.
const WHITE_SPACE: [(u32, u32); 10] = [
    (0x0009, 0x000D),
    (0x0020, 0x0020),
    (0x0085, 0x0085),
    (0x00A0, 0x00A0),
    (0x1680, 0x1680),
    (0x2000, 0x200A),
    (0x2028, 0x2029),
    (0x202F, 0x202F),
    (0x205F, 0x205F),
    (0x3000, 0x3000),
];

/// Joins the parts of an emoji; a format character that keys may hold.
const ZERO_WIDTH_JOINER: char = '\u{200D}';

fn in_ranges(table: &[(u32, u32)], c: char) -> bool {
    let code = u32::from(c);
    table.iter().any(|&(from, to)| (from..=to).contains(&code))
}

/// White space, wherever it comes from.
pub(crate) fn is_white_space(c: char) -> bool {
    in_ranges(&WHITE_SPACE, c)
}

/// Control, format and bidi characters, emoji joiners excepted: what nobody can see and everybody can mistype.
pub(crate) fn is_invisible(c: char) -> bool {
    c.is_control() || (c != ZERO_WIDTH_JOINER && in_ranges(&FORMAT, c))
}

/// A key's length, normal form and characters; `printable_space` says whether U+0020 may stand inside it.
pub(crate) fn check_key(
    what: &str,
    text: &str,
    bytes_max: usize,
    printable_space: bool,
) -> Result<(), Invalid> {
    if text.is_empty() {
        return Err(Invalid::here(format!("{what} is empty; give it 1 to {bytes_max} bytes")));
    }
    if text.len() > bytes_max {
        let length = text.len();
        return Err(Invalid::here(format!("{what} has {length} bytes; shorten it to at most {bytes_max}")));
    }
    if let Some(c) = text.chars().find(|&c| is_invisible(c)) {
        let code = u32::from(c);
        return Err(Invalid::here(format!(
            "{what} holds the control or format character U+{code:04X}; remove it"
        )));
    }
    let space = |c: char| is_white_space(c) && !(printable_space && c == ' ');
    if let Some(c) = text.chars().find(|&c| space(c)) {
        let code = u32::from(c);
        return Err(Invalid::here(format!("{what} holds white space (U+{code:04X}); use - or _ instead")));
    }
    if text.starts_with(' ') || text.ends_with(' ') {
        return Err(Invalid::here(format!("{what} begins or ends with a space; remove it")));
    }
    if !is_nfc(text) {
        return Err(Invalid::here(format!(
            "{what} is not in Unicode normal form C; normalise it (NFC) first"
        )));
    }
    Ok(())
}

/// What stands in the path of a URL: none of `/ \ ? # %`, and not `.` or `..`, which clients and proxies rewrite.
pub(crate) fn check_path_safe(what: &str, text: &str) -> Result<(), Invalid> {
    if let Some(c) = text.chars().find(|c| matches!(c, '/' | '\\' | '?' | '#' | '%')) {
        return Err(Invalid::here(format!(
            "{what} holds {c:?}; / \\ ? # % are not allowed, use - or _ instead"
        )));
    }
    if text == "." || text == ".." {
        return Err(Invalid::here(format!("{what} is {text:?}, which URLs rewrite; choose another")));
    }
    Ok(())
}

/// A text for people: bounded, and without control characters but line breaks and tabs.
pub(crate) fn check_text(what: &str, text: &str, bytes_max: usize) -> Result<(), Invalid> {
    if text.len() > bytes_max {
        let length = text.len();
        return Err(Invalid::here(format!("{what} has {length} bytes; shorten it to at most {bytes_max}")));
    }
    if let Some(c) = text.chars().find(|&c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        let code = u32::from(c);
        return Err(Invalid::here(format!("{what} holds the control character U+{code:04X}; remove it")));
    }
    Ok(())
}

/// The name of an attribute (or a path to one), or a seed: not empty, bounded, printable.
pub(crate) fn check_attribute(what: &str, text: &str, bytes_max: usize) -> Result<(), Invalid> {
    if text.is_empty() {
        return Err(Invalid::here(format!("{what} is empty; name one")));
    }
    check_text(what, text, bytes_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_agree_with_the_standard_library_where_it_has_one() {
        for c in '\0'..=char::MAX {
            assert_eq!(is_white_space(c), c.is_whitespace(), "U+{:04X}", u32::from(c));
        }
    }
}
