//! What several of these tests share and no other crate needs.
#![allow(dead_code)] // Each test file is a crate of its own and uses a part of this.

pub mod cli;
pub mod export;
pub mod shop;
