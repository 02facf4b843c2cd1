//! Lists: a page of items in key order, and where the next one begins.

use std::borrow::Cow;

use axum::{
    Json,
    http::{HeaderName, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;

/// Where the next page of a list without an envelope begins.
pub(super) const NEXT: HeaderName = HeaderName::from_static("flagraft-next");

/// Items of a page that does not say how many.
const LIMIT: usize = 100;
/// The most items of a page.
const LIMIT_MAX: usize = 500;

/// `?limit=&cursor=`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    pub(super) limit: Option<usize>,
    pub(super) cursor: Option<String>,
}

impl Page {
    /// Which page is asked for.
    pub(super) fn window(limit: Option<usize>, cursor: Option<String>) -> Result<Window, ApiError> {
        let limit = limit.unwrap_or(LIMIT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(ApiError::invalid(format!("limit is a number from 1 to {LIMIT_MAX}")));
        }
        let after = cursor.map(|cursor| decode(&cursor)).transpose()?;
        Ok(Window { limit, after })
    }
}

/// The items to show: at most `limit`, those whose keys come after `after`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) limit: usize,
    pub(super) after: Option<String>,
}

impl Window {
    /// The page, from items in the order of their keys.
    pub(super) fn page<T>(
        &self,
        items: impl Iterator<Item = T>,
        key: impl for<'t> Fn(&'t T) -> Cow<'t, str>,
        show: impl Fn(&T) -> Value,
        revision: u64,
    ) -> Response {
        let mut items =
            items.skip_while(|item| self.after.as_ref().is_some_and(|after| *key(item) <= **after));
        let page: Vec<T> = items.by_ref().take(self.limit).collect();
        let next = match (items.next(), page.last()) {
            (Some(_), Some(last)) => Some(encode(&key(last))),
            _ => None,
        };
        let items: Vec<Value> = page.iter().map(show).collect();
        (StatusCode::OK, Json(json!({"items": items, "next": next, "revision": revision}))).into_response()
    }
}

/// A cursor is opaque to clients, so that what it means may change.
fn encode(key: &str) -> String {
    hex::encode(key)
}

fn decode(cursor: &str) -> Result<String, ApiError> {
    let bytes = hex::decode(cursor).ok();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| {
        ApiError::invalid("the cursor is none that a list gave; pass on `next` as it is, or leave it out")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn page_of(window: &Window) -> Value {
        let keys = ["a", "b", "c", "d", "e"];
        let response = window.page(keys.iter(), |key| Cow::Borrowed(**key), |key| json!(key), 42);
        let body = axum::body::to_bytes(response.into_body(), 4096).await.expect("a body");
        serde_json::from_slice(&body).expect("JSON")
    }

    #[tokio::test]
    async fn pages_join_without_gap_or_overlap() {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let window = Page::window(Some(2), cursor).expect("a window");
            let page = page_of(&window).await;
            assert_eq!(page["revision"], 42);
            seen.extend(page["items"].as_array().expect("items").clone());
            match page["next"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => break,
            }
        }
        assert_eq!(Value::Array(seen), json!(["a", "b", "c", "d", "e"]));
    }

    #[test]
    fn limits_and_cursors_are_checked() {
        assert_eq!(Page::window(None, None).expect("usual"), Window { limit: LIMIT, after: None });
        for limit in [0, 501] {
            assert!(Page::window(Some(limit), None).is_err());
        }
        assert!(Page::window(None, Some("not hex".to_owned())).is_err());
    }
}
