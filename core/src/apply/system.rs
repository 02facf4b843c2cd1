//! The operations on the cluster itself.

use std::sync::Arc;

use crate::{
    operation::{SystemBootstrap, SystemClusterVersion, SystemLeadership},
    rejection::Rejection,
    state::{Founding, State},
    token::Role,
};

use super::{
    authority::Authority,
    draft::{BeforeAfter, Draft, recorded},
};

/// Rejects a second founding.
pub(super) fn require_unfounded(state: &State) -> Result<(), Rejection> {
    match state.founding() {
        None => Ok(()),
        Some(_) => Err(Rejection::Bootstrap {
            message: "the cluster is founded already; start this node without --bootstrap".to_owned(),
        }),
    }
}

impl Draft {
    pub(super) fn bootstrap(
        &mut self,
        authority: &Authority,
        fields: &SystemBootstrap,
    ) -> Result<BeforeAfter, Rejection> {
        require_unfounded(&self.state)?;
        authority.require_system()?;
        self.state.meta.founding = Some(Arc::new(Founding {
            cluster: fields.cluster,
            history: fields.history,
            members: fields.members.clone(),
        }));
        self.state.meta.cluster_version = fields.cluster_version.number();
        self.changed_the_cluster();
        Ok((recorded::<()>(None), recorded(Some(fields))))
    }

    /// Raft keeps the membership; the record of who changed it, when and why is the whole effect here.
    pub(super) fn membership(&mut self, authority: &Authority) -> Result<BeforeAfter, Rejection> {
        authority.require_everywhere(Role::Owner)?;
        self.changed_the_cluster();
        Ok((recorded::<()>(None), recorded::<()>(None)))
    }

    pub(super) fn leadership(
        &mut self,
        authority: &Authority,
        fields: &SystemLeadership,
    ) -> Result<BeforeAfter, Rejection> {
        authority.require_everywhere(Role::Operator)?;
        self.changed_the_cluster();
        Ok((recorded::<()>(None), recorded(Some(&fields.to))))
    }

    pub(super) fn cluster_version(
        &mut self,
        authority: &Authority,
        fields: &SystemClusterVersion,
    ) -> Result<BeforeAfter, Rejection> {
        authority.require_everywhere(Role::Owner)?;
        let (current, version) = (self.state.cluster_version(), fields.version.number());
        if version < current {
            return Err(Rejection::Invalid {
                path: "/version".to_owned(),
                message: format!(
                    "the cluster version is {current}; it can be raised, not lowered to {version}"
                ),
            });
        }
        if version > current {
            self.state.meta.cluster_version = version;
            self.changed_the_cluster();
        }
        Ok((recorded(Some(&current)), recorded(Some(&version))))
    }
}
