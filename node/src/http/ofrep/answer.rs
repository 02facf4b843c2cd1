//! OFREP's answers.

use flagraft_core::{
    identity::{History, RevisionToken},
    resolution::Resolution,
};
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::{Map, Value};

use super::request::Asked;
use crate::http::consistency::Stamp;

/// One evaluated flag, as a bulk answer has it: equal as long as the flag and the context are.
#[derive(Serialize)]
pub(super) struct Item<'a> {
    key: &'a str,
    reason: &'static str,
    /// `""` where the caller's code default is meant; never absent.
    variant: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a Value>,
    metadata: Map<String, Value>,
}

/// The answer to a single evaluation: the flag, and in its metadata which state it is of.
pub(super) struct Single<'a> {
    pub(super) item: Item<'a>,
    pub(super) asked: &'a Asked,
    pub(super) stamp: &'a Stamp,
}

impl Serialize for Single<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut metadata = self.item.metadata.clone();
        add_stamp(&mut metadata, self.asked, self.stamp);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("key", self.item.key)?;
        map.serialize_entry("reason", self.item.reason)?;
        map.serialize_entry("variant", self.item.variant)?;
        if let Some(value) = self.item.value {
            map.serialize_entry("value", value)?;
        }
        map.serialize_entry("metadata", &metadata)?;
        map.end()
    }
}

/// The answer to a bulk evaluation.
#[derive(Serialize)]
pub(super) struct Bulk<'a> {
    pub(super) flags: Vec<Item<'a>>,
    pub(super) metadata: Map<String, Value>,
}

/// A flag and its metadata: its own ones, the flag set, and its version, which changes with what it answers only.
pub(super) fn item<'a>(asked: &Asked, stamp: &Stamp, resolution: &Resolution<'a>) -> Item<'a> {
    let flag = resolution.flag;
    let mut metadata = Map::new();
    if !asked.is_client() {
        metadata.extend(flag.definition.metadata.iter().map(|(name, value)| (name.clone(), value.clone())));
        if let Some(detail) = resolution.detail {
            metadata.insert("detail".to_owned(), detail.into());
        }
    }
    add_version(&mut metadata, asked, stamp, flag.evaluated_revision(&asked.environment));
    Item {
        key: &flag.definition.key,
        reason: resolution.reason.as_str(),
        variant: resolution.variant,
        value: resolution.value,
        metadata,
    }
}

/// The metadata of the whole set.
pub(super) fn flag_set(asked: &Asked, stamp: &Stamp, environment_revision: u64) -> Map<String, Value> {
    let mut metadata = Map::new();
    add_version(&mut metadata, asked, stamp, environment_revision);
    add_stamp(&mut metadata, asked, stamp);
    metadata
}

fn add_version(metadata: &mut Map<String, Value>, asked: &Asked, stamp: &Stamp, revision: u64) {
    let version = RevisionToken { history: stamp.history.unwrap_or(History(0)), revision };
    metadata.insert("flagSetId".to_owned(), asked.flag_set_id().into());
    metadata.insert("version".to_owned(), version.to_string().into());
}

/// Which state the answer is of. Metadata are scalars, so an age that is not known is left out. A client token sees
/// no metadata but the set and the version.
fn add_stamp(metadata: &mut Map<String, Value>, asked: &Asked, stamp: &Stamp) {
    if asked.is_client() {
        return;
    }
    metadata.insert("revision".to_owned(), stamp.revision.into());
    metadata.insert("consistency".to_owned(), stamp.consistency.as_str().into());
    if let Some(age_ms) = stamp.age_ms {
        metadata.insert("ageMs".to_owned(), age_ms.into());
    }
}
