//! The listener itself.

use std::{sync::Arc, time::Duration};

use axum::{Router, http::Method, routing};
use tokio::{net::TcpListener, sync::oneshot};

use super::harness::Api;
use crate::http::{App, Door, Options, layers, metrics_router, serve};

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

/// Routes of a test's own, with everything around them that the node's have.
async fn api_of(routes: Router<App>, requests_max: usize) -> Api {
    let mut api = Api::start().await;
    let options = Options { requests_max, ..Options::new(api.node.config()) };
    let app = App::new(Arc::clone(&api.node), options);
    api.router = layers::around(routes, &app).with_state(app);
    api
}

fn panics() {
    panic!("a mistake in a handler");
}

#[tokio::test]
async fn a_handler_that_panics_is_answered_for_and_takes_up_no_room_afterwards() {
    let boom = routing::get(async || {
        tokio::task::yield_now().await;
        panics();
    });
    let routes = Router::new().route("/boom", boom).route("/well", routing::get(async || "well"));
    let api = api_of(routes, 1).await;
    let answer = api.call(Method::GET, "/boom").send().await.expect(500);
    assert_eq!(answer.error().0, "internal");
    assert!(!answer.text.contains("mistake"), "{answer:?}");
    api.call(Method::GET, "/well").send().await.expect(200);
    assert_eq!(api.node.metrics().in_flight().get(), 0);
}

#[tokio::test]
async fn a_request_beyond_the_bound_is_refused_but_how_the_node_does_is_told() {
    let entered = Arc::new(tokio::sync::Notify::new());
    let (leave, leaves) = oneshot::channel::<()>();
    let leaves = Arc::new(tokio::sync::Mutex::new(Some(leaves)));
    let slow = {
        let entered = Arc::clone(&entered);
        routing::get(async move || {
            entered.notify_one();
            let leaves = leaves.lock().await.take().expect("asked once");
            _ = leaves.await.is_ok();
            "done"
        })
    };
    let routes = Router::new()
        .route("/slow", slow)
        .route("/livez", routing::get(async || "alive"))
        .route("/well", routing::get(async || "well"));
    let api = api_of(routes, 1).await;
    let others = async {
        entered.notified().await;
        let refused = api.call(Method::GET, "/well").send().await.expect(503);
        assert_eq!(refused.error().0, "unavailable");
        api.call(Method::GET, "/livez").send().await.expect(200);
        leave.send(()).expect("it waits");
    };
    let (slow, ()) = tokio::join!(api.call(Method::GET, "/slow").send(), others);
    slow.expect(200);
    api.call(Method::GET, "/well").send().await.expect(200);
}
