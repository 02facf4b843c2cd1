//! Flags and callers that the tests make.

use serde_json::{Value, json};

/// The project of most tests.
pub const PROJECT: &str = "shop";
/// Its environment.
pub const ENVIRONMENT: &str = "production";

/// A boolean flag that serves `on` to everyone.
pub fn switch(key: &str, critical: bool) -> Value {
    let mut flag = json!({
        "key": key, "type": "boolean", "variants": {"on": true, "off": false}, "off_variant": "off",
        "environments": {ENVIRONMENT: {"enabled": true, "default": {"variant": "on"}}},
    });
    if critical {
        flag["critical"] = json!(true);
        flag["safe_variant"] = json!("off");
    }
    flag
}

/// What a [`counter`] gives when nobody can be sure.
pub const SAFE_COUNT: i64 = -1;

/// An integer flag that serves `count` to everyone, so that a reader can tell of every value when it was written.
pub fn counter(key: &str, count: u64, critical: bool) -> Value {
    let mut flag = json!({
        "key": key, "type": "integer", "variants": {"count": count, "safe": SAFE_COUNT}, "off_variant": "safe",
        "environments": {ENVIRONMENT: {"enabled": true, "default": {"variant": "count"}}},
    });
    if critical {
        flag["critical"] = json!(true);
        flag["safe_variant"] = json!("safe");
    }
    flag
}

/// The operation that writes a flag.
pub fn put(flag: &Value) -> Value {
    json!({"op": "flag.put", "flag": flag})
}

/// A token to be made: what kind, and what it may do.
#[derive(Clone, Debug)]
pub struct Caller {
    kind: &'static str,
    role: &'static str,
    project: Option<String>,
    environments: Option<Vec<String>>,
    expires_at: Option<String>,
}

impl Caller {
    /// An admin token with a role on every project.
    pub fn admin(role: &'static str) -> Self {
        Self { kind: "admin", role, project: None, environments: None, expires_at: None }
    }

    /// A service token for one environment.
    pub fn service(project: &str, environment: &str) -> Self {
        Self {
            kind: "service",
            role: "reader",
            project: Some(project.to_owned()),
            environments: Some(vec![environment.to_owned()]),
            expires_at: None,
        }
    }

    /// A client token for one environment.
    pub fn client(project: &str, environment: &str) -> Self {
        Self { kind: "client", ..Self::service(project, environment) }
    }

    /// Only on this project.
    #[must_use]
    pub fn on(mut self, project: &str) -> Self {
        self.project = Some(project.to_owned());
        self
    }

    /// Only in this environment of the project.
    #[must_use]
    pub fn only_in(mut self, environment: &str) -> Self {
        self.environments = Some(vec![environment.to_owned()]);
        self
    }

    /// Refused from this time on (RFC 3339).
    #[must_use]
    pub fn until(mut self, time: &str) -> Self {
        self.expires_at = Some(time.to_owned());
        self
    }

    /// The body of the request that makes it.
    pub(crate) fn request(&self) -> Value {
        let mut grant = json!({"role": self.role});
        if let Some(project) = &self.project {
            grant["project"] = json!(project);
        }
        if let Some(environments) = &self.environments {
            grant["environments"] = json!(environments);
        }
        json!({
            "reason": "a caller for a test",
            "token": {
                "name": format!("{}-{}", self.kind, self.role),
                "kind": self.kind,
                "actor": {"type": "service", "id": "tests"},
                "grants": [grant],
                "expires_at": self.expires_at,
            },
        })
    }
}
