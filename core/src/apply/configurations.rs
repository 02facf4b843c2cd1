//! The operations on one environment of a flag.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Value, json};

use crate::{
    canonical::Canonical,
    flag::{FlagEnvironment, FlagEnvironmentSpec, Serve, Target},
    invalid::Invalid,
    key::{EnvironmentKey, FlagKey, RuleId, VariantKey},
    operation::{
        CopyPart, DefaultSet, FlagConfigure, FlagCopy, RolloutSet, RuleDelete, RulePut, TargetsAdd,
        TargetsRemove,
    },
    project::Flag,
    rejection::Rejection,
    token::Role,
};

use super::{
    authority::Authority,
    draft::{BeforeAfter, Draft, recorded},
    flags::require_live,
    references,
};

/// What an operation is on: a flag in an environment, at a revision if it says so.
#[derive(Clone, Copy)]
pub(super) struct Place<'o> {
    pub flag: &'o FlagKey,
    pub environment: &'o EnvironmentKey,
    pub if_revision: Option<u64>,
}

/// What an edit made of the configuration, and where that stands in the operation: so a fault in it can be pointed at.
struct Made {
    /// JSON pointers.
    within: Option<String>,
    in_operation: &'static str,
}

impl Made {
    fn of(within: impl Into<String>, in_operation: &'static str) -> Self {
        Self { within: Some(within.into()), in_operation }
    }

    fn nothing() -> Self {
        Self { within: None, in_operation: "" }
    }

    /// Where the operation has what is at `path` in the configuration.
    fn pointer(&self, path: &str) -> Option<String> {
        let rest = path.strip_prefix(self.within.as_deref()?)?;
        (rest.is_empty() || rest.starts_with('/')).then(|| format!("{}{rest}", self.in_operation))
    }
}

/// The place of an operation that has fields for it.
macro_rules! place {
    ($fields:ident) => {
        place!($fields, environment)
    };
    ($fields:ident, $environment:ident) => {
        Place { flag: &$fields.flag, environment: &$fields.$environment, if_revision: $fields.if_revision }
    };
}

pub(super) use place;

impl Draft {
    pub(super) fn flag_configure(
        &mut self,
        authority: &Authority,
        fields: &FlagConfigure,
    ) -> Result<BeforeAfter, Rejection> {
        let whole = each(|spec: &FlagEnvironmentSpec| recorded(Some(spec)));
        self.edit(authority, place!(fields), "/configuration", whole, |spec| {
            *spec = fields.configuration.clone();
            Ok(Made::of("", "/configuration"))
        })
    }

    /// Turns a flag on or off. Beside [`Self::edit`], for the kill switch is cheap whatever the flag holds: what it does
    /// not change it neither checks again nor records, and nothing that the flag holds can make it fail.
    pub(super) fn flag_switch(
        &mut self,
        authority: &Authority,
        place: Place<'_>,
        enabled: bool,
    ) -> Result<BeforeAfter, Rejection> {
        let old = self.configured_flag(place)?;
        self.require_editable(authority, place, &old)?;
        let before = old.environments.get(place.environment);
        let after = match before {
            Some(configuration) => configuration.switched(enabled),
            None => FlagEnvironment::new(
                FlagEnvironmentSpec { enabled, ..FlagEnvironmentSpec::default() },
                &old.definition,
            )
            .map_err(Rejection::invalid)?,
        };
        let switch =
            |configuration: &FlagEnvironment| Canonical::from(json!({"enabled": configuration.enabled}));
        let before_after = (before.map_or_else(Canonical::null, switch), switch(&after));
        if before.is_none_or(|before| before.enabled != enabled) {
            self.put_configuration(&old, place, after)?;
        }
        Ok(before_after)
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
        let copied: BTreeSet<&str> = fields.parts.iter().flat_map(|part| part.fields()).copied().collect();
        let parts = each(|spec: &FlagEnvironmentSpec| match serde_json::to_value(spec).unwrap_or_default() {
            Value::Object(all) => {
                all.into_iter().filter(|(field, _)| copied.contains(field.as_str())).collect()
            }
            other => other,
        });
        self.edit(authority, place!(fields, to), "/to", parts, |to| {
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
            Ok(Made::nothing())
        })
    }

    pub(super) fn rule_put(
        &mut self,
        authority: &Authority,
        fields: &RulePut,
    ) -> Result<BeforeAfter, Rejection> {
        let the_rule = each(|spec: &FlagEnvironmentSpec| rule(spec, &fields.rule.id));
        self.edit(authority, place!(fields), "/rule", the_rule, |spec| {
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
            let index = index.min(spec.rules.len());
            spec.rules.insert(index, fields.rule.clone());
            Ok(Made::of(format!("/rules/{index}"), "/rule"))
        })
    }

    pub(super) fn rule_delete(
        &mut self,
        authority: &Authority,
        fields: &RuleDelete,
    ) -> Result<BeforeAfter, Rejection> {
        let the_rule = each(|spec: &FlagEnvironmentSpec| rule(spec, &fields.rule));
        self.edit(authority, place!(fields), "/rule", the_rule, |spec| {
            let stood = spec.rules.len();
            spec.rules.retain(|rule| rule.id != fields.rule);
            if spec.rules.len() == stood {
                Err(Rejection::not_found("/rule", "rule", &fields.rule))
            } else {
                Ok(Made::nothing())
            }
        })
    }

    pub(super) fn rollout_set(
        &mut self,
        authority: &Authority,
        fields: &RolloutSet,
    ) -> Result<BeforeAfter, Rejection> {
        let weights = each(|spec: &FlagEnvironmentSpec| {
            let serve = match &fields.rule {
                None => spec.default.as_ref(),
                Some(id) => spec.rules.iter().find(|rule| rule.id == *id).map(|rule| &rule.serve),
            };
            match serve {
                Some(Serve::Rollout(rollout)) => json!({"weights": rollout.weights}),
                _ => Value::Null,
            }
        });
        self.edit(authority, place!(fields), "/weights", weights, |spec| {
            let (within, serve) = match &fields.rule {
                None => ("/default".to_owned(), spec.default.as_mut()),
                Some(id) => {
                    let found = spec.rules.iter_mut().enumerate().find(|(_, rule)| rule.id == *id);
                    let (index, rule) = found.ok_or_else(|| Rejection::not_found("/rule", "rule", id))?;
                    (format!("/rules/{index}/serve"), Some(&mut rule.serve))
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
            Ok(Made::of(within + "/rollout/weights", "/weights"))
        })
    }

    pub(super) fn default_set(
        &mut self,
        authority: &Authority,
        fields: &DefaultSet,
    ) -> Result<BeforeAfter, Rejection> {
        let default = each(|spec: &FlagEnvironmentSpec| json!({"default": spec.default}));
        self.edit(authority, place!(fields), "/serve", default, |spec| {
            spec.default.clone_from(&fields.serve);
            Ok(Made::of("/default", "/serve"))
        })
    }

    pub(super) fn targets_add(
        &mut self,
        authority: &Authority,
        fields: &TargetsAdd,
    ) -> Result<BeforeAfter, Rejection> {
        let given: BTreeSet<&str> = fields.values.iter().map(String::as_str).collect();
        let moved = |before: Option<&FlagEnvironmentSpec>, after: &FlagEnvironmentSpec| {
            targets_moved(before, after, &fields.by, &given)
        };
        self.edit(authority, place!(fields), "/values", moved, |spec| {
            // One value has one variant: where another target of the same attribute lists it, it moves.
            for target in spec
                .targets
                .iter_mut()
                .filter(|target| target.by == fields.by && target.variant != fields.variant)
            {
                target.values.retain(|value| !given.contains(value.as_str()));
            }
            let own = spec
                .targets
                .iter_mut()
                .find(|target| target.by == fields.by && target.variant == fields.variant);
            match own {
                Some(target) => {
                    let mut listed: BTreeSet<String> = target.values.iter().cloned().collect();
                    let fresh = fields.values.iter().filter(|value| listed.insert((*value).clone()));
                    target.values.extend(fresh.cloned());
                }
                None => spec.targets.push(Target {
                    by: fields.by.clone(),
                    values: fields.values.clone(),
                    variant: fields.variant.clone(),
                }),
            }
            spec.targets.retain(|target| !target.values.is_empty());
            let own = spec
                .targets
                .iter()
                .position(|target| target.by == fields.by && target.variant == fields.variant);
            // The fields of a target are the operation's own.
            Ok(own.map_or_else(Made::nothing, |index| Made::of(format!("/targets/{index}"), "")))
        })
    }

    pub(super) fn targets_remove(
        &mut self,
        authority: &Authority,
        fields: &TargetsRemove,
    ) -> Result<BeforeAfter, Rejection> {
        let given: BTreeSet<&str> = fields.values.iter().map(String::as_str).collect();
        let moved = |before: Option<&FlagEnvironmentSpec>, after: &FlagEnvironmentSpec| {
            targets_moved(before, after, &fields.by, &given)
        };
        self.edit(authority, place!(fields), "/values", moved, |spec| {
            for target in spec.targets.iter_mut().filter(|target| target.by == fields.by) {
                target.values.retain(|value| !given.contains(value.as_str()));
            }
            spec.targets.retain(|target| !target.values.is_empty());
            Ok(Made::nothing())
        })
    }

    /// Edits the flag's configuration in one environment. One that was never configured is edited from the defaults.
    /// A fault in what `edit` says that it made is pointed at in the operation; any other is told at `field`, the
    /// operation's field that brought it about. `describe` says what is recorded of the configuration before and after.
    fn edit(
        &mut self,
        authority: &Authority,
        place: Place<'_>,
        field: &str,
        describe: impl FnOnce(Option<&FlagEnvironmentSpec>, &FlagEnvironmentSpec) -> BeforeAfter,
        edit: impl FnOnce(&mut FlagEnvironmentSpec) -> Result<Made, Rejection>,
    ) -> Result<BeforeAfter, Rejection> {
        let old = self.configured_flag(place)?;
        let before = old.environments.get(place.environment);
        let mut spec = before.map(FlagEnvironment::to_spec).unwrap_or_default();
        // A rule that is not there comes first, as every object that is missing; other faults wait their turn.
        let edited = match edit(&mut spec) {
            Err(missing @ Rejection::NotFound { .. }) => return Err(missing),
            edited => edited,
        };
        self.require_editable(authority, place, &old)?;
        let made = edited?;
        let at_field = |invalid: Invalid| match made.pointer(&invalid.path) {
            Some(path) => Rejection::Invalid { path, message: invalid.message },
            None => Rejection::Invalid { path: field.to_owned(), message: invalid.to_string() },
        };
        let configuration = FlagEnvironment::new(spec, &old.definition).map_err(at_field)?;
        let before_after = describe(before.map(|before| &**before), &configuration);
        if before == Some(&configuration) {
            return Ok(before_after);
        }
        self.put_configuration(&old, place, configuration.clone())?;
        references::check_configuration(self.project()?, place.environment, place.flag, &configuration)
            .map_err(at_field)?;
        Ok(before_after)
    }

    /// The flag, in an environment that exists.
    fn configured_flag(&self, place: Place<'_>) -> Result<Arc<Flag>, Rejection> {
        self.environment(place.environment)?;
        self.stored_flag(place.flag)
    }

    /// Rejects an edit by who may not, of a flag that is gone, and of another revision than is expected.
    fn require_editable(
        &self,
        authority: &Authority,
        place: Place<'_>,
        flag: &Flag,
    ) -> Result<(), Rejection> {
        let Place { flag: key, environment, if_revision } = place;
        authority.require(Role::Writer, &self.project_key()?, Some(environment))?;
        require_live(flag)?;
        let configured = flag.environments.contains_key(environment);
        let actual = flag.system.environments.get(environment).copied().filter(|_| configured).unwrap_or(0);
        self.expect(|| format!("flag {key} in environment {environment}"), if_revision, actual)
    }

    fn put_configuration(
        &mut self,
        old: &Flag,
        place: Place<'_>,
        configuration: FlagEnvironment,
    ) -> Result<(), Rejection> {
        let mut flag = old.clone();
        flag.environments.insert(place.environment.clone(), configuration);
        flag.system.environments.insert(place.environment.clone(), self.revision);
        self.put_flag(flag)?;
        self.touch(&self.project_key()?, [place.environment.clone()]);
        Ok(())
    }
}

/// Describes the configuration before and the one after alike; `null` where there was none.
fn each<V: Into<Canonical>>(
    describe: impl Fn(&FlagEnvironmentSpec) -> V,
) -> impl FnOnce(Option<&FlagEnvironmentSpec>, &FlagEnvironmentSpec) -> BeforeAfter {
    move |before, after| {
        (before.map_or_else(Canonical::null, |before| describe(before).into()), describe(after).into())
    }
}

/// A rule, and where it stands among the others.
fn rule(spec: &FlagEnvironmentSpec, id: &RuleId) -> Value {
    let found = spec.rules.iter().enumerate().find(|(_, rule)| rule.id == *id);
    found.map_or(Value::Null, |(position, rule)| json!({"position": position, "rule": rule}))
}

/// The given values that got another variant, or none, each under the one that they had before and have after.
fn targets_moved(
    before: Option<&FlagEnvironmentSpec>,
    after: &FlagEnvironmentSpec,
    by: &str,
    given: &BTreeSet<&str>,
) -> BeforeAfter {
    let listed = |spec: &FlagEnvironmentSpec| -> BTreeMap<String, VariantKey> {
        let targets = spec.targets.iter().filter(|target| target.by == by);
        let values = targets.flat_map(|target| {
            let given = target.values.iter().filter(|value| given.contains(value.as_str()));
            given.map(|value| (value.clone(), target.variant.clone()))
        });
        values.collect()
    };
    let (had, have) = (before.map(listed).unwrap_or_default(), listed(after));
    let targets = |these: &BTreeMap<String, VariantKey>, others: &BTreeMap<String, VariantKey>| {
        let mut moved: BTreeMap<&VariantKey, Vec<&str>> = BTreeMap::new();
        for (value, variant) in these.iter().filter(|(value, variant)| others.get(*value) != Some(*variant)) {
            moved.entry(variant).or_default().push(value);
        }
        let moved = moved.into_iter();
        let targets: Vec<Value> =
            moved.map(|(variant, values)| json!({"by": by, "values": values, "variant": variant})).collect();
        Canonical::from(json!({"targets": targets}))
    };
    (before.map_or_else(Canonical::null, |_| targets(&had, &have)), targets(&have, &had))
}
