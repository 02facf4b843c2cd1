//! The load generator: `wrk`, of one thread, with as many connections as are asked for, each of which sends a request
//! when it has the answer to the one before.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use flagraft_bench_common::{failure::Failure, process::Folder};
use serde_json::json;

use super::{Case, HttpArgs};

/// What the script prints when a run is over, behind this word.
const RESULT: &str = "result";

/// A request that is sent again and again.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its path.
    pub path: String,
    /// Its header of that name.
    pub authorization: String,
    /// Its JSON.
    pub body: String,
}

/// The load generator.
pub struct Wrk {
    binary: PathBuf,
    connections: usize,
    folder: PathBuf,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Requests that were answered.
    pub requests: u64,
    /// How long it took.
    pub took: Duration,
    /// What half of them took at most.
    pub p50: Duration,
    /// What 99 of 100 took at most.
    pub p99: Duration,
}

impl Wrk {
    /// With its scripts in `folder`.
    pub fn new(args: &HttpArgs, folder: &Folder) -> Self {
        Self { binary: args.wrk.clone(), connections: args.connections, folder: folder.path().to_owned() }
    }

    /// Loads a server for so many seconds.
    ///
    /// # Errors
    /// When any request fails: a figure that leaves out failures says nothing.
    pub fn load(&self, port: u16, case: Case, request: &Request, seconds: u64) -> Result<Load, Failure> {
        let script = self.folder.join(format!("{case:?}.lua"));
        fs::write(&script, self::script(request))?;
        let output = Command::new(&self.binary)
            .args(["-t1", "-c", &self.connections.to_string(), "-d", &format!("{seconds}s"), "-s"])
            .arg(&script)
            .arg(format!("http://127.0.0.1:{port}{}", request.path))
            .output()
            .map_err(|e| Failure(format!("{} could not be started: {e}", self.binary.display())))?;
        let text = String::from_utf8_lossy(&output.stdout);
        parse(&text).ok_or_else(|| {
            let errors = String::from_utf8_lossy(&output.stderr);
            Failure(format!("wrk ended with {}, and not every request well:\n{text}{errors}", output.status))
        })
    }
}

/// The script that makes the request, and prints what is needed of the result.
fn script(request: &Request) -> String {
    // JSON's strings of these texts are Lua's, too.
    format!(
        r#"wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = {}
wrk.body = {}
done = function(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("{RESULT} %d %d %d %d %d\n", failed, summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99)))
end
"#,
        json!(request.authorization),
        json!(request.body),
    )
}

/// Reads the script's line. `None` also when a request failed.
fn parse(output: &str) -> Option<Load> {
    let line = output.lines().find_map(|line| line.strip_prefix(RESULT))?;
    let figures: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let [0, requests, took, p50, p99] = figures[..] else { return None };
    let [took, p50, p99] = [took, p50, p99].map(Duration::from_micros);
    Some(Load { requests, took, p50, p99 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_with_a_failed_request_has_no_figures() {
        let millis = Duration::from_millis;
        let load = Load { requests: 100, took: millis(2_000), p50: millis(1), p99: millis(6) };
        assert_eq!(parse("Running\nresult 0 100 2000000 1000 6000\n"), Some(load));
        assert_eq!(parse("result 1 100 2000000 1000 6000\n"), None);
        assert_eq!(parse("Running\n"), None);
    }

    #[test]
    fn the_script_quotes_what_it_sends() {
        let request = Request {
            path: "/".to_owned(),
            authorization: "Bearer x".to_owned(),
            body: "{\"a\":\"b\"}".to_owned(),
        };
        assert!(script(&request).contains(r#"wrk.body = "{\"a\":\"b\"}""#));
    }
}
