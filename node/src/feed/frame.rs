//! Events as bytes of a `text/event-stream`.

use std::io::Write as _;

use bytes::Bytes;
use flagraft_core::identity::RevisionToken;
use serde::Serialize;

/// What keeps a connection alive, and says nothing.
pub(crate) const COMMENT: Bytes = Bytes::from_static(b":\n\n");
/// The end of an event.
pub(super) const END: &[u8] = b"\n\n";

/// An event with its id. JSON has no line breaks of its own, so its data are one line.
///
/// # Errors
/// When the data have no JSON form.
pub(crate) fn event(
    kind: &'static str,
    id: RevisionToken,
    data: &impl Serialize,
) -> Result<Bytes, serde_json::Error> {
    let mut bytes = head(kind, id);
    serde_json::to_writer(&mut bytes, data)?;
    bytes.extend_from_slice(END);
    Ok(bytes.into())
}

/// An event up to its data.
pub(super) fn head(kind: &'static str, id: RevisionToken) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    // Writing to memory does not fail.
    _ = write!(bytes, "event: {kind}\nid: {id}\ndata: ").is_ok();
    bytes
}

#[cfg(test)]
mod tests {
    use flagraft_core::identity::History;

    use super::*;

    #[test]
    fn an_event_is_four_lines() {
        let id = RevisionToken { history: History(0xab), revision: 7 };
        let bytes = event("change", id, &serde_json::json!({"a": "line\nbreak"})).expect("JSON");
        let expected = "event: change\nid: 00000000000000ab.7\ndata: {\"a\":\"line\\nbreak\"}\n\n";
        assert_eq!(bytes, expected);
    }
}
