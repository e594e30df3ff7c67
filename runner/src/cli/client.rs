//! A small HTTP client for the commands that talk to a server.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::output::CliError;

/// Time to reach the server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for one answer; building an environment or a long query takes its time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);
/// Largest answer that is read, bytes.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// Format of answers that tell how it goes.
const LINES: &str = "application/x-ndjson";

/// Talks to one server.
#[derive(Debug, Clone)]
pub(super) struct Client {
    authority: String,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: http::StatusCode,
    pub(super) body: Bytes,
}

impl Answer {
    /// The body as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The text of an error, taken out of `{"error": …}` when it is wrapped so.
    pub(super) fn error_text(&self) -> String {
        let json: Option<serde_json::Value> = serde_json::from_slice(&self.body).ok();
        json.and_then(|json| json.get("error")?.as_str().map(str::to_owned)).unwrap_or_else(|| self.text())
    }

    /// The answer when it is a success, otherwise an error that starts with `what` failed.
    pub(super) fn success(self, what: &str) -> Result<Self, CliError> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(CliError::new(format!("{what}: server responded with error [{}]: {}", self.status, self.error_text())))
    }
}

impl Client {
    pub(super) fn new(url: &str) -> Result<Self, CliError> {
        let bad = |why: &str| {
            CliError::new(format!("`{url}` is not the URL of a server: {why}"))
                .hint("write it as http://127.0.0.1:8181")
        };
        let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| bad(&error.to_string()))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(bad("https is not supported yet")),
            _ => return Err(bad("it does not begin with http://")),
        }
        let authority = uri.authority().ok_or_else(|| bad("it names no host"))?;
        let port = authority.port_u16().unwrap_or(80);
        Ok(Self { authority: format!("{}:{port}", authority.host()) })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Answer, CliError> {
        self.send(Method::GET, path, None, Bytes::new()).await
    }

    pub(super) async fn post(&self, path: &str, body: impl Into<Bytes>) -> Result<Answer, CliError> {
        self.send(Method::POST, path, None, body.into()).await
    }

    pub(super) async fn post_json(&self, path: &str, body: &serde_json::Value) -> Result<Answer, CliError> {
        self.send(Method::POST, path, Some("application/json"), body.to_string().into()).await
    }

    pub(super) async fn put_json(&self, path: &str, body: &serde_json::Value) -> Result<Answer, CliError> {
        self.send(Method::PUT, path, Some("application/json"), body.to_string().into()).await
    }

    /// Sends what takes long; `told` hears how it goes.
    pub(super) async fn change(
        &self,
        method: Method,
        path: &str,
        body: &serde_json::Value,
        told: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Answer, CliError> {
        self.exchange(method, path, Some("application/json"), body.to_string().into(), Some(told)).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<Answer, CliError> {
        self.send(Method::DELETE, path, None, Bytes::new()).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<Answer, CliError> {
        self.exchange(method, path, content_type, body, None).await
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
        told: Option<&mut (dyn FnMut(&str) + Send)>,
    ) -> Result<Answer, CliError> {
        let unreachable = |why: String| {
            CliError::new(format!("the server at http://{} cannot be reached: {why}", self.authority))
                .hint("start one with `bulkhead serve`, or name another with `--host`")
        };
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.authority))
            .await
            .map_err(|_| unreachable("no answer".to_owned()))?
            .map_err(|error| unreachable(error.to_string()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &self.authority);
        if told.is_some() {
            request = request.header(header::ACCEPT, LINES);
        }
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let request = request.body(Full::new(body)).map_err(|error| CliError::new(error.to_string()))?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let in_lines = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == LINES);
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
            let body = match told.filter(|_| in_lines) {
                Some(told) => heard(body, told).await,
                None => body.collect().await.map(Collected::to_bytes),
            };
            Ok::<_, hyper::Error>((status, body, in_lines))
        };
        let exchange = timeout(ANSWER_TIMEOUT, exchange);
        // The connection is driven here, so that it ends with the exchange.
        tokio::pin!(exchange, connection);
        let mut is_driven = true;
        let outcome = loop {
            tokio::select! {
                outcome = &mut exchange => break outcome,
                _ = &mut connection, if is_driven => is_driven = false,
            }
        };
        let broken = |why: String| CliError::new(format!("the server at http://{} broke off: {why}", self.authority));
        let (status, body, in_lines) =
            outcome.map_err(|_| broken("no answer in time".to_owned()))?.map_err(|error| broken(error.to_string()))?;
        let body = body.map_err(|error| broken(error.to_string()))?;
        if !in_lines {
            return Ok(Answer { status, body });
        }
        let last: serde_json::Value =
            serde_json::from_slice(&body).map_err(|_| broken("it said nothing of how it ended".to_owned()))?;
        let status =
            last["status"].as_u64().and_then(|code| http::StatusCode::from_u16(u16::try_from(code).ok()?).ok());
        let status = status.ok_or_else(|| broken("it said nothing of how it ended".to_owned()))?;
        let body = last["error"].as_str().map_or_else(|| last["answer"].to_string(), str::to_owned);
        Ok(Answer { status, body: body.into() })
    }
}

/// Reads an answer in lines: those that tell how it goes are told, and the last one is returned.
async fn heard<B>(mut body: B, told: &mut (dyn FnMut(&str) + Send)) -> Result<Bytes, B::Error>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let (mut rest, mut last) = (Vec::new(), Bytes::new());
    while let Some(frame) = body.frame().await.transpose()? {
        rest.extend_from_slice(&frame.into_data().unwrap_or_default());
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let json: serde_json::Value = serde_json::from_slice(&line).unwrap_or_default();
            match json["progress"].as_str() {
                Some(text) => told(text),
                None => last = line.into(),
            }
        }
    }
    Ok(last)
}

/// A path with a query string.
pub(super) fn with_query(path: &str, parameters: &[(&str, &str)]) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    format!("{path}?{query}")
}
