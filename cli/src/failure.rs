//! What a command that fails tells a person, a program and the shell.

use std::fmt;

use flagraft_client::admin::{AdminError, AdminErrorKind};
use serde_json::{Value, json};

/// The exit codes that scripts may rely on. 0 is success and has no variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// None of the others: a local file, an answer that makes no sense, a node that broke.
    Other = 1,
    /// The command line or an input file is wrong. The same code that clap uses.
    Usage = 2,
    /// The flag, project, environment, segment, token or request does not exist, or is another tenant's.
    NotFound = 3,
    /// The cluster looked at the change and said no, or the object has changed meanwhile.
    Rejected = 4,
    /// No token, a wrong one, or one without the right.
    Auth = 5,
    /// No node could do it now, and nothing has changed.
    Unavailable = 6,
    /// The change may or may not have happened: the answer was lost.
    OutcomeUnknown = 7,
    /// Something that must be equal is not, such as the digests of two members.
    VerificationFailed = 8,
}

/// A failed command: what happened and what to do next.
#[derive(Debug)]
pub struct Failure {
    /// The process's exit code.
    pub exit: Exit,
    /// A stable word for programs: the one of the API's error envelope where there is one.
    pub code: String,
    /// What happened, as a sentence without its full stop.
    pub message: String,
    /// What to do next, if there is something.
    pub next: Option<String>,
    /// The envelope's `details`, such as the JSON pointer to the fault. Boxed: every result carries its room.
    pub details: Option<Box<Value>>,
    /// The request id of a change, where its outcome is unknown.
    pub request_id: Option<String>,
}

impl Failure {
    /// A failure with the exit code's own name as its code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        let code = match exit {
            Exit::Other => "failed",
            Exit::Usage => "usage",
            Exit::NotFound => "not_found",
            Exit::Rejected => "rejected",
            Exit::Auth => "unauthenticated",
            Exit::Unavailable => "unavailable",
            Exit::OutcomeUnknown => "outcome_unknown",
            Exit::VerificationFailed => "verification_failed",
        };
        Self {
            exit,
            code: code.to_owned(),
            message: message.into(),
            next: None,
            details: None,
            request_id: None,
        }
    }

    /// A wrong command line or input file.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The same failure, saying what to do next.
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// The failure in the shape of the API's error envelope, for `--output json`.
    pub fn to_json(&self) -> Value {
        let mut error = json!({"code": self.code, "message": self.to_string(), "exit": self.exit as u8});
        if let Some(details) = &self.details {
            error["details"] = Value::clone(details);
        }
        if let Some(id) = &self.request_id {
            error["request_id"] = json!(id);
        }
        json!({ "error": error })
    }
}

impl From<AdminError> for Failure {
    /// The same, with what to do next in the words of this tool.
    fn from(error: AdminError) -> Self {
        let exit = match error.kind() {
            AdminErrorKind::Invalid => Exit::Usage,
            AdminErrorKind::Unauthenticated | AdminErrorKind::Forbidden => Exit::Auth,
            AdminErrorKind::NotFound => Exit::NotFound,
            AdminErrorKind::Rejected | AdminErrorKind::Conflict => Exit::Rejected,
            AdminErrorKind::Unavailable => Exit::Unavailable,
            AdminErrorKind::OutcomeUnknown => Exit::OutcomeUnknown,
            // Kinds of a later version too.
            _ => Exit::Other,
        };
        let mut failure = Self::new(exit, error.message());
        if let Some(code) = error.code() {
            failure.code = code.to_owned();
        }
        failure.details = error.details().cloned().map(Box::new);
        failure.request_id = error.request_id().map(str::to_owned);
        let is_answered = error.status().is_some();
        failure.next = match (error.kind(), error.request_id()) {
            (AdminErrorKind::Unauthenticated, _) if is_answered => {
                Some("give a token with --token-file, FLAGRAFT_ADMIN_TOKEN or FLAGRAFT_TOKEN".to_owned())
            }
            (AdminErrorKind::Rejected, _) if error.code() == Some("policy") => {
                Some("here that is --ticket".to_owned())
            }
            (AdminErrorKind::OutcomeUnknown | AdminErrorKind::Unreadable, Some(id)) => {
                Some(format!("ask with `flagraft change status {id}` before doing it again"))
            }
            (AdminErrorKind::Unreadable, None) => {
                Some("was the answer cut, or is the node of a later version?".to_owned())
            }
            (AdminErrorKind::Unavailable, _) if !is_answered => {
                Some("start one, or name others with --endpoint or FLAGRAFT_ENDPOINTS".to_owned())
            }
            _ => error.advice().map(str::to_owned),
        };
        failure
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message.trim_end_matches('.'))?;
        if let Some(path) = self.details.as_ref().and_then(|d| d.get("path")).and_then(Value::as_str)
            && !path.is_empty()
        {
            write!(f, " (at {path})")?;
        }
        match &self.next {
            // After a list of lines it is a line of its own.
            Some(next) if self.message.contains('\n') => write!(f, "\n{next}"),
            Some(next) => write!(f, "; {next}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flagraft_client::admin::Call;

    use super::*;
    use crate::{fake::Fake, session::client};

    #[test]
    fn says_what_happened_where_and_what_to_do_next() {
        let mut failure =
            Failure::new(Exit::Rejected, "no variant is named \"onn\".").next("use one of on, off");
        failure.details = Some(Box::new(json!({"path": "/flag/off_variant"})));
        assert_eq!(
            failure.to_string(),
            "no variant is named \"onn\" (at /flag/off_variant); use one of on, off"
        );
        assert_eq!(
            failure.to_json(),
            json!({"error": {
                "code": "rejected", "exit": 4, "details": {"path": "/flag/off_variant"},
                "message": "no variant is named \"onn\" (at /flag/off_variant); use one of on, off",
            }})
        );
    }

    async fn asked(endpoints: &[&str], call: Call) -> Failure {
        let client =
            client(endpoints.iter().copied(), Some("fr_adm_x"), Duration::from_secs(5), Duration::ZERO);
        client.expect("a client").send(&call).await.expect_err("a failure").into()
    }

    fn write() -> Call {
        Call::post(["api"], json!({})).with_key("req_1")
    }

    #[tokio::test]
    async fn every_status_has_its_exit_code() {
        let rows = [
            (400, Exit::Rejected),
            (401, Exit::Auth),
            (403, Exit::Auth),
            (404, Exit::NotFound),
            (409, Exit::Rejected),
            (412, Exit::Rejected),
            (413, Exit::Rejected),
            (415, Exit::Rejected),
            (422, Exit::Rejected),
            (429, Exit::Unavailable),
            (500, Exit::Other),
            (503, Exit::Unavailable),
            (504, Exit::OutcomeUnknown),
        ];
        for (status, exit) in rows {
            let error = json!({"code": "a_code", "message": "what happened", "details": {"path": "/a/b"}});
            let node = Fake::saying(status, json!({ "error": error })).await;
            let failure = asked(&[&node.url], write()).await;
            assert_eq!((failure.exit, failure.code.as_str()), (exit, "a_code"), "{status}: {failure}");
            assert!(failure.to_string().starts_with("what happened (at /a/b)"), "{status}: {failure}");
        }
    }

    /// What to do next is said in the words of the command line, not of the library.
    #[tokio::test]
    async fn advice_names_options_and_commands() {
        let saying = async |status: u16, code: &str| {
            let details = json!({"request_id": "req_1"});
            let error = json!({"code": code, "message": "what happened; do this", "details": details});
            let node = Fake::saying(status, json!({ "error": error })).await;
            asked(&[&node.url], write()).await
        };
        let ask = "ask with `flagraft change status req_1` before doing it again";
        let failure = saying(504, "outcome_unknown").await;
        assert_eq!(failure.to_string(), format!("what happened; {ask}"));
        assert_eq!(failure.request_id.as_deref(), Some("req_1"));
        assert!(saying(401, "unauthenticated").await.to_string().contains("--token-file"));
        assert!(!saying(403, "forbidden").await.to_string().contains("--token-file"));
        assert!(saying(422, "policy").await.to_string().ends_with("here that is --ticket"));
        assert_eq!(saying(422, "idempotency_mismatch").await.next, None);

        let nobody = asked(&["http://127.0.0.1:1"], write()).await;
        assert_eq!(nobody.exit, Exit::Unavailable);
        assert!(nobody.to_string().contains("FLAGRAFT_ENDPOINTS"), "{nobody}");
        let busy = Fake::node(|_| (503, "1", "not ready".to_owned())).await;
        let busy = asked(&[&busy.url], write()).await;
        assert_eq!(busy.to_string(), "not ready; nothing has changed; try again in 1 s");
        let cut = Fake::node(|_| (200, "", "{\"revision\"".to_owned())).await;
        let failure = asked(&[&cut.url], write()).await;
        assert_eq!(failure.exit, Exit::Other);
        assert!(failure.to_string().ends_with(ask), "{failure}");
        let failure = asked(&[&cut.url], Call::get(["api"])).await;
        assert!(failure.to_string().contains("was the answer cut"), "{failure}");
        let failure = asked(&[&cut.url], Call::get([".."])).await;
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(failure.to_string(), "\"..\" is no key; give 1 to 256 characters");
        let second = Duration::from_secs(1);
        let failure = client(["http://a"], Some("fr_adm_\nsecret"), second, second).expect_err("no header");
        assert_eq!(failure.exit, Exit::Auth);
        assert!(!failure.to_string().contains("secret"), "{failure}");
    }
}
