//! A change being worked on: the state as it would be, and what the change wrote and touched to get there.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    canonical::Canonical,
    criticality::is_effectively_critical,
    key::{EnvironmentKey, FlagKey, ProjectKey, SegmentKey},
    operation::Operation,
    project::{Project, Stamp},
    proposal::{Change, Proposal},
    record::{RecordKind, RecordTouches, Room},
    rejection::Rejection,
    retention::SequenceRange,
    rows::RowId,
    state::State,
    token::TokenActor,
};

use super::{
    Verdict,
    authority::Authority,
    configurations::{Place, place},
};

/// The change being worked on.
pub(super) struct Draft {
    /// The state as it would be.
    pub state: State,
    /// The revision that the change makes if it changes anything.
    pub revision: u64,
    /// Record time.
    pub now_ms: i64,
    /// The project that the operations name objects of.
    project: Option<ProjectKey>,
    author: String,
    /// Who signed the change.
    signer: Option<TokenActor>,
    expect_revision: Option<u64>,
    rows: BTreeSet<RowId>,
    /// Where evaluation may change.
    touched: BTreeSet<(ProjectKey, EnvironmentKey)>,
    /// Where evaluation stays, but tokens that reach there change: those have a say in it all the same.
    granted: BTreeSet<(ProjectKey, EnvironmentKey)>,
    /// The flags and segments that were written: what may touch a critical flag's closure.
    written_flags: BTreeSet<FlagKey>,
    written_segments: BTreeSet<SegmentKey>,
    /// Of each operation so far, what is recorded of what it wrote.
    recorded: Vec<BeforeAfter>,
    room: Room,
    /// The records that go from the audit log.
    removed: Vec<SequenceRange>,
    /// Whether anything was written that takes a revision.
    changed: bool,
    /// Whether it concerns the cluster itself.
    system: bool,
}

impl Draft {
    pub fn new(
        state: &State,
        proposal: &Proposal,
        change: &Change,
        signer: Option<TokenActor>,
        now_ms: i64,
    ) -> Self {
        let author = proposal.actor.id.clone();
        Self {
            signer,
            expect_revision: change.expect_revision,
            ..Self::begin(state, change.project.clone(), author, now_ms)
        }
    }

    /// A draft of whatever its author does to a project at this time.
    pub fn begin(state: &State, project: Option<ProjectKey>, author: String, now_ms: i64) -> Self {
        Self {
            state: state.clone(),
            revision: state.revision().saturating_add(1),
            now_ms,
            project,
            author,
            signer: None,
            expect_revision: None,
            rows: BTreeSet::new(),
            touched: BTreeSet::new(),
            granted: BTreeSet::new(),
            written_flags: BTreeSet::new(),
            written_segments: BTreeSet::new(),
            recorded: Vec::new(),
            room: Room::new(),
            removed: Vec::new(),
            changed: false,
            system: false,
        }
    }

    /// Performs one operation, or rejects it.
    pub fn perform(&mut self, authority: &Authority, operation: &Operation) -> Result<(), Rejection> {
        let (before, after) = match operation {
            Operation::ProjectPut(fields) => self.project_put(authority, fields)?,
            Operation::ProjectDelete(fields) => self.project_delete(authority, fields)?,
            Operation::EnvironmentPut(fields) => self.environment_put(authority, fields)?,
            Operation::EnvironmentDelete(fields) => self.environment_delete(authority, fields)?,
            Operation::FlagPut(fields) => self.flag_put(authority, fields)?,
            Operation::FlagConfigure(fields) => self.flag_configure(authority, fields)?,
            Operation::FlagEnable(fields) => self.flag_switch(authority, place!(fields), true)?,
            Operation::FlagDisable(fields) => self.flag_switch(authority, place!(fields), false)?,
            Operation::FlagCopy(fields) => self.flag_copy(authority, fields)?,
            Operation::FlagArchive(fields) => self.flag_archive(authority, fields)?,
            Operation::FlagRestore(fields) => self.flag_restore(authority, fields)?,
            Operation::FlagDelete(fields) => self.flag_delete(authority, fields)?,
            Operation::RulePut(fields) => self.rule_put(authority, fields)?,
            Operation::RuleDelete(fields) => self.rule_delete(authority, fields)?,
            Operation::RolloutSet(fields) => self.rollout_set(authority, fields)?,
            Operation::DefaultSet(fields) => self.default_set(authority, fields)?,
            Operation::TargetsAdd(fields) => self.targets_add(authority, fields)?,
            Operation::TargetsRemove(fields) => self.targets_remove(authority, fields)?,
            Operation::SegmentPut(fields) => self.segment_put(authority, fields)?,
            Operation::SegmentDelete(fields) => self.segment_delete(authority, fields)?,
            Operation::SegmentMembersAdd(fields) => self.segment_members(
                authority,
                &fields.segment,
                fields.list,
                &fields.members,
                true,
                fields.if_revision,
            )?,
            Operation::SegmentMembersRemove(fields) => self.segment_members(
                authority,
                &fields.segment,
                fields.list,
                &fields.members,
                false,
                fields.if_revision,
            )?,
            Operation::TokenCreate(fields) => self.token_create(authority, fields)?,
            Operation::TokenRevoke(fields) => self.token_revoke(authority, fields)?,
            Operation::SystemBootstrap(fields) => self.bootstrap(authority, fields)?,
            Operation::SystemMembership(_) => self.membership(authority)?,
            Operation::SystemLeadership(fields) => self.leadership(authority, fields)?,
            Operation::SystemClusterVersion(fields) => self.cluster_version(authority, fields)?,
            Operation::MemberInvite(fields) => self.member_invite(authority, fields)?,
            Operation::MemberAdmit(fields) => self.member_admit(authority, fields)?,
            Operation::MemberPromote(fields) => self.member_promote(authority, fields)?,
            Operation::MemberRemove(fields) => self.member_remove(authority, fields)?,
            Operation::SystemRestore(fields) => self.restore(authority, fields)?,
            Operation::SystemRecover(fields) => self.recover(authority, fields)?,
            Operation::AuditKeyAdd(fields) => self.audit_key_add(authority, fields)?,
            Operation::AuditKeyRetire(fields) => self.audit_key_retire(authority, fields)?,
            Operation::SigningKeyPut(fields) => self.signing_key_put(authority, fields)?,
            Operation::SigningKeyRevoke(fields) => self.signing_key_revoke(authority, fields)?,
            Operation::AuditRetentionPut(fields) => self.audit_retention_put(authority, fields)?,
            Operation::AuditHoldPut(fields) => self.audit_hold_put(authority, fields)?,
            Operation::AuditHoldDelete(fields) => self.audit_hold_delete(authority, fields)?,
            Operation::AuditRemove(fields) => self.audit_remove(authority, fields)?,
            Operation::AuditCatalogPut(fields) => self.audit_catalog_put(authority, fields)?,
        };
        self.recorded.push((self.room.keep(before), self.room.keep(after)));
        Ok(())
    }

    /// Who signed the change.
    pub fn signer(&self) -> Option<&TokenActor> {
        self.signer.as_ref()
    }

    /// The key of the project that the change names.
    pub fn project_key(&self) -> Result<ProjectKey, Rejection> {
        self.project.clone().ok_or_else(|| Rejection::Invalid {
            path: String::new(),
            message: "this operation needs a project; send it to /api/v1/projects/{project}/changes"
                .to_owned(),
        })
    }

    /// The project that the change names, as it would be.
    pub fn project(&self) -> Result<&Project, Rejection> {
        let key = self.project_key()?;
        match self.state.projects.get(&key) {
            Some(project) => Ok(project),
            None => Err(Rejection::not_found("", "project", key)),
        }
    }

    /// The project, to be changed.
    pub fn project_mut(&mut self) -> Result<&mut Project, Rejection> {
        let key = self.project_key()?;
        self.state.project_mut(&key).ok_or_else(|| Rejection::not_found("", "project", key))
    }

    /// Who does this.
    pub fn author(&self) -> &str {
        &self.author
    }

    /// Who does this, when, at which revision.
    pub fn stamp(&self) -> Stamp {
        Stamp { revision: self.revision, at_ms: self.now_ms, by: self.author.clone() }
    }

    /// Rejects the write of an object whose revision is not what the operation, or the change, expects. `actual` is
    /// 0 for an object that does not exist. An object that this change has written already passes.
    pub fn expect(
        &self,
        object: impl Fn() -> String,
        if_revision: Option<u64>,
        actual: u64,
    ) -> Result<(), Rejection> {
        let mismatch = |expected| Rejection::RevisionMismatch {
            path: String::new(),
            object: object(),
            expected,
            actual,
        };
        if actual == self.revision {
            return Ok(());
        }
        match (if_revision, self.expect_revision) {
            (Some(expected), _) if expected != actual => Err(mismatch(expected)),
            (_, Some(newest)) if actual > newest => Err(mismatch(newest)),
            _ => Ok(()),
        }
    }

    /// Rejects a change that takes more with it than it names, such as the deletion of a project, when any of that is
    /// newer than the change expects. Objects are a kind, a key and a revision.
    pub fn expect_none_newer<'a>(
        &self,
        objects: impl IntoIterator<Item = (&'static str, &'a str, u64)>,
    ) -> Result<(), Rejection> {
        let Some(expected) = self.expect_revision else { return Ok(()) };
        let is_newer = |revision: u64| revision > expected && revision != self.revision;
        match objects.into_iter().find(|(_, _, revision)| is_newer(*revision)) {
            None => Ok(()),
            Some((kind, key, actual)) => Err(Rejection::RevisionMismatch {
                path: String::new(),
                object: format!("{kind} {key}"),
                expected,
                actual,
            }),
        }
    }

    /// Notes that rows were written.
    pub fn wrote(&mut self, rows: impl IntoIterator<Item = RowId>) {
        for row in rows {
            match &row {
                RowId::Flag(_, flag) => drop(self.written_flags.insert(flag.clone())),
                RowId::Segment(_, segment) => drop(self.written_segments.insert(segment.clone())),
                _ => {}
            }
            self.rows.insert(row);
        }
        self.changed = true;
    }

    /// Notes that these records go from the audit log.
    pub fn remove(&mut self, ranges: &[SequenceRange]) {
        self.removed.extend_from_slice(ranges);
    }

    /// Notes that the cluster itself was changed. That is recorded, and takes a revision like every change.
    pub fn changed_the_cluster(&mut self) {
        self.system = true;
        self.changed = true;
    }

    /// Notes that evaluation in these environments of the project may change.
    pub fn touch(&mut self, project: &ProjectKey, environments: impl IntoIterator<Item = EnvironmentKey>) {
        self.touched.extend(environments.into_iter().map(|environment| (project.clone(), environment)));
    }

    /// Notes that a token that reaches these environments of the project was made or revoked.
    pub fn grant(&mut self, project: &ProjectKey, environments: impl IntoIterator<Item = EnvironmentKey>) {
        self.granted.extend(environments.into_iter().map(|environment| (project.clone(), environment)));
    }

    /// What the change touches: the one basis of policies, and what the record says.
    fn touches(&self) -> BTreeSet<&(ProjectKey, EnvironmentKey)> {
        self.touched.union(&self.granted).collect()
    }

    /// Holds the change against the policies of the environments that it touches, as they were before it.
    pub fn check_policies(&self, before: &State, change: &Change) -> Result<(), Rejection> {
        // A catalog that is restored has a new owner, whose token is made in the same change: by whoever has the node's
        // disk in hand, and before anybody could sign for the new history.
        let restores = matches!(change.operations.first(), Some(Operation::SystemRestore(_)));
        for (project, environment) in self.touches() {
            let stored =
                before.projects.get(project).and_then(|project| project.environments.get(environment));
            let Some(stored) = stored else { continue };
            stored.spec.policy.ticket.check(change.ticket.as_deref()).map_err(|fault| Rejection::Policy {
                path: "/ticket".to_owned(),
                message: format!(
                    "environment {environment} of project {project} refuses the change: {fault}"
                ),
            })?;
            if stored.spec.policy.signed && self.signer.is_none() && !restores {
                return Err(Rejection::Policy {
                    path: "/signature".to_owned(),
                    message: format!(
                        "environment {environment} of project {project} refuses the change: it must be signed; send its \
                         operations to the route for changes with `signature`, or give --sign on the command line"
                    ),
                });
            }
        }
        Ok(())
    }

    /// Gives what was changed its revision, and so each environment in which evaluation may be another one.
    pub fn take_revision(&mut self) {
        self.state.meta.revision = self.revision;
        for (project, environment) in &self.touched {
            let stored =
                self.state.project_mut(project).and_then(|project| project.environments.get_mut(environment));
            if let Some(stored) = stored {
                Arc::make_mut(stored).touched_revision = self.revision;
                self.rows.insert(RowId::Environment(project.clone(), environment.clone()));
            }
        }
    }

    /// Completes the change: sets the revision, and works out what it means for critical flags.
    pub fn finish(mut self, before: &State, change: &Change) -> Verdict {
        if self.changed {
            self.take_revision();
        }
        let (critical, promotes_critical) = self.criticality(before, change);
        Verdict {
            kind: if self.system { RecordKind::System } else { RecordKind::Change },
            touches: RecordTouches {
                environments: self
                    .touches()
                    .into_iter()
                    .map(|(_, environment)| environment.clone())
                    .collect(),
                critical,
            },
            promotes_critical,
            before_after: self.recorded,
            denials: None,
            evaluations: None,
            access: None,
            removed: self.removed,
            rows: self.rows,
            state: self.state,
        }
    }

    /// Whether the change touches a critical flag's closure, before or after; and whether it makes a flag critical
    /// that was not.
    fn criticality(&self, before: &State, change: &Change) -> (bool, bool) {
        let Some(key) = &change.project else { return (false, false) };
        let closure =
            |state: &State| state.projects.get(key).map(|project| Closure::of_critical_flags(project));
        let touches = [before, &self.state].into_iter().filter_map(closure).any(|closure| {
            self.written_flags.iter().any(|flag| closure.flags.contains(flag))
                || self.written_segments.iter().any(|segment| closure.segments.contains(segment))
        });
        // A flag that depends on a critical one is critical by that: the change that adds the dependency writes it.
        let promotes = self.written_flags.iter().any(|flag| {
            let before = critical_environments(before, key, flag);
            !critical_environments(&self.state, key, flag).is_subset(&before)
        });
        (touches, promotes)
    }
}

/// The environments in which a flag is effectively critical.
fn critical_environments(state: &State, project: &ProjectKey, flag: &FlagKey) -> BTreeSet<EnvironmentKey> {
    let Some(project) = state.projects.get(project) else { return BTreeSet::new() };
    let is_critical = |environment: &&EnvironmentKey| is_effectively_critical(project, environment, flag);
    project.environments.keys().filter(is_critical).cloned().collect()
}

/// The critical flags of a project and all that their answers depend on.
#[derive(Default)]
struct Closure {
    flags: BTreeSet<FlagKey>,
    segments: BTreeSet<SegmentKey>,
}

impl Closure {
    fn of_critical_flags(project: &Project) -> Self {
        let mut closure = Self::default();
        let mut open: Vec<FlagKey> = project.critical.iter().cloned().collect();
        while let Some(key) = open.pop() {
            let Some(flag) = project.live_flag(&key) else { continue };
            if !closure.flags.insert(key) {
                continue;
            }
            for configuration in flag.environments.values() {
                open.extend(configuration.prerequisites().map(|prerequisite| prerequisite.flag.clone()));
                closure.segments.extend(configuration.segments().cloned());
            }
        }
        let mut open: Vec<SegmentKey> = closure.segments.iter().cloned().collect();
        while let Some(key) = open.pop() {
            let Some(stored) = project.segments.get(&key) else { continue };
            for inner in stored.segment.segments() {
                if closure.segments.insert(inner.clone()) {
                    open.push(inner.clone());
                }
            }
        }
        closure
    }
}

/// What is recorded of an object: its JSON, or `null` where there is none.
pub(super) fn recorded<T: serde::Serialize>(object: Option<&T>) -> Canonical {
    object.and_then(|object| Canonical::of(object).ok()).unwrap_or_else(Canonical::null)
}

/// What an operation recorded of what it wrote, before and after.
pub(super) type BeforeAfter = (Canonical, Canonical);
