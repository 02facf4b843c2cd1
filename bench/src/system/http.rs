//! HTTP/1.1 over one connection that is kept.

use flagraft_bench_common::failure::Failure;
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Request, StatusCode, body::Bytes, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task};

/// A connection to one node.
#[derive(Debug)]
pub struct Connection {
    host: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Connects to a port of this machine.
    pub async fn open(port: u16) -> Result<Self, Failure> {
        let host = format!("127.0.0.1:{port}");
        let stream = TcpStream::connect(&host).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the sender; what it fails of, the request that is under way fails of too.
        task::spawn_local(async move { connection.await.is_ok() });
        Ok(Self { host, sender })
    }

    /// Makes one request and returns the answer's body.
    ///
    /// # Errors
    /// When the connection breaks, or the status is no 2xx.
    pub async fn request(
        &mut self,
        method: &str,
        path: &str,
        token: &str,
        body: impl Into<Bytes>,
    ) -> Result<Bytes, Failure> {
        self.exchange(method, path, token, body).await.map(|(_, body)| body)
    }

    /// Makes one request and returns the answer's headers and body.
    ///
    /// # Errors
    /// As [`Connection::request`].
    pub async fn exchange(
        &mut self,
        method: &str,
        path: &str,
        token: &str,
        body: impl Into<Bytes>,
    ) -> Result<(HeaderMap, Bytes), Failure> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .header("authorization", token)
            .header("content-type", "application/json")
            .body(Full::new(body.into()))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let (answer, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        if answer.status.is_success() {
            Ok((answer.headers, body))
        } else {
            Err(refused(method, path, answer.status, &body))
        }
    }
}

/// One GET on a connection of its own.
pub async fn get(port: u16, path: &str, token: &str) -> Result<Bytes, Failure> {
    Connection::open(port).await?.request("GET", path, token, Bytes::new()).await
}

/// The value of a metric without labels, of what Prometheus reads.
pub fn metric(text: &[u8], name: &str) -> Result<u64, Failure> {
    let text = String::from_utf8_lossy(text);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
    value.map(|value| value as u64).ok_or_else(|| Failure(format!("/metrics has no {name}")))
}

fn refused(method: &str, path: &str, status: StatusCode, body: &[u8]) -> Failure {
    Failure(format!("{method} {path} was answered {status}: {}", String::from_utf8_lossy(body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let text = b"# HELP a_count What.\na_counter 3\na_count 17\n";
        assert_eq!(metric(text, "a_count").expect("there"), 17);
        assert!(metric(text, "b_count").is_err());
    }
}
