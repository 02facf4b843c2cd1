//! A deployer's step: creates a flag, turns it on, and waits until every node serves it.
//!
//! ```text
//! FLAGRAFT_ENDPOINTS=http://127.0.0.1:7401 FLAGRAFT_ADMIN_TOKEN=fr_adm_... \
//!     cargo run -p flagraft-client --features admin --example release -- demo production new-search
//! ```

use std::{env, error::Error, time::Duration};

use flagraft_client::admin::{
    AdminClient, AdminError, AdminErrorKind, Answer, Call, Receipt, Why, cluster, flags, requests,
};
use serde_json::json;
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [project, environment, flag] = arguments.as_slice() else {
        return Err("name a project, an environment and a flag".into());
    };
    let endpoints = env::var("FLAGRAFT_ENDPOINTS").unwrap_or_else(|_| "http://127.0.0.1:7401".to_owned());
    let token = env::var("FLAGRAFT_ADMIN_TOKEN")
        .map_err(|_| "set FLAGRAFT_ADMIN_TOKEN to an admin token, fr_adm_...")?;
    let admin = AdminClient::builder().endpoints(endpoints.split(',')).token(token).build()?;
    let why = Why::new("release").ticket("OPS-812");

    // A `flagraft_core::document::FlagDocument`, or JSON, as from a file.
    let object = json!({
        "type": "boolean", "variants": {"on": true, "off": false}, "off_variant": "off",
        "environments": {environment: {"default": {"variant": "on"}}},
    });
    match certainly(&admin, &flags::put(project, flag, &object, &why).if_absent()).await {
        Ok(answer) => println!("{flag} is created (revision {})", answer.read()?.revision),
        // It is there already, as it is after a run that was cut off.
        Err(error) if error.kind() == AdminErrorKind::Conflict => println!("{flag}: {error}"),
        Err(error) => return Err(error.into()),
    }

    let enabled = certainly(&admin, &flags::enable(project, flag, environment, &why)).await?;
    let receipt = enabled.read()?;
    println!(
        "{flag} is on in {environment} (revision {}, audit record {})",
        receipt.revision, receipt.sequence
    );

    // A quorum has it on disk. Which node serves it is seen in the cluster's status.
    loop {
        let status = admin.send(&cluster::status()).await?.read()?;
        let behind = status.members.iter().filter(|member| member.revision < Some(receipt.revision));
        let behind: Vec<u64> = behind.map(|member| member.id).collect();
        if behind.is_empty() {
            break;
        }
        println!("not yet on {behind:?}");
        sleep(Duration::from_millis(100)).await;
    }
    println!("every node serves it");
    Ok(())
}

/// Makes a write until it is certain what became of it. Sent again, the same call is the same request: it happens once.
async fn certainly(admin: &AdminClient, call: &Call<Receipt>) -> Result<Answer<Receipt>, AdminError> {
    loop {
        match admin.send(call).await {
            Err(error) if error.kind() == AdminErrorKind::OutcomeUnknown => {
                println!("{error}");
                if let Some(id) = error.request_id()
                    && let Ok(status) = admin.send(&requests::get(id)).await
                {
                    println!("so far: {:?}", status.read()?.outcome);
                }
                sleep(error.retry_after().unwrap_or(Duration::from_secs(1))).await;
            }
            done => return done,
        }
    }
}
