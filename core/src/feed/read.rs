//! The documents as they are read. A part that this version does not understand is told apart from the rest, so that one
//! flag's new operator does not cost a client all the others.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::FORMAT;
use crate::{
    condition::Condition,
    flag::{
        AuditEvaluations, Exposure, FlagDefinition, FlagEnvironment, FlagEnvironmentSpec, FlagSpec, FlagType,
        OnStale, OnUnconfirmed, Variants,
    },
    key::{EnvironmentKey, FlagKey, SegmentKey, VariantKey},
    project::{Flag, FlagSystem, Stamp, StoredSegment},
    segment::{MemberList, Segment, SegmentSpec},
};

/// Why a document can't be taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedError {
    /// It is none of this feed's documents, or a broken one.
    Malformed(&'static str),
    /// It is of a newer version than this program.
    Newer(String),
    /// A change follows a revision that is not the one held: something between them is missing.
    Gap {
        /// The revision that last touched what is held.
        held: u64,
        /// The one that the change follows.
        previous: u64,
    },
    /// It is about another project or environment.
    OtherPlace(String),
}

impl fmt::Display for FeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "{what}; take a fresh snapshot"),
            Self::Newer(what) => {
                write!(
                    f,
                    "{what} is newer than this program understands; upgrade it, and until then ask a node"
                )
            }
            Self::Gap { held, previous } => write!(
                f,
                "the change follows revision {previous}, and revision {held} is held; take a fresh snapshot"
            ),
            Self::OtherPlace(place) => {
                write!(f, "the definitions are those of {place}; use the token of the one wanted")
            }
        }
    }
}

impl std::error::Error for FeedError {}

/// A snapshot whose flags and segments are still to be read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Snapshot<'a> {
    #[serde(rename = "format")]
    _format: u32,
    pub revision: u64,
    pub environment_revision: u64,
    pub project: &'a str,
    pub environment: &'a str,
    #[serde(borrow)]
    pub flags: Vec<&'a RawValue>,
    #[serde(borrow)]
    pub segments: Vec<&'a RawValue>,
}

/// A change whose edits are still to be read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change<'a> {
    #[serde(rename = "format")]
    _format: u32,
    pub revision: u64,
    pub previous: u64,
    #[serde(borrow)]
    pub changes: Vec<&'a RawValue>,
}

/// Reads a document once its format is known to be one that this version reads.
pub(super) fn document<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, FeedError> {
    #[derive(Deserialize)]
    struct Versioned {
        format: u32,
    }
    let Ok(Versioned { format }) = serde_json::from_str(text) else {
        return Err(FeedError::Malformed("the document is no JSON object with a format"));
    };
    if format > FORMAT {
        return Err(FeedError::Newer(format!("format {format} of the definitions")));
    }
    if format < FORMAT {
        return Err(FeedError::Malformed("there never were definitions of format 0"));
    }
    serde_json::from_str(text).map_err(|_| {
        FeedError::Malformed("the document has not the fields of its format, each once and of its type")
    })
}

/// One thing that a change does.
pub(super) enum Edit<'a> {
    Segment(&'a RawValue),
    SegmentDeleted(String),
    Members(MembersEdit),
    Flag(&'a RawValue),
    Deleted(String),
}

/// Members that came to a segment's list, and those that went.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MembersEdit {
    pub segment: String,
    pub list: MemberList,
    pub add: Vec<String>,
    pub remove: Vec<String>,
}

impl<'a> Edit<'a> {
    pub fn read(raw: &'a RawValue) -> Result<Self, FeedError> {
        const BROKEN: FeedError = FeedError::Malformed("an edit is an object with one field, its kind");
        let fields: BTreeMap<&str, &RawValue> = serde_json::from_str(raw.get()).map_err(|_| BROKEN)?;
        let mut fields = fields.into_iter();
        let (Some((kind, edit)), None) = (fields.next(), fields.next()) else { return Err(BROKEN) };
        let key = || serde_json::from_str(edit.get()).map_err(|_| FeedError::Malformed("a key is text"));
        match kind {
            "segment" => Ok(Self::Segment(edit)),
            "segment_deleted" => key().map(Self::SegmentDeleted),
            "members" => serde_json::from_str(edit.get())
                .map(Self::Members)
                .map_err(|_| FeedError::Newer("an edit of a segment's members".to_owned())),
            "flag" => Ok(Self::Flag(edit)),
            "deleted" => key().map(Self::Deleted),
            kind => Err(FeedError::Newer(format!("the kind of edit {kind:?}"))),
        }
    }
}

/// The key of a flag or segment, whatever else there is to it.
pub(super) fn key(raw: &RawValue) -> Result<String, FeedError> {
    #[derive(Deserialize)]
    struct Keyed {
        key: String,
    }
    let keyed: Result<Keyed, _> = serde_json::from_str(raw.get());
    keyed.map(|keyed| keyed.key).map_err(|_| FeedError::Malformed("a flag or segment has a key"))
}

/// A flag or segment that this version does not understand, as it came.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unread {
    pub raw: Arc<RawText>,
    /// What of it is not understood, for a person.
    pub why: Arc<str>,
}

/// JSON that is kept as it came.
#[derive(Debug)]
pub(super) struct RawText(pub Box<RawValue>);

impl PartialEq for RawText {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl Unread {
    pub fn new(raw: &RawValue, why: impl fmt::Display) -> Self {
        Self { raw: Arc::new(RawText(raw.to_owned())), why: why.to_string().into() }
    }

    /// The safe variant and its value, read without the rest: `None` where it names none.
    pub fn safe_variant(&self) -> Option<(String, Value)> {
        let flag: Value = serde_json::from_str(self.raw.0.get()).ok()?;
        let named = [flag.pointer("/configuration/safe_variant"), flag.get("safe_variant")];
        let variant = named.into_iter().flatten().find_map(Value::as_str)?;
        let value = flag.get("variants")?.get(variant)?.clone();
        Some((variant.to_owned(), value))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FlagDocument {
    key: FlagKey,
    #[serde(rename = "type")]
    flag_type: FlagType,
    #[serde(default)]
    metadata: BTreeMap<String, Value>,
    #[serde(default)]
    critical: bool,
    #[serde(default)]
    safe_variant: Option<VariantKey>,
    #[serde(default)]
    max_age_ms: Option<u64>,
    #[serde(default)]
    on_stale: OnStale,
    #[serde(default)]
    on_unconfirmed: OnUnconfirmed,
    #[serde(default)]
    grace_ms: Option<u64>,
    #[serde(default)]
    audit_evaluations: AuditEvaluations,
    #[serde(default)]
    exposure: Exposure,
    variants: Variants,
    #[serde(default)]
    off_variant: Option<VariantKey>,
    #[serde(default)]
    configuration: Option<FlagEnvironmentSpec>,
    version: u64,
}

/// Reads a flag. All that it says must be understood: a condition that is passed over would let somebody in.
pub(super) fn flag(raw: &RawValue, environment: &EnvironmentKey) -> Result<Flag, Unread> {
    let document: FlagDocument = serde_json::from_str(raw.get()).map_err(|error| Unread::new(raw, error))?;
    let FlagDocument {
        key,
        flag_type,
        metadata,
        critical,
        safe_variant,
        max_age_ms,
        on_stale,
        on_unconfirmed,
        grace_ms,
        audit_evaluations,
        exposure,
        variants,
        off_variant,
        configuration,
        version,
    } = document;
    let spec = FlagSpec {
        key,
        name: String::new(),
        flag_type,
        description: String::new(),
        owner: String::new(),
        tags: Vec::new(),
        links: Vec::new(),
        metadata,
        purpose: None,
        temporary: false,
        expires_at: None,
        exit_criteria: String::new(),
        critical,
        safe_variant,
        max_age_ms,
        on_stale,
        on_unconfirmed,
        grace_ms,
        audit_evaluations,
        tests: Vec::new(),
        exposure,
        variants,
        off_variant,
    };
    let definition = FlagDefinition::new(spec).map_err(|invalid| Unread::new(raw, invalid))?;
    let configuration = configuration.map(|spec| FlagEnvironment::new(spec, &definition)).transpose();
    let configuration = configuration.map_err(|invalid| Unread::new(raw, invalid.under("configuration")))?;
    let environments = configuration.map(|configuration| (environment.clone(), configuration));
    let created = Stamp { revision: version, at_ms: 0, by: String::new() };
    let system = FlagSystem {
        revision: version,
        evaluated_revision: version,
        environments: BTreeMap::new(),
        created,
        archived: None,
        deleted: None,
    };
    Ok(Flag { definition, environments: environments.into_iter().collect(), system })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SegmentDocument {
    key: SegmentKey,
    #[serde(default)]
    included: Vec<String>,
    #[serde(default)]
    excluded: Vec<String>,
    #[serde(default)]
    when: Option<Condition>,
}

/// Reads a segment, of which the same holds.
pub(super) fn segment(raw: &RawValue) -> Result<StoredSegment, Unread> {
    let document: SegmentDocument =
        serde_json::from_str(raw.get()).map_err(|error| Unread::new(raw, error))?;
    let SegmentDocument { key, included, excluded, when } = document;
    let spec = SegmentSpec {
        key,
        name: String::new(),
        description: String::new(),
        included: Some(included),
        excluded: Some(excluded),
        when,
        environments: BTreeMap::new(),
    };
    let segment = Segment::new(spec).map_err(|invalid| Unread::new(raw, invalid))?;
    // Which revision wrote it is not told, and nothing here asks.
    Ok(StoredSegment { segment, revision: 0 })
}
