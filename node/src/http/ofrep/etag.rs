//! The ETag of a bulk answer: the same on every node that would give the same answer, and on no other.

use axum::http::{HeaderMap, header::IF_NONE_MATCH};
use flagraft_core::identity::{History, RevisionToken};
use sha2::{Digest as _, Sha256};

use super::request::Asked;
use crate::http::consistency::Stamp;

/// Rises when the same state and context would be answered otherwise than by earlier versions of this program.
const ANSWER_VERSION: u8 = 3;

/// `"<history>.<environment revision>.<hash>"`: what the flags were, and for whom they were evaluated.
pub(super) fn of(asked: &Asked, stamp: &Stamp, environment_revision: u64) -> String {
    let history = stamp.history.unwrap_or(History(0));
    let token = RevisionToken { history, revision: environment_revision };
    // What a client token sees of the same flags is less.
    let view = if asked.is_client() { "client" } else { "service" };
    // Maps are sorted by key, so equal contexts are equal texts. A text may hold every character but none that
    // separates the parts: JSON escapes it, and keys have none.
    let context = serde_json::to_string(&asked.context).unwrap_or_default();
    // The answer holds the ticket of its token: another token's is no good once that one is revoked.
    let token_id = &asked.caller.token.spec.id;
    let parts = [asked.flag_set_id().as_str(), view, token_id, &context].join("\0");
    let hash: [u8; 32] = Sha256::new().chain_update([ANSWER_VERSION]).chain_update(parts).finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = hash;
    format!("\"{token}.{}\"", hex::encode([a, b, c, d, e, f, g, h]))
}

/// The tags of `If-None-Match`. `*` is none of them: it is no cached answer.
pub(in crate::http) fn candidates(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        // Tags of this API hold no comma.
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/").to_owned())
        .collect()
}

/// Whether one of the tags is this one. Some providers drop the quotes.
pub(in crate::http) fn matches(candidates: &[String], tag: &str) -> bool {
    candidates.iter().any(|candidate| candidate.trim_matches('"') == tag.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn tags_are_compared_weakly_and_a_star_is_none() {
        let mut headers = HeaderMap::new();
        headers.append(IF_NONE_MATCH, HeaderValue::from_static("\"a.1.x\", W/\"a.2.x\""));
        headers.append(IF_NONE_MATCH, HeaderValue::from_static("*"));
        let tags = candidates(&headers);
        for tag in ["\"a.1.x\"", "\"a.2.x\""] {
            assert!(matches(&tags, tag), "{tag}");
        }
        assert!(!matches(&tags, "\"a.3.x\""));
        assert!(matches(&["a.3.x".to_owned()], "\"a.3.x\""), "without quotes");
        assert!(!matches(&[], "\"a.3.x\""));
    }
}
