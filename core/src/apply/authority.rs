//! Whether the caller's token grants what a change asks for, judged against the state at the entry: so the log's
//! order settles a race between a change and the revocation of its token.

use std::collections::BTreeSet;

use crate::{
    key::{EnvironmentKey, ProjectKey},
    operation::Operation,
    proposal::Actor,
    rejection::Rejection,
    state::State,
    token::{ActorType, Grant, Reach, Role, TokenFault, TokenSpec},
};

/// What the caller may do.
#[derive(Clone, Debug)]
pub(super) enum Authority {
    /// Everything: the cluster itself.
    System,
    /// What the token's grants say.
    Token(TokenSpec),
}

impl Authority {
    /// The actor's authority. Rejects a token that an earlier entry revoked, or whose time ran out.
    pub fn of(state: &State, actor: &Actor, now_ms: i64) -> Result<Self, Rejection> {
        let refuse = |fault| Rejection::Unauthenticated { fault };
        match (&actor.token, actor.actor_type) {
            (None, ActorType::System) => Ok(Self::System),
            (None, ActorType::User | ActorType::Service) => Err(refuse(TokenFault::Unknown)),
            (Some(id), _) => {
                let token = state.token(id).ok_or(refuse(TokenFault::Unknown))?;
                token.check(now_ms).map_err(refuse)?;
                Ok(Self::Token(token.spec.clone()))
            }
        }
    }

    /// Rejects a project that does not exist, and in the same words one that the caller must not know of. A project
    /// that the change itself creates passes.
    pub fn sees(
        &self,
        state: &State,
        project: &ProjectKey,
        operations: &[Operation],
    ) -> Result<(), Rejection> {
        let creates = matches!(operations.first(), Some(Operation::ProjectPut(_)));
        if self.may_see(project) && (creates || state.project(project).is_some()) {
            Ok(())
        } else {
            Err(Rejection::not_found("", "project", project))
        }
    }

    /// Whether the caller may know of the project.
    pub fn may_see(&self, project: &ProjectKey) -> bool {
        match self {
            Self::System => true,
            Self::Token(token) => token.sees(project),
        }
    }

    /// Requires a role on an environment, or on the project as a whole where that is `None`.
    pub fn require(
        &self,
        role: Role,
        project: &ProjectKey,
        environment: Option<&EnvironmentKey>,
    ) -> Result<(), Rejection> {
        self.require_on(
            role,
            environment
                .map_or(Reach::Project(project), |environment| Reach::Environment(project, environment)),
        )
    }

    fn require_on(&self, role: Role, reach: Reach<'_>) -> Result<(), Rejection> {
        match self {
            Self::System => Ok(()),
            Self::Token(token) if token.allows_on(role, reach) => Ok(()),
            Self::Token(_) => {
                let place = match reach {
                    Reach::Cluster => "every project".to_owned(),
                    Reach::Project(project) => format!("project {project} as a whole"),
                    Reach::Environment(project, environment) => {
                        format!("environment {environment} of project {project}")
                    }
                };
                Err(forbidden(format!("this needs a token with the role {role} on {place}")))
            }
        }
    }

    /// Requires a role on every environment that is touched, and on the project as a whole where none is.
    pub fn require_on_all(
        &self,
        role: Role,
        project: &ProjectKey,
        touched: &BTreeSet<EnvironmentKey>,
    ) -> Result<(), Rejection> {
        if touched.is_empty() {
            return self.require(role, project, None);
        }
        touched.iter().try_for_each(|environment| self.require(role, project, Some(environment)))
    }

    /// Requires a role on the cluster and every project.
    pub fn require_everywhere(&self, role: Role) -> Result<(), Rejection> {
        self.require_on(role, Reach::Cluster)
    }

    /// Requires the right to hand out these grants: ownership of all that they reach.
    pub fn require_ownership_of(&self, grants: &[Grant]) -> Result<(), Rejection> {
        Reach::of(grants).into_iter().try_for_each(|reach| self.require_on(Role::Owner, reach))
    }

    /// Requires to be the cluster itself.
    pub fn require_system(&self) -> Result<(), Rejection> {
        match self {
            Self::System => Ok(()),
            Self::Token(_) => Err(forbidden("only the cluster itself proposes this".to_owned())),
        }
    }
}

fn forbidden(message: String) -> Rejection {
    Rejection::Forbidden { path: String::new(), message }
}
