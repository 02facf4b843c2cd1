//! The audit records that tell of a flag: a record per line, exactly the bytes that are hashed, the newest first.

use axum::{
    extract::State,
    http::{HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};

use super::{
    App,
    audit::recorded_project,
    auth::Admin,
    error::ApiError,
    extract::{Path, Query},
    list::{NEXT, Page},
    past::refusal,
    shorthand::InProject,
    terms::ReadTerms,
};

/// A page of at most `limit` records, which may be fewer though there are more: `Flagraft-Next` says where the next one
/// begins, and there is none at the end. The flag need not exist any more.
pub(super) async fn list(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: ReadTerms,
    Path(at): Path<InProject>,
    Query(page): Query<Page>,
) -> Result<Response, ApiError> {
    let before = page.cursor.as_deref().map(str::parse::<u64>).transpose().map_err(|_| {
        ApiError::invalid("the cursor is none that a page gave; pass on Flagraft-Next, or leave it out")
    })?;
    let window = Page::window(page.limit, None)?;
    let view = terms.view(&app).await?;
    let flag = at.flag()?;
    let granted = caller.still_good(view.state()).and_then(|()| recorded_project(&caller, &at.project));
    let project = granted.map_err(|error| error.stamped(&view.stamp))?;
    // Records beyond the published state are not there yet, whatever the disk has.
    let end = view.state().sequence();
    let before = before.map_or(end, |before| before.min(end));
    let found = app.node.traveller().history(project, flag, before, window.limit).await;
    let found = found.map_err(|error| refusal(error).stamped(&view.stamp))?;
    let mut lines = Vec::new();
    for row in &found.records {
        lines.extend_from_slice(&row.bytes);
        lines.push(b'\n');
    }
    view.answer(|_| {
        let mut response = lines.into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        headers.extend(found.next.map(|next| (NEXT, HeaderValue::from(next))));
        Ok(response)
    })
}
