//! Every kind of error: what it is told from, and what it says.

use std::time::Duration;

use flagraft_client::admin::{AdminClient, AdminErrorKind, Call, Receipt, flags, requests};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::{
    builder, client, dead, dying,
    fake::{Fake, at},
};

fn envelope(code: &str, message: &str, details: Value) -> Value {
    json!({"error": {"code": code, "message": message, "details": details}})
}

fn write() -> Call<Receipt> {
    flags::enable("demo", "a", "dev", "a reason")
}

#[tokio::test]
async fn every_status_has_its_kind() {
    let rows = [
        (400, AdminErrorKind::Rejected),
        (401, AdminErrorKind::Unauthenticated),
        (403, AdminErrorKind::Forbidden),
        (404, AdminErrorKind::NotFound),
        (405, AdminErrorKind::Other),
        (409, AdminErrorKind::Conflict),
        (412, AdminErrorKind::Conflict),
        (413, AdminErrorKind::Rejected),
        (415, AdminErrorKind::Rejected),
        (422, AdminErrorKind::Rejected),
        (429, AdminErrorKind::Unavailable),
        (500, AdminErrorKind::Other),
        (503, AdminErrorKind::Unavailable),
        (504, AdminErrorKind::OutcomeUnknown),
    ];
    for (status, kind) in rows {
        let details = json!({"path": "/a/b", "request_id": "req_1", "actual": 7});
        let node = Fake::saying(status, envelope("a_code", "what happened.", details.clone())).await;
        let error = client([&node.url]).send(&write()).await.expect_err("an error");
        assert_eq!((error.kind(), error.status()), (kind, Some(status)), "{error}");
        assert_eq!((error.code(), error.message()), (Some("a_code"), "what happened."), "{status}");
        assert_eq!((error.path(), error.request_id()), (Some("/a/b"), Some("req_1")), "{status}");
        assert_eq!(error.details(), Some(&details), "{status}");
        assert!(error.to_string().starts_with("what happened (at /a/b)"), "{status}: {error}");
        assert_eq!(node.seen().len(), 1, "{status} is an answer");
    }
}

#[tokio::test]
async fn errors_without_our_envelope_are_understood_too() {
    let ofrep = json!({"key": "a", "errorCode": "FLAG_NOT_FOUND", "errorDetails": "there is no flag a"});
    let node = Fake::saying(404, ofrep).await;
    let error = client([node.url]).send(&Call::ask(["ofrep"], json!({}))).await.expect_err("an error");
    assert_eq!((error.kind(), error.to_string().as_str()), (AdminErrorKind::NotFound, "there is no flag a"));
    assert_eq!(error.code(), Some("FLAG_NOT_FOUND"));
    let node = Fake::node(|_| (503, "1", "not ready; ask again\n".to_owned())).await;
    let error = client([node.url]).send(&Call::get(["readyz"])).await.expect_err("an error");
    assert_eq!(error.to_string(), "not ready; ask again; nothing has changed; try again in 1 s");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
    let node = Fake::node(|_| (502, "", "<html>".to_owned())).await;
    let error = client([node.url]).send(&Call::get(["a"])).await.expect_err("an error");
    assert_eq!(error.code(), Some("http_502"));
    assert!(error.to_string().contains("is this a Flagraft node"), "{error}");
}

#[tokio::test]
async fn a_success_that_cannot_be_read_is_unreadable() {
    let cut = || Fake::node(|_| (200, "", r#"{"revision": 7, "fla"#.to_owned()));
    let error = client([cut().await.url]).send(&Call::get(["api"])).await.expect_err("cut");
    assert_eq!((error.kind(), error.request_id()), (AdminErrorKind::Unreadable, None));
    assert!(error.to_string().starts_with("the node answered 200 OK, but"), "{error}");
    let call = write();
    let error = client([cut().await.url]).send(&call).await.expect_err("cut");
    assert_eq!(error.kind(), AdminErrorKind::Unreadable);
    assert_eq!(error.request_id(), call.idempotency_key(), "it was done");
    // What is said to be no JSON, or is null, is as it came.
    for text in ["ready\n", "", "null"] {
        let node = Fake::node(move |_| (200, "", text.to_owned())).await;
        let answer = client([node.url]).send(&Call::get(["readyz"])).await.expect("an answer");
        assert_eq!((answer.json(), answer.text()), (&Value::Null, text));
    }
}

/// What only shows an answer goes on with a node of a later version; what decides by it is told where it can't.
#[tokio::test]
async fn an_answer_of_a_later_version_is_passed_on_and_not_misread() {
    let later = json!({
        "key": "a", "type": "boolean", "variants": {"on": true}, "of_a_later_version": 1, "environments": {},
        "system": {"revision": 1, "evaluated_revision": 1, "environments": {},
            "created": {"revision": 1, "at_ms": 0, "by": "me"}, "archived": null, "deleted": null},
    });
    let node = Fake::saying(200, later.clone()).await;
    let answer = client([node.url]).send(&flags::get("demo", "a")).await.expect("an answer");
    assert_eq!(*answer.json(), later);
    let error = answer.read().expect_err("a condition could hide in there");
    assert_eq!(error.kind(), AdminErrorKind::Unreadable);
    assert!(error.to_string().contains("of_a_later_version"), "{error}");
    assert!(error.to_string().contains("later version?"), "{error}");
    // A receipt with more in it is still one; a write whose receipt is none has been done, and can be asked for.
    let receipt =
        json!({"revision": 1, "sequence": 2, "request_id": "r", "outcome": "accepted", "later": {}});
    let node =
        Fake::node(move |n| (200, "", if n == 0 { receipt.to_string() } else { "{}".to_owned() })).await;
    let admin = client([node.url]);
    let call = write();
    assert_eq!(admin.send(&call).await.expect("done").read().expect("a receipt").revision, 1);
    let error = admin.send(&call).await.expect("done").read().expect_err("no receipt");
    assert_eq!((error.kind(), error.request_id()), (AdminErrorKind::Unreadable, call.idempotency_key()));
}

#[tokio::test]
async fn an_answer_that_is_lost_is_never_taken_for_a_failure() {
    // Nothing was sent: nothing can have happened.
    let error = client([dead().await]).send(&write()).await.expect_err("nobody is there");
    assert_eq!((error.kind(), error.status()), (AdminErrorKind::Unavailable, None));
    assert!(error.to_string().starts_with("no node answered: http://127.0.0.1:"), "{error}");
    assert!(error.to_string().ends_with("; start one, or name others as endpoints"), "{error}");
    // It was read, and then the node died; what others say of themselves does not tell what it did.
    let busy = Fake::saying(503, envelope("unavailable", "no leader", json!({}))).await;
    let call = write().with_key("order-66");
    let error = client([dying().await, busy.url, dead().await]).send(&call).await.expect_err("no answer");
    assert_eq!((error.kind(), error.request_id()), (AdminErrorKind::OutcomeUnknown, Some("order-66")));
    assert!(error.to_string().contains("ask what became of request order-66"), "{error}");
    // A read changes nothing, so there is nothing not to know.
    let error = client([dying().await]).send(&flags::get("demo", "a")).await.expect_err("no answer");
    assert_eq!(error.kind(), AdminErrorKind::Unavailable);
}

#[tokio::test]
async fn a_504_names_the_request_and_how_to_ask() {
    let message = "whether the change took effect is not known; ask GET /api/v1/requests/req_1, or repeat it";
    let node = Fake::saying(504, envelope("outcome_unknown", message, json!({"request_id": "req_1"}))).await;
    let error = client([&node.url]).send(&write()).await.expect_err("unknown");
    assert_eq!(
        error.to_string(),
        "whether the change took effect is not known; send the same call again, or ask what became of request req_1, \
         before another one does the same"
    );
    assert_eq!((error.request_id(), node.seen().len()), (Some("req_1"), 1));
}

/// A node that begins an answer and goes away, or stops.
async fn half(stays: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = at(listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("asked");
        let _ = stream.read(&mut [0; 1024]).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await.expect("written");
        if stays {
            // Until the test is over.
            std::future::pending::<()>().await;
        }
    });
    url
}

#[tokio::test]
async fn a_download_that_ends_early_is_told() {
    for (stays, said) in [(false, "the answer broke off"), (true, "the answer stopped for 1 s")] {
        let admin =
            builder([half(stays).await]).request_timeout(Duration::from_secs(1)).build().expect("a client");
        let mut download =
            admin.download(&flagraft_client::admin::cluster::backup()).await.expect("it begins");
        let error = loop {
            match download.piece().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it is not all there"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), AdminErrorKind::Unavailable);
        assert!(error.to_string().starts_with(said), "{error}");
    }
}

#[tokio::test]
async fn what_can_not_be_sent_is_invalid() {
    let admin = client([dead().await]);
    for key in ["", ".", ".."] {
        let error = admin.send(&flags::get("demo", key)).await.expect_err("another route");
        assert_eq!(error.kind(), AdminErrorKind::Invalid);
        assert!(error.to_string().contains("is no key"), "{error}");
    }
    let error = admin.send(&write().with_key("two\nlines")).await.expect_err("no header");
    assert_eq!((error.kind(), error.status()), (AdminErrorKind::Invalid, None));
    // A read has no key that could be wrong.
    let error = admin.send(&requests::get("r").with_key("two\nlines")).await.expect_err("nobody is there");
    assert_eq!(error.kind(), AdminErrorKind::Unavailable);
}

#[test]
fn what_can_not_work_is_not_set_up() {
    let error = AdminClient::builder().build().expect_err("no endpoint");
    assert_eq!(error.kind(), AdminErrorKind::Invalid);
    for endpoint in ["", "10.0.0.1:7401", "ftp://a", "http://u:secret@a", "http://a?token=secret"] {
        let error = builder([endpoint]).build().expect_err(endpoint);
        assert_eq!(error.kind(), AdminErrorKind::Invalid, "{error}");
        assert!(error.advice().is_some(), "{error}");
    }
    let error = builder(["http://u:secret@a"]).build().expect_err("a password");
    assert!(!error.to_string().contains("secret"), "{error}");
    let error = builder(["http://a"]).token("fr_adm_\nsecret").build().expect_err("no header");
    assert_eq!((error.kind(), error.status()), (AdminErrorKind::Unauthenticated, None));
    assert!(!error.to_string().contains("secret"), "{error}");
    let error = builder(["http://a"]).user_agent("two\nlines").build().expect_err("no header");
    assert_eq!(error.kind(), AdminErrorKind::Invalid);
}
