//! Streams of definitions and of notices.

mod guarantees;
mod life;
mod listener;
mod notices;
mod reader;
