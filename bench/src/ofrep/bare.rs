//! The server that Flagraft is measured by: axum, a route for each case, and a handler that reads the request's JSON
//! and answers fixed bytes, the headers too. It is this program in a process of its own.

use std::{collections::HashMap, fs, path::PathBuf, process::Command, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
    routing::post,
    serve::ListenerExt as _,
};
use clap::Args;
use flagraft_bench_common::{
    failure::Failure,
    process::{Folder, Server, free_ports},
};
use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Case, Served, wrk::Request};
use crate::system::{Connection, await_ready};

/// The settings of the bare server.
#[derive(Args, Clone, Debug)]
pub struct BareArgs {
    /// Where it listens, on loopback
    #[arg(long)]
    port: u16,
    /// What it answers at which path
    #[arg(long, value_name = "FILE")]
    answers: PathBuf,
}

/// What is answered at a path.
#[derive(Clone, Debug)]
pub struct Answer {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    /// An answer as Flagraft gave it. The headers that every server makes itself are left out.
    pub fn new(path: &str, headers: &HeaderMap, body: &Bytes) -> Self {
        let mut headers = headers.clone();
        for own in ["content-length", "date"] {
            headers.remove(own);
        }
        Self { path: path.to_owned(), headers, body: body.clone() }
    }

    /// How many bytes the body has.
    pub fn body_bytes(&self) -> usize {
        self.body.len()
    }

    fn to_json(&self) -> Value {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers: HashMap<&str, String> =
            self.headers.iter().map(|(name, value)| (name.as_str(), text(value.as_bytes()))).collect();
        json!({"path": self.path, "headers": headers, "body": text(&self.body)})
    }

    fn from_json(value: &Value) -> Result<Self, Failure> {
        let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
        let headers: HashMap<String, String> = serde_json::from_value(value["headers"].clone())?;
        Ok(Self { path: text("path"), headers: HeaderMap::try_from(&headers)?, body: text("body").into() })
    }
}

/// The bare server's process.
pub struct Bare {
    server: Server,
    port: u16,
}

impl Bare {
    /// Starts it, and waits until it answers as it should.
    pub async fn start(folder: &Folder, answers: &[(Case, Request, Answer)]) -> Result<Self, Failure> {
        let file = folder.path().join("answers.json");
        let json: Value = answers.iter().map(|(_, _, answer)| answer.to_json()).collect();
        fs::write(&file, json.to_string())?;
        let port = free_ports(1)?.into_iter().next().ok_or_else(|| Failure("no port is free".to_owned()))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bare", "--port", &port.to_string(), "--answers"]).arg(&file);
        let mut servers = [Server::start(&mut command, folder.path().join("bare.log"))?];
        await_ready("the bare handler", &mut servers, async || {
            for (_, request, answer) in answers {
                let Request { path, authorization, body } = request.clone();
                let mut connection = Connection::open(port).await?;
                let (headers, body) = connection.exchange("POST", &path, &authorization, body).await?;
                let given = Answer::new(&path, &headers, &body);
                if (&given.headers, &given.body) != (&answer.headers, &answer.body) {
                    return Err(Failure(format!("the bare handler does not answer {path} as Flagraft does")));
                }
            }
            Ok(())
        })
        .await?;
        let [server] = servers;
        Ok(Self { server, port })
    }
}

impl Served for Bare {
    fn port(&self) -> u16 {
        self.port
    }

    fn cpu(&self) -> Result<Duration, Failure> {
        self.server.cpu()
    }
}

/// Serves until the process is killed, on as many threads as Flagraft.
pub fn serve(args: BareArgs) -> Result<(), Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(answer_all(args))
}

async fn answer_all(args: BareArgs) -> Result<(), Failure> {
    let answers: Vec<Value> = serde_json::from_slice(&fs::read(&args.answers)?)?;
    let mut router = Router::new();
    for answer in &answers {
        let answer = Arc::new(Answer::from_json(answer)?);
        router = router.route(&answer.path.clone(), post(handle).with_state(answer));
    }
    // Answers are small and wanted at once, here as there.
    let listener = TcpListener::bind(("127.0.0.1", args.port))
        .await?
        .tap_io(|stream| _ = stream.set_nodelay(true).is_ok());
    Ok(axum::serve(listener, router).await?)
}

async fn handle(State(answer): State<Arc<Answer>>, Json(body): Json<Value>) -> Response {
    drop(std::hint::black_box(body));
    (answer.headers.clone(), answer.body.clone()).into_response()
}
