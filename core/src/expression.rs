//! Conditions as one line of text, for people: on the command line, in explanations, in differences.
//!
//! ```text
//! country in ["DE", "FR"] and user.plan == "pro" and app.version >= semver("2.1.0")
//! ```
//!
//! A text and a [`Condition`] say the same: [`parse`] of a condition's [`text`] is that condition to the last bit, and
//! the text of what was parsed is its canonical text. (It holds for what is nested as deep as a stored condition may be.)
//! JSON is what is stored and hashed; the text never is. Why it is no dialect of CEL is said in
//! `docs/decisions/0015-the-text-of-a-rule.md`.
//!
//! ```text
//! condition  = conjunction { "or" conjunction } ;
//! conjunction = negation { "and" negation } ;
//! negation   = "not" negation | group | member | bucket | comparison ;
//! group      = "(" condition ")" | ( "all" | "any" ) "(" [ condition { "," condition } ] ")" ;
//! member     = "segment" "(" text ")" ;
//! bucket     = "bucket" "(" attribute "," text ")" "in" "[" number "," number ")" "of" number ;
//! comparison = attribute compared [ "ignoring" "case" ] ;
//! compared   = "exists"
//!            | "==" ( text | number | "true" | "false" | "semver" "(" text ")" )
//!            | ( "<" | "<=" | ">" | ">=" ) ( number | "semver" "(" text ")" )
//!            | ( "starts_with" | "ends_with" | "contains" | "matches" | "before" | "after" ) text
//!            | "in" "cidr" "(" text { "," text } ")"
//!            | operator list ;
//! ```
//!
//! The last line is the general one: any operator by its name in JSON, with the list of its values. All else are readable
//! spellings of what is common, so that every condition has a text, even one that is refused later. Of a list one value
//! that matches is enough. Texts, numbers and lists are JSON's. An attribute stands as it is where it begins with one of
//! `A-Z a-z _` and goes on with these, digits, `.` and `-`, and is not a word that could be mistaken; any other name
//! stands in backticks, with the escapes of a text. Words are in lower case. White space between words, line breaks
//! too, means nothing.

mod error;
mod lexer;
mod parser;
mod printer;
mod quoted;
mod words;

pub use self::error::ExpressionError;
use self::{error::Fault, parser::Parser};
use crate::{condition::Condition, limits::EXPRESSION_BYTES_MAX};

/// Reads a condition. Whether it may be stored is not checked: [`Condition::validate`] does.
///
/// # Errors
/// [`ExpressionError`] where the text is none, says what was expected and where. Also when it has more than
/// [`EXPRESSION_BYTES_MAX`] bytes, when its conditions are nested deeper than
/// [`CONDITION_DEPTH_MAX`](crate::limits::CONDITION_DEPTH_MAX), or a value deeper than
/// [`JSON_DEPTH_MAX`](crate::limits::JSON_DEPTH_MAX).
pub fn parse(text: &str) -> Result<Condition, ExpressionError> {
    let parsed = if text.len() > EXPRESSION_BYTES_MAX {
        let length = text.len();
        Err(Fault::new(0, format!("the text has {length} bytes; at most {EXPRESSION_BYTES_MAX} are read")))
    } else {
        Parser::new(text).and_then(Parser::whole)
    };
    parsed.map_err(|fault| ExpressionError::new(text, fault))
}

/// The canonical text of a condition: one line, whatever it holds.
pub fn text(condition: &Condition) -> String {
    condition.to_string()
}
