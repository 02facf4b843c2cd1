//! The operations on one environment of a flag.

use crate::{
    flag::{FlagEnvironment, FlagEnvironmentSpec, Rule, Serve, Target},
    invalid::Invalid,
    key::{EnvironmentKey, FlagKey},
    operation::{
        CopyPart, DefaultSet, FlagConfigure, FlagCopy, RolloutSet, RuleDelete, RulePut, TargetsAdd,
        TargetsRemove,
    },
    rejection::Rejection,
    token::Role,
};

use super::{
    authority::Authority,
    draft::{BeforeAfter, Draft, recorded},
    flags::require_live,
    references,
};

impl Draft {
    pub(super) fn flag_configure(
        &mut self,
        authority: &Authority,
        fields: &FlagConfigure,
    ) -> Result<BeforeAfter, Rejection> {
        self.edit(authority, &fields.flag, &fields.environment, fields.if_revision, "configuration", |spec| {
            *spec = fields.configuration.clone();
            Ok(())
        })
    }

    pub(super) fn flag_switch(
        &mut self,
        authority: &Authority,
        flag: &FlagKey,
        environment: &EnvironmentKey,
        enabled: bool,
        if_revision: Option<u64>,
    ) -> Result<BeforeAfter, Rejection> {
        self.edit(authority, flag, environment, if_revision, "flag", |spec| {
            spec.enabled = enabled;
            Ok(())
        })
    }

    pub(super) fn flag_copy(
        &mut self,
        authority: &Authority,
        fields: &FlagCopy,
    ) -> Result<BeforeAfter, Rejection> {
        for (path, environment) in [("/from", &fields.from), ("/to", &fields.to)] {
            if !self.project()?.environments.contains_key(environment) {
                return Err(Rejection::not_found(path, "environment", environment));
            }
        }
        let source = self.stored_flag(&fields.flag)?;
        let from = source.environments.get(&fields.from).map(FlagEnvironment::to_spec).unwrap_or_default();
        self.edit(authority, &fields.flag, &fields.to, fields.if_revision, "to", |to| {
            for part in &fields.parts {
                match part {
                    CopyPart::Enabled => to.enabled = from.enabled,
                    CopyPart::Prerequisites => to.prerequisites.clone_from(&from.prerequisites),
                    CopyPart::Targets => to.targets.clone_from(&from.targets),
                    CopyPart::Rules => to.rules.clone_from(&from.rules),
                    CopyPart::Default => {
                        to.default.clone_from(&from.default);
                        to.off_variant.clone_from(&from.off_variant);
                        to.safe_variant.clone_from(&from.safe_variant);
                    }
                }
            }
            Ok(())
        })
    }

    pub(super) fn rule_put(
        &mut self,
        authority: &Authority,
        fields: &RulePut,
    ) -> Result<BeforeAfter, Rejection> {
        self.edit(authority, &fields.flag, &fields.environment, fields.if_revision, "rule", |spec| {
            let stood = spec.rules.iter().position(|rule| rule.id == fields.rule.id);
            spec.rules.retain(|rule| rule.id != fields.rule.id);
            let index = match &fields.before {
                Some(before) => spec
                    .rules
                    .iter()
                    .position(|rule| rule.id == *before)
                    .ok_or_else(|| Rejection::not_found("/before", "rule", before))?,
                None => stood.unwrap_or(spec.rules.len()),
            };
            spec.rules.insert(index.min(spec.rules.len()), fields.rule.clone());
            Ok(())
        })
    }

    pub(super) fn rule_delete(
        &mut self,
        authority: &Authority,
        fields: &RuleDelete,
    ) -> Result<BeforeAfter, Rejection> {
        self.edit(authority, &fields.flag, &fields.environment, fields.if_revision, "rule", |spec| {
            let stood = spec.rules.len();
            spec.rules.retain(|rule| rule.id != fields.rule);
            if spec.rules.len() == stood {
                Err(Rejection::not_found("/rule", "rule", &fields.rule))
            } else {
                Ok(())
            }
        })
    }

    pub(super) fn rollout_set(
        &mut self,
        authority: &Authority,
        fields: &RolloutSet,
    ) -> Result<BeforeAfter, Rejection> {
        self.edit(authority, &fields.flag, &fields.environment, fields.if_revision, "weights", |spec| {
            let serve = match &fields.rule {
                None => spec.default.as_mut(),
                Some(id) => {
                    let rule: Option<&mut Rule> = spec.rules.iter_mut().find(|rule| rule.id == *id);
                    Some(&mut rule.ok_or_else(|| Rejection::not_found("/rule", "rule", id))?.serve)
                }
            };
            match serve {
                Some(Serve::Rollout(rollout)) => rollout.weights.clone_from(&fields.weights),
                _ => {
                    return Err(Rejection::Invalid {
                        path: "/rule".to_owned(),
                        message: "this serves one variant, not a rollout; give it a rollout with rule.put or default.set first".to_owned(),
                    });
                }
            }
            Ok(())
        })
    }

    pub(super) fn default_set(
        &mut self,
        authority: &Authority,
        fields: &DefaultSet,
    ) -> Result<BeforeAfter, Rejection> {
        self.edit(authority, &fields.flag, &fields.environment, fields.if_revision, "serve", |spec| {
            spec.default.clone_from(&fields.serve);
            Ok(())
        })
    }

    pub(super) fn targets_add(
        &mut self,
        authority: &Authority,
        fields: &TargetsAdd,
    ) -> Result<BeforeAfter, Rejection> {
        self.edit(authority, &fields.flag, &fields.environment, fields.if_revision, "values", |spec| {
            // One value has one variant: where another target of the same attribute lists it, it moves.
            for target in spec
                .targets
                .iter_mut()
                .filter(|target| target.by == fields.by && target.variant != fields.variant)
            {
                target.values.retain(|value| !fields.values.contains(value));
            }
            let own = spec
                .targets
                .iter_mut()
                .find(|target| target.by == fields.by && target.variant == fields.variant);
            match own {
                Some(target) => {
                    for value in &fields.values {
                        if !target.values.contains(value) {
                            target.values.push(value.clone());
                        }
                    }
                }
                None => spec.targets.push(Target {
                    by: fields.by.clone(),
                    values: fields.values.clone(),
                    variant: fields.variant.clone(),
                }),
            }
            spec.targets.retain(|target| !target.values.is_empty());
            Ok(())
        })
    }

    pub(super) fn targets_remove(
        &mut self,
        authority: &Authority,
        fields: &TargetsRemove,
    ) -> Result<BeforeAfter, Rejection> {
        self.edit(authority, &fields.flag, &fields.environment, fields.if_revision, "values", |spec| {
            for target in spec.targets.iter_mut().filter(|target| target.by == fields.by) {
                target.values.retain(|value| !fields.values.contains(value));
            }
            spec.targets.retain(|target| !target.values.is_empty());
            Ok(())
        })
    }

    /// Edits the flag's configuration in one environment. One that was never configured is edited from the defaults.
    /// A fault in the result is told at `field`, the operation's own field that made it.
    fn edit(
        &mut self,
        authority: &Authority,
        key: &FlagKey,
        environment: &EnvironmentKey,
        if_revision: Option<u64>,
        field: &str,
        edit: impl FnOnce(&mut FlagEnvironmentSpec) -> Result<(), Rejection>,
    ) -> Result<BeforeAfter, Rejection> {
        let project = self.project_key()?;
        self.environment(environment)?;
        let old = self.stored_flag(key)?;
        let before = old.environments.get(environment);
        let mut spec = before.map(FlagEnvironment::to_spec).unwrap_or_default();
        // A rule that is not there comes first, as every object that is missing; other faults wait their turn.
        let edited = match edit(&mut spec) {
            Err(missing @ Rejection::NotFound { .. }) => return Err(missing),
            edited => edited,
        };
        authority.require(Role::Writer, &project, Some(environment))?;
        require_live(&old)?;
        let configured = old.environments.contains_key(environment);
        let actual = old.system.environments.get(environment).copied().filter(|_| configured).unwrap_or(0);
        self.expect(|| format!("flag {key} in environment {environment}"), if_revision, actual)?;

        edited?;
        // The path within the configuration leads nowhere in the operation, unless that is the configuration itself.
        let at_field = |invalid: Invalid| match field {
            "configuration" => Rejection::invalid(invalid.under(field)),
            _ => Rejection::Invalid { path: format!("/{field}"), message: invalid.to_string() },
        };
        let configuration = FlagEnvironment::new(spec, &old.definition).map_err(at_field)?;
        let before_after = (recorded(before), recorded(Some(&configuration)));
        if before == Some(&configuration) {
            return Ok(before_after);
        }
        let mut flag = (*old).clone();
        flag.environments.insert(environment.clone(), configuration.clone());
        flag.system.environments.insert(environment.clone(), self.revision);
        self.put_flag(flag)?;
        references::check_configuration(self.project()?, environment, key, &configuration)
            .map_err(at_field)?;
        self.touch(&project, [environment.clone()]);
        Ok(before_after)
    }
}
