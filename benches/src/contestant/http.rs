//! A whole server over HTTP: what a request plugin costs beyond a request that the server answers by itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use bulkhead::config::{Config, HostKind};
use bulkhead::host::grpc::Address;
use bulkhead::server::Server;
use bytes::BytesMut;
use futures_util::future::{BoxFuture, try_join_all};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Error;
use crate::contest::Contestant;
use crate::python::{self, NOOP_ANSWER, NOOP_REQUEST};

/// Connections that ask at the same time.
const CONNECTIONS: usize = 8;
/// Path of the request plugin.
const NOOP_PATH: &str = "/api/v3/engine/noop";
/// Path that the server answers without a plugin.
const PING_PATH: &str = "/ping";

/// A server with one trigger. It serves a host that nobody asks: the plugin does nothing.
pub(crate) struct HttpServer {
    server: Server,
}

impl HttpServer {
    /// Starts one whose files lie below `root`.
    pub(crate) async fn start(root: &Path) -> Result<Self, Error> {
        let mut config = Config::new(root.join("data"), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        config.host = HostKind::Grpc(Address::Unix(root.join("no-host.sock")));
        config.python = python::PROGRAM.map(Into::into);
        let plugins = root.join("plugins");
        std::fs::create_dir_all(&plugins)?;
        std::fs::write(plugins.join(NOOP_REQUEST.file), NOOP_REQUEST.source)?;
        config.plugin_dir = Some(plugins);
        let server = Server::start(config).await?;
        let trigger = json!({
            "db": "bench", "plugin_filename": NOOP_REQUEST.file, "trigger_name": "noop", "disabled": false,
            "trigger_specification": "request:noop", "trigger_settings": { "run_async": false, "error_behavior": "log" },
        });
        let body = trigger.to_string();
        let path = "/api/v3/configure/processing_engine_trigger";
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        Connection::open(server.http_address()).await?.exchange(request.as_bytes(), None).await?;
        Ok(Self { server })
    }

    /// Requests for the plugin that does nothing.
    pub(crate) async fn noop(&self) -> Result<HttpCalls, Error> {
        HttpCalls::open(self.server.http_address(), NOOP_PATH, Some(NOOP_ANSWER)).await
    }

    /// Requests that the server answers by itself.
    pub(crate) async fn ping(&self) -> Result<HttpCalls, Error> {
        HttpCalls::open(self.server.http_address(), PING_PATH, None).await
    }

    /// Stops the server.
    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }
}

/// Requests on several connections at once. A call is timed by what a request takes of the time of all: the inverse of the rate.
pub(crate) struct HttpCalls {
    connections: Vec<Connection>,
    request: String,
    answer: Option<&'static [u8]>,
}

impl HttpCalls {
    async fn open(address: SocketAddr, path: &str, answer: Option<&'static [u8]>) -> Result<Self, Error> {
        let connections = try_join_all((0..CONNECTIONS).map(|_| Connection::open(address))).await?;
        Ok(Self { connections, request: format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n"), answer })
    }
}

impl Contestant for HttpCalls {
    fn batch(&mut self, calls: usize) -> BoxFuture<'_, Result<Vec<Duration>, Error>> {
        Box::pin(async move {
            let (request, answer) = (self.request.as_bytes(), self.answer);
            let begun = Instant::now();
            let connections = self.connections.iter_mut().map(|connection| async move {
                for _ in 0..calls {
                    connection.exchange(request, answer).await?;
                }
                Ok::<_, Error>(())
            });
            try_join_all(connections).await?;
            let requests = u32::try_from(calls * CONNECTIONS)?;
            Ok(vec![begun.elapsed() / requests.max(1)])
        })
    }
}

/// One connection that is kept open, with as little of HTTP as the server's answers need.
struct Connection {
    stream: TcpStream,
    read: BytesMut,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: BytesMut::with_capacity(4096) })
    }

    /// Sends a request and reads its answer, which has to be a success and, when it is known, this body.
    async fn exchange(&mut self, request: &[u8], answer: Option<&[u8]>) -> Result<(), Error> {
        self.stream.write_all(request).await?;
        loop {
            if let Some((head, body)) = split(&self.read) {
                let text = std::str::from_utf8(head)?;
                let length = content_length(text);
                if body.len() >= length {
                    let body = body.get(..length).unwrap_or_default();
                    if !text.starts_with("HTTP/1.1 200") || answer.is_some_and(|answer| answer != body) {
                        return Err(format!("unexpected answer: {text} {}", String::from_utf8_lossy(body)).into());
                    }
                    let bytes = head.len() + 4 + length;
                    drop(self.read.split_to(bytes));
                    return Ok(());
                }
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err("the server closed a connection".into());
            }
        }
    }
}

fn split(read: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = read.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((read.get(..end)?, read.get(end + 4..)?))
}

fn content_length(head: &str) -> usize {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let length = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or_default()
}
