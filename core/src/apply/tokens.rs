//! The operations on tokens.

use std::sync::Arc;

use serde::Serialize;
use serde_json::json;

use crate::{
    canonical::Canonical,
    key::{EnvironmentKey, ProjectKey},
    limits::TOKENS_MAX,
    operation::{TokenCreate, TokenRevoke},
    rejection::Rejection,
    rows::RowId,
    token::{Grant, Role, Token, TokenId, TokenSpec},
};

use super::{
    authority::Authority,
    draft::{BeforeAfter, Draft, recorded},
    tenancy::limit,
};

impl Draft {
    pub(super) fn token_create(
        &mut self,
        authority: &Authority,
        fields: &TokenCreate,
    ) -> Result<BeforeAfter, Rejection> {
        let spec = &fields.token;
        self.check_grants(authority, spec)?;
        authority.require_ownership_of(&spec.grants)?;
        if self.state.tokens.contains_key(&spec.id)
            || self.state.token_ids.contains_key(&fields.secret_sha256)
        {
            return Err(Rejection::Conflict {
                path: "/token/id".to_owned(),
                message: "a token with this id or secret was made already; leave the id out to have one made"
                    .to_owned(),
            });
        }
        self.expect(|| format!("token {}", spec.id), fields.if_revision, 0)?;
        spec.validate().map_err(|invalid| Rejection::invalid(invalid.under("token")))?;
        self.make_room_for_a_token()?;
        let token = Token {
            spec: spec.clone(),
            secret_sha256: fields.secret_sha256,
            revision: self.revision,
            created_at_ms: self.now_ms,
            revoked_at_ms: None,
        };
        self.state.put_token(Arc::new(token));
        self.touch_granted(&spec.grants);
        self.wrote([RowId::Token(spec.id.clone())]);
        Ok((recorded::<()>(None), recorded(Some(spec))))
    }

    pub(super) fn token_revoke(
        &mut self,
        authority: &Authority,
        fields: &TokenRevoke,
    ) -> Result<BeforeAfter, Rejection> {
        let missing = || Rejection::not_found("/token", "token", &fields.token);
        let token = self.state.tokens.get(&fields.token).cloned().ok_or_else(missing)?;
        // A token may always be revoked with itself: whoever finds one lying about can make it harmless.
        authority.require_ownership_of(&token.spec.grants).or_else(|rejection| match authority {
            Authority::Token(own) if own.id == token.spec.id => Ok(()),
            Authority::Token(own)
                if token
                    .spec
                    .grants
                    .iter()
                    .any(|grant| grant.project.as_ref().is_none_or(|project| own.sees(project))) =>
            {
                Err(rejection)
            }
            _ => Err(missing()),
        })?;
        self.expect(|| format!("token {}", fields.token), fields.if_revision, token.revision)?;
        if token.revoked_at_ms.is_some() {
            return Ok((recorded(Some(&token.spec)), recorded(Some(&token.spec))));
        }
        let owns =
            |token: &Token| token.spec.allows_everywhere(Role::Owner) && token.check(self.now_ms).is_ok();
        if owns(&token) && self.state.tokens.values().filter(|other| owns(other)).count() == 1 {
            return Err(Rejection::InUse {
                path: "/token".to_owned(),
                message:
                    "this is the last token that owns the cluster; create another one before you revoke it"
                        .to_owned(),
            });
        }
        let revoked = Token { revision: self.revision, revoked_at_ms: Some(self.now_ms), ..(*token).clone() };
        self.state.put_token(Arc::new(revoked));
        self.touch_granted(&token.spec.grants);
        self.wrote([RowId::Token(fields.token.clone())]);
        Ok((recorded(Some(&token.spec)), recorded::<()>(None)))
    }

    /// Takes from all tokens what they were granted on a project that goes, or on one environment of it. A token of which
    /// nothing is left is revoked.
    pub(super) fn cut_grants(
        &mut self,
        project: &ProjectKey,
        environment: Option<&EnvironmentKey>,
    ) -> CutTokens {
        let mut tokens = CutTokens::default();
        let live: Vec<Arc<Token>> =
            self.state.tokens.values().filter(|token| token.revoked_at_ms.is_none()).cloned().collect();
        for token in live {
            let grants: Vec<Grant> =
                token.spec.grants.iter().filter_map(|grant| grant.without(project, environment)).collect();
            if grants == token.spec.grants {
                continue;
            }
            let id = token.spec.id.clone();
            let mut changed = Token { revision: self.revision, ..(*token).clone() };
            if grants.is_empty() {
                changed.revoked_at_ms = Some(self.now_ms);
                tokens.revoked.push(id.clone());
            } else {
                changed.spec.grants = grants;
                tokens.cut.push(id.clone());
            }
            self.state.put_token(Arc::new(changed));
            self.wrote([RowId::Token(id)]);
        }
        tokens
    }

    /// Forgets, where the table is full, the token that has been revoked or expired for longest. Its id and its secret are
    /// random and come never back, so whoever still holds it is told that it is unknown.
    fn make_room_for_a_token(&mut self) -> Result<(), Rejection> {
        if self.state.tokens.len() < TOKENS_MAX {
            return Ok(());
        }
        let ended_at_ms = |token: &Token| match (token.check(self.now_ms), token.revoked_at_ms) {
            (Ok(()), _) => None,
            (Err(_), Some(revoked_at_ms)) => Some(revoked_at_ms),
            (Err(_), None) => token.spec.expires_at_ms,
        };
        let ended =
            self.state.tokens.values().filter_map(|token| Some((ended_at_ms(token)?, &token.spec.id)));
        let Some((_, longest)) = ended.min() else {
            return Err(limit(format!(
                "a cluster keeps at most {TOKENS_MAX} tokens; revoke one that is not needed any more"
            )));
        };
        let longest = longest.clone();
        self.state.remove_token(&longest);
        self.wrote([RowId::Token(longest)]);
        Ok(())
    }

    /// Rejects grants on what does not exist, or not for the caller: a mistyped project would make a token that
    /// silently does nothing.
    fn check_grants(&self, authority: &Authority, spec: &TokenSpec) -> Result<(), Rejection> {
        for (index, grant) in spec.grants.iter().enumerate() {
            let Some(key) = &grant.project else { continue };
            let path = format!("/token/grants/{index}");
            let Some(project) = self.state.projects.get(key).filter(|_| authority.may_see(key)) else {
                return Err(Rejection::not_found(format!("{path}/project"), "project", key));
            };
            let missing = grant
                .environments
                .iter()
                .flatten()
                .find(|environment| !project.environments.contains_key(*environment));
            if let Some(missing) = missing {
                return Err(Rejection::not_found(format!("{path}/environments"), "environment", missing));
            }
        }
        Ok(())
    }

    /// A token touches the environments that it reaches. One for every project reaches too many to be named: it touches
    /// those whose policy asks for a ticket or a signature.
    fn touch_granted(&mut self, grants: &[Grant]) {
        for grant in grants {
            let reached: Vec<(ProjectKey, Vec<EnvironmentKey>)> = self
                .state
                .projects
                .iter()
                .filter(|(project, _)| grant.project.as_ref().is_none_or(|granted| granted == *project))
                .map(|(project, stored)| {
                    let reached =
                        stored.environments.iter().filter(|(key, environment)| match &grant.environments {
                            Some(named) => named.contains(key),
                            None => grant.project.is_some() || environment.spec.policy.has_a_say_in_tokens(),
                        });
                    (project.clone(), reached.map(|(key, _)| key.clone()).collect())
                })
                .collect();
            for (project, environments) in reached {
                self.grant(&project, environments);
            }
        }
    }
}

/// What a deletion did to tokens.
#[derive(Default)]
pub(super) struct CutTokens {
    revoked: Vec<TokenId>,
    cut: Vec<TokenId>,
}

impl CutTokens {
    /// What is recorded of the deleted object, with the tokens that lost by it.
    pub(super) fn described<T: Serialize>(self, object: &T) -> Canonical {
        let mut object = serde_json::to_value(object).unwrap_or_default();
        if let Some(fields) = object.as_object_mut() {
            for (field, ids) in [("revoked_tokens", self.revoked), ("cut_tokens", self.cut)] {
                if !ids.is_empty() {
                    fields.insert(field.to_owned(), json!(ids));
                }
            }
        }
        object.into()
    }
}
