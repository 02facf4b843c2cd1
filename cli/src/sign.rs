//! Signing changes: the key in a file, and what it is put under.

use std::path::{Path, PathBuf};

use clap::Args;
use ed25519_dalek::{Signer as _, SigningKey, pkcs8::DecodePrivateKey as _};
use flagraft_client::admin::Call;
use flagraft_core::{
    canonical::Canonical,
    identity::History,
    key::ProjectKey,
    operation::Operation,
    proposal::Cause,
    signing::{ChangeSignature, PublicKey, SignatureBytes, SigningKeyId, Statement, signing_key_id},
    token::TokenId,
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    failure::{Exit, Failure},
    input,
    session::Session,
};

/// With which key a change is signed, if with any.
#[derive(Args, Clone, Debug, Default)]
pub struct SignArg {
    /// Sign the change with the private key in this file, as `flagraft signing-key generate` or `openssl genpkey
    /// -algorithm ed25519` writes it
    #[arg(long, value_name = "KEYFILE")]
    sign: Option<PathBuf>,
}

impl SignArg {
    /// The key; `None`: the change is not to be signed.
    pub fn key(&self) -> Result<Option<Key>, Failure> {
        self.sign.as_deref().map(Key::read).transpose()
    }
}

/// A private key. Nothing prints it.
pub struct Key(SigningKey);

/// Everything of a change that its author says.
#[derive(Deserialize)]
struct Said {
    operations: Vec<Value>,
    reason: String,
    #[serde(default)]
    ticket: Option<String>,
    #[serde(default)]
    expect_revision: Option<u64>,
    #[serde(default)]
    caused_by: Option<Cause>,
}

/// What a signature is bound to beside the change.
struct Bound<'a> {
    history: History,
    token: &'a TokenId,
    request_id: &'a str,
    signed_at_ms: i64,
}

impl Key {
    fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let text = input::read(&path.to_string_lossy())?;
        // Not the library's words: they might quote what it read.
        SigningKey::from_pkcs8_pem(&text).map(Self).map_err(|_| {
            Failure::usage(format!("{shown} is no Ed25519 private key in PEM")).next(
                "make one with `flagraft signing-key generate FILE` or `openssl genpkey -algorithm ed25519 -out FILE`",
            )
        })
    }

    /// A key of these random bits.
    pub fn new(random: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&random))
    }

    /// The private half.
    pub fn private(&self) -> &SigningKey {
        &self.0
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// The id under which it is registered.
    pub fn id(&self) -> SigningKeyId {
        signing_key_id(&self.public())
    }

    /// The call that makes the change of `body` on `path`, signed. A node is asked first for the history, and for the id
    /// of the token that is used: both are signed, so that the signature is good for this one request.
    pub async fn call(
        &self,
        session: &Session,
        path: &[&str],
        project: Option<&str>,
        mut body: Value,
    ) -> Result<Call, Failure> {
        let own = session.client.send(&Call::get(["api", "v1", "token"])).await?;
        let (history, token) = match (own.header("flagraft-history").parse().ok(), own.json()["id"].as_str())
        {
            (Some(history), Some(token)) => (history, TokenId::from(token)),
            _ => {
                return Err(Failure::new(
                    Exit::Other,
                    "the node did not say which token this is, or of which history; is it of an older version?",
                ));
            }
        };
        let request_id = request_id()?;
        let bound = Bound {
            history,
            token: &token,
            request_id: &request_id,
            signed_at_ms: Timestamp::now().as_millisecond(),
        };
        let signature = self.sign(&bound, project, &body)?;
        body["signature"] = json!(signature);
        Ok(Call::post(path, body).with_key(request_id))
    }

    fn sign(
        &self,
        bound: &Bound<'_>,
        project: Option<&str>,
        body: &Value,
    ) -> Result<ChangeSignature, Failure> {
        let wrong = |what: String| Failure::usage(format!("what is to be signed is no change: {what}"));
        let said: Said = serde_json::from_value(body.clone()).map_err(|error| wrong(error.to_string()))?;
        let operations = said.operations.into_iter().enumerate().map(|(index, operation)| {
            let operation = Operation::from_value(operation)
                .map_err(|invalid| wrong(invalid.under(index).under("operations").to_string()))?;
            Ok(operation.without_secrets())
        });
        let operations: Vec<Canonical> = operations.collect::<Result<_, Failure>>()?;
        let project =
            project.map(ProjectKey::new).transpose().map_err(|invalid| wrong(invalid.to_string()))?;
        let key = self.id();
        let statement = Statement {
            history: bound.history,
            token: bound.token,
            request_id: bound.request_id,
            key: &key,
            signed_at_ms: bound.signed_at_ms,
            project: project.as_ref(),
            operations: &operations,
            reason: &said.reason,
            ticket: said.ticket.as_deref(),
            expect_revision: said.expect_revision,
            caused_by: said.caused_by.as_ref(),
        };
        let signature = SignatureBytes(self.0.sign(&statement.to_bytes()).to_bytes());
        Ok(ChangeSignature { key, signed_at_ms: bound.signed_at_ms, signature })
    }
}

/// Random bytes of the operating system.
pub fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut random = [0; N];
    getrandom::fill(&mut random)
        .map_err(|e| Failure::new(Exit::Other, format!("the operating system gave no random bytes: {e}")))?;
    Ok(random)
}

fn request_id() -> Result<String, Failure> {
    Ok(format!("cli-{}", hex::encode(random::<16>()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `openssl genpkey -algorithm ed25519` wrote.
    const OPENSSL: &str = "-----BEGIN PRIVATE KEY-----\n\
                           MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n\
                           -----END PRIVATE KEY-----\n";

    fn key(text: &str) -> Result<Key, Failure> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        Key::read(file.path())
    }

    #[test]
    fn keys_are_read_as_openssl_writes_them() {
        let key = key(OPENSSL).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(&*key.id(), "key_fe812c12f3ab4ce6ac5db69ac352f906");
        for wrong in
            ["", "MC4CAQAw", &OPENSSL.replace("BwcH", "BwcI="), &OPENSSL.replace("PRIVATE", "PUBLIC")]
        {
            let Err(failure) = self::key(wrong) else { panic!("{wrong} is read") };
            assert!(failure.to_string().contains("openssl genpkey") && !failure.to_string().contains("BwcH"));
        }
    }

    /// The bytes that the domain's tests and the documentation hold, made from a body as a person writes it.
    #[test]
    fn what_is_signed_is_the_documented_statement() {
        let body = json!({
            "reason": "checkout errors", "ticket": "OPS-812", "expect_revision": 41,
            "caused_by": {"kind": "rollback", "id": "57"},
            "operations": [
                {"environment": "production", "op": "flag.disable", "flag": "größe"},
                {"op": "targets.add", "flag": "checkout", "environment": "production", "variant": "on",
                 "values": ["a\"b", "\u{7}/\n"], "if_revision": 7},
            ],
        });
        let bound = Bound {
            history: History(0x0123_4567_89ab_cdef),
            token: &TokenId::from("tok_owner000"),
            request_id: "3f0c52a8-6c1e-4c52-9b1e-0d7f2a6f5f11",
            signed_at_ms: 1_800_000_000_000,
        };
        let signed = Key::new([7; 32]).sign(&bound, Some("shop"), &body).expect("signed");
        let known = include_str!("../../core/tests/fixtures/signed_statement_signature.txt").trim_end();
        assert_eq!(json!(signed)["signature"], known);
        let broken = json!({"reason": "r", "operations": [{"op": "flag.fly"}]});
        let failure = Key::new([7; 32]).sign(&bound, Some("shop"), &broken).expect_err("no operation");
        assert!(failure.to_string().contains("/operations/0/op"), "{failure}");
    }
}
