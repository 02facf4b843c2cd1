//! The operations on the keys that nodes sign checkpoints of the audit log with.

use std::sync::Arc;

use crate::{
    audit_key::{AuditKeys, AuditPublicKey, KeyFault},
    limits::{AUDIT_KEYS_ACTIVE_MAX, AUDIT_KEYS_MAX},
    operation::{AuditKeyAdd, AuditKeyRetire},
    proposal::Actor,
    rejection::Rejection,
    rows::RowId,
    token::Role,
};

use super::{
    authority::Authority,
    draft::{BeforeAfter, Draft, recorded},
    tenancy::limit,
};

impl Draft {
    pub(super) fn audit_key_add(
        &mut self,
        authority: &Authority,
        fields: &AuditKeyAdd,
    ) -> Result<BeforeAfter, Rejection> {
        let AuditKeyAdd { node, public_key, if_revision } = fields;
        match authority {
            Authority::System if self.author() == Actor::system(*node).id => {}
            Authority::System => {
                return Err(Rejection::Forbidden {
                    path: "/node".to_owned(),
                    message: format!("node {node} adds its own keys, or an owner of the cluster does"),
                });
            }
            Authority::Token(_) => authority.require_everywhere(Role::Owner)?,
        }
        let seat = self.state.seat(*node).ok_or_else(|| Rejection::not_found("/node", "node", node))?;
        if seat.is_removed() {
            return Err(Rejection::Conflict {
                path: "/node".to_owned(),
                message: format!("node {node} was removed from the cluster, and signs nothing any more"),
            });
        }
        let others = self.state.audit_keys().filter(|(other, _)| other != node);
        if let Some((other, _)) = others.into_iter().find(|(_, keys)| keys.get(public_key).is_some()) {
            return Err(Rejection::Conflict {
                path: "/public_key".to_owned(),
                message: format!(
                    "this is a key of node {other}; every node has its own, so remove the file audit_key of the folder \
                     that was copied"
                ),
            });
        }
        self.change_audit_keys(*node, *if_revision, public_key, |keys, sequence| {
            keys.add(*public_key, sequence)
        })
    }

    pub(super) fn audit_key_retire(
        &mut self,
        authority: &Authority,
        fields: &AuditKeyRetire,
    ) -> Result<BeforeAfter, Rejection> {
        let AuditKeyRetire { node, public_key, if_revision } = fields;
        authority.require_everywhere(Role::Owner)?;
        self.change_audit_keys(*node, *if_revision, public_key, |keys, sequence| {
            keys.retire(public_key, sequence)
        })
    }

    /// A node that was removed signs nothing any more.
    pub(super) fn retire_audit_keys_of(&mut self, node: u64) {
        if let Some(before) = self.state.audit_keys.get(&node).filter(|keys| keys.active().next().is_some()) {
            let mut keys = AuditKeys { revision: self.revision, ..(**before).clone() };
            keys.retire_all(self.state.sequence());
            self.state.audit_keys.insert(node, Arc::new(keys));
            self.wrote([RowId::AuditKeys(node)]);
        }
    }

    /// Another cluster begins here: its nodes add their keys under its name.
    pub(super) fn clear_audit_keys(&mut self) {
        let keys = std::mem::take(&mut self.state.audit_keys);
        self.wrote(keys.keys().copied().map(RowId::AuditKeys));
    }

    fn change_audit_keys(
        &mut self,
        node: u64,
        if_revision: Option<u64>,
        key: &AuditPublicKey,
        change: impl FnOnce(&mut AuditKeys, u64) -> Result<(), KeyFault>,
    ) -> Result<BeforeAfter, Rejection> {
        let before = self.state.audit_keys.get(&node).cloned();
        let revision = before.as_ref().map_or(0, |keys| keys.revision);
        self.expect(|| format!("audit keys of node {node}"), if_revision, revision)?;
        let mut after = before.as_deref().cloned().unwrap_or_default();
        change(&mut after, self.state.sequence()).map_err(|fault| rejected(fault, node, key))?;
        let is_news = before.as_ref().is_none_or(|before| before.keys != after.keys);
        let shown = (recorded(before.as_ref().map(|keys| &keys.keys)), recorded(Some(&after.keys)));
        if is_news {
            after.revision = self.revision;
            self.state.audit_keys.insert(node, Arc::new(after));
            self.wrote([RowId::AuditKeys(node)]);
            self.changed_the_cluster();
        }
        Ok(shown)
    }
}

fn rejected(fault: KeyFault, node: u64, key: &AuditPublicKey) -> Rejection {
    let path = "/public_key".to_owned();
    match fault {
        KeyFault::Retired => Rejection::Conflict {
            path,
            message: "this key was retired, and a key is used once; let the node make another one".to_owned(),
        },
        KeyFault::TooManyActive => limit(format!(
            "a node has at most {AUDIT_KEYS_ACTIVE_MAX} active audit keys; retire one of node {node}'s first"
        )),
        KeyFault::TooMany => limit(format!(
            "at most {AUDIT_KEYS_MAX} audit keys of one node are listed; replace node {node} by a new member"
        )),
        KeyFault::Unknown => Rejection::not_found(path, "audit key", key),
        KeyFault::Last => Rejection::InUse {
            path,
            message: format!(
                "this is the last active audit key of node {node}; add another one before you retire it"
            ),
        },
    }
}
