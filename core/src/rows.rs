//! The state as rows of keys and values: what is stored, what is hashed into the digest, what a snapshot holds.
//!
//! Frozen. A key is a kind byte and the object's names with a zero byte between them (no name but a segment's
//! member, which comes last, may hold one). A value is a version byte and JSON.

use std::{fmt, sync::Arc};

use imbl::OrdSet;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    audit_key::AuditKeys,
    digest::Digest,
    environment::ProjectSpec,
    key::{EnvironmentKey, FlagKey, HoldId, ProjectKey, SegmentKey},
    merkle::Frontier,
    project::{Flag, Project, StoredEnvironment, StoredSegment},
    reporters::KnownReporter,
    retention::{Edge, Hold, Retention},
    seat::Seat,
    segment::{MemberList, Segment, SegmentSpec},
    signing::{SigningKey, SigningKeyId},
    state::{Founding, Meta, RememberedRequest, State},
    token::{Token, TokenId},
    version::ClusterVersion,
};

/// The version of the rows' values.
const ROW_VERSION: u8 = 1;

/// A row to be written, or deleted where the value is `None`. The storage puts the group in front of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The key.
    pub key: Vec<u8>,
    /// The value; `None` deletes.
    pub value: Option<Vec<u8>>,
}

/// Which row. The order of the kinds is the order in which a state can be rebuilt: a project comes before what is
/// in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RowId {
    Project(ProjectKey),
    Environment(ProjectKey, EnvironmentKey),
    Flag(ProjectKey, FlagKey),
    Segment(ProjectKey, SegmentKey),
    Member(ProjectKey, SegmentKey, MemberList, Arc<str>),
    Token(TokenId),
    Request(Arc<str>),
    Seat(u64),
    AuditKeys(u64),
    SigningKey(SigningKeyId),
    Reporter(Arc<str>),
    Retention,
    Hold(HoldId),
    Edge,
    NextEdge,
}

/// The kind bytes. They sort the rows so that each comes after the rows that it needs.
mod kind {
    pub const META: u8 = 0x01;
    pub const PROJECT: u8 = 0x10;
    pub const ENVIRONMENT: u8 = 0x11;
    pub const FLAG: u8 = 0x12;
    pub const SEGMENT: u8 = 0x13;
    pub const INCLUDED: u8 = 0x14;
    pub const EXCLUDED: u8 = 0x15;
    pub const TOKEN: u8 = 0x20;
    pub const REQUEST: u8 = 0x21;
    pub const SEAT: u8 = 0x22;
    pub const AUDIT_KEYS: u8 = 0x23;
    pub const SIGNING_KEY: u8 = 0x24;
    pub const REPORTER: u8 = 0x25;
    pub const RETENTION: u8 = 0x26;
    pub const HOLD: u8 = 0x27;
    pub const EDGE: u8 = 0x28;
    pub const NEXT_EDGE: u8 = 0x29;
}

/// The key of the one row that the digest leaves out, for it holds the digest.
const META_KEY: &[u8] = &[kind::META];

/// Whether the digest counts a row with this key.
pub fn is_in_digest(key: &[u8]) -> bool {
    key != META_KEY
}

impl RowId {
    pub fn key(&self) -> Vec<u8> {
        let number;
        let (kind, parts): (u8, Vec<&str>) = match self {
            Self::Project(project) => (kind::PROJECT, vec![project]),
            Self::Environment(project, environment) => (kind::ENVIRONMENT, vec![project, environment]),
            Self::Flag(project, flag) => (kind::FLAG, vec![project, flag]),
            Self::Segment(project, segment) => (kind::SEGMENT, vec![project, segment]),
            Self::Member(project, segment, MemberList::Included, member) => {
                (kind::INCLUDED, vec![project, segment, member])
            }
            Self::Member(project, segment, MemberList::Excluded, member) => {
                (kind::EXCLUDED, vec![project, segment, member])
            }
            Self::Token(id) => (kind::TOKEN, vec![id]),
            Self::Request(id) => (kind::REQUEST, vec![id]),
            Self::Seat(node_id) => {
                number = node_name(*node_id);
                (kind::SEAT, vec![&number])
            }
            Self::AuditKeys(node_id) => {
                number = node_name(*node_id);
                (kind::AUDIT_KEYS, vec![&number])
            }
            Self::SigningKey(id) => (kind::SIGNING_KEY, vec![id]),
            Self::Reporter(name) => (kind::REPORTER, vec![name]),
            Self::Retention => (kind::RETENTION, Vec::new()),
            Self::Hold(id) => (kind::HOLD, vec![id]),
            Self::Edge => (kind::EDGE, Vec::new()),
            Self::NextEdge => (kind::NEXT_EDGE, Vec::new()),
        };
        let mut key = vec![kind];
        key.extend_from_slice(parts.join("\0").as_bytes());
        key
    }
}

/// A node id as the rows name it: with leading zeros, so that the order of the keys is that of the ids.
fn node_name(node_id: u64) -> String {
    format!("{node_id:020}")
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectRow {
    spec: ProjectSpec,
    revision: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SegmentRow {
    spec: SegmentSpec,
    revision: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MetaRow {
    founding: Option<Arc<Founding>>,
    cluster_version: u32,
    revision: u64,
    last_at_ms: i64,
    digest: String,
    audit_size: u64,
    audit_subtrees: Vec<HashHex>,
}

#[derive(Serialize, Deserialize)]
struct HashHex(#[serde(with = "crate::hexadecimal")] [u8; 32]);

/// What most rows have room in.
const USUAL_BYTES: usize = 1_024;

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    bytes.push(ROW_VERSION);
    // Rows are made of strings, integers and JSON values, and the sink is memory: writing them cannot fail.
    let _ = serde_json::to_writer(&mut bytes, value);
    bytes
}

impl State {
    /// The value of a row as the state has it; `None` when the state does not have it.
    pub(crate) fn row(&self, id: &RowId) -> Option<Vec<u8>> {
        match id {
            RowId::Project(project) => self
                .projects
                .get(project)
                .map(|p| encode(&ProjectRow { spec: p.spec.clone(), revision: p.revision })),
            RowId::Environment(project, environment) => self
                .projects
                .get(project)?
                .environments
                .get(environment)
                .map(|stored| encode(stored.as_ref())),
            RowId::Flag(project, flag) => {
                self.projects.get(project)?.flags.get(flag).map(|stored| encode(stored.as_ref()))
            }
            RowId::Segment(project, segment) => {
                self.projects.get(project)?.segments.get(segment).map(|stored| {
                    encode(&SegmentRow {
                        spec: stored.segment.spec_without_members(),
                        revision: stored.revision,
                    })
                })
            }
            RowId::Member(project, segment, list, member) => {
                let segment = &self.projects.get(project)?.segments.get(segment)?.segment;
                segment.members(*list).contains(member).then(|| vec![ROW_VERSION])
            }
            RowId::Token(id) => self.tokens.get(id).map(|token| encode(token.as_ref())),
            RowId::Request(id) => self.requests.get(id).map(|request| encode(request.as_ref())),
            RowId::Seat(node_id) => self.seats.get(node_id).map(|seat| encode(seat.as_ref())),
            RowId::AuditKeys(node_id) => self.audit_keys.get(node_id).map(|keys| encode(keys.as_ref())),
            RowId::SigningKey(id) => self.signing_keys.get(id).map(|key| encode(key.as_ref())),
            RowId::Reporter(name) => self.reporters.get(name).map(|known| encode(known.as_ref())),
            RowId::Retention => self.retention.as_ref().map(|retention| encode(retention.as_ref())),
            RowId::Hold(id) => self.holds.get(id).map(|hold| encode(hold.as_ref())),
            RowId::Edge => self.edge.as_ref().map(|edge| encode(edge.as_ref())),
            RowId::NextEdge => self.next_edge.as_ref().map(|next| encode(next.as_ref())),
        }
    }

    /// The row that is written with every change of the state.
    pub(crate) fn meta_row(&self) -> Row {
        let Meta { founding, cluster_version, revision, last_at_ms, digest, audit } = &self.meta;
        let value = encode(&MetaRow {
            founding: founding.clone(),
            cluster_version: *cluster_version,
            revision: *revision,
            last_at_ms: *last_at_ms,
            digest: digest.to_string(),
            audit_size: audit.size(),
            audit_subtrees: audit.subtrees().iter().copied().map(HashHex).collect(),
        });
        Row { key: META_KEY.to_vec(), value: Some(value) }
    }

    /// The rows of the projects and of all that is in them, in key order within each kind.
    pub(crate) fn catalog_rows(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + '_ {
        self.project_row_ids().filter_map(|id| Some((id.key(), self.row(&id)?)))
    }

    /// Every row of the state, in key order within each kind.
    pub fn rows(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + '_ {
        let meta = self.meta_row();
        meta.value
            .map(|value| (meta.key, value))
            .into_iter()
            .chain(self.row_ids().filter_map(|id| Some((id.key(), self.row(&id)?))))
    }

    /// The digest of all rows, counted anew: what [`State::digest`] must be.
    pub fn recompute_digest(&self) -> Digest {
        let mut digest = Digest::default();
        for (key, value) in self.rows().filter(|(key, _)| is_in_digest(key)) {
            digest.add(&key, &value);
        }
        digest
    }

    fn project_row_ids(&self) -> impl Iterator<Item = RowId> + '_ {
        self.projects.iter().flat_map(|(project, stored)| {
            std::iter::once(RowId::Project(project.clone())).chain(stored.row_ids())
        })
    }

    fn row_ids(&self) -> impl Iterator<Item = RowId> + '_ {
        self.project_row_ids()
            .chain(self.tokens.keys().cloned().map(RowId::Token))
            .chain(self.requests.iter().map(|(id, _)| RowId::Request(id.clone())))
            .chain(self.seats.keys().copied().map(RowId::Seat))
            .chain(self.audit_keys.keys().copied().map(RowId::AuditKeys))
            .chain(self.signing_keys.keys().cloned().map(RowId::SigningKey))
            .chain(self.reporters.names().cloned().map(RowId::Reporter))
            .chain(self.retention.as_ref().map(|_| RowId::Retention))
            .chain(self.holds.keys().cloned().map(RowId::Hold))
            .chain(self.edge.as_ref().map(|_| RowId::Edge))
            .chain(self.next_edge.as_ref().map(|_| RowId::NextEdge))
    }

    /// How many rows [`State::rows`] gives.
    pub fn row_count(&self) -> usize {
        // The row of the numbers, and one for each object.
        self.row_ids().count().saturating_add(1)
    }

    /// Rebuilds a state from its rows, in any order. Errors name the first row that is not as it must be.
    pub fn from_rows(rows: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Self, CorruptRow> {
        let mut rows: Vec<_> = rows.into_iter().collect();
        // Sorted by key, each row comes after those that it needs.
        rows.sort();
        let mut loader = Loader::default();
        for (key, value) in rows {
            loader.row(&key, &value)?;
        }
        Ok(loader.finish())
    }

    fn load(&mut self, members: &mut MemberRun, key: &[u8], value: &[u8]) -> Option<()> {
        let (kind, names) = key.split_first()?;
        let names = std::str::from_utf8(names).ok()?;
        let [ROW_VERSION, json @ ..] = value else { return None };
        match *kind {
            kind::META if names.is_empty() => {
                let row: MetaRow = decode(json)?;
                // A state of a later version than this binary knows is none that it may judge by.
                if row.cluster_version > 0 {
                    ClusterVersion::new(row.cluster_version)?;
                }
                let subtrees = row.audit_subtrees.into_iter().map(|HashHex(hash)| hash).collect();
                self.meta = Meta {
                    founding: row.founding,
                    cluster_version: row.cluster_version,
                    revision: row.revision,
                    last_at_ms: row.last_at_ms,
                    digest: Digest::parse(&row.digest)?,
                    audit: Frontier::from_parts(row.audit_size, subtrees)?,
                };
            }
            kind::PROJECT => {
                let row: ProjectRow = decode(json)?;
                let project = ProjectKey::new(names).ok().filter(|key| *key == row.spec.key)?;
                self.projects.insert(project, Arc::new(Project::new(row.spec, row.revision)));
            }
            kind::ENVIRONMENT => {
                let (project, environment) = names.split_once('\0')?;
                let stored: StoredEnvironment = decode(json)?;
                let environment =
                    EnvironmentKey::new(environment).ok().filter(|key| *key == stored.spec.key)?;
                self.project_mut(project)?.environments.insert(environment, Arc::new(stored));
            }
            kind::FLAG => {
                let (project, flag) = names.split_once('\0')?;
                let stored: Flag = decode(json)?;
                if flag != stored.definition.key.as_str() {
                    return None;
                }
                self.project_mut(project)?.put_flag(Arc::new(stored));
            }
            kind::SEGMENT => {
                let (project, segment) = names.split_once('\0')?;
                let row: SegmentRow = decode(json)?;
                let segment = SegmentKey::new(segment).ok().filter(|key| *key == row.spec.key)?;
                let stored = StoredSegment { segment: Segment::new(row.spec).ok()?, revision: row.revision };
                self.project_mut(project)?.segments.insert(segment, Arc::new(stored));
            }
            kind::INCLUDED | kind::EXCLUDED => {
                let list = if *kind == kind::INCLUDED { MemberList::Included } else { MemberList::Excluded };
                let (project, rest) = names.split_once('\0')?;
                let (segment, member) = rest.split_once('\0')?;
                self.projects.get(project)?.segments.get(segment)?;
                json.is_empty().then_some(())?;
                members.push(self, project, segment, list, member);
            }
            kind::TOKEN => {
                let token: Token = decode(json)?;
                if names != &*token.spec.id {
                    return None;
                }
                self.put_token(Arc::new(token));
            }
            kind::REQUEST => {
                let request: RememberedRequest = decode(json)?;
                self.requests.insert(names.into(), Arc::new(request));
            }
            kind::SEAT => {
                let node_id: u64 = names.parse().ok().filter(|id| node_name(*id) == names)?;
                let seat: Seat = decode(json)?;
                self.seats.insert(node_id, Arc::new(seat));
            }
            kind::AUDIT_KEYS => {
                let node_id: u64 = names.parse().ok().filter(|id| node_name(*id) == names)?;
                let keys: AuditKeys = decode(json)?;
                self.audit_keys.insert(node_id, Arc::new(keys));
            }
            kind::SIGNING_KEY => {
                let key: SigningKey = decode(json)?;
                if names != &*key.spec.id {
                    return None;
                }
                self.signing_keys.insert(key.spec.id.clone(), Arc::new(key));
            }
            kind::REPORTER => {
                let known: KnownReporter = decode(json)?;
                self.reporters.insert(names.into(), known);
            }
            kind::RETENTION if names.is_empty() => {
                let retention: Retention = decode(json)?;
                self.retention = Some(Arc::new(retention));
            }
            kind::HOLD => {
                let hold: Hold = decode(json)?;
                if *names != *hold.spec.id {
                    return None;
                }
                self.holds.insert(hold.spec.id.clone(), Arc::new(hold));
            }
            kind::EDGE if names.is_empty() => {
                let edge: Edge = decode(json)?;
                self.edge = Some(Arc::new(edge));
            }
            kind::NEXT_EDGE if names.is_empty() => {
                let next: Edge = decode(json)?;
                self.next_edge = Some(Arc::new(next));
            }
            _ => return None,
        }
        Some(())
    }
}

/// Rebuilds a state row by row, so that its rows need never be in memory all at once. They must come in an order in
/// which each comes after those that it needs: sorted by key, or as [`State::rows`] gives them.
#[derive(Default)]
pub struct Loader {
    state: State,
    members: MemberRun,
    started: bool,
}

impl Loader {
    /// A loader that goes on from a state: what [`State::catalog_rows`] leaves out is in it already.
    pub(crate) fn onto(state: State) -> Self {
        Self { state, started: true, ..Self::default() }
    }

    /// Takes the next row.
    ///
    /// # Errors
    /// When it is not as it must be, or comes too early.
    pub fn row(&mut self, key: &[u8], value: &[u8]) -> Result<(), CorruptRow> {
        if !std::mem::replace(&mut self.started, true) && key != META_KEY {
            return Err(CorruptRow { key: META_KEY.to_vec() });
        }
        self.state.load(&mut self.members, key, value).ok_or_else(|| CorruptRow { key: key.to_vec() })
    }

    /// The state of all rows; the empty one when there were none.
    pub fn finish(mut self) -> State {
        self.members.flush(&mut self.state);
        self.state
    }
}

impl Project {
    /// The rows of what is in the project: all that goes when the project goes.
    pub(crate) fn row_ids(&self) -> impl Iterator<Item = RowId> + '_ {
        let key = self.key();
        let environments =
            self.environments.keys().map(|environment| RowId::Environment(key.clone(), environment.clone()));
        let flags = self.flags.keys().map(|flag| RowId::Flag(key.clone(), flag.clone()));
        let segments = self.segments.values().flat_map(|stored| stored.segment.row_ids(key));
        environments.chain(flags).chain(segments)
    }
}

impl Segment {
    /// The rows of the segment: its own and its members'.
    pub(crate) fn row_ids<'a>(&'a self, project: &'a ProjectKey) -> impl Iterator<Item = RowId> + 'a {
        let key = self.key();
        let members = [MemberList::Included, MemberList::Excluded].into_iter().flat_map(move |list| {
            let member =
                move |member: &Arc<str>| RowId::Member(project.clone(), key.clone(), list, member.clone());
            self.members(list).iter().map(member)
        });
        std::iter::once(RowId::Segment(project.clone(), key.clone())).chain(members)
    }
}

/// Members of one list, gathered while their rows pass, so that a segment is written once and not once a member.
#[derive(Default)]
struct MemberRun {
    list: Option<(String, String, MemberList)>,
    members: OrdSet<Arc<str>>,
}

impl MemberRun {
    fn push(&mut self, state: &mut State, project: &str, segment: &str, list: MemberList, member: &str) {
        let same = self.list.as_ref().is_some_and(|(p, s, l)| p == project && s == segment && *l == list);
        if !same {
            self.flush(state);
            self.list = Some((project.to_owned(), segment.to_owned(), list));
        }
        self.members.insert(member.into());
    }

    fn flush(&mut self, state: &mut State) {
        let members = std::mem::take(&mut self.members);
        if let Some((project, segment, list)) = self.list.take()
            && let Some(stored) =
                state.project_mut(&project).and_then(|project| project.segments.get_mut(segment.as_str()))
        {
            Arc::make_mut(stored).segment.set_members(list, members);
        }
    }
}

fn decode<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    serde_json::from_slice(json).ok()
}

/// A stored row that is not as this version writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorruptRow {
    /// The row's key.
    pub key: Vec<u8>,
}

impl fmt::Display for CorruptRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the stored row {:?} is damaged, or was written by a newer version; restore this node from its peers or a backup",
            String::from_utf8_lossy(&self.key)
        )
    }
}

impl std::error::Error for CorruptRow {}
