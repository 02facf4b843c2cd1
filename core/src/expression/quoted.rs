//! Texts in double quotes and names in backticks. Both have the escapes of a JSON string; a backtick within backticks is
//! escaped like a double quote within double quotes.

use std::fmt::{self, Write};

use super::error::Fault;
use crate::text::{is_invisible, is_white_space};

/// Writes `text` between two `quote`s, on one line. What nobody can see is escaped: it is seen then, and turns no line
/// around.
pub(super) fn write(f: &mut fmt::Formatter<'_>, text: &str, quote: char) -> fmt::Result {
    f.write_char(quote)?;
    for c in text.chars() {
        match c {
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            _ if c == quote => write!(f, "\\{c}")?,
            _ if is_invisible(c) || (is_white_space(c) && c != ' ') => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(f, "\\u{unit:04x}")?;
                }
            }
            _ => f.write_char(c)?,
        }
    }
    f.write_char(quote)
}

/// Reads what is quoted at the beginning of `rest`, which stands at `offset`: what it says, and what follows it.
pub(super) fn read(rest: &str, offset: usize) -> Result<(String, &str), Fault> {
    let mut chars = rest.chars();
    let quote = chars.next().unwrap_or('"');
    let whole = rest.len();
    let mut said = String::new();
    loop {
        let here = offset.saturating_add(whole.saturating_sub(chars.as_str().len()));
        match chars.next() {
            None => {
                let what = if quote == '`' { "name" } else { "text" };
                return Err(Fault::new(
                    offset,
                    format!("the {what} that begins here has no end; close it with {quote}"),
                ));
            }
            Some('\\') => {
                let (c, after) = escape(chars.as_str(), here, quote)?;
                said.push(c);
                chars = after.chars();
            }
            Some(c) if c == quote => return Ok((said, chars.as_str())),
            Some(c) if c.is_control() => {
                let code = u32::from(c);
                return Err(Fault::new(
                    here,
                    format!("a control character (U+{code:04X}) stands in the text; write \\u{code:04x}"),
                ));
            }
            Some(c) => said.push(c),
        }
    }
}

/// What an escape means, and what follows it. `rest` begins after the backslash, which stands at `offset`.
fn escape(rest: &str, offset: usize, quote: char) -> Result<(char, &str), Fault> {
    let mut chars = rest.chars();
    let c = match chars.next() {
        Some('"') => '"',
        Some('`') if quote == '`' => '`',
        Some('\\') => '\\',
        Some('/') => '/',
        Some('b') => '\u{8}',
        Some('f') => '\u{c}',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some('u') => return unicode_escape(chars.as_str(), offset),
        Some(c) if !c.is_control() => {
            return Err(Fault::new(offset, format!("there is no escape \\{c}; write \\\\ for a backslash")));
        }
        _ => return Err(Fault::new(offset, "nothing follows the backslash; write \\\\ for one")),
    };
    Ok((c, chars.as_str()))
}

/// `\u` and four hexadecimal digits, or two of these that are one character beyond U+FFFF.
fn unicode_escape(rest: &str, offset: usize) -> Result<(char, &str), Fault> {
    let (first, after) = unit(rest, offset)?;
    if let Some(c) = char::from_u32(u32::from(first)) {
        return Ok((c, after));
    }
    let lone = || {
        Fault::new(
            offset,
            "this is half of a character; give both surrogates, such as \\ud83d\\ude00, or the character itself",
        )
    };
    let (second, after) = unit(after.strip_prefix("\\u").ok_or_else(lone)?, offset)?;
    match char::decode_utf16([first, second]).next() {
        Some(Ok(c)) => Ok((c, after)),
        _ => Err(lone()),
    }
}

fn unit(rest: &str, offset: usize) -> Result<(u16, &str), Fault> {
    let digits = rest.split_at_checked(4).filter(|(digits, _)| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    digits
        .and_then(|(digits, after)| Some((u16::from_str_radix(digits, 16).ok()?, after)))
        .ok_or_else(|| Fault::new(offset, "\\u takes four hexadecimal digits, such as \\u00e9"))
}
