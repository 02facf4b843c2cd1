//! The domain of Flagraft: what a flag is, what it evaluates to, and how the state changes.
//!
//! Pure and total: no clock, no randomness, no I/O, no map in hash order, no panic. Two entrances matter:
//! [`compiled::CompiledEnvironment::evaluate`], the value of a flag for a context, and [`apply::apply`], what a log entry makes of the
//! state. Every node, and every client, computes the same from the same input, for ever.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::unreachable,
        clippy::todo
    )
)]

// What a flag is, and its value.
pub mod bucketing;
pub mod compiled;
pub mod condition;
pub mod configuration;
pub mod context;
pub mod criticality;
pub mod document;
pub mod expression;
pub mod flag;
pub mod resolution;
pub mod segment;
pub mod standing;

// What streams carry of it.
pub mod feed;

// How it changes, and what is counted of how it is used.
pub mod account;
pub mod apply;
pub mod operation;
pub mod proposal;
pub mod record;
pub mod rejection;
pub mod reply;

// What it was.
pub mod travel;

// What the state holds.
pub mod audit_key;
pub mod environment;
pub mod project;
mod reporters;
pub mod retention;
pub mod rows;
pub mod seat;
pub mod signing;
pub mod state;
pub mod token;

// How it is told apart and proved.
pub mod audit_file;
pub mod checkpoint;
pub mod digest;
pub mod identity;
pub mod merkle;
pub mod note;
pub mod version;

// The ground they stand on.
mod base64_bytes;
pub mod canonical;
mod hexadecimal;
pub mod invalid;
pub mod key;
pub mod limits;
mod operand;
pub mod parse;
pub mod shards;
mod size;
mod text;
