//! What a token is good for: one environment of a project, and the attributes that it lays over every context.

use std::collections::BTreeMap;

use flagraft_core::token::TokenKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One environment of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub project: String,
    pub environment: String,
}

/// What a node says of the token. Fields that this version does not know are passed over.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct TokenInfo {
    pub kind: TokenKind,
    #[serde(default)]
    pub project: Option<String>,
    #[serde(default)]
    pub environment: Option<String>,
    #[serde(default)]
    pub context: BTreeMap<String, Value>,
}

impl TokenInfo {
    /// Whether what was evaluated with it may be reported.
    pub fn reports(&self) -> bool {
        self.kind == TokenKind::Service
    }

    /// Where it evaluates.
    pub fn place(&self) -> Option<Place> {
        let (project, environment) = (self.project.clone()?, self.environment.clone()?);
        Some(Place { project, environment })
    }
}
