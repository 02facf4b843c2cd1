//! The audit log as signed checkpoints and files, made and checked as people do.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use flagraft_tests::{cluster::Cluster, wait};

use super::cli::{Cli, Ran, offline};

const PATIENCE: Duration = Duration::from_secs(120);

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

/// Waits until a majority has signed this many records, as every node knows.
pub async fn signed(cluster: &Cluster, size: u64) {
    wait::until("a checkpoint", PATIENCE, || async {
        let status = cluster.status(cluster.living()[0]).await.body;
        let mut sizes =
            status["members"].as_array().expect("members").iter().map(|m| m["checkpoint"]["size"].as_u64());
        if sizes.all(|of| of >= Some(size)) { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}

/// The file of trusted keys, as an operator makes it.
pub async fn trust(cluster: &Cluster) -> PathBuf {
    let file = cluster.folder().join("trust");
    let keys = Cli::of(cluster).run(&["audit", "keys"]).await.expect_exit(0).stdout;
    fs::write(&file, keys).expect("written");
    file
}

/// An export through one node.
pub async fn export(cluster: &Cluster, id: u64, name: &str, arguments: &[&str]) -> PathBuf {
    let file = cluster.folder().join(name);
    let endpoint = cluster.admin(id).base().to_owned();
    let begin = ["audit", "export", "--endpoint", &endpoint, "--file", text(&file)];
    Cli::of(cluster).run(&[&begin[..], arguments].concat()).await.expect_exit(0);
    file
}

/// Verifies a file with nothing else at hand.
pub fn verify(file: &Path, trust: &Path, arguments: &[&str]) -> Ran {
    let begin = ["audit", "verify", text(file), "--trust", text(trust), "--output", "json"];
    offline(&[&begin[..], arguments].concat())
}
