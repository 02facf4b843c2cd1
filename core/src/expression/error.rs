//! What is wrong with a text, and where.

use std::fmt;

use crate::text::{is_invisible, is_white_space};

/// A text is no condition: where, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressionError {
    /// Where the fault is: the number of its character within the text, from 1.
    pub column: usize,
    /// The same in bytes, from 0.
    pub offset: usize,
    /// What was expected or is wrong, and what to do, for a person.
    pub message: String,
}

/// How many characters of a long text [`ExpressionError::pointed_at`] shows before the fault, and from it on.
const SHOWN_BEFORE: usize = 60;
const SHOWN_AFTER: usize = 40;

impl ExpressionError {
    pub(super) fn new(text: &str, fault: Fault) -> Self {
        Self { column: column(text, fault.offset), offset: fault.offset, message: fault.message }
    }

    /// Two lines for a terminal: the text (of a long one what is around the fault), and a caret under the fault. `text` is
    /// the one that was parsed. A line break in it is shown as a space.
    #[must_use]
    pub fn pointed_at(&self, text: &str) -> String {
        let before = text.get(..self.offset).unwrap_or(text);
        let after = text.get(self.offset..).unwrap_or_default();
        let skipped = before.chars().count().saturating_sub(SHOWN_BEFORE);
        let shown = |c: char| if is_invisible(c) || is_white_space(c) { ' ' } else { c };
        let mut line = String::new();
        let mut pad = String::new();
        if skipped > 0 {
            line.push('…');
            pad.push(' ');
        }
        for c in before.chars().skip(skipped) {
            line.push(shown(c));
            pad.push(' ');
        }
        line.extend(after.chars().take(SHOWN_AFTER).map(shown));
        if after.chars().nth(SHOWN_AFTER).is_some() {
            line.push('…');
        }
        format!("{line}\n{pad}^")
    }
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.message)
    }
}

impl std::error::Error for ExpressionError {}

/// A fault while the text is being read.
#[derive(Debug)]
pub(super) struct Fault {
    /// Where it is, in bytes.
    pub offset: usize,
    pub message: String,
}

impl Fault {
    pub(super) fn new(offset: usize, message: impl Into<String>) -> Self {
        Self { offset, message: message.into() }
    }
}

/// The number of the character at `offset`, from 1.
pub(super) fn column(text: &str, offset: usize) -> usize {
    text.get(..offset).map_or(0, |before| before.chars().count()).saturating_add(1)
}
