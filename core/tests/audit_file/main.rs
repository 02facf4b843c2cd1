//! Exports of the audit log that prove themselves: what is good is told what it is, what was tampered with is caught and
//! named, and what `docs/audit.md` shows is so.

#[path = "../common/sequence.rs"]
mod sequence;

mod authors;
mod faults;
mod good;
mod guide;
mod log;
mod removals;
mod speed;
mod table;
mod tamper;
