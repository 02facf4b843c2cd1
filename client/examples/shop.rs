//! A small shop: an HTTP service that decides by flags, and lives without the cluster.
//!
//! ```text
//! FLAGRAFT_ENDPOINTS=http://127.0.0.1:7401,http://127.0.0.1:7402 FLAGRAFT_TOKEN=fr_svc_... cargo run -p flagraft-client --example shop
//! curl '127.0.0.1:8080/checkout?user=u1&country=DE'
//! ```

use std::{env, error::Error, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    routing::get,
};
use flagraft_client::{Client, Context};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Visitor {
    user: String,
    #[serde(default)]
    country: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let endpoints = env::var("FLAGRAFT_ENDPOINTS").unwrap_or_else(|_| "http://127.0.0.1:7401".to_owned());
    let client = Client::builder()
        .endpoints(endpoints.split(','))
        .token(env::var("FLAGRAFT_TOKEN").map_err(|_| "set FLAGRAFT_TOKEN to a service token, fr_svc_...")?)
        // With these the shop opens while the cluster is down.
        .copies_in(env::temp_dir().join("flagraft-shop"))
        .start()
        .await?;
    println!("flags: {}", client.ready(Duration::from_secs(3)).await);

    let shop = Router::new()
        .route("/checkout", get(checkout))
        .route("/healthz", get(health))
        .with_state(Arc::new(client.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("http://{}/checkout?user=u1&country=DE", listener.local_addr()?);
    axum::serve(listener, shop)
        .with_graceful_shutdown(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    client.shutdown().await;
    Ok(())
}

/// Decides in the process: no request waits for a node.
async fn checkout(State(flags): State<Arc<Client>>, Query(visitor): Query<Visitor>) -> Json<Value> {
    let user = Context::of(visitor.user).with("country", visitor.country);
    let is_new = flags.bool_details("checkout-v2", &user, false);
    Json(json!({
        "checkout": if is_new.value { "new" } else { "old" },
        "banner": flags.string_value("banner", &user, "Welcome".to_owned()),
        "because": is_new.reason.as_str(),
        "age_ms": is_new.age_ms,
    }))
}

/// The shop is well whatever the client's status is: that is for people to look at.
async fn health(State(flags): State<Arc<Client>>) -> (StatusCode, String) {
    (StatusCode::OK, format!("flags: {}\n", flags.status()))
}
