//! How another system's flag was translated: what became of it, how sure that is, and where it differs.

use std::collections::BTreeSet;

use serde::{Serialize, Serializer, ser::SerializeStruct as _};
use serde_json::Value;

use super::flagd::Imported;
use crate::output::{cell, condition, served};

/// How sure a translation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sureness {
    /// It answers alike for every context.
    Exact,
    /// It answers alike for every context but those that it names.
    ExactExcept,
    /// It has no equal here and was not translated.
    Refused,
}

impl Sureness {
    /// The words for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::ExactExcept => "exact, except",
            Self::Refused => "refused",
        }
    }
}

/// One flag's translation.
#[derive(Debug, PartialEq)]
pub struct Translation {
    /// The flag's key.
    pub flag: String,
    /// Why there is none.
    pub refused: Option<String>,
    /// What became of its targeting: a line for each rule, the condition in its text form, and a last one for the default.
    pub rules: Vec<String>,
    /// The contexts for which it may answer otherwise.
    pub except: BTreeSet<String>,
    /// What else to know.
    pub notes: BTreeSet<String>,
}

impl Translation {
    /// The account of a flag that was read.
    pub fn of(imported: &Imported) -> Self {
        let environments = imported.flag.iter().flat_map(|flag| flag["environments"].as_object());
        let rules = environments.flat_map(|environments| environments.values()).flat_map(lines);
        Self {
            flag: imported.key.clone(),
            refused: imported.flag.as_ref().err().cloned(),
            rules: rules.collect(),
            except: imported.remarks.except.clone(),
            notes: imported.remarks.notes.clone(),
        }
    }

    /// How sure it is.
    pub fn sureness(&self) -> Sureness {
        match (&self.refused, self.except.is_empty()) {
            (Some(_), _) => Sureness::Refused,
            (None, true) => Sureness::Exact,
            (None, false) => Sureness::ExactExcept,
        }
    }

    /// Whether there is nothing to tell: the flag is a default without rules.
    pub fn is_plain(&self) -> bool {
        self.sureness() == Sureness::Exact && self.rules.len() <= 1 && self.notes.is_empty()
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let mut lines = vec![match &self.refused {
            Some(why) => format!("{}: left out: {why}", self.flag),
            None => format!("{}: {}", self.flag, self.sureness().as_str()),
        }];
        if self.refused.is_none() {
            lines.extend(self.rules.iter().map(|rule| format!("  {rule}")));
            lines.extend(self.except.iter().map(|except| format!("  except: {except}")));
            lines.extend(self.notes.iter().map(|note| format!("  note: {note}")));
        }
        // What a file holds must not move the cursor of who reads the report.
        lines.into_iter().map(|line| cell(&Value::String(line)) + "\n").collect()
    }
}

impl Serialize for Translation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Translation", 6)?;
        fields.serialize_field("flag", &self.flag)?;
        fields.serialize_field("sureness", &self.sureness())?;
        fields.serialize_field("refused", &self.refused)?;
        fields.serialize_field("rules", &self.rules)?;
        fields.serialize_field("except", &self.except)?;
        fields.serialize_field("notes", &self.notes)?;
        fields.end()
    }
}

/// A line for each rule of a flag in an environment, and for its default.
fn lines(environment: &Value) -> Vec<String> {
    let rules = environment["rules"].as_array().into_iter().flatten();
    let mut lines: Vec<String> = rules
        .map(|rule| {
            let id = rule["id"].as_str().unwrap_or_default();
            format!("{id}: {} -> {}", condition(&rule["when"]), served(&rule["serve"]))
        })
        .collect();
    lines.push(format!("default -> {}", served(&environment["default"])));
    lines
}
