//! A node of a few hundred lines: the routes that a client asks, over documents that the real encoder makes, and every way in
//! which they can fail.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use flagraft_core::{
    account::OwnReport, compiled::CompiledCatalog, context::EvaluationContext, feed::encode,
    identity::BootId, state::State,
};
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::Instant,
};

use super::{
    ENVIRONMENT, TOKEN,
    catalog::{Catalog, PROJECT},
};

/// How often a stream says that it is there.
const HEARTBEAT: Duration = Duration::from_millis(30);

/// What the cluster has accepted, in order. A node may have seen less of it.
pub struct Truth {
    catalog: Mutex<Catalog>,
    states: watch::Sender<Vec<State>>,
    history: AtomicU64,
    /// What the token lays over every context.
    pub token_context: Mutex<Value>,
    /// What kind of token it is.
    pub token_kind: Mutex<&'static str>,
    reports: Mutex<Reports>,
}

/// The reports in the log, and of each reporter the last boot and number.
#[derive(Default)]
struct Reports {
    known: BTreeMap<String, (BootId, u64)>,
    taken: Vec<OwnReport>,
    repeated: usize,
}

impl Truth {
    /// A catalog with these changes made.
    pub fn new(changes: impl IntoIterator<Item = Value>) -> Arc<Self> {
        let catalog = Catalog::new(&[ENVIRONMENT]);
        let states = watch::Sender::new(vec![catalog.state.clone()]);
        let truth = Self {
            catalog: Mutex::new(catalog),
            states,
            history: AtomicU64::new(0xab),
            token_context: Mutex::new(json!({})),
            token_kind: Mutex::new("service"),
            reports: Mutex::default(),
        };
        for change in changes {
            truth.change(change);
        }
        Arc::new(truth)
    }

    /// The cluster accepts a change.
    pub fn change(&self, operations: Value) {
        let mut catalog = self.catalog.lock().expect("not poisoned");
        catalog.must(operations);
        let state = catalog.state.clone();
        self.states.send_modify(|states| states.push(state));
    }

    /// A catalog with these flags, which may ask for their evaluations to be counted.
    pub fn audited(flags: impl IntoIterator<Item = Value>) -> Arc<Self> {
        let truth = Self::new([]);
        let version = json!([{"op": "system.cluster_version", "version": 2}]);
        lock(&truth.catalog).change(None, version).expect("the version is raised");
        truth.change(super::put(flags));
        truth
    }

    /// The reports in the log, in its order.
    pub fn reports(&self) -> Vec<OwnReport> {
        lock(&self.reports).taken.clone()
    }

    /// The evaluations that they count.
    pub fn reported(&self) -> u64 {
        lock(&self.reports).taken.iter().map(OwnReport::total).sum()
    }

    /// How many came that the log had.
    pub fn repeated(&self) -> usize {
        lock(&self.reports).repeated
    }

    /// Takes a report into the log, if it is none that it has; says whether it is.
    fn take(&self, report: OwnReport) -> bool {
        let mut reports = lock(&self.reports);
        let last = reports.known.get(&*report.instance);
        let is_repeated = last.is_some_and(|(boot, last)| *boot == report.boot && report.number <= *last);
        if is_repeated {
            reports.repeated += 1;
        } else {
            reports.known.insert(report.instance.to_string(), (report.boot, report.number));
            reports.taken.push(report);
        }
        is_repeated
    }

    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.states.borrow().last().expect("a state").revision()
    }

    /// A restore begins another history.
    pub fn begin_history(&self, history: u64) {
        self.history.store(history, Ordering::SeqCst);
    }

    /// The definitions as a node gives them.
    pub fn snapshot(&self) -> String {
        snapshot_of(self.states.borrow().last().expect("a state"), ENVIRONMENT)
    }
}

/// The definitions of an environment, as a node gives them.
pub fn snapshot_of(state: &State, environment: &str) -> String {
    let snapshot = encode::snapshot(state, PROJECT, environment).expect("the environment");
    serde_json::to_string(&snapshot).expect("JSON")
}

fn touched(state: &State) -> u64 {
    state.project(PROJECT).expect("the project").environments[ENVIRONMENT].touched_revision
}

/// How a node answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    /// As it should.
    Good,
    /// It accepts connections and never says anything.
    Silent,
    /// It answers with bytes that are nothing.
    Garbage,
    /// It answers with well-formed HTTP and a page of somebody else's.
    Page,
    /// It answers with this status, and asks to be left alone for so many seconds.
    Status(u16, Option<u64>),
    /// Its answers break off after so many bytes.
    Cut(usize),
    /// It is good, but no stream comes through: this is the status of the answer. One that says to come again later means a
    /// minute.
    NoStreams(u16),
    /// It is good, but its streams sit behind a buffer that gives nothing.
    BufferedStreams,
    /// It is good, but does not know anything after this revision.
    Behind(u64),
    /// It is good, and its streams say in place of changes that which no client knows.
    NewerChanges,
    /// It is good, and these flags say what no client knows.
    NewerFlags,
    /// It is good, and its streams always begin with a snapshot.
    SnapshotStreams,
    /// It is good, but does not say what a token is good for.
    NoToken,
    /// It is good, but evaluates nothing: this is the status of the answer, which says to come again in a minute.
    NoEvaluations(u16),
    /// It is good, but its definitions come so long after their head.
    SlowDefinitions(Duration),
    /// It is good, but its definitions are those of this revision, by the name of the newest.
    OlderBody(u64),
    /// It gives the safe variant of whatever it is asked to evaluate.
    Unsure,
}

/// How a node answers a report.
#[derive(Clone, Debug, PartialEq)]
pub enum Reporting {
    /// As it should.
    Good,
    /// The log takes it, and the connection breaks.
    Unanswered,
    /// The log takes it, and the node does not know.
    Unknown,
    /// Not now: this status, and to come again after so many seconds.
    Busy(u16, Option<u64>),
    /// Never: this status.
    Refused(u16),
    /// Somebody else's page, with this status.
    Page(u16),
    /// Not at all, for as long as it likes.
    Silent,
}

/// A node.
pub struct Node {
    port: u16,
    seen: Arc<Seen>,
    serving: JoinSet<()>,
}

/// What a node shares with its connections.
struct Seen {
    truth: Arc<Truth>,
    mode: watch::Sender<Mode>,
    /// How many requests there were, by method and last part of the path.
    requests: Mutex<BTreeMap<String, usize>>,
    streams: AtomicUsize,
    /// What it says of its age.
    age_ms: Mutex<Option<u64>>,
    reporting: Mutex<Reporting>,
    /// When reports came, and how large they were.
    reported: Mutex<Vec<(Instant, usize)>>,
}

impl Node {
    pub async fn start(truth: &Arc<Truth>, mode: Mode) -> Self {
        Self::start_at(truth, mode, 0).await
    }

    /// On a port that it had before.
    pub async fn start_at(truth: &Arc<Truth>, mode: Mode, port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let seen = Arc::new(Seen {
            truth: Arc::clone(truth),
            mode: watch::Sender::new(mode),
            requests: Mutex::default(),
            streams: AtomicUsize::new(0),
            age_ms: Mutex::new(Some(0)),
            reporting: Mutex::new(Reporting::Good),
            reported: Mutex::default(),
        });
        let mut serving = JoinSet::new();
        let shared = Arc::clone(&seen);
        serving.spawn(async move {
            // With this set go the connections.
            let mut connections = JoinSet::new();
            loop {
                let (connection, _) = listener.accept().await.expect("a connection");
                let seen = Arc::clone(&shared);
                connections.spawn(async move {
                    let _ = seen.serve(connection).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { port, seen, serving }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on it answers like this; streams that it has begun end.
    pub fn set(&self, mode: Mode) {
        self.seen.mode.send_replace(mode);
    }

    pub fn set_age(&self, age_ms: Option<u64>) {
        *lock(&self.seen.age_ms) = age_ms;
    }

    /// From now on it answers reports like this.
    pub fn set_reporting(&self, reporting: Reporting) {
        *lock(&self.seen.reporting) = reporting;
    }

    /// When reports came, and how many bytes they had.
    pub fn reported(&self) -> Vec<(Instant, usize)> {
        lock(&self.seen.reported).clone()
    }

    /// How many requests of this kind there were: `GET definitions`.
    pub fn requests(&self, kind: &str) -> usize {
        lock(&self.seen.requests).get(kind).copied().unwrap_or_default()
    }

    /// How many there were of all kinds.
    pub fn all_requests(&self) -> usize {
        lock(&self.seen.requests).values().sum()
    }

    /// How many streams are open.
    pub fn streams(&self) -> usize {
        self.seen.streams.load(Ordering::SeqCst)
    }

    /// It dies: every connection breaks, and no new one is taken. Gives its port back.
    pub async fn kill(mut self) -> u16 {
        self.serving.shutdown().await;
        self.port
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("not poisoned")
}

struct Asked {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    async fn read(connection: &mut TcpStream) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            if connection.read_buf(&mut bytes).await? == 0 {
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.lines();
        let mut first = lines.next().unwrap_or_default().split(' ');
        let mut next = || first.next().unwrap_or_default().to_owned();
        let (method, path) = (next(), next());
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length: usize =
            headers.get("content-length").map_or(0, |length| length.parse().expect("a length"));
        let mut body = bytes.split_off(end + 4);
        while body.len() < length && connection.read_buf(&mut body).await? > 0 {}
        Ok(Some(Self { method, path, headers, body }))
    }
}

/// What is written to a connection, so much of it as the mode lets through.
struct Out<'c> {
    connection: &'c mut TcpStream,
    left: usize,
}

impl Out<'_> {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let part = &bytes[..bytes.len().min(self.left)];
        self.left -= part.len();
        self.connection.write_all(part).await?;
        if part.len() < bytes.len() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }

    async fn answer(&mut self, status: u16, headers: &str, body: &str, method: &str) -> io::Result<()> {
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
        self.write(head.as_bytes()).await?;
        if method == "HEAD" || status == 304 { Ok(()) } else { self.write(body.as_bytes()).await }
    }
}

impl Seen {
    async fn serve(&self, mut connection: TcpStream) -> io::Result<()> {
        let Some(asked) = Asked::read(&mut connection).await? else { return Ok(()) };
        let what = asked.path.rsplit('/').next().unwrap_or_default();
        let kind = if asked.path.starts_with("/ofrep/") { "evaluation" } else { what };
        *lock(&self.requests).entry(format!("{} {kind}", asked.method)).or_default() += 1;
        let mode = self.mode.borrow().clone();
        let left = if let Mode::Cut(bytes) = mode { bytes } else { usize::MAX };
        let mut out = Out { connection: &mut connection, left };
        match mode {
            Mode::Silent => {
                // Until it behaves otherwise, or the client gives up.
                let mut modes = self.mode.subscribe();
                modes.mark_unchanged();
                let mut nothing = [0];
                tokio::select! {
                    _ = modes.changed() => {}
                    _ = out.connection.read(&mut nothing) => {}
                }
                return Ok(());
            }
            Mode::Garbage => return out.write(b"\x00\x01\x02 what is this? \xff\xfe\r\n\r\n\r\n").await,
            Mode::Page => {
                let head = "Content-Type: text/html\r\nETag: \"page\"\r\n";
                return out.answer(200, head, "<html>Please log in</html>", &asked.method).await;
            }
            Mode::Status(status, retry_after) => {
                let wait = retry_after.map(|wait| format!("Retry-After: {wait}\r\n")).unwrap_or_default();
                return out.answer(status, &wait, "{}", &asked.method).await;
            }
            _ => {}
        }
        if asked.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
            return out.answer(401, "", "{}", &asked.method).await;
        }
        match (asked.method.as_str(), kind) {
            ("GET", "token") if mode == Mode::NoToken => out.answer(404, "", "{}", "GET").await,
            ("GET", "token") => {
                let kind = *lock(&self.truth.token_kind);
                let body = json!({"kind": kind, "project": PROJECT, "environment": ENVIRONMENT,
                    "context": lock(&self.truth.token_context).clone()});
                out.answer(200, "", &body.to_string(), "GET").await
            }
            ("GET" | "HEAD", "definitions") => self.definitions(&asked, &mut out).await,
            ("GET", "stream") => {
                self.streams.fetch_add(1, Ordering::SeqCst);
                let streamed = self.stream(&asked, &mut out, &mode).await;
                self.streams.fetch_sub(1, Ordering::SeqCst);
                streamed
            }
            ("POST", "evaluations") => self.report(&asked, &mut out).await,
            ("POST", "evaluation") => self.evaluate(what, &asked, &mut out, &mode).await,
            _ => out.answer(404, "", "{}", &asked.method).await,
        }
    }

    /// The states that this node has published.
    fn published(&self) -> Vec<State> {
        let states = self.truth.states.borrow().clone();
        match *self.mode.borrow() {
            Mode::Behind(revision) => {
                states.into_iter().filter(|state| state.revision() <= revision).collect()
            }
            _ => states,
        }
    }

    fn history(&self) -> String {
        format!("{:016x}", self.truth.history.load(Ordering::SeqCst))
    }

    fn headers(&self, state: &State) -> String {
        let (history, revision) = (self.history(), state.revision());
        let age = lock(&self.age_ms).map_or("null".to_owned(), |age_ms| age_ms.to_string());
        format!("Flagraft-History: {history}\r\nFlagraft-Revision: {revision}\r\nFlagraft-Age-Ms: {age}\r\n")
    }

    fn snapshot(&self, state: &State) -> String {
        let mut snapshot = snapshot_of(state, ENVIRONMENT);
        if *self.mode.borrow() == Mode::NewerFlags {
            let mut document: Value = serde_json::from_str(&snapshot).expect("JSON");
            for flag in document["flags"].as_array_mut().expect("flags") {
                flag["schedule"] = json!({"at": "night"});
            }
            snapshot = document.to_string();
        }
        snapshot
    }

    async fn definitions(&self, asked: &Asked, out: &mut Out<'_>) -> io::Result<()> {
        let published = self.published();
        let state = published.last().expect("a state");
        let etag = format!("\"{}.{}\"", self.history(), touched(state));
        let headers = format!("{}ETag: {etag}\r\n", self.headers(state));
        if asked.header("if-none-match") == Some(&etag) {
            return out.answer(304, &headers, "", &asked.method).await;
        }
        let mode = self.mode.borrow().clone();
        let given = match mode {
            Mode::OlderBody(revision) => published.iter().rfind(|state| state.revision() <= revision),
            _ => Some(state),
        };
        let given = given.expect("a state");
        let body = if asked.method == "HEAD" { String::new() } else { self.snapshot(given) };
        if let (Mode::SlowDefinitions(wait), "GET") = (mode, asked.method.as_str()) {
            let length = body.len();
            let head =
                format!("HTTP/1.1 200 X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
            out.write(head.as_bytes()).await?;
            tokio::time::sleep(wait).await;
            return out.write(body.as_bytes()).await;
        }
        out.answer(200, &headers, &body, &asked.method).await
    }

    async fn stream(&self, asked: &Asked, out: &mut Out<'_>, mode: &Mode) -> io::Result<()> {
        let mut modes = self.mode.subscribe();
        modes.mark_unchanged();
        let mut states = self.truth.states.subscribe();
        if let Mode::NoStreams(status) = mode {
            let wait = if matches!(status, 429 | 503) { "Retry-After: 60\r\n" } else { "" };
            let headers = format!("Content-Type: text/html\r\n{wait}");
            return out.answer(*status, &headers, "no", "GET").await;
        }
        let published = self.published();
        let history = self.history();
        out.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n").await?;
        if *mode == Mode::BufferedStreams {
            let _ = modes.changed().await;
            return Ok(());
        }
        let newest = published.last().expect("a state");
        let last = asked.header("last-event-id").and_then(|id| id.split_once('.'));
        let mut at = match last {
            Some((theirs, revision)) if theirs == history && *mode != Mode::SnapshotStreams => {
                revision.parse().expect("a revision")
            }
            _ => {
                let event = format!(
                    "event: snapshot\nid: {history}.{}\ndata: {}\n\n",
                    newest.revision(),
                    self.snapshot(newest)
                );
                out.write(event.as_bytes()).await?;
                newest.revision()
            }
        };
        let mut environment_at = None;
        loop {
            states.mark_unchanged();
            let published = self.published();
            for pair in published.windows(2).filter(|pair| pair[1].revision() > at) {
                let change = encode::change(&pair[0], &pair[1], PROJECT, ENVIRONMENT);
                let Some(change) = change else { continue };
                let mut data = serde_json::to_string(&change).expect("JSON");
                if *mode == Mode::NewerChanges {
                    data = data.replace("\"flag\":{", "\"flag_of_the_future\":{");
                }
                let event = format!("event: change\nid: {history}.{}\ndata: {data}\n\n", pair[1].revision());
                out.write(event.as_bytes()).await?;
            }
            let newest = published.last().expect("a state");
            at = at.max(newest.revision());
            environment_at = Some(touched(newest)).max(environment_at);
            let progress =
                json!({"format": 1, "revision": at, "environment_revision": environment_at, "age_ms": 0});
            out.write(format!("event: progress\nid: {history}.{at}\ndata: {progress}\n\n").as_bytes())
                .await?;
            let mut nothing = [0];
            tokio::select! {
                _ = states.changed() => {}
                _ = modes.changed() => return Ok(()),
                () = tokio::time::sleep(HEARTBEAT) => {}
                read = out.connection.read(&mut nothing) => if read? == 0 { return Ok(()) },
            }
        }
    }

    async fn report(&self, asked: &Asked, out: &mut Out<'_>) -> io::Result<()> {
        let path = format!("/api/v1/projects/{PROJECT}/environments/{ENVIRONMENT}/evaluations");
        assert_eq!((&*asked.path, asked.header("content-type")), (&*path, Some("application/json")));
        let report: OwnReport = serde_json::from_slice(&asked.body).expect("a report");
        let error = json!({"error": {"code": "invalid", "message": "set the clock right"}}).to_string();
        // Read before it is told that the report came: whoever waits for that may change it.
        let reporting = lock(&self.reporting).clone();
        lock(&self.reported).push((Instant::now(), asked.body.len()));
        match reporting {
            Reporting::Good => {
                let repeated = self.truth.take(report);
                let other = json!({"entries": 0, "count": 0});
                let body = json!({"sequence": 7, "repeated": repeated, "other": other});
                out.answer(200, "", &body.to_string(), "POST").await
            }
            Reporting::Unanswered => {
                self.truth.take(report);
                Ok(())
            }
            Reporting::Unknown => {
                self.truth.take(report);
                out.answer(504, "", &error, "POST").await
            }
            Reporting::Busy(status, wait) => {
                let wait = wait.map(|wait| format!("Retry-After: {wait}\r\n")).unwrap_or_default();
                out.answer(status, &wait, &error, "POST").await
            }
            Reporting::Refused(status) => out.answer(status, "", &error, "POST").await,
            Reporting::Page(status) => out.answer(status, "", "<html>Please log in</html>", "POST").await,
            Reporting::Silent => {
                let _ = out.connection.read(&mut [0]).await;
                Ok(())
            }
        }
    }

    async fn evaluate(&self, key: &str, asked: &Asked, out: &mut Out<'_>, mode: &Mode) -> io::Result<()> {
        if let Mode::NoEvaluations(status) = mode {
            return out.answer(*status, "Retry-After: 60\r\n", "{}", "POST").await;
        }
        let published = self.published();
        let state = published.last().expect("a state");
        let compiled = CompiledCatalog::compile(state);
        let environment = compiled.environment(PROJECT, ENVIRONMENT).expect("the environment");
        let body: Value = serde_json::from_slice(&asked.body).expect("JSON");
        let mut attributes: Map<String, Value> = body["context"].as_object().expect("a context").clone();
        attributes.extend(lock(&self.truth.token_context).as_object().expect("an object").clone());
        let found = match mode {
            Mode::Unsure => environment.safe_resolution(key),
            _ => environment.evaluate(key, &EvaluationContext::new(attributes)),
        };
        let Ok(found) = found else {
            let body =
                json!({"key": key, "errorCode": "FLAG_NOT_FOUND", "errorDetails": "there is no such flag"});
            return out.answer(404, "", &body.to_string(), "POST").await;
        };
        let is_confirmed = asked.header("flagraft-consistency") == Some("linearizable");
        let consistency = match mode {
            Mode::Unsure => "safe-variant",
            _ if is_confirmed || environment.is_critical(key) => "linearizable",
            _ => "local",
        };
        let mut body = json!({"key": key, "reason": found.reason.as_str(), "variant": found.variant, "metadata": {
            "flagSetId": format!("{PROJECT}/{ENVIRONMENT}"), "version": format!("{}.{}", self.history(), touched(state)),
            "revision": state.revision(), "consistency": consistency, "ageMs": 0}});
        if let Some(value) = found.value {
            body["value"] = value.clone();
        }
        out.answer(200, &self.headers(state), &body.to_string(), "POST").await
    }
}
