//! Objects of the catalog as reads give them.

use flagraft_core::{
    document::FlagDocument,
    environment::{EnvironmentSpec, ProjectSpec},
    project::FlagSystem,
    segment::SegmentSpec,
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error as _};
use serde_json::{Map, Value};

/// An object with what the catalog knows of it beside what was stated.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stored<T, S = Written> {
    /// The object, as it may be put again.
    pub object: T,
    /// What only the catalog writes.
    pub system: S,
}

/// A project.
pub type StoredProject = Stored<ProjectSpec>;
/// An environment.
pub type StoredEnvironment = Stored<EnvironmentSpec>;
/// A flag: its definition, and its configuration in the environments that the token may see.
pub type StoredFlag = Stored<FlagDocument, FlagSystem>;
/// A segment, without its members.
pub type StoredSegment = Stored<SegmentSpec, SegmentSystem>;

/// What the catalog knows of a project or an environment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Written {
    /// The revision that last wrote it.
    pub revision: u64,
    /// Of an environment: the revision that last touched anything that is evaluated in it.
    #[serde(default)]
    pub touched_revision: Option<u64>,
}

/// What the catalog knows of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct SegmentSystem {
    /// The revision that last wrote it.
    pub revision: u64,
    /// Who is in it whatever its condition says.
    pub included_count: u64,
    /// Who is out of it, unless included.
    pub excluded_count: u64,
}

impl<'de, T: DeserializeOwned, S: DeserializeOwned> Deserialize<'de> for Stored<T, S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Map::deserialize(deserializer)?;
        let system = fields.remove("system").ok_or_else(|| D::Error::missing_field("system"))?;
        let system = S::deserialize(system).map_err(D::Error::custom)?;
        Ok(Self { object: T::deserialize(Value::Object(fields)).map_err(D::Error::custom)?, system })
    }
}
