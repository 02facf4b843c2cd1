//! The listener itself.

use std::{sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::oneshot};

use super::harness::Api;
use crate::http::{Options, metrics_router, serve};

#[tokio::test]
async fn a_listener_answers_until_it_is_told_to_stop_and_says_why_a_body_is_too_long() {
    let api = Api::shop().await;
    let token = api.service("production").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let (stop, stopped) = oneshot::channel::<()>();
    let options = Options::new(api.node.config());
    let serving =
        tokio::spawn(serve(Arc::clone(&api.node), listener, options, Duration::from_secs(5), async {
            _ = stopped.await.is_ok();
        }));
    let client = reqwest::Client::new();
    let live = client.get(format!("{url}/livez")).send().await.expect("an answer");
    assert_eq!(live.status().as_u16(), 200);
    let long = client
        .post(format!("{url}/ofrep/v1/evaluate/flags"))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(vec![b' '; 4 << 20]);
    assert_eq!(long.send().await.expect("an answer, not a reset connection").status().as_u16(), 413);

    stop.send(()).expect("the listener waits for it");
    let ended = tokio::time::timeout(Duration::from_secs(5), serving).await.expect("it ends");
    ended.expect("no panic").expect("no error");
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
