//! The words, signs and literals of a text.

use serde_json::Number;

use super::{
    error::{Fault, column},
    quoted,
    words::{NOT_IN_FRONT, Sign, begins_word, continues_word},
};
use crate::text::{is_invisible, is_white_space};

/// A piece of the text.
#[derive(Debug)]
pub(super) struct Token<'t> {
    pub kind: Kind,
    /// Where it begins, in bytes.
    pub offset: usize,
    /// As it stands in the text.
    pub source: &'t str,
}

#[derive(Debug, PartialEq)]
pub(super) enum Kind {
    /// A bare name or a word of the language.
    Word,
    /// A name in backticks.
    Name(String),
    /// A text in double quotes.
    Text(String),
    Number(Number),
    Sign(Sign),
    /// One of `( ) [ ] { } , :`.
    Mark(char),
    /// The end of the text.
    End,
}

/// What may stand between two tokens.
const BLANK: [char; 4] = [' ', '\t', '\n', '\r'];

/// Characters that people or their text processors put for double quotes.
const OTHER_QUOTES: [char; 11] = ['\'', '‘', '’', '‚', '“', '”', '„', '«', '»', '‹', '›'];

/// Reads token after token.
pub(super) struct Lexer<'t> {
    text: &'t str,
    offset: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, offset: 0 }
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    /// Whether the whole text says nothing.
    pub(super) fn is_blank(&self) -> bool {
        self.text.trim_start_matches(BLANK).is_empty()
    }

    /// Whether the next token is an opening parenthesis.
    pub(super) fn parenthesis_follows(&self) -> bool {
        self.rest().trim_start_matches(BLANK).starts_with('(')
    }

    /// The number of the character at `offset`, from 1.
    pub(super) fn column(&self, offset: usize) -> usize {
        column(self.text, offset)
    }

    /// The next token; [`Kind::End`] again and again at the end.
    pub(super) fn next(&mut self) -> Result<Token<'t>, Fault> {
        let rest = self.rest().trim_start_matches(BLANK);
        let offset = self.text.len().saturating_sub(rest.len());
        let (kind, after) = match rest.chars().next() {
            None => (Kind::End, rest),
            Some(c @ ('(' | ')' | '[' | ']' | '{' | '}' | ',' | ':')) => {
                (Kind::Mark(c), rest.strip_prefix(c).unwrap_or_default())
            }
            Some('"') => {
                let (said, after) = quoted::read(rest, offset)?;
                (Kind::Text(said), after)
            }
            Some('`') => {
                let (said, after) = quoted::read(rest, offset)?;
                (Kind::Name(said), after)
            }
            Some('=' | '<' | '>' | '!' | '~') => sign(rest, offset)?,
            Some(c) if c == '-' || c.is_ascii_digit() => number(rest, offset)?,
            // Of letters beyond ASCII a name is made, too, but not a bare one.
            Some(c) if begins_word(c) || c.is_alphanumeric() => word(rest, offset)?,
            Some(c) => return Err(Fault::new(offset, stray(c, rest))),
        };
        let length = rest.len().saturating_sub(after.len());
        self.offset = offset.saturating_add(length);
        Ok(Token { kind, offset, source: rest.get(..length).unwrap_or_default() })
    }
}

/// Splits what begins with characters that `belongs`.
fn run(rest: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    rest.split_at_checked(rest.find(|c| !belongs(c)).unwrap_or(rest.len())).unwrap_or((rest, ""))
}

fn word(rest: &str, offset: usize) -> Result<(Kind, &str), Fault> {
    let (word, after) = run(rest, |c| continues_word(c) || (!c.is_ascii() && c.is_alphanumeric()));
    if word.is_ascii() {
        return Ok((Kind::Word, after));
    }
    Err(Fault::new(
        offset,
        format!("a name with letters beyond a-z stands in backticks: `{word}`, and a text in double quotes"),
    ))
}

fn sign(rest: &str, offset: usize) -> Result<(Kind, &str), Fault> {
    let (signs, after) = run(rest, |c| matches!(c, '=' | '<' | '>' | '!' | '~'));
    if let Some(sign) = Sign::read(signs) {
        return Ok((Kind::Sign(sign), after));
    }
    Err(Fault::new(
        offset,
        match signs {
            "=" | "===" => format!("write == instead of {signs}"),
            "!=" | "!==" | "<>" => format!("write {NOT_IN_FRONT}"),
            "!" | "!!" => "write not instead of !".to_owned(),
            "=<" => "write <= instead of =<".to_owned(),
            "=>" => "write >= instead of =>".to_owned(),
            "~" | "=~" | "~=" => format!("write matches instead of {signs}"),
            _ => format!("{signs} compares nothing; use ==, <, <=, > or >="),
        },
    ))
}

/// A number as in JSON, kept as JSON keeps it: an integer of 64 bits, or else a double.
fn number(rest: &str, offset: usize) -> Result<(Kind, &str), Fault> {
    let (number, after) = run(rest, |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+'));
    if let Ok(number) = serde_json::from_str(number) {
        return Ok((Kind::Number(number), after));
    }
    Err(Fault::new(
        offset,
        match number.parse::<f64>() {
            Ok(double) if double.is_infinite() && number.contains(|c: char| c.is_ascii_digit()) => {
                format!("{number} is beyond what a double can hold")
            }
            _ => format!("{number} is no number; write one as in JSON, such as 18 or -0.5"),
        },
    ))
}

/// What to do about a character that begins no token.
fn stray(c: char, rest: &str) -> String {
    match c {
        '&' => "write and instead of &&".to_owned(),
        '|' => "write or instead of ||".to_owned(),
        '.' | '+' => "write a number as in JSON, such as 18 or 0.5".to_owned(),
        '#' | '/' if rest.starts_with("//") || c == '#' => "there are no comments; take it out".to_owned(),
        _ if OTHER_QUOTES.contains(&c) => format!("write double quotes (\") instead of {c}"),
        _ if is_invisible(c) => {
            format!("an invisible character (U+{:04X}) stands here; remove it", u32::from(c))
        }
        _ if is_white_space(c) => {
            format!("this is white space (U+{:04X}) but no space; write a space", u32::from(c))
        }
        _ => format!("{c} is not expected; a name with such characters stands in backticks: `a{c}b`"),
    }
}
