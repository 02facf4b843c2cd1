//! How the cluster does.

use axum::{Json, extract::State, response::Response};

use super::{App, auth::Observer, consistency::View};

pub(super) async fn get(_caller: Observer, State(app): State<App>) -> Response {
    let status = app.node.cluster_status().await;
    View::local(&app).stamp.answer(Json(status))
}
