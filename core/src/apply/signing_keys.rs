//! The operations on signing keys.

use std::sync::Arc;

use crate::{
    limits::SIGNING_KEYS_MAX,
    operation::{SigningKeyPut, SigningKeyRevoke},
    rejection::Rejection,
    rows::RowId,
    signing::{SigningKey, SigningKeyId},
    token::Role,
};

use super::{
    authority::Authority,
    draft::{BeforeAfter, Draft, recorded},
    tenancy::limit,
};

impl Draft {
    /// An owner of everything vouches for whose key it is. Nobody registers one for himself: whoever took a token could
    /// sign with a key of his own making, and tokens for a name are made by every owner of a project.
    pub(super) fn signing_key_put(
        &mut self,
        authority: &Authority,
        fields: &SigningKeyPut,
    ) -> Result<BeforeAfter, Rejection> {
        authority.require_everywhere(Role::Owner)?;
        let spec = &fields.signing_key;
        let old = self.state.signing_keys.get(&spec.id).cloned();
        if old.as_ref().is_some_and(|old| old.revoked_at_ms.is_some()) {
            return Err(Rejection::Conflict {
                path: "/signing_key/id".to_owned(),
                message: format!(
                    "the signing key {} was revoked, which is for good; make another one",
                    spec.id
                ),
            });
        }
        if old.as_ref().is_some_and(|old| old.spec.actor != spec.actor) {
            return Err(Rejection::Conflict {
                path: "/signing_key/actor".to_owned(),
                message: format!(
                    "the signing key {} is somebody else's, and changes may be signed with it; make another one",
                    spec.id
                ),
            });
        }
        self.expect_key(&spec.id, fields.if_revision, old.as_deref())?;
        spec.validate().map_err(|invalid| Rejection::invalid(invalid.under("signing_key")))?;
        if old.is_none() && self.state.signing_keys.len() >= SIGNING_KEYS_MAX {
            return Err(limit(format!("a cluster keeps at most {SIGNING_KEYS_MAX} signing keys")));
        }
        let before = recorded(old.as_ref().map(|old| &old.spec));
        if old.as_ref().is_none_or(|old| old.spec != *spec) {
            self.put_signing_key(SigningKey {
                spec: spec.clone(),
                revision: self.revision,
                created_at_ms: old.map_or(self.now_ms, |old| old.created_at_ms),
                revoked_at_ms: None,
            });
        }
        Ok((before, recorded(Some(spec))))
    }

    /// Whoever has a key of the same actor, and shows it by signing this change, may revoke it too.
    pub(super) fn signing_key_revoke(
        &mut self,
        authority: &Authority,
        fields: &SigningKeyRevoke,
    ) -> Result<BeforeAfter, Rejection> {
        let id = &fields.signing_key;
        let missing = || Rejection::not_found("/signing_key", "signing key", id);
        let key = self.state.signing_keys.get(id).cloned().ok_or_else(missing)?;
        if self.signer() != Some(&key.spec.actor) {
            authority.require_everywhere(Role::Owner)?;
        }
        self.expect_key(id, fields.if_revision, Some(&key))?;
        let before = recorded(Some(&key.spec));
        if key.revoked_at_ms.is_some() {
            return Ok((before.clone(), before));
        }
        let revoked_at_ms = Some(self.now_ms);
        self.put_signing_key(SigningKey { revision: self.revision, revoked_at_ms, ..(*key).clone() });
        Ok((before, recorded::<()>(None)))
    }

    fn expect_key(
        &self,
        id: &SigningKeyId,
        if_revision: Option<u64>,
        old: Option<&SigningKey>,
    ) -> Result<(), Rejection> {
        self.expect(|| format!("signing key {id}"), if_revision, old.map_or(0, |old| old.revision))
    }

    fn put_signing_key(&mut self, key: SigningKey) {
        let id = key.spec.id.clone();
        self.state.signing_keys.insert(id.clone(), Arc::new(key));
        self.wrote([RowId::SigningKey(id)]);
    }
}
