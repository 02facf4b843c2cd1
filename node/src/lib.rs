//! One member of a Flagraft cluster, as a library: its disk, its part in Raft, and what it serves.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod accounts;
mod audit;
pub mod backup;
mod canary;
pub mod clock;
pub mod config;
mod connections;
mod disk;
mod feed;
mod files;
pub mod http;
mod leadership;
pub mod metrics;
pub mod node;
pub mod peer;
mod pieces;
pub mod raft;
mod random;
pub mod reads;
pub mod server;
pub mod storage;
pub mod travel;
