//! The API against a real single-node cluster.

mod access;
mod audit;
mod audit_export;
mod catalog;
mod evaluation;
mod explain;
mod freshness;
mod harness;
mod members;
mod proofs;
mod reads;
mod schema;
mod serving;
mod streams;
mod tokens;
mod writes;
