//! How the state changes: `apply`, its rejections, its records and its rows.
//!
//! Every entry that these tests apply goes through [`world::World::apply`], which checks what must hold after each one.

mod accounts;
mod audit_keys;
mod changes;
mod criticality;
mod golden;
mod idempotency;
mod members;
mod operations;
mod operations_table;
mod precedence;
mod random;
mod records;
mod references;
mod rejections;
mod retention;
mod rows;
mod signed;
mod signed_records;
mod static_faults;
mod tokens;
mod way_back;
mod world;
