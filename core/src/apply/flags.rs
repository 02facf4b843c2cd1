//! The operations on flags as a whole: put, copy, archive, restore, delete. Those on one environment of a flag are in
//! [`super::configurations`].

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use crate::{
    canonical::Canonical,
    flag::{FlagDefinition, FlagEnvironment, FlagEnvironmentSpec, FlagSpec},
    invalid::Invalid,
    key::{EnvironmentKey, FlagKey, ProjectKey},
    limits::{FLAG_BYTES_MAX, FLAG_KEYS_MAX, FLAGS_MAX},
    operation::{FlagArchive, FlagDelete, FlagPut, FlagRestore},
    project::{Flag, FlagSystem},
    rejection::Rejection,
    rows::RowId,
    token::Role,
};

use super::{
    authority::Authority,
    draft::{BeforeAfter, Draft},
    references,
    tenancy::limit,
};

impl Draft {
    pub(super) fn flag_put(
        &mut self,
        authority: &Authority,
        fields: &FlagPut,
    ) -> Result<BeforeAfter, Rejection> {
        let project = self.project_key()?;
        let key = &fields.flag.definition.key;
        let old = self.project()?.flags.get(key).cloned();
        let in_flag = |invalid: Invalid| Rejection::invalid(invalid.under("flag"));

        for environment in fields.flag.environments.keys() {
            if !self.project()?.environments.contains_key(environment) {
                return Err(Rejection::not_found(
                    format!("/flag/environments/{environment}"),
                    "environment",
                    environment,
                ));
            }
        }
        for (index, test) in fields.flag.definition.tests.iter().enumerate() {
            if !self.project()?.environments.contains_key(&test.environment) {
                let path = format!("/flag/tests/{index}/environment");
                return Err(Rejection::not_found(path, "environment", &test.environment));
            }
        }
        // Faults in it wait their turn.
        let checked = fields.flag.checked();
        let definition_changes = old.as_ref().is_none_or(|old| match &checked {
            Ok((definition, _)) => old.definition != *definition,
            Err(_) => differs(&old.definition, &fields.flag.definition),
        });
        if definition_changes {
            authority.require(Role::Writer, &project, None)?;
        }
        for environment in fields.flag.environments.keys() {
            authority.require(Role::Writer, &project, Some(environment))?;
        }
        if let Some(old) = &old {
            require_live(old)?;
            require_same_type(old, &fields.flag.definition)?;
        }
        self.expect(
            || format!("flag {key}"),
            fields.if_revision,
            old.as_ref().map_or(0, |flag| flag.revision()),
        )?;
        if old.is_none() {
            self.require_room_for_a_flag()?;
            if self.project()?.flags.len() >= FLAG_KEYS_MAX {
                return Err(limit(format!(
                    "a project has at most {FLAG_KEYS_MAX} flag keys, those of deleted flags included; begin another project"
                )));
            }
        }
        let (definition, named) = checked.map_err(in_flag)?;
        let mut environments = old.as_ref().map(|old| old.environments.clone()).unwrap_or_default();
        environments.extend(named);
        let flag = self.revised(old.as_deref(), definition, environments);
        let describe = |flag: &Flag| describe(flag, &fields.flag.environments);
        let before_after = (old.as_deref().map_or_else(Canonical::null, describe), describe(&flag));
        if old.as_deref().is_some_and(|old| *old == flag) {
            return Ok(before_after);
        }

        // What evaluation sees of a definition is part of the answer in every environment, be it only the off variant.
        let touched: Vec<EnvironmentKey> =
            if old.as_ref().is_none_or(|old| !old.definition.evaluates_like(&flag.definition)) {
                self.project()?.environments.keys().cloned().collect()
            } else {
                fields
                    .flag
                    .environments
                    .keys()
                    .filter(|e| {
                        old.as_ref().and_then(|old| old.environments.get(*e)) != flag.environments.get(*e)
                    })
                    .cloned()
                    .collect()
            };
        self.put_flag(flag)?;
        self.check_references(key, fields.flag.environments.keys()).map_err(in_flag)?;
        if let Some(old) = &old {
            self.require_variants_unused(old, fields)?;
        }
        self.touch(&project, touched);
        Ok(before_after)
    }

    pub(super) fn flag_archive(
        &mut self,
        authority: &Authority,
        fields: &FlagArchive,
    ) -> Result<BeforeAfter, Rejection> {
        let (project, old) = self.whole_flag(authority, &fields.flag)?;
        if old.system.deleted.is_some() {
            require_live(&old)?;
        }
        self.expect_flag(&old, fields.if_revision)?;
        if old.system.archived.is_some() {
            return Ok((life(&old).into(), life(&old).into()));
        }
        self.require_unused(&fields.flag)?;
        let mut flag = (*old).clone();
        flag.system.archived = Some(self.stamp());
        let (before, after) = self.retire_or_revive(&project, &old, flag)?;
        Ok((before.into(), after.into()))
    }

    pub(super) fn flag_delete(
        &mut self,
        authority: &Authority,
        fields: &FlagDelete,
    ) -> Result<BeforeAfter, Rejection> {
        if self.stored_flag(&fields.flag)?.system.deleted.is_some() {
            return Err(Rejection::not_found("/flag", "flag", &fields.flag));
        }
        let (project, old) = self.whole_flag(authority, &fields.flag)?;
        self.expect_flag(&old, fields.if_revision)?;
        self.require_unused(&fields.flag)?;
        let mut flag = (*old).clone();
        flag.system.deleted = Some(self.stamp());
        let (before, after) = self.retire_or_revive(&project, &old, flag)?;
        Ok((before.into(), after.into()))
    }

    pub(super) fn flag_restore(
        &mut self,
        authority: &Authority,
        fields: &FlagRestore,
    ) -> Result<BeforeAfter, Rejection> {
        let (project, old) = self.whole_flag(authority, &fields.flag)?;
        if old.is_live() {
            self.expect_flag(&old, fields.if_revision)?;
            return Ok((life(&old).into(), life(&old).into()));
        }
        self.require_room_for_a_flag()?;
        let mut flag = (*old).clone();
        flag.system.archived = None;
        flag.system.deleted = None;
        // It comes back disabled everywhere: a reactivation is never a surprise.
        for (environment, configuration) in &mut flag.environments {
            let mut spec = configuration.to_spec();
            spec.enabled = false;
            // A hold wins over the switch.
            spec.hold = None;
            *configuration = FlagEnvironment::new(spec, &flag.definition).map_err(Rejection::invalid)?;
            flag.system.environments.insert(environment.clone(), self.revision);
        }
        let environments: Vec<EnvironmentKey> = flag.environments.keys().cloned().collect();
        let switches = (switches(&old), switches(&flag));
        let (before, after) = self.retire_or_revive(&project, &old, flag)?;
        let before_after =
            (with_environments(before, switches.0).into(), with_environments(after, switches.1).into());
        self.check_references(&fields.flag, environments.iter()).map_err(|invalid| Rejection::Conflict {
            path: "/flag".to_owned(),
            message: format!("flag {} can't come back as it was: {}", fields.flag, invalid.message),
        })?;
        // After the conflict, for that stands whatever revision was expected.
        self.expect_flag(&old, fields.if_revision)?;
        Ok(before_after)
    }

    fn require_room_for_a_flag(&self) -> Result<(), Rejection> {
        if self.project()?.live_flags >= FLAGS_MAX {
            return Err(limit(format!(
                "a project has at most {FLAGS_MAX} flags; archive some that are done"
            )));
        }
        Ok(())
    }

    /// Puts a flag and notes its row. Rejects one that is too large as a whole.
    pub(super) fn put_flag(&mut self, flag: Flag) -> Result<(), Rejection> {
        let bytes = flag.bytes();
        if bytes > FLAG_BYTES_MAX {
            return Err(Rejection::Invalid {
                path: "/flag".to_owned(),
                message: format!(
                    "the flag would have {bytes} bytes of JSON in all environments together; at most {FLAG_BYTES_MAX} are kept; move long lists to segments"
                ),
            });
        }
        let row = RowId::Flag(self.project_key()?, flag.definition.key.clone());
        self.project_mut()?.put_flag(Arc::new(flag));
        self.wrote([row]);
        Ok(())
    }

    /// Checks what the flag's configuration names, in these environments. The path of the error is relative to the flag.
    pub(super) fn check_references<'a>(
        &self,
        key: &FlagKey,
        environments: impl Iterator<Item = &'a EnvironmentKey>,
    ) -> Result<(), Invalid> {
        let Ok(project) = self.project() else { return Ok(()) };
        let Some(flag) = project.live_flag(key) else { return Ok(()) };
        for environment in environments {
            let Some(configuration) = flag.environments.get(environment) else { continue };
            references::check_configuration(project, environment, key, configuration)
                .map_err(|invalid| invalid.under(environment).under("environments"))?;
        }
        Ok(())
    }

    /// The flag, be it archived or deleted, or a rejection.
    pub(super) fn stored_flag(&self, key: &FlagKey) -> Result<Arc<Flag>, Rejection> {
        self.project()?.flags.get(key).cloned().ok_or_else(|| Rejection::not_found("/flag", "flag", key))
    }

    /// The flag for an operation on it as a whole, with the caller's right to it checked.
    fn whole_flag(&self, authority: &Authority, key: &FlagKey) -> Result<(ProjectKey, Arc<Flag>), Rejection> {
        let (project, flag) = (self.project_key()?, self.stored_flag(key)?);
        authority.require(Role::Writer, &project, None)?;
        Ok((project, flag))
    }

    fn expect_flag(&self, flag: &Flag, if_revision: Option<u64>) -> Result<(), Rejection> {
        self.expect(|| format!("flag {}", flag.definition.key), if_revision, flag.revision())
    }

    fn retire_or_revive(
        &mut self,
        project: &ProjectKey,
        old: &Flag,
        mut flag: Flag,
    ) -> Result<(Value, Value), Rejection> {
        flag.system.revision = self.revision;
        flag.system.evaluated_revision = self.revision;
        let before_after = (life(old), life(&flag));
        self.put_flag(flag)?;
        let environments: Vec<EnvironmentKey> = self.project()?.environments.keys().cloned().collect();
        self.touch(project, environments);
        Ok(before_after)
    }

    fn require_unused(&self, key: &FlagKey) -> Result<(), Rejection> {
        match references::dependant(self.project()?, key, |_| false) {
            None => Ok(()),
            Some(user) => Err(Rejection::InUse {
                path: "/flag".to_owned(),
                message: format!("{user} depends on flag {key}; take the prerequisite out there first"),
            }),
        }
    }

    /// Rejects the removal of a variant that a configuration which stays, or another flag, relies on.
    fn require_variants_unused(&self, old: &Flag, fields: &FlagPut) -> Result<(), Rejection> {
        let (definition, replaced) = (&fields.flag.definition, &fields.flag.environments);
        let in_use = |variant: &str, user: String| Rejection::InUse {
            path: "/flag/variants".to_owned(),
            message: format!("variant {variant} is used by {user}; change that first"),
        };
        let removed =
            old.definition.variants.keys().filter(|variant| !definition.variants.contains_key(*variant));
        for variant in removed {
            let mut stays = old.environments.iter().filter(|(e, _)| !replaced.contains_key(*e));
            let user = stays.find(|(_, configuration)| configuration.variants_used().any(|v| v == variant));
            if let Some((environment, _)) = user {
                return Err(in_use(
                    variant,
                    format!("the flag's configuration in environment {environment}"),
                ));
            }
            if let Some(user) =
                references::dependant(self.project()?, &definition.key, |kept| kept != variant.as_str())
            {
                return Err(in_use(variant, user));
            }
        }
        Ok(())
    }

    /// The flag with this definition and configuration, and the revisions that follow from what changed.
    fn revised(
        &self,
        old: Option<&Flag>,
        definition: FlagDefinition,
        environments: BTreeMap<EnvironmentKey, FlagEnvironment>,
    ) -> Flag {
        let Some(old) = old else {
            let system = FlagSystem {
                revision: self.revision,
                evaluated_revision: self.revision,
                environments: environments
                    .keys()
                    .map(|environment| (environment.clone(), self.revision))
                    .collect(),
                created: self.stamp(),
                archived: None,
                deleted: None,
            };
            return Flag { definition, environments, system };
        };
        let mut system = old.system.clone();
        if old.definition != definition {
            system.revision = self.revision;
        }
        if !old.definition.evaluates_like(&definition) {
            system.evaluated_revision = self.revision;
        }
        for (environment, configuration) in &environments {
            if old.environments.get(environment) != Some(configuration) {
                system.environments.insert(environment.clone(), self.revision);
            }
        }
        Flag { definition, environments, system }
    }
}

/// Whether putting this definition would change the stored one. A definition that is not valid does; one that is may
/// stand beside a configuration that is not.
fn differs(stored: &FlagDefinition, given: &FlagSpec) -> bool {
    FlagDefinition::new(given.clone()).map_or(true, |given| *stored != given)
}

fn require_same_type(old: &Flag, given: &FlagSpec) -> Result<(), Rejection> {
    if old.definition.flag_type == given.flag_type {
        return Ok(());
    }
    Err(Rejection::Conflict {
        path: "/flag/type".to_owned(),
        message: "a flag's type never changes, for callers rely on it; make a new flag".to_owned(),
    })
}

/// Rejects a flag that is archived or deleted.
pub(super) fn require_live(flag: &Flag) -> Result<(), Rejection> {
    let state = match (&flag.system.deleted, &flag.system.archived) {
        (Some(_), _) => "deleted",
        (None, Some(_)) => "archived",
        (None, None) => return Ok(()),
    };
    Err(Rejection::Conflict {
        path: "/flag".to_owned(),
        message: format!(
            "flag {} is {state}; bring it back with flag.restore, or use another key",
            flag.definition.key
        ),
    })
}

/// What is recorded of a flag that is put: its definition, and its configuration in the environments that the put names.
fn describe(flag: &Flag, named: &BTreeMap<EnvironmentKey, FlagEnvironmentSpec>) -> Canonical {
    flag.to_canonical(|environment| named.contains_key(environment))
}

/// What is recorded of a flag that goes or comes back.
fn life(flag: &Flag) -> Value {
    json!({"system": {"archived": flag.system.archived, "deleted": flag.system.deleted}})
}

/// Whether the flag is on and what is held, by environment: what a flag that comes back loses.
fn switches(flag: &Flag) -> Value {
    let switch = |(environment, configuration): (&EnvironmentKey, &FlagEnvironment)| {
        (environment.to_string(), json!({"enabled": configuration.enabled, "hold": configuration.hold}))
    };
    Value::Object(flag.environments.iter().map(switch).collect())
}

fn with_environments(mut described: Value, environments: Value) -> Value {
    if let Some(object) = described.as_object_mut() {
        object.insert("environments".to_owned(), environments);
    }
    described
}
