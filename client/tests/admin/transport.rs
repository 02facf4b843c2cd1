use tokio::{io::AsyncReadExt as _, net::TcpListener};

use super::*;
use crate::fake::{Fake, Seen, at};

/// An address that nobody listens on.
async fn dead() -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    at(listener.local_addr().expect("an address"))
}

/// A node that reads a request and dies before it answers.
async fn dying() -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = at(listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 1024];
            let _ = stream.read(&mut buffer).await;
        }
    });
    url
}

fn client(endpoints: Vec<Url>) -> Client {
    Client::new(endpoints, Some("fr_adm_secret"), Duration::from_secs(5), Duration::ZERO).expect("a client")
}

fn write() -> Call {
    Call::write(Method::POST, ["api", "v1", "projects", "demo", "changes"], Some(json!({"operations": []})))
        .expect("a call")
}

fn envelope(code: &str, message: &str, details: Value) -> Value {
    json!({"error": {"code": code, "message": message, "details": details}})
}

#[tokio::test]
async fn every_status_has_its_exit_code() {
    let rows = [
        (400, Exit::Rejected),
        (401, Exit::Auth),
        (403, Exit::Auth),
        (404, Exit::NotFound),
        (409, Exit::Rejected),
        (412, Exit::Rejected),
        (413, Exit::Rejected),
        (415, Exit::Rejected),
        (422, Exit::Rejected),
        (429, Exit::Unavailable),
        (500, Exit::Other),
        (503, Exit::Unavailable),
        (504, Exit::OutcomeUnknown),
    ];
    for (status, exit) in rows {
        let node = Fake::saying(status, envelope("a_code", "what happened", json!({"path": "/a/b"}))).await;
        let failure = client(vec![node.url.clone()]).send(&write()).await.expect_err("a failure");
        assert_eq!((failure.exit, failure.code.as_str()), (exit, "a_code"), "{status}: {failure}");
        assert!(failure.to_string().starts_with("what happened (at /a/b)"), "{status}: {failure}");
        assert_eq!(node.seen().len(), 1, "{status} is an answer");
    }
    let node = Fake::saying(200, json!({"revision": 7})).await;
    let answer = client(vec![node.url.clone()]).send(&write()).await.expect("an answer");
    assert_eq!(answer.body["revision"], 7);
    let [seen] = node.seen().try_into().expect("one request");
    let Seen { method, uri, authorization, body, .. } = seen;
    assert_eq!((method.as_str(), uri.as_str()), ("POST", "/api/v1/projects/demo/changes"));
    assert_eq!(authorization.as_deref(), Some("Bearer fr_adm_secret"));
    assert_eq!(body, r#"{"operations":[]}"#);
}

#[tokio::test]
async fn errors_without_our_envelope_are_understood_too() {
    let ofrep = json!({"key": "a", "errorCode": "FLAG_NOT_FOUND", "errorDetails": "there is no flag a"});
    let node = Fake::saying(404, ofrep).await;
    let failure = client(vec![node.url]).send(&Call::ask(["ofrep"], json!({}))).await.expect_err("a failure");
    assert_eq!((failure.exit, failure.to_string().as_str()), (Exit::NotFound, "there is no flag a"));
    let node = Fake::node(|_| (503, "1", "not ready; ask again\n".to_owned())).await;
    let failure = client(vec![node.url]).send(&Call::get(["readyz"])).await.expect_err("a failure");
    assert_eq!(failure.to_string(), "not ready; ask again; nothing has changed; try again in 1 s");
    let node = Fake::node(|_| (502, "", "<html>".to_owned())).await;
    let failure = client(vec![node.url]).send(&Call::get(["a"])).await.expect_err("a failure");
    assert!(failure.to_string().contains("is this a Flagraft node"), "{failure}");
}

#[tokio::test]
async fn a_success_that_cannot_be_read_is_a_failure() {
    let cut = || Fake::node(|_| (200, "", r#"{"revision": 7, "fla"#.to_owned()));
    let failure = client(vec![cut().await.url]).send(&Call::get(["api"])).await.expect_err("cut");
    assert_eq!(failure.exit, Exit::Other);
    assert!(failure.to_string().starts_with("the node answered 200 OK, but"), "{failure}");
    let call = write();
    let failure = client(vec![cut().await.url]).send(&call).await.expect_err("cut");
    assert_eq!(failure.request_id, call.idempotency_key);
    assert!(failure.to_string().contains("flagraft change status"), "{failure}");
    // What is said to be no JSON, or is null, is as it came.
    for text in ["ready\n", "", "null"] {
        let node = Fake::node(move |_| (200, "", text.to_owned())).await;
        let answer = client(vec![node.url]).send(&Call::get(["readyz"])).await.expect("an answer");
        assert_eq!((answer.body, answer.text.as_str()), (Value::Null, text));
    }
}

#[tokio::test]
async fn an_answer_may_be_nested_deeper_than_128_levels() {
    let mut condition = json!({"kind": "attribute", "text": "country == \"DE\"", "holds": true});
    for _ in 0..200 {
        condition = json!({"kind": "all", "holds": true, "inner": [condition]});
    }
    let node = Fake::saying(200, condition.clone()).await;
    let answer = client(vec![node.url]).send(&Call::ask(["explain"], json!({}))).await.expect("an answer");
    assert_eq!(answer.body, condition);
}

#[tokio::test]
async fn the_next_endpoint_is_asked_under_the_same_request_id() {
    let busy = Fake::saying(503, envelope("unavailable", "no leader", json!({}))).await;
    let good = Fake::saying(200, json!({})).await;
    let endpoints = vec![dead().await, dying().await, busy.url.clone(), good.url.clone()];
    let client = client(endpoints);
    client.send(&write()).await.expect("the last one answers");
    let (refused, done) = (busy.seen(), good.seen());
    assert!(refused[0].key.is_some());
    assert_eq!(refused[0].key, done[0].key, "a retry is the same request");
    // The node that answered is asked first from now on, and another command is another request.
    client.send(&write()).await.expect("an answer");
    assert_eq!((busy.seen().len(), good.seen().len()), (1, 2));
    assert_ne!(good.seen()[0].key, good.seen()[1].key);
    client.send(&Call::get(["api"])).await.expect("an answer");
    assert_eq!(good.seen()[2].key, None, "a read has no request id");
}

#[tokio::test]
async fn an_answer_that_is_lost_is_never_taken_for_a_failure() {
    // Nothing was sent: nothing can have happened.
    let failure = client(vec![dead().await]).send(&write()).await.expect_err("nobody is there");
    assert_eq!(failure.exit, Exit::Unavailable);
    assert!(failure.to_string().contains("FLAGRAFT_ENDPOINTS"), "{failure}");
    // It was read, and then the node died; what others say of themselves does not tell what it did.
    let busy = Fake::saying(503, envelope("unavailable", "no leader", json!({}))).await;
    let call = write();
    let failure =
        client(vec![dying().await, busy.url, dead().await]).send(&call).await.expect_err("no answer");
    assert_eq!(failure.exit, Exit::OutcomeUnknown);
    assert_eq!(failure.request_id, call.idempotency_key);
    let id = failure.request_id.clone().expect("an id");
    assert!(failure.to_string().contains(&format!("flagraft change status {id}")), "{failure}");
    // A read changes nothing, so there is nothing not to know.
    let failure = client(vec![dying().await]).send(&Call::get(["api"])).await.expect_err("no answer");
    assert_eq!(failure.exit, Exit::Unavailable);
}

#[tokio::test]
async fn a_504_names_the_request_and_how_to_ask() {
    let message = "whether the change took effect is not known; ask GET /api/v1/requests/req_1, or repeat it";
    let node = Fake::saying(504, envelope("outcome_unknown", message, json!({"request_id": "req_1"}))).await;
    let failure = client(vec![node.url.clone()]).send(&write()).await.expect_err("unknown");
    assert_eq!(
        failure.to_string(),
        "whether the change took effect is not known; ask with `flagraft change status req_1` before doing it again"
    );
    assert_eq!((failure.request_id.as_deref(), node.seen().len()), (Some("req_1"), 1));
}

#[tokio::test]
async fn while_a_leader_is_elected_the_round_is_repeated() {
    let electing = |after: usize| {
        Fake::node(move |n| match n {
            n if n < after => (503, "1", envelope("unavailable", "no leader", json!({})).to_string()),
            _ => (200, "", "{}".to_owned()),
        })
    };
    let patient = |url: &Url, retry_for| {
        Client::new(vec![url.clone()], None, Duration::from_secs(5), retry_for).expect("a client")
    };
    let node = electing(2).await;
    patient(&node.url, Duration::from_secs(30)).send(&write()).await.expect("elected in the end");
    let keys: Vec<Option<String>> = node.seen().into_iter().map(|seen| seen.key).collect();
    assert!(keys.len() == 3 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    let node = electing(usize::MAX).await;
    let failure =
        patient(&node.url, Duration::from_millis(300)).send(&write()).await.expect_err("never elected");
    assert_eq!(failure.exit, Exit::Unavailable);
    assert!(failure.to_string().contains("try again in 1 s"), "{failure}");
}

#[tokio::test]
async fn lists_are_read_to_their_end() {
    let node = Fake::node(|n| {
        let next = if n == 0 { json!("c1") } else { Value::Null };
        (200, "", json!({"items": [n], "next": next}).to_string())
    })
    .await;
    let items = client(vec![node.url.clone()]).list(Call::get(["flags"]).query("tag", Some("a b"))).await;
    assert_eq!(items.expect("items"), [json!(0), json!(1)]);
    let uris: Vec<String> = node.seen().into_iter().map(|seen| seen.uri).collect();
    assert_eq!(uris, ["/flags?tag=a+b&limit=500", "/flags?tag=a+b&limit=500&cursor=c1"]);
    let node = Fake::saying(200, json!({"items": 7})).await;
    assert!(client(vec![node.url]).list(Call::get(["flags"])).await.is_err());
}

#[test]
fn a_key_is_one_segment_of_the_path_whatever_it_holds() {
    let endpoint = Url::parse("http://h:1/").expect("a URL");
    let url = |key: &str| Call::get(["flags", key]).url(&endpoint).map(|url| url.to_string());
    assert_eq!(url("a/b?c#d%e ü").expect("a URL"), "http://h:1/flags/a%2Fb%3Fc%23d%25e%20%C3%BC");
    for bad in ["", ".", ".."] {
        assert_eq!(url(bad).expect_err(bad).exit, Exit::Usage);
    }
}

#[test]
fn the_token_is_never_shown() {
    let shown = format!("{:?}", client(vec![]));
    assert!(!shown.contains("fr_adm_secret"), "{shown}");
    let failure =
        Client::new(vec![], Some("fr_adm_\nsecret"), Duration::ZERO, Duration::ZERO).expect_err("no header");
    assert_eq!(failure.exit, Exit::Auth);
    assert!(!failure.to_string().contains("secret"), "{failure}");
}
