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

/// The newest cluster version that this binary knows, and the one that a new cluster begins with.
pub const CLUSTER_VERSION: u32 = 1;

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
        self.state.meta.cluster_version = CLUSTER_VERSION;
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
        let current = self.state.cluster_version();
        if fields.version < current || fields.version > CLUSTER_VERSION {
            return Err(Rejection::Invalid {
                path: "/version".to_owned(),
                message: format!(
                    "the cluster version is {current} and can be raised to {CLUSTER_VERSION}, not to {}",
                    fields.version
                ),
            });
        }
        if fields.version > current {
            self.state.meta.cluster_version = fields.version;
            self.changed_the_cluster();
        }
        Ok((recorded(Some(&current)), recorded(Some(&fields.version))))
    }
}
