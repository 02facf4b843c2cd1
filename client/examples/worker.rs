//! A worker with a kill switch: it charges customers only while a critical flag says so, and stops within a second of losing
//! the cluster.
//!
//! ```text
//! FLAGRAFT_ENDPOINTS=http://127.0.0.1:7401 FLAGRAFT_TOKEN=fr_svc_... cargo run -p flagraft-client --example worker
//! ```

use std::{env, error::Error, time::Duration};

use flagraft_client::{Client, Consistency, Context};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

/// Critical, with `off` as its safe variant.
const MAY_CHARGE: &str = "charging-enabled";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let endpoints = env::var("FLAGRAFT_ENDPOINTS").unwrap_or_else(|_| "http://127.0.0.1:7401".to_owned());
    let client = Client::builder()
        .endpoints(endpoints.split(','))
        .token(env::var("FLAGRAFT_TOKEN").map_err(|_| "set FLAGRAFT_TOKEN to a service token, fr_svc_...")?)
        .start()
        .await?;
    client.ready(Duration::from_secs(3)).await;

    let worker = Context::of("billing-worker");
    let mut changes = client.changes();
    let mut orders = interval(Duration::from_millis(500));
    orders.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut order = 0_u64;
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => break,
            Some(change) = changes.next() => {
                if change.changed.contains(MAY_CHARGE) {
                    println!("the switch may have moved: {}", client.bool_value(MAY_CHARGE, &worker, false));
                }
            }
            _ = orders.tick() => {
                order += 1;
                work(&client, &worker, order).await;
            }
        }
    }
    client.shutdown().await;
    Ok(())
}

async fn work(client: &Client, worker: &Context, order: u64) {
    // In the process: at most a second old, or off.
    let switch = client.bool_details(MAY_CHARGE, worker, false);
    if !switch.value {
        let why = if switch.consistency == Consistency::SafeVariant {
            "nobody can be sure"
        } else {
            "it is switched off"
        };
        println!("order {order} waits: {why}");
        return;
    }
    // A large order is worth a round trip: a quorum says that the switch is on now.
    if order.is_multiple_of(10) {
        match client.confirm(MAY_CHARGE, worker, Duration::from_millis(500)).await {
            Ok(confirmed) if confirmed.value == Some(json!(true)) => {}
            Ok(_) => return println!("large order {order} waits: it was just switched off"),
            Err(error) => return println!("large order {order} waits: {error}"),
        }
    }
    println!("order {order} is charged (age {} ms)", switch.age_ms.unwrap_or_default());
}
