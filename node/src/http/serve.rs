//! Running the listeners.

use std::{future::Future, io, sync::Arc, time::Duration};

use axum::{Router, routing::get, serve::ListenerExt as _};
use tokio::{net::TcpListener, sync::watch};

use super::{App, Options, probes, router};
use crate::node::Node;

/// Why a listener ended otherwise than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket failed.
    #[error("the HTTP listener failed: {0}")]
    Io(#[from] io::Error),
}

/// Serves the API on `listener` until `shutdown` completes; then takes no new connections and lets the requests
/// under way end, for at most `drain`.
///
/// # Errors
/// When the socket fails.
pub async fn serve(
    node: Arc<Node>,
    listener: TcpListener,
    options: Options,
    drain: Duration,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let (stop, mut stopped) = watch::channel(false);
    let signal = async move {
        shutdown.await;
        _ = stop.send(true);
    };
    // Answers are small and wanted at once: they must not wait for the acknowledgement of the one before.
    let listener = listener.tap_io(|stream| _ = stream.set_nodelay(true).is_ok());
    let serving = axum::serve(listener, router(node, options)).with_graceful_shutdown(signal);
    tokio::select! {
        ended = serving => Ok(ended?),
        () = async {
            // A sender that is gone has ended the server too; then the other branch answers.
            if stopped.wait_for(|stopped| *stopped).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(drain).await;
        } => {
            tracing::warn!(drain_ms = drain.as_millis(), "requests were still under way when the time to drain was over");
            Ok(())
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
