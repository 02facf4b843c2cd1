//! What the chaos tests reason with. Nothing here starts a process, opens a connection or breaks anything: clients write
//! down what they saw, and this judges it, whatever it was that they talked to.
//!
//! - A [`history`] is a file with one line for each [`operation`], written by [`recorder`], read by [`history::Reader`].
//! - Two checkers judge it, which share no code: [`revisions`] replays it by the revisions that the answers named, and
//!   [`zones`] looks at times and values alone.
//! - A [`verdict`] names the operations that can't all be true, [`shrink`] leaves out all others.
//! - [`incidents`] say what happened to the nodes meanwhile: faults, leaders, which of them lived.
//! - A [`schedule`] is what clients do and what is done to the nodes, from a seed alone.
//! - A [`report`] is figures, a table and a page to look at.
//! - [`simulate`] is a cluster that is only arithmetic, on which all of this is tested.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

// What was seen.
pub mod history;
pub mod incidents;
mod journal;
pub mod operation;
pub mod recorder;

// What is made of it.
pub mod report;
pub mod revisions;
pub mod shrink;
pub mod verdict;
pub mod zones;

// What is to be done.
pub mod schedule;

// What it is tested on.
pub mod dice;
pub mod simulate;
