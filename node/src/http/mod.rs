//! The public listener. [`table`] is its table of contents: every route, in order, with what the OpenAPI document
//! says of it. A handler extracts, authorizes, makes one call, and maps the answer.

mod accounts;
mod audit;
mod audit_keys;
mod auth;
mod backup;
mod changes;
mod cluster;
mod consistency;
mod context;
mod environments;
mod error;
mod explain;
mod extract;
mod flag_history;
mod flags;
mod json;
mod layers;
mod limits;
mod list;
mod members;
mod observe;
mod ofrep;
mod openapi;
mod options;
mod past;
mod patch;
mod probes;
mod projects;
mod proofs;
mod recorded;
mod requests;
mod retention;
mod route;
mod segments;
mod serve;
mod shorthand;
mod signing_keys;
mod stream;
mod terms;
mod time;
mod tokens;
mod write;

use std::{ops::Deref, sync::Arc};

use axum::Router;
use tokio::sync::Semaphore;

pub use self::{
    limits::Rate,
    options::{DeadlineLimits, Options},
    route::{Callers, Part, Route},
    serve::{Door, metrics_router, serve},
};
use self::{
    limits::RateLimit,
    ofrep::Evaluated,
    route::{delete, get, patch, post, put},
};
use crate::node::Node;

/// What handlers share. Each request clones it a few times, so it is one pointer.
#[derive(Clone)]
struct App(Arc<Shared>);

struct Shared {
    node: Arc<Node>,
    options: Options,
    client_rate: RateLimit,
    report_rate: RateLimit,
    /// Look-ups of unknown tokens in a confirmed state: few at once, for anybody can cause them.
    unknown_tokens: Semaphore,
    backups: Arc<Semaphore>,
    searches: Semaphore,
    exports: Arc<Semaphore>,
    in_flight: Semaphore,
    evaluated: Evaluated,
}

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl App {
    fn new(node: Arc<Node>, options: Options) -> Self {
        Self(Arc::new(Shared {
            evaluated: Evaluated::of(node.metrics()),
            node,
            client_rate: RateLimit::new(options.client_rate, options.limited_callers_max),
            report_rate: RateLimit::new(options.report_rate, options.limited_callers_max),
            unknown_tokens: Semaphore::new(options.unknown_tokens_max),
            backups: Arc::new(Semaphore::new(options.backups_max)),
            exports: Arc::new(Semaphore::new(options.exports_max)),
            searches: Semaphore::new(options.searches_max),
            in_flight: Semaphore::new(options.requests_max),
            options,
        }))
    }
}

/// The public listener's service.
pub fn router(node: Arc<Node>, options: Options) -> Router {
    let app = App::new(node, options);
    let mut router = Router::new();
    for route in table() {
        router = router.route(route.path, route.handler);
    }
    layers::around(router, &app).with_state(app)
}

const LIST: &[&str] = &["limit", "cursor"];
const PAST: &[&str] = &["at_revision", "at"];
const PAST_LIST: &[&str] = &["limit", "cursor", "at_revision", "at"];
const WHY: &[&str] = &["reason", "ticket"];

/// Every route. The router and the OpenAPI document are both made from this.
pub fn table() -> Vec<Route> {
    vec![
        // OFREP 0.3.0
        post("/ofrep/v1/evaluate/flags/{key}", ofrep::one, "evaluateFlag")
            .ofrep()
            .says("Evaluate one flag in the token's environment")
            .takes("EvaluationRequest")
            .gives("Evaluation"),
        post("/ofrep/v1/evaluate/flags", ofrep::bulk, "evaluateFlagsBulk")
            .ofrep()
            .says("Evaluate all flags in the token's environment")
            .query(&["flagConfigEtag", "flagConfigLastModified"])
            .takes("EvaluationRequest")
            .gives("BulkEvaluation"),
        get("/ofrep/v1/stream", ofrep::stream::open, "streamNotices")
            .ofrep()
            .with_a_ticket()
            .says("Hear that all flags are to be evaluated again; the address is in the answer with all flags")
            .query(&["ticket"])
            .gives("Notice"),
        // Projects
        get("/api/v1/projects", projects::list, "listProjects")
            .says("List projects")
            .query(LIST)
            .gives("ProjectList"),
        get("/api/v1/projects/{project}", projects::get, "getProject")
            .says("Read a project")
            .gives("Project"),
        put("/api/v1/projects/{project}", projects::put, "putProject")
            .says("Create or replace a project")
            .takes("PutProject"),
        patch("/api/v1/projects/{project}", projects::patch, "patchProject")
            .says("Change parts of a project")
            .takes("Patch"),
        delete("/api/v1/projects/{project}", projects::delete, "deleteProject")
            .says("Delete a project and all that is in it")
            .query(WHY),
        post("/api/v1/projects/{project}/changes", changes::post, "change")
            .says(
                "Make a change: 1 to 100 operations, all or nothing. All other writes are shorthands for it",
            )
            .takes("ChangeRequest"),
        post("/api/v1/changes", changes::post_anywhere, "changeAnywhere")
            .says("Make a change of what belongs to no project: tokens and signing keys")
            .takes("ChangeRequest"),
        // Environments
        get("/api/v1/projects/{project}/environments", environments::list, "listEnvironments")
            .says("List environments, in their order")
            .query(PAST_LIST)
            .gives("EnvironmentList"),
        get("/api/v1/projects/{project}/environments/{environment}", environments::get, "getEnvironment")
            .says("Read an environment")
            .gives("Environment"),
        put("/api/v1/projects/{project}/environments/{environment}", environments::put, "putEnvironment")
            .says("Create or replace an environment and its policy")
            .takes("PutEnvironment"),
        patch(
            "/api/v1/projects/{project}/environments/{environment}",
            environments::patch,
            "patchEnvironment",
        )
        .says("Change parts of an environment")
        .takes("Patch"),
        delete(
            "/api/v1/projects/{project}/environments/{environment}",
            environments::delete,
            "deleteEnvironment",
        )
        .says("Delete an environment and every flag's configuration in it")
        .query(WHY),
        post("/api/v1/projects/{project}/environments/{environment}/explain", explain::post, "explainFlag")
            .reads(Callers::Observers)
            .says("Explain an evaluation: what a flag is for a context, and everything that was tried to find that out; or what it was at an earlier revision or time")
            .query(PAST)
            .takes("Explain")
            .gives("Explanation"),
        get("/api/v1/projects/{project}/environments/{environment}/definitions", stream::definitions, "getDefinitions")
            .reads(Callers::Observers)
            .says("Read the definitions that evaluation in the environment sees")
            .gives("Definitions"),
        get("/api/v1/projects/{project}/environments/{environment}/stream", stream::stream, "streamDefinitions")
            .reads(Callers::Observers)
            .says("Follow the definitions: a snapshot, or what came after Last-Event-ID, then every change")
            .gives("Event"),
        post("/api/v1/projects/{project}/environments/{environment}/evaluations", accounts::post, "reportEvaluations")
            .reports(Callers::Services)
            .says("Report evaluations that a program made in its own process, for the audit log")
            .takes("EvaluationReport")
            .gives("TakenReport"),
        // Flags
        get("/api/v1/projects/{project}/flags", flags::list, "listFlags")
            .says("List flags")
            .query(&["limit", "cursor", "tag", "owner", "purpose", "archived", "critical", "at_revision", "at"])
            .gives("FlagList"),
        get("/api/v1/projects/{project}/flags/{key}", flags::get, "getFlag")
            .says("Read a flag, or what it was at an earlier revision or time")
            .query(PAST)
            .gives("Flag"),
        get("/api/v1/projects/{project}/flags/{key}/history", flag_history::list, "listFlagHistory")
            .says("Read the audit records that tell of a flag, the newest first, one per line; the header Flagraft-Next says where the next page begins")
            .query(LIST)
            .gives("Record"),
        put("/api/v1/projects/{project}/flags/{key}", flags::put, "putFlag")
            .says("Create a flag, or replace its definition and the environments that are named")
            .takes("PutFlag"),
        patch("/api/v1/projects/{project}/flags/{key}", flags::patch, "patchFlag")
            .says("Change parts of a flag")
            .takes("Patch"),
        delete("/api/v1/projects/{project}/flags/{key}", flags::delete, "deleteFlag")
            .says("Delete a flag; its key comes back only by restoring it")
            .query(WHY),
        post("/api/v1/projects/{project}/flags/{key}/archive", flags::archive, "archiveFlag")
            .says("Take a flag out of service")
            .takes("Why"),
        post("/api/v1/projects/{project}/flags/{key}/restore", flags::restore, "restoreFlag")
            .says("Bring an archived or deleted flag back, disabled everywhere")
            .takes("Why"),
        post("/api/v1/projects/{project}/flags/{key}/copy", flags::copy, "copyFlag")
            .says("Copy a flag's configuration from one environment to another")
            .takes("CopyFlag"),
        put(
            "/api/v1/projects/{project}/flags/{key}/environments/{environment}",
            flags::configure,
            "configureFlag",
        )
        .says("Replace a flag's configuration in one environment")
        .takes("ConfigureFlag"),
        post(
            "/api/v1/projects/{project}/flags/{key}/environments/{environment}/enable",
            flags::enable,
            "enableFlag",
        )
        .says("Turn a flag on in one environment")
        .takes("Why"),
        post(
            "/api/v1/projects/{project}/flags/{key}/environments/{environment}/disable",
            flags::disable,
            "disableFlag",
        )
        .says("Turn a flag off in one environment")
        .takes("Why"),
        // Segments
        get("/api/v1/projects/{project}/segments", segments::list, "listSegments")
            .says("List segments, without their members")
            .query(PAST_LIST)
            .gives("SegmentList"),
        get("/api/v1/projects/{project}/segments/{key}", segments::get, "getSegment")
            .says("Read a segment, without its members, or what it was at an earlier revision or time")
            .query(PAST)
            .gives("Segment"),
        get("/api/v1/projects/{project}/segments/{key}/members", segments::members, "listSegmentMembers")
            .says("Read one of a segment's lists of members, a JSON string per line")
            .query(&["list"])
            .gives("Member"),
        put("/api/v1/projects/{project}/segments/{key}", segments::put, "putSegment")
            .says("Create or replace a segment")
            .takes("PutSegment"),
        patch("/api/v1/projects/{project}/segments/{key}", segments::patch, "patchSegment")
            .says("Change parts of a segment")
            .takes("Patch"),
        delete("/api/v1/projects/{project}/segments/{key}", segments::delete, "deleteSegment")
            .says("Delete a segment that nothing uses")
            .query(WHY),
        // Tokens
        get("/api/v1/token", tokens::own, "getOwnToken")
            .reads(Callers::Observers)
            .says("Read the caller's own token: where it evaluates, and what it lays over every context")
            .gives("OwnToken"),
        get("/api/v1/tokens", tokens::list, "listTokens").says("List tokens").query(LIST).gives("TokenList"),
        post("/api/v1/tokens", tokens::create, "createToken")
            .says("Create a token. Its secret is in this answer and nowhere else")
            .takes("CreateToken")
            .gives("CreatedToken"),
        delete("/api/v1/tokens/{id}", tokens::revoke, "revokeToken").says("Revoke a token").query(WHY),
        // Signing keys
        get("/api/v1/signing-keys", signing_keys::list, "listSigningKeys")
            .says("List the keys that changes are signed with, revoked ones too: the caller's own, or for an owner of everything all")
            .query(LIST)
            .gives("SigningKeyList"),
        post("/api/v1/signing-keys", signing_keys::put, "putSigningKey")
            .says("Register the public key that somebody signs changes with, or rename it")
            .takes("PutSigningKey")
            .gives("WrittenSigningKey"),
        delete("/api/v1/signing-keys/{id}", signing_keys::revoke, "revokeSigningKey")
            .says("Revoke a signing key, for good")
            .query(WHY),
        // What happened, and how it goes
        get("/api/v1/audit", audit::list, "listAudit")
            .says("Read the audit log, a JSON record per line; the header Flagraft-Next says where the next page begins")
            .query(audit::question::PARAMETERS)
            .query(audit::PAGE)
            .gives("Record"),
        get("/api/v1/audit/export", audit::export::get, "exportAudit")
            .says("Export the audit log, or what a filter leaves of it, with what proves it, for `flagraft audit verify`")
            .query(audit::question::PARAMETERS)
            .query(audit::export::PARAMETERS)
            .gives("AuditExport"),
        get("/api/v1/audit/proof", proofs::prove, "proveAudit")
            .says("Prove that a record is in the audit log, or that the log of an earlier size is its beginning")
            .query(&["sequence", "size", "from", "to"])
            .gives("Proof"),
        get("/api/v1/audit/checkpoint", proofs::checkpoint, "getCheckpoint")
            .says("Read the newest checkpoint of the audit log that a majority of the nodes signed, as a signed note")
            .gives("Checkpoint"),
        get("/api/v1/audit/keys", audit_keys::list, "listAuditKeys")
            .says("List the keys that the nodes sign checkpoints with, and signed with")
            .gives("AuditKeyList"),
        post("/api/v1/audit/keys/rotate", audit_keys::rotate, "rotateAuditKey")
            .says("Let the node that is asked sign with one more key, a new one")
            .takes("Why")
            .gives("NewAuditKey"),
        post("/api/v1/audit/keys/retire", audit_keys::retire, "retireAuditKey")
            .says("Let a node sign no more with one of its keys")
            .takes("RetireAuditKey"),
        get("/api/v1/audit/retention", retention::get, "getAuditRetention")
            .says("Read for how long records of the audit log are kept, and which are under a legal hold")
            .gives("AuditRetention"),
        put("/api/v1/audit/retention", retention::put, "putAuditRetention")
            .says("Say for how many days records of each kind are kept; a kind that is not named is kept for ever")
            .takes("PutAuditRetention"),
        put("/api/v1/audit/holds/{id}", retention::put_hold, "putAuditHold")
            .says("Put a legal hold on a stretch of the audit log: nothing in it is removed")
            .takes("PutAuditHold"),
        delete("/api/v1/audit/holds/{id}", retention::delete_hold, "deleteAuditHold")
            .says("Lift a legal hold")
            .query(WHY),
        get("/api/v1/backup", backup::get, "backup")
            .says("A backup: the catalog at one revision and the whole audit log, for `flagraft restore`")
            .gives("Backup"),
        get("/api/v1/requests/{id}", requests::get, "getRequest")
            .says("What became of a request whose answer was lost")
            .gives("Request"),
        get("/api/v1/cluster", cluster::get, "getCluster")
            .status(Callers::Observers)
            .says("The cluster and each of its members")
            .gives("Cluster"),
        post("/api/v1/cluster/members", members::add, "addMember")
            .says("Invite a node. Its join token is in this answer and nowhere else")
            .takes("AddMember")
            .gives("InvitedMember"),
        post("/api/v1/cluster/members/{id}/promote", members::promote, "promoteMember")
            .says("Let a learner vote, once it has caught up; 202 while that is under way")
            .takes("Why")
            .gives("ChangedMember"),
        delete("/api/v1/cluster/members/{id}", members::remove, "removeMember")
            .says(
                "Remove a member, or put another one in its place, once that is safe; 202 while that is under way",
            )
            .query(&["reason", "ticket", "successor"])
            .gives("ChangedMember"),
        post("/api/v1/cluster/leader", members::lead, "transferLeadership")
            .says("Let another member lead")
            .takes("TransferLeadership")
            .gives("Leadership"),
        get("/livez", probes::livez, "livez").status(Callers::Anyone).says("Whether the process answers"),
        get("/readyz", probes::readyz, "readyz")
            .status(Callers::Anyone)
            .says("Whether the node should be sent requests; with ?verbose, and a token, why")
            .query(&["verbose"]),
        get("/metrics", probes::metrics, "metrics")
            .status(Callers::Observers)
            .says("Metrics in the text form of Prometheus"),
        get("/openapi.json", openapi::get, "openapi").status(Callers::Observers).says("This document"),
    ]
}

#[cfg(test)]
mod tests;
