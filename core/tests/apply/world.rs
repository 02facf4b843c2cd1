//! A small shop to change: two projects, three environments, a token of each role.

use std::collections::BTreeMap;

use ed25519_dalek::{Signer as _, SigningKey as Pair};
use flagraft_core::{
    apply::{Applied, apply},
    canonical::Canonical,
    identity::LogPosition,
    limits::REQUESTS_REMEMBERED_RECORDS,
    merkle::Frontier,
    operation::Operation,
    project::{Flag, Project},
    proposal::{Actor, Body, Change, Proposal, RequestId},
    record::{Record, RecordOutcome},
    rejection::Rejection,
    reply::Outcome,
    signing::{
        ChangeSignature, KnownKeys, PublicKey, SignatureBytes, Statement, signing_key_id, verify_signature,
    },
    state::State,
    token::ActorType,
    travel::Catalog,
};
use serde_json::{Value, json};

/// The project that changes name unless they say otherwise.
pub const SHOP: &str = "shop";
/// When the first entry was proposed, in milliseconds since 1970 UTC.
pub const START_MS: i64 = 1_800_000_000_000;
/// A ticket that the policy of `production` takes.
pub const TICKET: &str = "OPS-1";

/// A change to be asked for. By default the owner asks, for the shop, with a ticket, under a minted id.
#[derive(Clone, Debug)]
pub struct Ask {
    pub project: Option<&'static str>,
    pub operations: Value,
    pub reason: String,
    pub ticket: Option<String>,
    pub expect_revision: Option<u64>,
    pub actor: Actor,
    pub request: Option<RequestId>,
    /// The key pair that signs, as a seed, and how far the author's clock is from the leader's, in milliseconds.
    pub signed: Option<(u8, i64)>,
}

pub fn ask(operations: Value) -> Ask {
    Ask {
        project: Some(SHOP),
        operations,
        reason: "because".to_owned(),
        ticket: Some(TICKET.to_owned()),
        expect_revision: None,
        actor: actor("owner"),
        request: None,
        signed: None,
    }
}

impl Ask {
    /// Asks with the token of this role: see [`token_id`].
    pub fn by(mut self, role: &str) -> Self {
        self.actor = actor(role);
        self
    }

    pub fn by_the_cluster(mut self) -> Self {
        self.actor = Actor::system(1);
        self
    }

    pub fn project(mut self, project: Option<&'static str>) -> Self {
        self.project = project;
        self
    }

    pub fn ticket(mut self, ticket: Option<&str>) -> Self {
        self.ticket = ticket.map(str::to_owned);
        self
    }

    pub fn reason(mut self, reason: &str) -> Self {
        reason.clone_into(&mut self.reason);
        self
    }

    pub fn expecting(mut self, revision: u64) -> Self {
        self.expect_revision = Some(revision);
        self
    }

    /// Asks under an `Idempotency-Key`.
    pub fn key(mut self, id: &str) -> Self {
        self.request = Some(RequestId { id: id.to_owned(), client_given: true });
        self
    }

    /// Signs with the key pair of this seed, at the time at which the change is proposed.
    pub fn signed(self, seed: u8) -> Self {
        self.signed_at(seed, 0)
    }

    /// The same by a clock that is so many milliseconds ahead.
    pub fn signed_at(mut self, seed: u8, ahead_ms: i64) -> Self {
        self.signed = Some((seed, ahead_ms));
        self
    }

    /// Asks under an id that a node minted.
    pub fn minted(mut self, id: &str) -> Self {
        self.request = Some(RequestId { id: id.to_owned(), client_given: false });
        self
    }
}

/// The id of the token with this role in its name.
pub fn token_id(role: &str) -> String {
    format!("tok_{role:0<8}")
}

pub fn actor(role: &str) -> Actor {
    Actor {
        actor_type: ActorType::User,
        id: format!("{role}@example.com"),
        name: String::new(),
        groups: Vec::new(),
        token: Some(token_id(role).into()),
    }
}

/// The operation that creates the token of a role.
pub fn token_create(role: &str, grants: &Value) -> Value {
    let mut secret = "0".repeat(48);
    role.bytes().take(8).for_each(|byte| secret.push_str(&format!("{byte:02x}")));
    json!({
        "op": "token.create",
        "token": {
            "id": token_id(role), "name": role, "kind": "admin",
            "actor": {"type": "user", "id": format!("{role}@example.com")}, "grants": grants,
        },
        "secret_sha256": format!("{secret:0<64.64}").chars().rev().collect::<String>(),
    })
}

/// The key pair of a seed.
pub fn pair(seed: u8) -> Pair {
    Pair::from_bytes(&[seed; 32])
}

/// The public half of [`pair`].
pub fn public_key(seed: u8) -> PublicKey {
    PublicKey(pair(seed).verifying_key().to_bytes())
}

/// The operation that registers a key for the actor of a role's token.
pub fn signing_key_put(role: &str, seed: u8) -> Value {
    let public_key = public_key(seed);
    json!({"op": "signing_key.put", "signing_key": {
        "id": signing_key_id(&public_key), "actor": {"type": "user", "id": format!("{role}@example.com")},
        "name": format!("{role}'s"), "public_key": public_key,
    }})
}

/// The operation that revokes a key.
pub fn signing_key_revoke(seed: u8) -> Value {
    json!({"op": "signing_key.revoke", "signing_key": signing_key_id(&public_key(seed))})
}

/// What the author of a proposal signs, for this state's history.
pub fn statement(state: &State, proposal: &Proposal, seed: u8, signed_at_ms: i64) -> Vec<u8> {
    let Body::Change(change) = &proposal.body else { panic!("only changes are signed") };
    let operations: Vec<Canonical> = change.operations.iter().map(Operation::without_secrets).collect();
    Statement {
        history: state.history().expect("founded"),
        token: proposal.actor.token.as_ref().expect("a token"),
        request_id: &proposal.request.id,
        key: &signing_key_id(&public_key(seed)),
        signed_at_ms,
        project: change.project.as_ref(),
        operations: &operations,
        reason: &change.reason,
        ticket: change.ticket.as_deref(),
        expect_revision: change.expect_revision,
        caused_by: proposal.caused_by.as_ref(),
    }
    .to_bytes()
}

/// Signs a proposal as its author would.
pub fn sign(state: &State, proposal: &mut Proposal, seed: u8, signed_at_ms: i64) {
    let signature = pair(seed).sign(&statement(state, proposal, seed, signed_at_ms));
    proposal.signature = Some(ChangeSignature {
        key: signing_key_id(&public_key(seed)),
        signed_at_ms,
        signature: SignatureBytes(signature.to_bytes()),
    });
}

/// A boolean flag with this configuration in `dev`.
pub fn boolean_flag(key: &str, dev: &Value) -> Value {
    json!({
        "key": key, "type": "boolean", "variants": {"on": true, "off": false}, "off_variant": "off",
        "environments": {"dev": dev},
    })
}

/// The operation that puts [`boolean_flag`].
pub fn put(key: &str, dev: &Value) -> Value {
    json!({"op": "flag.put", "flag": boolean_flag(key, dev)})
}

/// A configuration that is on and depends on these flags' `on`.
pub fn after(flags: &[&str]) -> Value {
    let prerequisites: Vec<Value> =
        flags.iter().map(|flag| json!({"flag": flag, "variants": ["on"]})).collect();
    json!({"enabled": true, "prerequisites": prerequisites, "default": {"variant": "on"}})
}

pub struct World {
    pub state: State,
    /// The leader's clock.
    pub clock_ms: i64,
    /// The storage: what the writes of all entries made.
    pub stored: BTreeMap<Vec<u8>, Vec<u8>>,
    pub records: Vec<Record>,
    /// What the records say of signing keys.
    pub keys: KnownKeys,
    audit: Frontier,
    /// The catalog that the records alone make.
    travelled: Catalog,
    index: u64,
    proposed: u64,
}

impl World {
    pub fn unfounded() -> Self {
        Self {
            state: State::empty(),
            clock_ms: START_MS,
            stored: BTreeMap::new(),
            records: Vec::new(),
            keys: KnownKeys::default(),
            audit: Frontier::default(),
            travelled: Catalog::empty(),
            index: 0,
            proposed: 0,
        }
    }

    /// Two projects, `shop` and `other`. The shop has the environments `dev`, `staging` and `production`, the last one
    /// with a ticket policy. Tokens: `owner` of all, `operator`, `writer` and `reader` of the shop, `devwriter` of the
    /// shop's `dev` only, `stranger`, who owns the other project, and `revoked` and `expired`.
    pub fn new() -> Self {
        Self::founded(bootstrap())
    }

    /// The same in a cluster of this version.
    pub fn of_version(cluster_version: u32) -> Self {
        let mut founding = bootstrap();
        founding["cluster_version"] = json!(cluster_version);
        Self::founded(founding)
    }

    fn founded(founding: Value) -> Self {
        let mut world = Self::unfounded();
        world.must(ask(json!([founding])).by_the_cluster().project(None));
        let owner = token_create("owner", &json!([{"role": "owner"}]));
        world.must(ask(json!([owner])).by_the_cluster().project(None));
        for project in ["other", SHOP] {
            let put = json!([
                {"op": "project.put", "project": {"key": project}},
                {"op": "environment.put", "environment": {"key": "dev", "order": 10}},
                {"op": "environment.put", "environment": {"key": "staging", "order": 20}},
                {"op": "environment.put", "environment": {"key": "production", "order": 30, "policy": {
                    "ticket": {"required": true, "pattern": "^[A-Z]+-[0-9]+$"}}}},
            ]);
            world.must(ask(put).project(Some(project)));
        }
        let on_shop = |role: &str| json!([{"role": role, "project": SHOP}]);
        let mut expired = token_create("expired", &json!([{"role": "owner"}]));
        expired["token"]["expires_at_ms"] = json!(START_MS);
        world.must(
            ask(json!([
                token_create("operator", &on_shop("operator")),
                token_create("writer", &on_shop("writer")),
                token_create("reader", &on_shop("reader")),
                token_create("devwriter", &json!([{"role": "writer", "project": SHOP, "environments": ["dev"]}])),
                token_create("stranger", &json!([{"role": "owner", "project": "other"}])),
                token_create("revoked", &json!([{"role": "owner"}])),
                {"op": "token.revoke", "token": token_id("revoked")},
                expired,
            ]))
            .project(None),
        );
        world
    }

    /// What the node would put into the log.
    pub fn proposal(&mut self, ask: Ask) -> Proposal {
        let change = json!({
            "project": ask.project, "operations": ask.operations, "reason": ask.reason, "ticket": ask.ticket,
            "expect_revision": ask.expect_revision,
        });
        let change: Change = serde_json::from_value(change).expect("a well-formed change");
        let mut proposal = self.propose(Body::Change(change), ask.actor, ask.request);
        if let Some((seed, ahead_ms)) = ask.signed {
            let signed_at_ms = proposal.proposed_at_ms + ahead_ms;
            sign(&self.state, &mut proposal, seed, signed_at_ms);
        }
        proposal
    }

    pub fn propose(&mut self, body: Body, actor: Actor, request: Option<RequestId>) -> Proposal {
        self.clock_ms += 1;
        self.proposed += 1;
        let minted = || RequestId { id: format!("req-{}", self.proposed), client_given: false };
        Proposal {
            group: 1,
            request: request.unwrap_or_else(minted),
            body,
            asks_sha256: None,
            signature: None,
            actor,
            caused_by: None,
            proposed_at_ms: self.clock_ms,
            salt: [u8::try_from(self.proposed % 256).expect("a byte"); 16],
            node: 1,
        }
    }

    /// Applies an entry and checks what must hold after every one.
    pub fn apply(&mut self, proposal: &Proposal) -> Applied {
        self.index += 1;
        let at = LogPosition { term: 1, index: self.index };
        let before = std::mem::replace(&mut self.state, State::empty());
        let applied = apply(&before, proposal, at);
        assert_eq!(apply(&before, proposal, at), applied, "the same twice");
        self.check(&before, proposal, &applied);
        self.state = applied.state.clone();
        applied
    }

    fn check(&mut self, before: &State, proposal: &Proposal, applied: &Applied) {
        let after = &applied.state;
        let entered = Proposal::decode(&proposal.encode().expect("fits an entry")).expect("decodes");
        assert_eq!(&entered, proposal, "a proposal survives the log");
        let by_a_tree: Proposal = serde_json::from_slice(&proposal.encode().expect("fits")).expect("decodes");
        assert_eq!(by_a_tree, entered, "both ways to read an entry read the same");
        for write in &applied.writes {
            let stood = match &write.value {
                Some(value) => self.stored.insert(write.key.clone(), value.clone()),
                None => self.stored.remove(&write.key),
            };
            assert!(stood != write.value, "a row is written that did not change: {:?}", write.key);
        }
        let rows: Vec<(Vec<u8>, Vec<u8>)> = after.rows().collect();
        assert!(rows.iter().cloned().collect::<BTreeMap<_, _>>() == self.stored, "the writes make the state");
        assert_eq!(after.digest(), after.recompute_digest());
        assert_eq!(State::from_rows(rows).expect("rows of a state").digest(), after.digest());
        assert!(State::from_rows(after.rows()).expect("rows of a state") == *after);

        let accepted = matches!(applied.reply.outcome, Outcome::Accepted { .. }) && !applied.reply.replayed;
        assert_eq!(after.revision(), before.revision() + u64::from(accepted), "revisions rise by one");
        assert_eq!(applied.reply.request_id, proposal.request.id);
        let Some(stored) = &applied.record else {
            assert!(before == after && applied.writes.is_empty(), "what leaves no record changes nothing");
            return;
        };
        assert_eq!(stored.sequence, before.sequence());
        assert_eq!(after.sequence(), before.sequence() + 1);
        self.audit.push(&stored.bytes);
        assert_eq!(after.audit_root(), self.audit.root());
        let record: Record = serde_json::from_slice(&stored.bytes).expect("a record");
        assert_eq!(&record.to_bytes(), stored, "a record is encoded in one way");
        assert_eq!((record.revision_before, record.revision_after), (before.revision(), after.revision()));
        assert_eq!(
            record.time_ms,
            proposal.proposed_at_ms.max(before.last_at_ms()),
            "record time never falls"
        );
        assert_eq!(record.digest, after.digest().to_string());
        self.travelled.step(&stored.bytes).expect("what was done can be done once more");
        if after.history().is_some() {
            let live = Catalog::of(after);
            assert!(self.travelled.rows().eq(live.rows()), "the records make the same rows");
            assert!(self.travelled == live, "and what is derived from them");
        }
        assert_eq!(record.outcome == RecordOutcome::Accepted, accepted);
        if !accepted {
            // But for the remembered requests, and the reporters of what is noted.
            let noted = record.outcome == RecordOutcome::Noted;
            let catalog = |key: &[u8]| match key.first() {
                Some(0x21) => false,
                Some(0x25) => !noted,
                kind => kind.is_some_and(|kind| (0x10..0x30).contains(kind)),
            };
            assert!(
                !applied.writes.iter().any(|write| catalog(&write.key)),
                "what is not accepted changes nothing"
            );
        }
        match verify_signature(&record, &self.keys) {
            Ok(signer) => assert_eq!(signer.is_some(), record.signature.is_some()),
            Err(fault) => panic!("{fault} in {record:?}"),
        }
        let is_of_version_2 =
            record.signature.is_some() || record.evaluations.is_some() || record.access.is_some();
        assert_eq!(record.version, if is_of_version_2 { 2 } else { 1 });
        self.keys.observe(&record);
        self.records.push(record);
    }

    /// Applies one of many entries. What must hold is checked after the last of them: [`World::settle`].
    pub fn step(&mut self, proposal: &Proposal) -> Applied {
        self.index += 1;
        let applied = apply(&self.state, proposal, LogPosition { term: 1, index: self.index });
        if let Some(record) = &applied.record {
            self.audit.push(&record.bytes);
            self.travelled.step(&record.bytes).expect("what was done can be done once more");
        }
        self.state = applied.state.clone();
        applied
    }

    /// Checks what must hold after many entries.
    pub fn settle(&mut self) {
        self.stored = self.state.rows().collect();
        assert_eq!(self.state.audit_root(), self.audit.root());
        assert_eq!(self.state.digest(), self.state.recompute_digest());
    }

    /// Asks for a change again and again, as many times as a request is remembered for, whatever the time.
    pub fn many_records(&mut self, ask: impl Fn() -> Ask) {
        for _ in 0..REQUESTS_REMEMBERED_RECORDS {
            let proposal = self.proposal(ask());
            self.step(&proposal);
        }
        self.settle();
    }

    /// Asks for a change and applies it.
    pub fn ask(&mut self, ask: Ask) -> Applied {
        let proposal = self.proposal(ask);
        self.apply(&proposal)
    }

    /// Asks for what must be accepted.
    pub fn must(&mut self, ask: Ask) -> Applied {
        let shown = ask.operations.to_string();
        let applied = self.ask(ask);
        assert!(
            matches!(applied.reply.outcome, Outcome::Accepted { .. }),
            "{:?} for {shown}",
            applied.reply.outcome
        );
        applied
    }

    /// The owner makes these changes to the shop, one operation each.
    pub fn with(mut self, operations: &[Value]) -> Self {
        operations.iter().for_each(|operation| drop(self.must(ask(json!([operation])))));
        self
    }

    /// Asks for what must be rejected.
    /// Goes on with a state that did not come of `apply`.
    pub fn take_over(&mut self, state: State) {
        self.stored = state.rows().collect();
        self.state = state;
    }

    pub fn refuse(&mut self, ask: Ask) -> Rejection {
        let shown = ask.operations.to_string();
        match self.ask(ask).reply.outcome {
            Outcome::Rejected { rejection, .. } | Outcome::Refused { rejection } => rejection,
            outcome => panic!("{outcome:?} for {shown}"),
        }
    }

    pub fn shop(&self) -> &Project {
        self.state.project(SHOP).expect("the shop")
    }

    pub fn flag(&self, key: &str) -> &Flag {
        self.shop().flags.get(key).expect(key)
    }

    pub fn last_record(&self) -> &Record {
        self.records.last().expect("a record")
    }
}

pub fn bootstrap() -> Value {
    json!({
        "op": "system.bootstrap", "cluster": "00112233445566778899aabbccddeeff", "history": "0123456789abcdef",
        "cluster_version": 2,
        "members": {"1": {"uid": "0a".repeat(16), "peer_address": "127.0.0.1:7501", "voter": true}},
    })
}

/// The rejection's code, as it is on the wire.
pub fn code(rejection: &Rejection) -> String {
    let value = serde_json::to_value(rejection).expect("a rejection");
    value["code"].as_str().expect("a code").to_owned()
}
