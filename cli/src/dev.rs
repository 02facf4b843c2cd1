//! `flagraft serve --dev`: one node on loopback with the demo catalog, its tokens printed.

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path, time::Duration};

use flagraft_client::admin::{Call, tokens};
use flagraft_node::server::Server;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    failure::{Exit, Failure},
    import,
    output::{self, Format, Output},
    serve::{self, ServeArgs},
    session::{Session, Why, client},
};

/// The demo catalog: an on-line shop.
const CATALOG: &str = include_str!("../demo/shop.json");
const PROJECT: &str = "demo";
const ENVIRONMENT: &str = "production";
/// The file with the service token, in the data folder.
const SERVICE_TOKEN_FILE: &str = "service-token";
/// How long the node may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Runs the node until it is told to stop.
pub async fn run(args: &ServeArgs) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::new(Exit::Other, format!("could not make a data folder: {e}"));
    // Dropped, and so removed, when the node has stopped.
    let scratch = match args.data {
        Some(_) => None,
        None => Some(TempDir::with_prefix("flagraft-dev-").map_err(failed)?),
    };
    let data = match (&args.data, &scratch) {
        (Some(data), _) => data.clone(),
        (None, Some(scratch)) => scratch.path().to_owned(),
        (None, None) => return Err(Failure::usage("--data is missing")),
    };
    fs::create_dir_all(&data).map_err(failed)?;
    let mut stop = Box::pin(serve::told_to_stop()?);
    let config = args.dev_config(data.clone())?;
    let server = Server::start(config).await.map_err(serve::not_started)?;
    let url = format!("http://{}", server.address());
    let prepared = tokio::select! {
        () = &mut stop => return serve::ended(server, async {}).await,
        prepared = prepare(&url, &data) => prepared,
    };
    match prepared {
        Ok((admin, service)) => output::line(&tour(&url, &admin, &service, scratch.is_none()))?,
        Err(failure) => {
            // The node stops in order; why it has to is said by the failure.
            let _ = serve::ended(server, async {}).await;
            return Err(failure);
        }
    }
    serve::ended(server, stop).await
}

/// Loads the catalog and makes a service token, if an earlier run has not. Gives both tokens.
async fn prepare(url: &str, data: &Path) -> Result<(String, String), Failure> {
    let read = |path: &Path| fs::read_to_string(path).map(|text| text.trim().to_owned());
    let session = |token: Option<&str>| {
        let client = client([url], token, Duration::from_secs(10), READY_WITHIN)?;
        Ok::<_, Failure>(Session { client, output: Output { format: Format::Table } })
    };
    // Asks again while the answer is 503, for as long as READY_WITHIN.
    session(None)?.client.send(&Call::get(["readyz"])).await?;
    let admin = read(&data.join("bootstrap-token"))
        .map_err(|e| Failure::new(Exit::Other, format!("could not read the first owner's token: {e}")))?;
    let session = session(Some(&admin))?;
    let why = Why { reason: "the demo catalog".to_owned(), ticket: Some("DEMO-1".to_owned()) };
    import::load(&session, PROJECT, CATALOG, &why).await?;
    let file = data.join(SERVICE_TOKEN_FILE);
    if let Ok(service) = read(&file) {
        return Ok((admin, service));
    }
    let grants = json!([{"role": "reader", "project": PROJECT, "environments": [ENVIRONMENT]}]);
    let token = json!({"name": "demo", "kind": "service", "grants": grants});
    let answer = session.client.send(&tokens::create(&token, &why)).await?;
    let service = answer.json()["secret"].as_str().unwrap_or_default().to_owned();
    let mut options = fs::OpenOptions::new();
    let written = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&file)
        .and_then(|mut f| writeln!(f, "{service}"));
    written.map_err(|e| Failure::new(Exit::Other, format!("could not write {}: {e}", file.display())))?;
    Ok((admin, service))
}

fn tour(url: &str, admin: &str, service: &str, kept: bool) -> String {
    let kept = if kept { "All is kept in --data." } else { "Nothing is kept: it is gone when this ends." };
    format!(
        "\nFlagraft runs on {url} with the demo catalog. {kept} Ctrl-C ends it.\n\n\
         In another terminal:\n\n  \
         export FLAGRAFT_ENDPOINTS={url}\n  \
         export FLAGRAFT_ADMIN_TOKEN={admin}\n  \
         export FLAGRAFT_TOKEN={service}\n\n  \
         flagraft flag list -p {PROJECT}\n  \
         flagraft flag eval voucher-codes -k ada -a country=DE\n  \
         flagraft flag disable voucher-codes -p {PROJECT} -e {ENVIRONMENT} -r 'a code leaked' -t OPS-812\n  \
         flagraft flag eval voucher-codes -k ada -a country=DE\n  \
         flagraft audit list\n\n\
         Any OpenFeature client reads it over OFREP, at {url} with FLAGRAFT_TOKEN as its bearer token.\n"
    )
}
