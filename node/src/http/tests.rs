//! The API against a real single-node cluster.

mod access;
mod accounts;
mod audit;
mod audit_export;
mod catalog;
mod evaluation;
mod explain;
mod freshness;
mod harness;
mod members;
mod past;
mod proofs;
mod reads;
mod retention;
mod schema;
mod serving;
mod signed;
mod streams;
mod tokens;
mod writes;
