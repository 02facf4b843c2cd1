//! What the fuzz targets do with the bytes that they are given. A panic is a find.
//!
//! `core/tests/fuzz_corpus.rs` takes this file in too, and runs the committed corpus without a fuzzer.

pub mod condition;
pub mod context;
pub mod evaluate;
pub mod expression;

/// Checks what it is given; panics when something is wrong.
pub type Run = fn(&[u8]);

/// The targets: the name of each, which is that of its folder of the corpus too, and what it does.
pub const TARGETS: [(&str, Run); 4] = [
    ("condition", condition::run),
    ("context", context::run),
    ("evaluate", evaluate::run),
    ("expression", expression::run),
];
