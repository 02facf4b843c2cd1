//! A flag in one environment, ready to be evaluated.

use std::sync::Arc;

use serde_json::Value;
use smallvec::SmallVec;

use super::{
    attribute::AttributeName, condition::CompiledCondition, patterns::Patterns, table::Reference,
    values::TextSet,
};
use crate::{
    bucketing::Divider,
    configuration::{Rollout, Serve, Target},
    flag::{AuditEvaluations, FlagDefinition, FlagEnvironment},
    key::{EnvironmentKey, FlagKey, VariantKey},
    project::Flag,
    resolution::{Reason, Resolution},
};

/// A live flag as it is in one environment.
#[derive(Debug)]
pub(super) struct CompiledFlag {
    flag: Arc<Flag>,
    /// Two, as most flags have, lie in here: one step less to each answer.
    variants: SmallVec<[(VariantKey, Arc<Value>); 2]>,
    /// What is served when nobody can be sure.
    safe: Served,
    /// Whether it asks for its evaluations to be counted. Lies in here for the same reason.
    is_audited: bool,
    pub plan: Plan,
}

/// What is served: a variant, by its place; `None` is the caller's code default.
pub(super) type Served = Option<usize>;

/// How a flag is evaluated.
#[derive(Debug)]
pub(super) enum Plan {
    /// It is the same for everyone.
    Fixed(Served, Reason, Cause),
    /// It depends on the context. Shared by the revisions of the flag that it is the same for.
    Decide(Arc<Decision>),
}

/// Why a flag is the same for everyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// It was never configured in the environment.
    NotConfigured,
    /// A variant is held.
    Held,
    /// It is off.
    Disabled,
    /// It has nothing to decide by.
    Default,
}

/// What decides, in this order.
#[derive(Debug)]
pub(super) struct Decision {
    pub prerequisites: Box<[CompiledPrerequisite]>,
    pub targets: Box<[CompiledTarget]>,
    pub rules: Box<[CompiledRule]>,
    pub default: CompiledServe,
    pub off: Served,
}

#[derive(Debug)]
pub(super) struct CompiledPrerequisite {
    pub flag: Reference<FlagKey>,
    pub variants: Box<[VariantKey]>,
}

#[derive(Debug)]
pub(super) struct CompiledTarget {
    pub by: AttributeName,
    pub values: TextSet,
    pub variant: Served,
}

#[derive(Debug)]
pub(super) struct CompiledRule {
    /// `None`: everyone.
    pub when: Option<CompiledCondition>,
    pub serve: CompiledServe,
}

#[derive(Debug)]
pub(super) enum CompiledServe {
    Fixed(Served),
    Rollout(Box<CompiledRollout>),
}

#[derive(Debug)]
pub(super) struct CompiledRollout {
    pub by: AttributeName,
    pub divider: Divider,
    /// In the order of the weights.
    pub variants: Box<[Served]>,
}

impl CompiledFlag {
    /// Compiles a flag. What decides is taken from `known`, an earlier revision of it, where it is as it was there: of a
    /// change of its description nothing is compiled.
    pub fn new(
        flag: Arc<Flag>,
        environment: &EnvironmentKey,
        known: Option<&Self>,
        patterns: &mut Patterns,
    ) -> Self {
        let configuration = flag.environments.get(environment);
        let mut compiler = Compiler { definition: &flag.definition, patterns };
        let off = configuration.and_then(|configuration| configuration.off_variant.as_ref());
        let off = compiler.served(off.or(flag.definition.off_variant.as_ref()));
        let safe = configuration.and_then(|configuration| configuration.safe_variant.as_ref());
        // A flag that is critical only by what it depends on may have none: then it is what it is when it is off.
        let safe = safe.or(flag.definition.safe_variant.as_ref());
        let safe = safe.map_or(off, |safe| compiler.served(Some(safe)));
        let kept = known.and_then(|known| known.decision_for(&flag, environment, off));
        let plan = match (configuration, kept) {
            (None, _) => Plan::Fixed(off, Reason::Disabled, Cause::NotConfigured),
            (Some(_), Some(decision)) => Plan::Decide(decision),
            (Some(configuration), None) => compiler.plan(configuration, off),
        };
        let variants = flag.definition.variants.iter();
        let variants = variants.map(|(key, value)| (key.clone(), Arc::clone(value))).collect();
        let is_audited = flag.definition.audit_evaluations != AuditEvaluations::None;
        Self { variants, safe, is_audited, plan, flag }
    }

    pub fn flag(&self) -> &Arc<Flag> {
        &self.flag
    }

    /// The resolution to what is served.
    #[inline]
    pub fn resolve(&self, served: Served, reason: Reason) -> Resolution<'_> {
        let (variant, value) = match served.and_then(|place| self.variants.get(place)) {
            Some((variant, value)) => (variant.as_str(), Some(&**value)),
            None => ("", None),
        };
        Resolution { flag: &self.flag, variant, value, reason, detail: None, is_audited: self.is_audited }
    }

    /// What is served when nobody can be sure.
    pub fn safe_resolution(&self) -> Resolution<'_> {
        self.resolve(self.safe, Reason::Unknown)
    }

    /// Whether another revision of the flag is evaluated alike in the environment and answers with the same version.
    pub fn is_good_for(&self, flag: &Flag, environment: &EnvironmentKey) -> bool {
        let (ours, theirs) = (self.flag.environments.get(environment), flag.environments.get(environment));
        let is_same = match (ours, theirs) {
            (Some(ours), Some(theirs)) => ours.is_same(theirs),
            (None, None) => true,
            _ => false,
        };
        is_same
            && self.flag.definition.is_same(&flag.definition)
            && self.flag.evaluated_revision(environment) == flag.evaluated_revision(environment)
    }

    /// What decides here, if it decides another revision of the flag too: it is made of the configuration, of the places
    /// of the variants, and of what is served when the flag is off.
    fn decision_for(&self, flag: &Flag, environment: &EnvironmentKey, off: Served) -> Option<Arc<Decision>> {
        let Plan::Decide(decision) = &self.plan else { return None };
        let (ours, theirs) = (self.flag.environments.get(environment), flag.environments.get(environment));
        let is_same = decision.off == off
            && ours.is_some()
            && ours == theirs
            && self.flag.definition.variants.keys().eq(flag.definition.variants.keys());
        is_same.then(|| Arc::clone(decision))
    }
}

/// Compiles one flag.
struct Compiler<'a> {
    definition: &'a FlagDefinition,
    patterns: &'a mut Patterns,
}

impl Compiler<'_> {
    fn plan(&mut self, configuration: &FlagEnvironment, off: Served) -> Plan {
        if let Some(hold) = &configuration.hold {
            return Plan::Fixed(self.served(Some(&hold.variant)), Reason::TargetingMatch, Cause::Held);
        }
        if !configuration.enabled {
            return Plan::Fixed(off, Reason::Disabled, Cause::Disabled);
        }
        let default = match &configuration.default {
            None => CompiledServe::Fixed(None),
            Some(serve) => self.serve(serve),
        };
        let decides = !(configuration.rules.is_empty()
            && configuration.targets.is_empty()
            && configuration.prerequisites.is_empty());
        if let (false, CompiledServe::Fixed(served)) = (decides, &default) {
            return Plan::Fixed(*served, Reason::Static, Cause::Default);
        }
        let prerequisites = configuration.prerequisites().map(|prerequisite| CompiledPrerequisite {
            flag: Reference::new(prerequisite.flag.clone()),
            variants: prerequisite.variants.clone().into(),
        });
        let rules = configuration.rules.iter().map(|rule| CompiledRule {
            when: rule.when.as_ref().map(|when| CompiledCondition::new(when, self.patterns)),
            serve: self.serve(&rule.serve),
        });
        let rules = rules.collect();
        Plan::Decide(Arc::new(Decision {
            prerequisites: prerequisites.collect(),
            targets: configuration.targets.iter().map(|target| self.target(target)).collect(),
            rules,
            default,
            off,
        }))
    }

    /// A configuration names only variants that exist; were one missing all the same, the code default is served.
    fn served(&self, variant: Option<&VariantKey>) -> Served {
        let variant = variant?;
        self.definition.variants.keys().position(|key| key == variant)
    }

    fn target(&self, target: &Target) -> CompiledTarget {
        CompiledTarget {
            by: AttributeName::new(&target.by),
            values: TextSet::new(target.values.iter().map(|value| value.as_str().into()).collect()),
            variant: self.served(Some(&target.variant)),
        }
    }

    fn serve(&self, serve: &Serve) -> CompiledServe {
        match serve {
            Serve::Variant(variant) => CompiledServe::Fixed(self.served(Some(variant))),
            Serve::Rollout(rollout) => CompiledServe::Rollout(Box::new(self.rollout(rollout))),
        }
    }

    fn rollout(&self, rollout: &Rollout) -> CompiledRollout {
        CompiledRollout {
            by: AttributeName::new(&rollout.by),
            divider: rollout.divider(),
            variants: rollout.weights.iter().map(|weighted| self.served(Some(&weighted.variant))).collect(),
        }
    }
}
