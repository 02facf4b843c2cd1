//! A flag's configuration in one environment: whether it is on, and what is served to whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize, Serializer};

use crate::{
    bucketing::{Divider, Method},
    condition::{Condition, check_regexes},
    flag::{FlagDefinition, Variants, check_variant, targeting_key},
    invalid::Invalid,
    key::{FlagKey, RuleId, SegmentKey, VariantKey},
    limits::{
        ATTRIBUTE_BYTES_MAX, CONDITIONS_MAX, FLAG_CONFIGURATION_BYTES_MAX, MATCH_VALUE_BYTES_MAX,
        PREREQUISITES_MAX, RULES_MAX, SHORT_TEXT_BYTES_MAX, TARGET_VALUES_MAX, VARIANTS_MAX,
        WEIGHT_TOTAL_MAX,
    },
    size::json_bytes,
    text::{check_attribute, check_text},
};

/// A configuration as a person states it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlagEnvironmentSpec {
    /// Whether the flag is on. Default: off.
    pub enabled: bool,
    /// Flags that must serve certain variants for this one to be served at all. Default: none.
    pub prerequisites: Vec<Prerequisite>,
    /// Values of an attribute that get a variant, whatever the rules say. Default: none.
    pub targets: Vec<Target>,
    /// Who gets what: the first rule that matches serves. Default: none.
    pub rules: Vec<Rule>,
    /// What is served where nothing matches. Default, and `null`: the caller's code default.
    pub default: Option<Serve>,
    /// The off variant here, in place of the definition's. Default: the definition's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub off_variant: Option<VariantKey>,
    /// The safe variant here, in place of the definition's. Default: the definition's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub safe_variant: Option<VariantKey>,
    /// A variant that wins over everything while it is held; the rules stay as they are. Default: none.
    pub hold: Option<Hold>,
}

/// A flag that must serve one of these variants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prerequisite {
    /// The flag.
    pub flag: FlagKey,
    /// The variants that satisfy.
    pub variants: Vec<VariantKey>,
}

/// Values of an attribute that get a variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The attribute. Default: `targetingKey`.
    #[serde(default = "targeting_key")]
    pub by: String,
    /// The values.
    pub values: Vec<String>,
    /// The variant that they get.
    pub variant: VariantKey,
}

/// Who gets what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The rule's id.
    pub id: RuleId,
    /// A name for people. Default: empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Who it is for. Default: everyone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
    /// What they get.
    pub serve: Serve,
}

/// What is served: one variant, or a rollout over several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", try_from = "RawServe")]
pub enum Serve {
    /// This variant.
    Variant(VariantKey),
    /// One of several, by the bucket that an attribute falls into.
    Rollout(Rollout),
}

/// Both fields that [`Serve`] may have: an enum would leave its variant out of the path to a fault.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawServe {
    variant: Option<VariantKey>,
    rollout: Option<Rollout>,
}

impl TryFrom<RawServe> for Serve {
    type Error = &'static str;

    fn try_from(raw: RawServe) -> Result<Self, Self::Error> {
        match (raw.variant, raw.rollout) {
            (Some(variant), None) => Ok(Self::Variant(variant)),
            (None, Some(rollout)) => Ok(Self::Rollout(rollout)),
            _ => Err("give either variant or rollout"),
        }
    }
}

/// A division of the users over variants. See [`crate::bucketing`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// The attribute that is hashed. Default: `targetingKey`.
    #[serde(default = "targeting_key")]
    pub by: String,
    /// What is hashed with it, so that different flags divide the users differently.
    pub seed: String,
    /// The variants and their shares, in the order in which they divide the buckets.
    pub weights: Vec<WeightedVariant>,
    /// How the users are divided: another system's way, for imported rollouts. Default: ours. Who states ours finds it
    /// stated: what was written with it is frozen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
}

/// A variant and its share of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightedVariant {
    /// The variant.
    pub variant: VariantKey,
    /// Its share of the rollout's total.
    pub weight: u32,
}

/// A variant that wins over everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// The variant.
    pub variant: VariantKey,
    /// What holds it.
    pub id: String,
}

/// A configuration that is valid against its flag's definition. What it names beyond the flag, other flags and
/// segments, is checked by `apply`. A clone shares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagEnvironment {
    spec: Arc<FlagEnvironmentSpec>,
    bytes: usize,
}

impl std::ops::Deref for FlagEnvironment {
    type Target = FlagEnvironmentSpec;

    fn deref(&self) -> &FlagEnvironmentSpec {
        &self.spec
    }
}

impl Serialize for FlagEnvironment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.spec.serialize(serializer)
    }
}

/// The variants that there are; `None` where the flag is not at hand, and every name passes.
type Known<'a> = Option<&'a Variants>;

fn check_named(field: &str, variant: &VariantKey, variants: Known<'_>) -> Result<(), Invalid> {
    variants.map_or(Ok(()), |variants| check_variant(field, Some(variant), variants))
}

impl FlagEnvironmentSpec {
    /// Checks what needs no more of the flag than its key. Whether the variants exist is seen by [`FlagEnvironment::new`].
    ///
    /// # Errors
    /// [`Invalid`] with the path to the first fault.
    pub fn validate(&self, flag: &FlagKey) -> Result<(), Invalid> {
        self.check(flag, None).map(drop)
    }

    /// Checks the configuration; returns its size.
    fn check(&self, flag: &FlagKey, variants: Known<'_>) -> Result<usize, Invalid> {
        for (field, variant) in [("off_variant", &self.off_variant), ("safe_variant", &self.safe_variant)] {
            variant.as_ref().map_or(Ok(()), |variant| check_named(field, variant, variants))?;
        }
        if let Some(hold) = &self.hold {
            check_named("variant", &hold.variant, variants)
                .and_then(|()| {
                    check_attribute("the id", &hold.id, SHORT_TEXT_BYTES_MAX)
                        .map_err(|invalid| invalid.under("id"))
                })
                .map_err(|invalid| invalid.under("hold"))?;
        }
        if let Some(serve) = &self.default {
            serve.check(variants).map_err(|invalid| invalid.under("default"))?;
        }
        check_prerequisites(&self.prerequisites, flag).map_err(|invalid| invalid.under("prerequisites"))?;
        check_targets(&self.targets, variants).map_err(|invalid| invalid.under("targets"))?;
        check_rules(&self.rules, variants).map_err(|invalid| invalid.under("rules"))?;
        // Counted as of one that is off: `false` has a byte more than `true`.
        let bytes = json_bytes(self).saturating_add(usize::from(self.enabled));
        if bytes > FLAG_CONFIGURATION_BYTES_MAX {
            return Err(Invalid::here(format!(
                "the configuration has {bytes} bytes of JSON; at most {FLAG_CONFIGURATION_BYTES_MAX} are kept; move long lists to segments"
            )));
        }
        Ok(bytes)
    }
}

impl FlagEnvironment {
    /// Checks a configuration against the definition.
    ///
    /// # Errors
    /// [`Invalid`] with the path to the first fault.
    pub fn new(spec: FlagEnvironmentSpec, definition: &FlagDefinition) -> Result<Self, Invalid> {
        let bytes = spec.check(&definition.key, Some(&definition.variants))?;
        Ok(Self { spec: Arc::new(spec), bytes })
    }

    /// The same configuration turned on or off. It needs no check, and its size stays, so this can't fail.
    #[must_use]
    pub fn switched(&self, enabled: bool) -> Self {
        let mut switched = self.clone();
        if self.enabled != enabled {
            Arc::make_mut(&mut switched.spec).enabled = enabled;
        }
        switched
    }

    /// Whether it is the very same one, shared.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.spec, &other.spec)
    }

    /// Its size: the bytes of its compact JSON, were it off.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The configuration as it was stated, to be edited.
    pub fn to_spec(&self) -> FlagEnvironmentSpec {
        (*self.spec).clone()
    }

    /// The prerequisites.
    pub fn prerequisites(&self) -> impl Iterator<Item = &Prerequisite> {
        self.prerequisites.iter()
    }

    /// The segments that its rules name.
    pub fn segments(&self) -> impl Iterator<Item = &SegmentKey> {
        self.rules.iter().filter_map(|rule| rule.when.as_ref()).flat_map(Condition::segments)
    }

    /// The variants of its own flag that it names.
    pub fn variants_used(&self) -> impl Iterator<Item = &VariantKey> {
        let served = self.rules.iter().map(|rule| &rule.serve).chain(&self.default).flat_map(Serve::variants);
        let named = self
            .off_variant
            .iter()
            .chain(&self.safe_variant)
            .chain(self.hold.iter().map(|hold| &hold.variant));
        served.chain(named).chain(self.targets.iter().map(|target| &target.variant))
    }
}

impl Serve {
    fn variants(&self) -> Vec<&VariantKey> {
        match self {
            Self::Variant(variant) => vec![variant],
            Self::Rollout(rollout) => rollout.weights.iter().map(|weighted| &weighted.variant).collect(),
        }
    }

    /// Checks what needs no knowledge of the flag.
    ///
    /// # Errors
    /// [`Invalid`] with the path to the first fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.check(None)
    }

    fn check(&self, variants: Known<'_>) -> Result<(), Invalid> {
        match self {
            Self::Variant(variant) => check_named("variant", variant, variants),
            Self::Rollout(rollout) => rollout.check(variants).map_err(|invalid| invalid.under("rollout")),
        }
    }
}

impl Rule {
    /// Checks what needs no knowledge of the flag.
    ///
    /// # Errors
    /// [`Invalid`] with the path to the first fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.check(None)
    }

    fn check(&self, variants: Known<'_>) -> Result<(), Invalid> {
        check_text("the name", &self.name, SHORT_TEXT_BYTES_MAX).map_err(|invalid| invalid.under("name"))?;
        if let Some(when) = &self.when {
            when.validate().map_err(|invalid| invalid.under("when"))?;
        }
        self.serve.check(variants).map_err(|invalid| invalid.under("serve"))
    }
}

impl Rollout {
    /// The sum of the weights.
    pub fn total(&self) -> u64 {
        total(&self.weights)
    }

    /// How the users are divided.
    pub fn method(&self) -> Method {
        self.method.unwrap_or_default()
    }

    /// The division made ready to be asked; it counts the weights as they stand.
    pub fn divider(&self) -> Divider {
        Divider::new(self.method(), &self.seed, self.weights.iter().map(|weighted| weighted.weight))
    }

    fn check(&self, variants: Known<'_>) -> Result<(), Invalid> {
        check_attribute("the attribute", &self.by, ATTRIBUTE_BYTES_MAX)
            .map_err(|invalid| invalid.under("by"))?;
        if !(self.seed.is_empty() && self.method().may_lack_seed()) {
            check_attribute("the seed", &self.seed, ATTRIBUTE_BYTES_MAX)
                .map_err(|invalid| invalid.under("seed"))?;
        }
        check_weights_of(&self.weights, variants)
            .and_then(|()| self.check_total())
            .map_err(|invalid| invalid.under("weights"))
    }

    /// Some methods count their buckets by themselves. The path is relative to the weights.
    fn check_total(&self) -> Result<(), Invalid> {
        let total = self.total();
        match self.method().total() {
            Some(needed) if total != u64::from(needed) => Err(Invalid::here(format!(
                "the weights add up to {total}; the method {} divides {needed} buckets, so make them add up to {needed}",
                self.method()
            ))),
            _ => Ok(()),
        }
    }
}

fn total(weights: &[WeightedVariant]) -> u64 {
    weights.iter().map(|weighted| u64::from(weighted.weight)).fold(0, u64::saturating_add)
}

/// Checks the weights of a rollout as far as that needs no knowledge of the flag. The path is relative to the list.
pub(crate) fn check_weights(weights: &[WeightedVariant]) -> Result<(), Invalid> {
    check_weights_of(weights, None)
}

fn check_weights_of(weights: &[WeightedVariant], variants: Known<'_>) -> Result<(), Invalid> {
    let mut seen = BTreeSet::new();
    for (index, weighted) in weights.iter().enumerate() {
        let at = |invalid: Invalid| invalid.under(index);
        check_named("variant", &weighted.variant, variants).map_err(at)?;
        if !seen.insert(&weighted.variant) {
            return Err(at(Invalid::new(
                "/variant",
                format!("variant {} has a weight already; add them up", weighted.variant),
            )));
        }
    }
    let total = total(weights);
    if total == 0 || total > u64::from(WEIGHT_TOTAL_MAX) {
        return Err(Invalid::here(format!(
            "the weights add up to {total}; they must add up to 1 to {WEIGHT_TOTAL_MAX}"
        )));
    }
    Ok(())
}

/// Checks the attribute and the values of one target. The path is relative to the target.
pub(crate) fn check_target(by: &str, values: &[String]) -> Result<(), Invalid> {
    check_attribute("the attribute", by, ATTRIBUTE_BYTES_MAX).map_err(|invalid| invalid.under("by"))?;
    if values.len() > TARGET_VALUES_MAX {
        return Err(Invalid::new("/values", too_many_targets(values.len())));
    }
    match values.iter().position(|value| value.len() > MATCH_VALUE_BYTES_MAX) {
        Some(place) => Err(Invalid::new(
            format!("/values/{place}"),
            format!("a value has at most {MATCH_VALUE_BYTES_MAX} bytes"),
        )),
        None => Ok(()),
    }
}

fn too_many_targets(count: usize) -> String {
    format!("the targets list {count} values; at most {TARGET_VALUES_MAX} are kept; use a segment")
}

fn check_prerequisites(prerequisites: &[Prerequisite], own: &FlagKey) -> Result<(), Invalid> {
    if prerequisites.len() > PREREQUISITES_MAX {
        return Err(Invalid::here(format!(
            "there are {}; at most {PREREQUISITES_MAX} are kept",
            prerequisites.len()
        )));
    }
    let mut seen = BTreeSet::new();
    for (index, prerequisite) in prerequisites.iter().enumerate() {
        let at = |field: &str, message: String| Err(Invalid::here(message).under(field).under(index));
        if prerequisite.flag == *own {
            return at("flag", "a flag can't depend on itself: that is a cycle of one".to_owned());
        }
        if !seen.insert(&prerequisite.flag) {
            return at(
                "flag",
                format!("flag {} stands here already; list all its variants there", prerequisite.flag),
            );
        }
        if prerequisite.variants.is_empty() {
            return at("variants", "name at least one variant; with none this could never be met".to_owned());
        }
        if prerequisite.variants.len() > VARIANTS_MAX {
            return at("variants", format!("name at most {VARIANTS_MAX} variants; a flag has no more"));
        }
    }
    Ok(())
}

fn check_targets(targets: &[Target], variants: Known<'_>) -> Result<(), Invalid> {
    let count: usize = targets.iter().map(|target| target.values.len()).fold(0, usize::saturating_add);
    if count > TARGET_VALUES_MAX {
        return Err(Invalid::here(too_many_targets(count)));
    }
    let mut seen = BTreeMap::new();
    for (index, target) in targets.iter().enumerate() {
        let at = |invalid: Invalid| invalid.under(index);
        check_target(&target.by, &target.values).map_err(at)?;
        check_named("variant", &target.variant, variants).map_err(at)?;
        for (place, value) in target.values.iter().enumerate() {
            if seen.insert((&target.by, value), &target.variant).is_some_and(|other| *other != target.variant)
            {
                return Err(at(Invalid::new(
                    format!("/values/{place}"),
                    format!("{value:?} is listed for two variants; one value has one variant"),
                )));
            }
        }
    }
    Ok(())
}

fn check_rules(rules: &[Rule], variants: Known<'_>) -> Result<(), Invalid> {
    if rules.len() > RULES_MAX {
        return Err(Invalid::here(format!("there are {} rules; at most {RULES_MAX} are kept", rules.len())));
    }
    let mut seen = BTreeSet::new();
    let (mut conditions, mut regexes): (usize, usize) = (0, 0);
    for (index, rule) in rules.iter().enumerate() {
        if !seen.insert(&rule.id) {
            return Err(Invalid::new(
                format!("/{index}/id"),
                format!("another rule has the id {}; ids are unique within an environment", rule.id),
            ));
        }
        rule.check(variants).map_err(|invalid| invalid.under(index))?;
        conditions = conditions.saturating_add(rule.when.as_ref().map_or(0, Condition::count));
        regexes = regexes.saturating_add(rule.when.as_ref().map_or(0, Condition::regexes));
    }
    if conditions > CONDITIONS_MAX {
        return Err(Invalid::here(format!(
            "the rules have {conditions} conditions; at most {CONDITIONS_MAX} are kept; use segments"
        )));
    }
    check_regexes(regexes)
}
