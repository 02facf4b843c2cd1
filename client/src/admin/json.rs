//! What is sent, where the API takes an object.

use flagraft_core::{
    document::FlagDocument,
    environment::{EnvironmentSpec, ProjectSpec},
    flag::FlagEnvironmentSpec,
    operation::Operation,
    retention::KeepDays,
    segment::SegmentSpec,
};
use serde::Serialize;
use serde_json::Value;

use super::tokens::NewToken;

/// What may be sent as the JSON of a `T`: a `T`, or a [`Value`], which is sent as it is. So what a later version knows may be
/// in it, and what is left out stays so.
pub trait AsJson<T>: Serialize {}

impl<T: sealed::Known> AsJson<T> for T {}
impl<T: sealed::Known> AsJson<T> for Value {}

mod sealed {
    /// The types that the API takes.
    pub trait Known: serde::Serialize {}
}

macro_rules! known {
    ($($type:ty),* $(,)?) => { $(impl sealed::Known for $type {})* };
}

known! { Operation, FlagDocument, ProjectSpec, EnvironmentSpec, FlagEnvironmentSpec, SegmentSpec, NewToken, KeepDays }
