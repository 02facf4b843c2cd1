//! The harness of the whole-system tests: clusters of real `flagraft serve` processes in temporary folders on free
//! ports, the faults that can be done to them, and the checkers that judge what clients saw.
//!
//! Beside it, what the engine is held against: an interpreter of flags that shares nothing with it ([`naive`]), a
//! generator of catalogs and contexts for both ([`generate`]), and the evaluation vectors ([`vectors`]).
//!
//! Nothing here knows how a node works inside. It starts the binary, speaks HTTP to it, sends it signals and stands
//! between its members as a proxy, as an operator's machine, a client and a network would.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod api;
pub mod audit;
pub mod campaign;
pub mod catalog;
pub mod cgroup;
pub mod cluster;
pub mod cuts;
pub mod damage;
pub mod disk;
pub mod followers;
pub mod generate;
pub mod history;
pub mod links;
pub mod load;
pub mod lost_answers;
pub mod memory;
pub mod metrics;
pub mod naive;
pub mod ofrep;
pub mod openfeature;
pub mod ports;
pub mod process;
mod proxy;
pub mod runbook;
pub mod schemathesis;
pub mod settings;
pub mod sockets;
pub mod stream;
pub mod vectors;
pub mod wait;
