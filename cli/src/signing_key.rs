//! `flagraft signing-key ...`: the keys that changes are signed with.

use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _, path::PathBuf};

use clap::{Args, Subcommand};
use ed25519_dalek::pkcs8::{EncodePrivateKey as _, KeypairBytes, spki::der::pem::LineEnding};
use flagraft_client::admin::{Call, Page};
use serde_json::{Value, json};

use crate::{
    failure::{Exit, Failure},
    output::{Output, cell, table},
    session::{Global, Session, SignedWhy, Why},
    sign::{Key, random},
};

/// Commands on signing keys.
#[derive(Subcommand, Debug)]
pub enum SigningKeyCommand {
    /// Make a key pair; the private key goes to a new file, the public one is for an owner to register
    Generate(GenerateArgs),
    /// Register the public key that somebody signs changes with, or rename it
    Put(PutArgs),
    /// List your keys, or as an owner of everything all keys, revoked ones too
    List,
    /// Revoke a key, for good: what it signed stays signed, and it signs nothing more
    Revoke(RevokeArgs),
}

/// Where to put a new key.
#[derive(Args, Debug)]
pub struct GenerateArgs {
    /// The new file for the private key, readable by its owner only
    file: PathBuf,
}

/// A key to register.
#[derive(Args, Debug)]
pub struct PutArgs {
    /// The public key, as `generate` shows it
    public_key: String,
    /// Whose changes it signs: the actor of that person's or program's tokens
    #[arg(long, value_name = "ID")]
    actor: String,
    /// The actor is a program, not a person
    #[arg(long)]
    service: bool,
    /// A name for people, such as the device that the key is on; without it, the actor
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    why: Why,
}

/// A key to revoke.
#[derive(Args, Debug)]
pub struct RevokeArgs {
    /// The key's id, key_...
    id: String,
    #[command(flatten)]
    why: SignedWhy,
}

impl PutArgs {
    fn body(&self) -> Value {
        let key = json!({
            "public_key": self.public_key, "name": self.name.as_deref().unwrap_or(&self.actor),
            "actor": {"type": if self.service { "service" } else { "user" }, "id": self.actor},
        });
        self.why.body("signing_key", key)
    }
}

/// Runs a command on signing keys.
pub async fn run(command: SigningKeyCommand, global: &Global) -> Result<(), Failure> {
    match command {
        SigningKeyCommand::Generate(args) => generate(&args, Output { format: global.output }),
        SigningKeyCommand::Put(args) => {
            let did = format!("the key of {} is registered", args.actor);
            global.management()?.write(&Call::post(["api", "v1", "signing-keys"], args.body()), did).await
        }
        SigningKeyCommand::List => list(&global.management()?).await,
        SigningKeyCommand::Revoke(args) => {
            let operation = json!({"op": "signing_key.revoke", "signing_key": args.id});
            let body = args.why.why.body("operations", json!([operation]));
            let did = format!("{} is revoked", args.id);
            global.management()?.propose(None, body, &args.why.sign, did).await
        }
    }
}

fn generate(args: &GenerateArgs, output: Output) -> Result<(), Failure> {
    let path = args.file.display();
    let key = Key::new(random()?);
    // Without the public half, which other programs do not expect in it.
    let pair = KeypairBytes { secret_key: key.private().to_bytes(), public_key: None };
    let pem = pair.to_pkcs8_pem(LineEnding::LF);
    let pem = pem.map_err(|_| Failure::new(Exit::Other, "the key could not be written as PEM"))?;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&args.file);
    let mut file = file.map_err(|e| Failure::usage(format!("could not create {path}: {e}")))?;
    let written = file.write_all(pem.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|e| Failure::new(Exit::Other, format!("could not write the key to {path}: {e}")))?;
    let (id, public_key) = (key.id(), json!(key.public()));
    let shown = json!({"id": id, "public_key": public_key});
    output.say(
        &shown,
        format!("{id} is in {path}; have an owner register its public key:\n{}", cell(&public_key)),
    )
}

async fn list(session: &Session) -> Result<(), Failure> {
    let call = Call::get(["api", "v1", "signing-keys"]).answering::<Page<Value>>();
    let row = |key: &Value| {
        let state = if key["revoked_at"].is_null() { "-" } else { "revoked" };
        let actor = format!("{} {}", cell(&key["actor"]["type"]), cell(&key["actor"]["id"]));
        vec![cell(&key["id"]), actor, cell(&key["name"]), state.to_owned(), cell(&key["public_key"])]
    };
    session
        .show_list(&call, |keys| {
            let rows = keys.iter().map(row).collect();
            table(&["KEY", "ACTOR", "NAME", "STATE", "PUBLIC KEY"], rows, "no signing keys")
        })
        .await
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::{output::Format, sign::SignArg};

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        sign: SignArg,
    }

    #[test]
    fn a_generated_key_is_its_owners_alone_and_can_be_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key.pem");
        let args = GenerateArgs { file: file.clone() };
        generate(&args, Output { format: Format::Json }).expect("made");
        assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        let line = <Line as clap::Parser>::parse_from(["", "--sign", file.to_str().expect("UTF-8")]);
        let key = line.sign.key().unwrap_or_else(|failure| panic!("{failure}")).expect("a key");
        assert!(key.id().starts_with("key_"));
        let again = generate(&args, Output { format: Format::Json }).expect_err("it is there");
        assert_eq!(again.exit, Exit::Usage, "a key is never written over");
    }
}
