//! The flag as a person reads and writes it: one JSON object with the definition and `environments` in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

use crate::{
    flag::{FlagDefinition, FlagEnvironment, FlagEnvironmentSpec, FlagSpec},
    invalid::Invalid,
    key::EnvironmentKey,
    parse,
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
        let Value::Object(mut object) = value else {
            return Err(Invalid::here("a flag is a JSON object"));
        };
        object.remove("system");
        let environments = match object.remove("environments") {
            None => BTreeMap::new(),
            Some(environments) => {
                parse::from_value(environments).map_err(|invalid| invalid.under("environments"))?
            }
        };
        Ok(Self { definition: parse::from_value(Value::Object(object))?, environments })
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

impl Serialize for FlagDocument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;
        let mut value = serde_json::to_value(&self.definition).map_err(S::Error::custom)?;
        if let Some(object) = value.as_object_mut() {
            let environments = serde_json::to_value(&self.environments).map_err(S::Error::custom)?;
            object.insert("environments".to_owned(), environments);
        }
        value.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FlagDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
