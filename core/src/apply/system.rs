//! The operations on the cluster itself.

use std::sync::Arc;

use crate::{
    identity::{ClusterId, History},
    operation::{
        SystemBootstrap, SystemClusterVersion, SystemLeadership, SystemRecover, SystemRestore, check_operator,
    },
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
        self.state.meta.cluster_version = fields.cluster_version.number();
        self.begin_history(Founding {
            cluster: fields.cluster,
            history: fields.history,
            members: fields.members.clone(),
        });
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

    /// The catalog came from a backup and has no history: this gives it one. What the record says of the backup is
    /// held against the state, so that no record can speak of another backup than the one that was restored.
    pub(super) fn restore(
        &mut self,
        authority: &Authority,
        fields: &SystemRestore,
    ) -> Result<BeforeAfter, Rejection> {
        require_unfounded(&self.state)?;
        authority.require_system()?;
        let from = &fields.from;
        if from.revision != self.state.revision()
            || from.audit_size != self.state.sequence()
            || from.audit_root != self.state.audit_root()
            || from.digest != self.state.digest().to_string()
        {
            return Err(Rejection::Invalid {
                path: "/from".to_owned(),
                message: "the catalog is not the one of this backup; restore into an empty folder again"
                    .to_owned(),
            });
        }
        require_fresh(fields.cluster, fields.history, from.cluster, from.history)?;
        require_operator(&fields.operator)?;
        self.clear_seats();
        self.clear_audit_keys();
        self.begin_history(Founding {
            cluster: fields.cluster,
            history: fields.history,
            members: fields.members.clone(),
        });
        Ok((recorded(Some(from)), recorded(Some(fields))))
    }

    pub(super) fn recover(
        &mut self,
        authority: &Authority,
        fields: &SystemRecover,
    ) -> Result<BeforeAfter, Rejection> {
        authority.require_system()?;
        let from = &fields.from;
        if self.state.cluster_id() != Some(from.cluster) || self.state.history() != Some(from.history) {
            return Err(Rejection::Invalid {
                path: "/from".to_owned(),
                message: "the catalog belongs to another cluster or history than the one that is recovered"
                    .to_owned(),
            });
        }
        require_fresh(fields.cluster, fields.history, from.cluster, from.history)?;
        require_operator(&fields.operator)?;
        let before = recorded(self.state.founding());
        // Before the founding names the survivor alone, for it says who else there was.
        self.leave_alone(&fields.members);
        self.clear_audit_keys();
        self.begin_history(Founding {
            cluster: fields.cluster,
            history: fields.history,
            members: fields.members.clone(),
        });
        Ok((before, recorded(Some(fields))))
    }

    fn begin_history(&mut self, founding: Founding) {
        self.state.meta.founding = Some(Arc::new(founding));
        self.changed_the_cluster();
    }
}

/// Rejects a cluster or history that goes by the name of the one it follows: revisions would mean two things.
fn require_fresh(
    cluster: ClusterId,
    history: History,
    old_cluster: ClusterId,
    old_history: History,
) -> Result<(), Rejection> {
    if cluster == old_cluster || history == old_history {
        return Err(Rejection::Invalid {
            path: "/history".to_owned(),
            message: "a cluster that is restored or recovered has an id and a history of its own".to_owned(),
        });
    }
    Ok(())
}

fn require_operator(operator: &str) -> Result<(), Rejection> {
    check_operator(operator).map_err(|invalid| Rejection::invalid(invalid.under("operator")))
}
