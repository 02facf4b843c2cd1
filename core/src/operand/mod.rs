//! What operators compare with, in the form in which it compares fast: parsed once from the text of a condition, and
//! from the text of an attribute without keeping anything.

pub(crate) mod letters;
pub(crate) mod network;
pub(crate) mod number;
pub(crate) mod pattern;
pub(crate) mod time;
pub(crate) mod version;
