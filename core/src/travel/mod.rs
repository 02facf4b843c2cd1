//! Time travel: the catalog as it was at an earlier revision, made anew of the audit log.
//!
//! A record holds its operations whole, less secrets. So the catalog of any revision follows from the one of an earlier
//! revision and the records between: each accepted change is performed once more, by the code that `apply` performs it
//! with. What a record says of values before and after is for people, may be left out, and is not read here.
//!
//! Only what evaluation depends on is brought back: projects, environments, flags and segments. Tokens, seats and
//! remembered requests are not, for their secrets are in no record.
//!
//! Invariant: what can't be made anew is an error that says so. Nothing is guessed, and nothing passed over: the records'
//! revisions are a chain, and a change that is missing from it is seen.

mod catalog;
mod edge;
mod error;
mod naming;
mod past;

pub use self::{
    catalog::{Catalog, CatalogLoader},
    edge::catalog_part,
    error::NotReplayed,
    naming::may_concern_flag,
    past::{Moment, moment},
};
