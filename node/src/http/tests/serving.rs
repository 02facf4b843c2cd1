//! The listener itself.

use std::{sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::oneshot};

use super::harness::Api;
use crate::http::{Door, Options, metrics_router, serve};

#[tokio::test]
async fn a_listener_answers_until_it_is_told_to_stop_and_says_why_a_body_is_too_long() {
    let api = Api::shop().await;
    let token = api.service("production").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let (stop, stopped) = oneshot::channel::<()>();
    let door = Door::default();
    let limits = api.node.config().connections.limits(100);
    let serving = tokio::spawn(serve(door.clone(), listener, limits, Duration::from_secs(5), async {
        _ = stopped.await.is_ok();
    }));
    // While a node reads its disk, it lives, and is not ready for anything.
    let client = reqwest::Client::new();
    let status = async |path: &str| {
        client.get(format!("{url}{path}")).send().await.expect("an answer").status().as_u16()
    };
    for (path, expected) in [("/livez", 200), ("/readyz", 503), ("/api/v1/projects", 503)] {
        assert_eq!(status(path).await, expected, "{path}");
    }
    door.open(api.router.clone());
    for (path, expected) in [("/livez", 200), ("/readyz", 200), ("/api/v1/projects", 401)] {
        assert_eq!(status(path).await, expected, "{path}");
    }
    let long = client
        .post(format!("{url}/ofrep/v1/evaluate/flags"))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(vec![b' '; 4 << 20]);
    assert_eq!(long.send().await.expect("an answer, not a reset connection").status().as_u16(), 413);

    stop.send(()).expect("the listener waits for it");
    let ended = tokio::time::timeout(Duration::from_secs(5), serving).await.expect("it ends");
    ended.expect("no panic");
    assert!(client.get(format!("{url}/livez")).send().await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn the_listener_for_operators_asks_for_no_token_and_has_nothing_else() {
    let mut api = Api::start().await;
    api.router = metrics_router(Arc::clone(&api.node), Options::new(api.node.config()));
    let get = async |path: &str| api.call(axum::http::Method::GET, path).send().await.status.as_u16();
    for path in ["/metrics", "/livez", "/readyz", "/readyz?verbose"] {
        assert_eq!(get(path).await, 200, "{path}");
    }
    assert_eq!(get("/api/v1/cluster").await, 404);
}
