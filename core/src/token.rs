//! API tokens: who a caller is, what it may do, and what its secret looks like.

use std::{collections::BTreeMap, fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    invalid::Invalid,
    key::{EnvironmentKey, ProjectKey},
    limits::{
        ENVIRONMENTS_MAX, GRANTS_MAX, SHORT_TEXT_BYTES_MAX, TOKEN_CONTEXT_BYTES_MAX, TOKEN_CONTEXT_MAX,
    },
    parse::check_attributes,
    size::json_bytes,
};

/// A token's id, `tok_...`: public, and what audit records name.
pub type TokenId = Arc<str>;

/// Checks the shape of a token's id.
///
/// # Errors
/// [`Invalid`], with an empty path.
pub fn check_token_id(id: &str) -> Result<(), Invalid> {
    let is_shaped = id.strip_prefix("tok_").is_some_and(|rest| {
        (8..=64).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric())
    });
    if is_shaped { Ok(()) } else { Err(Invalid::here("a token id is tok_ and 8 to 64 letters and digits")) }
}

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// Management: reads and changes what its grants name. Evaluates nothing.
    Admin,
    /// A server-side program: evaluates every flag of one environment.
    Service,
    /// A browser or phone: evaluates the flags with `exposure: client` of one environment.
    Client,
}

impl TokenKind {
    /// What the secrets of this kind begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Admin => "fr_adm_",
            Self::Service => "fr_svc_",
            Self::Client => "fr_cli_",
        }
    }
}

/// What a grant allows. Each role may do all that the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Read the catalog, the audit log and the cluster's status.
    Reader,
    /// Change flags and segments.
    Writer,
    /// Create and change environments and their policies.
    Operator,
    /// Create and delete projects and tokens, and, on every project, run the cluster.
    Owner,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Operator => "operator",
            Self::Owner => "owner",
        })
    }
}

/// A role on a project, or on every project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// What it allows.
    pub role: Role,
    /// The project. Absent: every project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectKey>,
    /// The environments of the project. Absent: all of them, and what belongs to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environments: Option<Vec<EnvironmentKey>>,
}

impl Grant {
    /// Whether it grants at least `role` on the environment, or on the project as a whole where that is `None`.
    pub fn allows(&self, role: Role, project: &ProjectKey, environment: Option<&EnvironmentKey>) -> bool {
        self.role >= role
            && self.project.as_ref().is_none_or(|granted| granted == project)
            && self
                .environments
                .as_ref()
                .is_none_or(|granted| environment.is_some_and(|e| granted.contains(e)))
    }

    /// The grant without a project that goes, or without one environment of it; `None` when nothing is left.
    pub(crate) fn without(&self, project: &ProjectKey, environment: Option<&EnvironmentKey>) -> Option<Self> {
        if self.project.as_ref() != Some(project) {
            return Some(self.clone());
        }
        let environments = match (environment, &self.environments) {
            (None, _) => return None,
            (Some(_), None) => None,
            (Some(gone), Some(named)) => {
                let left: Vec<EnvironmentKey> =
                    named.iter().filter(|named| *named != gone).cloned().collect();
                if left.is_empty() {
                    return None;
                }
                Some(left)
            }
        };
        Some(Self { environments, ..self.clone() })
    }

    fn is_cluster_wide(&self) -> bool {
        self.project.is_none() && self.environments.is_none()
    }
}

/// What a grant reaches: what somebody has to own to hand it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach<'a> {
    /// The cluster and every project.
    Cluster,
    /// A project as a whole.
    Project(&'a ProjectKey),
    /// One environment of a project.
    Environment(&'a ProjectKey, &'a EnvironmentKey),
}

impl<'a> Reach<'a> {
    /// All that these grants reach. Never nothing: who owns nothing must not own all of nothing. So no grants reach the
    /// cluster, and a grant on no environment its project.
    pub fn of(grants: &'a [Grant]) -> Vec<Self> {
        let reaches = |grant: &'a Grant| match (&grant.project, grant.environments.as_deref()) {
            (None, _) => vec![Self::Cluster],
            (Some(project), None | Some([])) => vec![Self::Project(project)],
            (Some(project), Some(environments)) => {
                environments.iter().map(|environment| Self::Environment(project, environment)).collect()
            }
        };
        if grants.is_empty() { vec![Self::Cluster] } else { grants.iter().flat_map(reaches).collect() }
    }
}

/// What kind of actor asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorType {
    /// A person.
    User,
    /// A program.
    Service,
    /// The cluster itself.
    System,
}

/// Who a token stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenActor {
    /// A person or a program.
    #[serde(rename = "type")]
    pub actor_type: ActorType,
    /// The person's or program's id.
    pub id: String,
}

/// A token as it is asked for and kept. Its secret is in neither.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSpec {
    /// The token's id.
    pub id: TokenId,
    /// A name for people.
    pub name: String,
    /// What it is for.
    pub kind: TokenKind,
    /// Who it stands for.
    pub actor: TokenActor,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// Attributes that override the ones of every evaluation context sent with this token. Default: none.
    #[serde(default)]
    pub context: BTreeMap<String, serde_json::Value>,
    /// The time after which it is refused, in milliseconds since 1970 UTC. `None`: never.
    #[serde(default)]
    pub expires_at_ms: Option<i64>,
}

/// Checks the name of what stands for an actor, a token or a key, and the actor's id.
pub(crate) fn check_named(name: &str, actor: &TokenActor) -> Result<(), Invalid> {
    for (path, text) in [("/name", name), ("/actor/id", &actor.id)] {
        if text.is_empty() || text.len() > SHORT_TEXT_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(Invalid::new(
                path,
                format!("give 1 to {SHORT_TEXT_BYTES_MAX} bytes of text without control characters"),
            ));
        }
    }
    Ok(())
}

impl TokenSpec {
    /// Checks what can be checked without the catalog.
    pub fn validate(&self) -> Result<(), Invalid> {
        check_token_id(&self.id).map_err(|invalid| invalid.under("id"))?;
        check_named(&self.name, &self.actor)?;
        if self.actor.actor_type == ActorType::System {
            return Err(Invalid::new(
                "/actor/type",
                "a token stands for a user or a service; system is the cluster itself",
            ));
        }
        if self.grants.is_empty() || self.grants.len() > GRANTS_MAX {
            return Err(Invalid::new("/grants", format!("give 1 to {GRANTS_MAX} grants")));
        }
        for (index, grant) in self.grants.iter().enumerate() {
            let named = grant.environments.as_ref().map(Vec::len);
            if named.is_some_and(|named| named == 0 || named > ENVIRONMENTS_MAX) {
                return Err(Invalid::new(
                    format!("/grants/{index}/environments"),
                    format!(
                        "name 1 to {ENVIRONMENTS_MAX} environments, or leave the field out to grant on all of them"
                    ),
                ));
            }
        }
        if self.kind != TokenKind::Admin && self.evaluates().is_none() {
            return Err(Invalid::new(
                "/grants",
                "a service or client token has exactly one grant, with the role reader, a project and exactly one environment",
            ));
        }
        check_attributes(&self.context).map_err(|invalid| invalid.under("context"))?;
        if self.context.len() > TOKEN_CONTEXT_MAX || json_bytes(&self.context) > TOKEN_CONTEXT_BYTES_MAX {
            return Err(Invalid::new(
                "/context",
                format!(
                    "a context has at most {} attributes and {} bytes",
                    TOKEN_CONTEXT_MAX, TOKEN_CONTEXT_BYTES_MAX
                ),
            ));
        }
        Ok(())
    }

    /// The one project and environment in which a service or client token evaluates; `None` for an admin token.
    pub fn evaluates(&self) -> Option<(&ProjectKey, &EnvironmentKey)> {
        match (self.kind, self.grants.as_slice()) {
            (
                TokenKind::Service | TokenKind::Client,
                [Grant { role: Role::Reader, project: Some(project), environments: Some(environments) }],
            ) => match environments.as_slice() {
                [environment] => Some((project, environment)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether it may do what `role` may on the environment, or on the project as a whole where that is `None`.
    pub fn allows(&self, role: Role, project: &ProjectKey, environment: Option<&EnvironmentKey>) -> bool {
        self.kind == TokenKind::Admin
            && self.grants.iter().any(|grant| grant.allows(role, project, environment))
    }

    /// Whether it may see that the project exists: it has a grant somewhere in it.
    pub fn sees(&self, project: &ProjectKey) -> bool {
        self.grants.iter().any(|grant| grant.project.as_ref().is_none_or(|granted| granted == project))
    }

    /// Whether it owns all that these grants reach: only then may it hand them out, and take them back.
    pub fn owns(&self, grants: &[Grant]) -> bool {
        Reach::of(grants).into_iter().all(|reach| self.allows_on(Role::Owner, reach))
    }

    /// Whether it may do what `role` may there.
    pub fn allows_on(&self, role: Role, reach: Reach<'_>) -> bool {
        match reach {
            Reach::Cluster => self.allows_everywhere(role),
            Reach::Project(project) => self.allows(role, project, None),
            Reach::Environment(project, environment) => self.allows(role, project, Some(environment)),
        }
    }

    /// Whether it may do what `role` may on the cluster and on every project.
    pub fn allows_everywhere(&self, role: Role) -> bool {
        self.kind == TokenKind::Admin
            && self.grants.iter().any(|grant| grant.role >= role && grant.is_cluster_wide())
    }
}

/// The SHA-256 of a token's secret: all that is kept of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SecretHash(#[serde(with = "crate::hexadecimal")] pub [u8; 32]);

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(..)")
    }
}

/// A token in the catalog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// The token as it was asked for.
    pub spec: TokenSpec,
    /// The SHA-256 of its secret.
    pub secret_sha256: SecretHash,
    /// The revision that created or revoked it.
    pub revision: u64,
    /// When it was created, in milliseconds since 1970 UTC.
    pub created_at_ms: i64,
    /// When it was revoked, if it was.
    pub revoked_at_ms: Option<i64>,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenFault {
    /// No token has this id or secret.
    Unknown,
    /// It was revoked.
    Revoked,
    /// Its time is over.
    Expired,
}

impl fmt::Display for TokenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        })
    }
}

impl Token {
    /// What is wrong with the token at a time in milliseconds since 1970 UTC; `Ok` when nothing is.
    pub fn check(&self, now_ms: i64) -> Result<(), TokenFault> {
        match (self.revoked_at_ms, self.spec.expires_at_ms) {
            (Some(_), _) => Err(TokenFault::Revoked),
            (None, Some(expires_at_ms)) if now_ms >= expires_at_ms => Err(TokenFault::Expired),
            _ => Ok(()),
        }
    }
}

/// A token's secret: `fr_adm_`, `fr_svc_` or `fr_cli_`, 256 bits in URL-safe Base64, `_`, and eight hexadecimal
/// digits of the SHA-256 of all before them, so that a mistyped or cut secret is known as such without asking
/// anybody. It is never printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret with these random bits.
    pub fn new(kind: TokenKind, random: [u8; 32]) -> Self {
        Self(checksummed(kind.prefix(), random))
    }

    /// Reads a secret. The error says what is wrong without repeating it.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let prefixes = [TokenKind::Admin, TokenKind::Service, TokenKind::Client].map(TokenKind::prefix);
        if !prefixes.iter().any(|prefix| text.starts_with(prefix)) {
            return Err(Invalid::new(
                "",
                "this is no Flagraft token: one begins with fr_adm_, fr_svc_ or fr_cli_",
            ));
        }
        if !is_checksummed(text) {
            return Err(Invalid::new(
                "",
                "this token is damaged: its checksum is wrong; was it copied whole?",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn sha256(&self) -> SecretHash {
        SecretHash(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A secret of these random bits that shows when it was mistyped.
pub(crate) fn checksummed(prefix: &str, random: [u8; 32]) -> String {
    let body = format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random));
    let checksum = checksum(&body);
    format!("{body}_{checksum}")
}

/// Whether a secret ends in the checksum of what is before it.
pub(crate) fn is_checksummed(text: &str) -> bool {
    text.rsplit_once('_').is_some_and(|(body, given)| given == checksum(body))
}

fn checksum(body: &str) -> String {
    let hash: [u8; 32] = Sha256::digest(body.as_bytes()).into();
    let [a, b, c, d, ..] = hash;
    hex::encode([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_frozen_checked_and_never_printed() {
        let secret = Secret::new(TokenKind::Admin, [7; 32]);
        assert_eq!(secret.expose(), "fr_adm_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc_31822385");
        assert_eq!(Secret::parse(secret.expose()), Ok(secret.clone()));
        assert_eq!(format!("{secret:?} {:?}", secret.sha256()), "Secret(..) SecretHash(..)");
        let mut cut = secret.expose().to_owned();
        cut.pop();
        for wrong in [cut.as_str(), "", "fr_adm_", "ghp_abc", &secret.expose().replace("BwcH", "BwcI")] {
            let error = Secret::parse(wrong).expect_err(wrong);
            assert!(wrong.len() < 10 || !error.to_string().contains(wrong));
        }
    }

    #[test]
    fn grants() {
        let grant: Grant =
            serde_json::from_str(r#"{"role":"writer","project":"shop","environments":["dev"]}"#)
                .expect("valid");
        let (shop, other): (ProjectKey, ProjectKey) =
            (ProjectKey::new("shop").expect("valid"), ProjectKey::new("other").expect("valid"));
        let (dev, production) =
            (EnvironmentKey::new("dev").expect("valid"), EnvironmentKey::new("production").expect("valid"));
        assert!(grant.allows(Role::Reader, &shop, Some(&dev)));
        assert!(grant.allows(Role::Writer, &shop, Some(&dev)));
        assert!(!grant.allows(Role::Operator, &shop, Some(&dev)));
        assert!(!grant.allows(Role::Writer, &shop, Some(&production)));
        assert!(!grant.allows(Role::Writer, &shop, None), "a grant on environments is none on the project");
        assert!(!grant.allows(Role::Writer, &other, Some(&dev)));
    }
}
