//! The node that is measured: a cluster of one, with its defaults, and four projects with flags: for one and for many, whose
//! evaluations are counted or not.

use std::{path::Path, time::Duration};

use flagraft_bench_common::{
    failure::Failure,
    flags::{self, Flag, ONE_RULE, document::put},
    process::Folder,
};
use serde_json::{Value, json};

use super::{Case, Served, System, bare::Answer, wrk::Request};
use crate::system::{Connection, FlagraftCluster};

/// Flags beside the one that is asked for.
const OTHER_FLAGS: usize = 100;
/// The flags of a bulk evaluation.
pub const BULK_FLAGS: usize = 100;

const ENVIRONMENT: &str = "production";
const SINGLE: &str = "single";
const BULK: &str = "bulk";

/// A running node with its flags.
pub struct Node {
    cluster: FlagraftCluster,
    /// What the tokens of the projects make of the header.
    single: Tokens,
    bulk: Tokens,
}

/// Those of two projects that are alike but for what is counted.
struct Tokens {
    uncounted: String,
    counted: String,
}

impl Node {
    /// Starts a node of `binary` with its data in `folder`, and makes the flags.
    pub async fn start(binary: &Path, folder: Folder) -> Result<Self, Failure> {
        let cluster = FlagraftCluster::start(binary, folder, 1).await?;
        let one_rule = flags::all().into_iter().filter(|flag| flag.key == ONE_RULE);
        let single =
            projects(&cluster, SINGLE, &one_rule.chain(others(OTHER_FLAGS)).collect::<Vec<_>>()).await?;
        let bulk = projects(&cluster, BULK, &others(BULK_FLAGS)).await?;
        Ok(Self { cluster, single, bulk })
    }

    /// The request that is sent again and again.
    pub fn request(&self, case: Case, system: System) -> Request {
        let (path, tokens) = match case {
            Case::Single => (format!("/ofrep/v1/evaluate/flags/{ONE_RULE}"), &self.single),
            Case::Bulk => ("/ofrep/v1/evaluate/flags".to_owned(), &self.bulk),
        };
        let authorization = match system {
            // The bare handler looks at none, and gets one all the same.
            System::Bare | System::Flagraft => tokens.uncounted.clone(),
            System::Counting => tokens.counted.clone(),
        };
        let user = flags::user(0);
        let context = json!({
            "targetingKey": user.key, "country": user.country, "plan": user.plan, "version": user.version,
        });
        Request { path, authorization, body: json!({"context": context}).to_string() }
    }

    /// The answer to it, checked to be an evaluation of all that is asked for.
    pub async fn answer(&self, case: Case, system: System) -> Result<Answer, Failure> {
        let Request { path, authorization, body } = self.request(case, system);
        let mut connection = Connection::open(self.port()).await?;
        let (headers, body) = connection.exchange("POST", &path, &authorization, body).await?;
        let answered: Value = serde_json::from_slice(&body)?;
        let is_whole = match case {
            Case::Single => answered["reason"] == "SPLIT",
            Case::Bulk => answered["flags"].as_array().is_some_and(|flags| flags.len() == BULK_FLAGS),
        };
        if !is_whole {
            return Err(Failure(format!("an evaluation was answered: {answered}")));
        }
        Ok(Answer::new(&path, &headers, &body))
    }
}

impl Served for Node {
    fn port(&self) -> u16 {
        self.cluster.port(0)
    }

    fn cpu(&self) -> Result<Duration, Failure> {
        use crate::system::Cluster as _;
        self.cluster.cpu()
    }
}

/// Flags with a rule each, no two of them alike.
fn others(count: usize) -> Vec<Flag> {
    let flag = |n| Flag { key: format!("other-flag-{n:04}"), rules: vec![flags::varied(n)] };
    (0..count).map(flag).collect()
}

/// Makes two projects with these flags.
async fn projects(cluster: &FlagraftCluster, key: &str, flags: &[Flag]) -> Result<Tokens, Failure> {
    let uncounted = project(cluster, key, flags, "none").await?;
    let counted = project(cluster, &format!("{key}-counted"), flags, "summary").await?;
    Ok(Tokens { uncounted, counted })
}

/// Makes a project with these flags. Gives the `Authorization` of a service that evaluates them.
async fn project(
    cluster: &FlagraftCluster,
    key: &str,
    flags: &[Flag],
    audit_evaluations: &str,
) -> Result<String, Failure> {
    let put = |flag: &Flag| {
        let mut put = put(flag, ENVIRONMENT);
        put["flag"]["audit_evaluations"] = json!(audit_evaluations);
        put
    };
    cluster
        .change(
            key,
            json!([
                {"op": "project.put", "project": {"key": key}},
                {"op": "environment.put", "environment": {"key": ENVIRONMENT}},
            ]),
        )
        .await?;
    // A change has at most 100 operations.
    for flags in flags.chunks(100) {
        cluster.change(key, flags.iter().map(put).collect()).await?;
    }
    let grants = json!([{"role": "reader", "project": key, "environments": [ENVIRONMENT]}]);
    cluster.make_token(json!({"name": key, "kind": "service", "grants": grants})).await
}
