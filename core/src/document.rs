//! The flag as a person reads and writes it: one JSON object with the definition and `environments` in it.

use std::collections::BTreeMap;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, IgnoredAny},
};
use serde_json::Value;

use crate::{
    canonical::Canonical,
    flag::{FlagDefinition, FlagEnvironment, FlagEnvironmentSpec, FlagSpec},
    invalid::Invalid,
    key::EnvironmentKey,
    parse::{self, TakeFields, Without},
};

/// A flag to be put: its definition and the environments that it names. Not yet checked against each other:
/// `apply` does that, for what an environment may say depends on the definition.
#[derive(Clone, Debug, PartialEq)]
pub struct FlagDocument {
    /// The definition.
    pub definition: FlagSpec,
    /// The configuration of the environments that are named; the others stay as they are.
    pub environments: BTreeMap<EnvironmentKey, FlagEnvironmentSpec>,
}

impl FlagDocument {
    /// Reads the object of the API. `system` is what reads give; it is ignored, so that what one gets one may put.
    pub fn from_value(value: Value) -> Result<Self, Invalid> {
        if !value.is_object() {
            return Err(Invalid::here("a flag is a JSON object"));
        }
        parse::from_value(value)
    }

    /// The definition and the configurations, checked as far as they can be without the catalog: what they name beyond
    /// the flag, other flags, segments and environments, is checked by `apply`.
    ///
    /// # Errors
    /// [`Invalid`] with the path to the first fault.
    pub fn checked(&self) -> Result<(FlagDefinition, BTreeMap<EnvironmentKey, FlagEnvironment>), Invalid> {
        let definition = FlagDefinition::new(self.definition.clone())?;
        let environments = self.environments.iter().map(|(environment, spec)| {
            FlagEnvironment::new(spec.clone(), &definition)
                .map(|configuration| (environment.clone(), configuration))
                .map_err(|invalid| invalid.under(environment).under("environments"))
        });
        let environments = environments.collect::<Result<_, _>>()?;
        Ok((definition, environments))
    }
}

/// What stands in a flag beside its definition.
struct NamedEnvironments(Option<BTreeMap<EnvironmentKey, FlagEnvironmentSpec>>);

impl<'de> TakeFields<'de> for NamedEnvironments {
    fn takes(&self, name: &str) -> bool {
        matches!(name, "environments" | "system")
    }

    fn take<D: Deserializer<'de>>(&mut self, name: &str, value: D) -> Result<(), D::Error> {
        if name == "system" {
            return IgnoredAny::deserialize(value).map(drop);
        }
        match self.0.replace(Deserialize::deserialize(value)?) {
            None => Ok(()),
            Some(_) => Err(D::Error::duplicate_field("environments")),
        }
    }
}

impl Serialize for FlagDocument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;

        #[derive(Serialize)]
        struct Document<'a> {
            #[serde(flatten)]
            definition: &'a FlagSpec,
            environments: &'a BTreeMap<EnvironmentKey, FlagEnvironmentSpec>,
        }
        let Self { definition, environments } = self;
        // Its fields stand in order in the log, as they always did.
        let canonical = Canonical::of(&Document { definition, environments }).map_err(S::Error::custom)?;
        canonical.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FlagDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut named = NamedEnvironments(None);
        let definition = FlagSpec::deserialize(Without { inner: deserializer, taker: &mut named })?;
        Ok(Self { definition, environments: named.0.unwrap_or_default() })
    }
}
