//! Running the listeners.

use std::{
    convert::Infallible,
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    http::{Method, StatusCode},
    response::{IntoResponse as _, Response},
    routing::get,
};
use hyper::{Request, body::Incoming, service::service_fn};
use tokio::{net::TcpListener, sync::watch};
use tower::Service as _;

use super::{App, Options, error::ApiError, probes};
use crate::{
    connections::{self, Limits},
    node::Node,
};

/// What a listener answers with: at first only that the node starts, then with its routes. So a supervisor that asks
/// a node which still reads its disk learns that it lives, and is not ready.
#[derive(Clone, Debug, Default)]
pub struct Door {
    routes: Arc<OnceLock<Router>>,
}

impl Door {
    /// A door that is open already.
    pub fn to(routes: Router) -> Self {
        let door = Self::default();
        door.open(routes);
        door
    }

    /// From now on these routes answer. Only the first call counts.
    pub fn open(&self, routes: Router) {
        _ = self.routes.set(routes).is_ok();
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response, Infallible> {
        match self.routes.get() {
            Some(routes) => routes.clone().call(request).await,
            None => Ok(starting(request.method(), request.uri().path())),
        }
    }
}

/// What a node says before it knows its own disk.
fn starting(method: &Method, path: &str) -> Response {
    match path {
        "/livez" if matches!(*method, Method::GET | Method::HEAD) => probes::LIVES.into_response(),
        "/readyz" => {
            (StatusCode::SERVICE_UNAVAILABLE, "starting: this node reads its disk\n").into_response()
        }
        _ => ApiError::unavailable("this node is starting and reads its disk; ask another node")
            .into_response(),
    }
}

/// Serves on `listener` until `shutdown` completes; then takes no new connections and lets the requests under way end,
/// for at most `drain`.
pub async fn serve(
    door: Door,
    listener: TcpListener,
    limits: Limits,
    drain: Duration,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let (stop, mut stopped) = watch::channel(false);
    let signal = async move {
        shutdown.await;
        _ = stop.send(true);
    };
    let service = service_fn(move |request| door.clone().answer(request));
    tokio::select! {
        () = connections::serve(listener, limits, service, signal) => {}
        () = async {
            // A sender that is gone has ended the server too; then the other branch answers.
            if stopped.wait_for(|stopped| *stopped).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(drain).await;
        } => {
            tracing::warn!(drain_ms = drain.as_millis(), "requests were still under way when the time to drain was over");
        }
    }
}

/// The service of `--metrics-listen`: metrics and probes, without tokens.
pub fn metrics_router(node: Arc<Node>, options: Options) -> Router {
    Router::new()
        .route("/metrics", get(probes::open_metrics))
        .route("/livez", get(probes::livez))
        .route("/readyz", get(probes::open_readyz))
        .with_state(App::new(node, options))
}
