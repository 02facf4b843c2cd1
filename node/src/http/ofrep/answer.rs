//! OFREP's answers, written straight into the body.

use std::{collections::BTreeMap, fmt};

use flagraft_core::{
    identity::{History, RevisionToken},
    resolution::Resolution,
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

use super::{request::Asked, stream::REQUEST_URI};
use crate::http::consistency::Stamp;

/// What all flags of one answer have in common.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a> {
    asked: &'a Asked,
    stamp: &'a Stamp,
}

impl<'a> Frame<'a> {
    pub(super) fn new(asked: &'a Asked, stamp: &'a Stamp) -> Self {
        Self { asked, stamp }
    }

    /// The flag set and a version: what every caller sees of metadata.
    fn write_version<M: SerializeMap>(self, map: &mut M, revision: u64) -> Result<(), M::Error> {
        let version = RevisionToken { history: self.stamp.history.unwrap_or(History(0)), revision };
        map.serialize_entry("flagSetId", &Text(FlagSet(self.asked)))?;
        map.serialize_entry("version", &Text(version))
    }

    /// Which state the answer is of. Metadata are scalars, so an age that is not known is left out. A client token sees
    /// no metadata but the set and the version.
    fn write_stamp<M: SerializeMap>(self, map: &mut M) -> Result<(), M::Error> {
        if self.asked.is_client() {
            return Ok(());
        }
        map.serialize_entry("revision", &self.stamp.revision)?;
        map.serialize_entry("consistency", self.stamp.consistency.as_str())?;
        match self.stamp.age_ms {
            Some(age_ms) => map.serialize_entry("ageMs", &age_ms),
            None => Ok(()),
        }
    }
}

/// The answer to a single evaluation: the flag, and in its metadata which state it is of.
pub(super) struct Single<'a> {
    pub(super) frame: Frame<'a>,
    pub(super) resolution: &'a Resolution<'a>,
}

impl Serialize for Single<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Item { frame: self.frame, resolution: self.resolution, is_single: true }.serialize(serializer)
    }
}

/// What is said of a flag that is older than it may be, and asks for an error then.
pub(super) const STALE: &str = "what this node knows of the flag is older than its max_age_ms, and nobody confirmed it in time; \
     ask again, or another node";

/// What a bulk evaluation says of one flag.
pub(super) enum Answer<'a> {
    /// What it is.
    Flag(Resolution<'a>),
    /// That it is older than it may be.
    Stale(&'a str),
}

impl Answer<'_> {
    /// The resolution, if there is one.
    pub(super) fn resolution(&self) -> Option<&Resolution<'_>> {
        match self {
            Self::Flag(resolution) => Some(resolution),
            Self::Stale(_) => None,
        }
    }
}

/// The answer to a bulk evaluation.
pub(super) struct Bulk<'a> {
    pub(super) frame: Frame<'a>,
    pub(super) answers: &'a [Answer<'a>],
    /// The revision that last touched anything that is evaluated in the environment.
    pub(super) environment_revision: u64,
    /// What opens the stream of notices.
    pub(super) ticket: String,
}

impl Serialize for Bulk<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("flags", &Items(self))?;
        map.serialize_entry("eventStreams", &[EventStream(&self.ticket)])?;
        map.serialize_entry("metadata", &SetMetadata(self))?;
        map.end()
    }
}

/// Where the receiver hears that the answer may not be good any more: at the node, or the proxy, that it was asked of.
struct EventStream<'a>(&'a str);

impl Serialize for EventStream<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("type", "sse")?;
        let request_uri = [REQUEST_URI, self.0].concat();
        map.serialize_entry("endpoint", &BTreeMap::from([("requestUri", request_uri)]))?;
        map.end()
    }
}

struct Items<'a>(&'a Bulk<'a>);

impl Serialize for Items<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let frame = self.0.frame;
        serializer.collect_seq(self.0.answers.iter().map(|answer| BulkItem { frame, answer }))
    }
}

/// One flag of a bulk answer.
struct BulkItem<'a> {
    frame: Frame<'a>,
    answer: &'a Answer<'a>,
}

impl Serialize for BulkItem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.answer {
            Answer::Flag(resolution) => {
                Item { frame: self.frame, resolution, is_single: false }.serialize(serializer)
            }
            Answer::Stale(key) => {
                let mut map = serializer.serialize_map(Some(3))?;
                map.serialize_entry("key", key)?;
                map.serialize_entry("errorCode", "GENERAL")?;
                map.serialize_entry("errorDetails", STALE)?;
                map.end()
            }
        }
    }
}

/// The metadata of the whole set.
struct SetMetadata<'a>(&'a Bulk<'a>);

impl Serialize for SetMetadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.0.frame.write_version(&mut map, self.0.environment_revision)?;
        self.0.frame.write_stamp(&mut map)?;
        map.end()
    }
}

/// One evaluated flag. As a bulk answer has it, it is equal as long as the flag and the context are.
struct Item<'a> {
    frame: Frame<'a>,
    resolution: &'a Resolution<'a>,
    is_single: bool,
}

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Resolution { flag, variant, value, reason, .. } = self.resolution;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("key", &*flag.definition.key)?;
        map.serialize_entry("reason", reason.as_str())?;
        // `""` where the caller's code default is meant; never absent.
        map.serialize_entry("variant", variant)?;
        if let Some(value) = value {
            map.serialize_entry("value", value)?;
        }
        map.serialize_entry("metadata", &ItemMetadata(self))?;
        map.end()
    }
}

/// A flag's metadata: its own ones, the flag set, and its version, which changes with what it answers only.
struct ItemMetadata<'a>(&'a Item<'a>);

impl ItemMetadata<'_> {
    /// The flag's own, but those that say the same as ours would: a name stands there once.
    fn own(&self) -> impl Iterator<Item = (&String, &Value)> {
        let Item { resolution, is_single, frame } = self.0;
        let own: &BTreeMap<String, Value> = &resolution.flag.definition.metadata;
        let is_ours = move |name: &str| match name {
            "flagSetId" | "version" => true,
            "detail" => resolution.detail.is_some(),
            "revision" | "consistency" => *is_single,
            "ageMs" => *is_single && frame.stamp.age_ms.is_some(),
            _ => false,
        };
        own.iter().filter(move |(name, _)| !is_ours(name))
    }
}

impl Serialize for ItemMetadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Item { frame, resolution, is_single } = self.0;
        let mut map = serializer.serialize_map(None)?;
        if !frame.asked.is_client() {
            for (name, value) in self.own() {
                map.serialize_entry(name, value)?;
            }
            if let Some(detail) = resolution.detail {
                map.serialize_entry("detail", detail)?;
            }
        }
        frame.write_version(&mut map, resolution.flag.evaluated_revision(&frame.asked.environment))?;
        if *is_single {
            frame.write_stamp(&mut map)?;
        }
        map.end()
    }
}

/// The name of the set of flags that a token sees.
pub(super) struct FlagSet<'a>(pub(super) &'a Asked);

impl fmt::Display for FlagSet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.project)?;
        f.write_str("/")?;
        f.write_str(&self.0.environment)
    }
}

/// Something that is written as its text.
struct Text<T>(T);

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
