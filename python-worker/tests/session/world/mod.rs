//! A small runner for one worker: a gRPC server on a socketpair, and a real interpreter on its other end.

mod interpreters;
mod process;
mod service;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_proto::WORKER_PROTOCOL_VERSION;
use bulkhead_proto::types::v1::{
    Event, Failure, HttpRequest, HttpResponse, KeyValue, LogEntry, Outcome, WalBatch, event, outcome,
};
use bulkhead_proto::worker::v1::session_request::Fact;
use bulkhead_proto::worker::v1::session_response::Order;
use bulkhead_proto::worker::v1::{
    Cached, Cancel, EntryPoint, Hello, Invoke, LoadTrigger, Log, ResponseRead, SessionResponse, TriggerLoaded, Welcome,
    WorkerLimits, Written,
};
use tempfile::TempDir;
use tokio::time::timeout;

pub(crate) use self::interpreters::{Python, announce, pythons};
use self::process::Worker;
use self::service::{Peer, serve};

/// Nothing in these tests takes long; what does hangs.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const LIMITS: WorkerLimits = WorkerLimits {
    message_bytes_max: 64 << 20,
    write_buffer_bytes_max: 1 << 20,
    log_line_bytes_max: 1000,
    response_bytes_max: 1 << 20,
    response_parts_unread_max: 4,
    response_part_bytes_max: 1000,
    cache_entry_bytes_max: 10_000,
    cache_key_bytes_max: 100,
};

/// One worker and the runner's end of its session.
pub(crate) struct World {
    pub(crate) worker: Worker,
    pub(crate) peer: Peer,
    pub(crate) hello: Hello,
    dir: TempDir,
    last_id: u64,
    /// Whether the cache is shared, and whether it is empty, as a worker is told.
    cache: (bool, bool),
}

/// What a call said and how it ended.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) logs: Vec<Log>,
    pub(crate) writes: Vec<Written>,
    /// Head and parts of a response that came in parts.
    pub(crate) streamed: Option<(HttpResponse, Vec<bytes::Bytes>)>,
    pub(crate) cached: Vec<Cached>,
    pub(crate) threads: u32,
}

impl World {
    /// A worker that was welcomed.
    pub(crate) async fn start(python: &Python) -> Self {
        let mut world = Self::connect(python).await;
        world
            .order(Order::Welcome(Welcome {
                protocol_version: WORKER_PROTOCOL_VERSION,
                worker_id: "w".into(),
                limits: Some(LIMITS),
            }))
            .await;
        world
    }

    /// A worker that said hello.
    pub(crate) async fn connect(python: &Python) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (socket, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut peer = serve(socket);
        let worker = Worker::start(python, dir.path(), theirs);
        let first = timeout(PATIENCE, peer.facts.recv()).await;
        let Ok(Some(Fact::Hello(hello))) = first else {
            panic!("no hello but {first:?}: {}", worker.end().await.1);
        };
        Self { worker, peer, hello, dir, last_id: 0, cache: (false, true) }
    }

    pub(crate) async fn order(&mut self, order: Order) {
        self.peer.orders.send(Ok(SessionResponse { order: Some(order) })).await.unwrap();
    }

    pub(crate) async fn fact(&mut self) -> Fact {
        timeout(PATIENCE, self.peer.facts.recv()).await.expect("the worker says nothing").expect("the session ended")
    }

    /// Writes a file beside the others of this world.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Loads a plugin with one argument, `k=v`.
    pub(crate) async fn load(&mut self, path: &Path, entry_point: EntryPoint) -> Option<Failure> {
        self.order(Order::LoadTrigger(LoadTrigger {
            trigger: "t".into(),
            database: "db".into(),
            plugin_path: path.to_str().unwrap().into(),
            entry_point: entry_point.into(),
            arguments: [("k".to_owned(), "v".to_owned())].into(),
            has_arguments: true,
            check_only: false,
            cache_is_shared: self.cache.0,
            cache_is_empty: self.cache.1,
        }))
        .await;
        loop {
            if let Fact::TriggerLoaded(TriggerLoaded { failure }) = self.fact().await {
                return failure;
            }
        }
    }

    /// Loads a request plugin whose function has this body, and calls it.
    pub(crate) async fn respond(&mut self, body: &str) -> Ended {
        self.load_request(body).await;
        self.request().await
    }

    /// What the worker is told of its cache when it loads a plugin.
    pub(crate) fn prepare_cache(&mut self, is_shared: bool, is_empty: bool) {
        self.cache = (is_shared, is_empty);
    }

    /// Loads a request plugin.
    pub(crate) async fn load_source(&mut self, source: &str) {
        let path = self.file("request_plugin.py", source);
        assert_eq!(self.load(&path, EntryPoint::Request).await, None);
    }

    /// Loads a request plugin whose function has this body.
    pub(crate) async fn load_request(&mut self, body: &str) {
        let mut source = String::from(
            "def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):\n",
        );
        for line in body.lines() {
            source.push_str(&format!("    {line}\n"));
        }
        self.load_source(&source).await;
    }

    /// Begins a call.
    pub(crate) async fn invoke(&mut self, kind: event::Kind, more: bool) -> u64 {
        self.last_id += 1;
        let event = Some(Event { kind: Some(kind) });
        self.order(Order::Invoke(Invoke { invocation_id: self.last_id, event, more, keep_code: false })).await;
        self.last_id
    }

    /// Collects what is said until the call ends.
    pub(crate) async fn end_of(&mut self, id: u64) -> Ended {
        let mut ended = Ended::default();
        loop {
            match self.fact().await {
                Fact::Logs(logs) => ended.logs.extend(logs.lines),
                Fact::Written(written) => ended.writes.push(written),
                Fact::Cached(cached) => ended.cached.push(cached),
                Fact::ResponseBegun(begun) if begun.invocation_id == id => {
                    let head = HttpResponse {
                        status_code: begun.status_code,
                        headers: begun.headers,
                        ..HttpResponse::default()
                    };
                    ended.streamed = Some((head, Vec::new()));
                }
                Fact::ResponsePart(part) if part.invocation_id == id => {
                    let (_, parts) = ended.streamed.as_mut().expect("no response had begun");
                    parts.push(part.body);
                    let parts = parts.len() as u64;
                    self.order(Order::ResponseRead(ResponseRead { invocation_id: id, parts })).await;
                }
                Fact::Finished(finished) if finished.invocation_id == id => {
                    ended.outcome = finished.outcome.unwrap();
                    ended.threads = finished.threads;
                    ended.join();
                    return ended;
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    pub(crate) async fn call(&mut self, kind: event::Kind) -> Ended {
        let id = self.invoke(kind, false).await;
        self.end_of(id).await
    }

    /// Calls a request plugin.
    pub(crate) async fn request(&mut self) -> Ended {
        self.call(request_event()).await
    }

    /// Calls with these query parameters.
    pub(crate) async fn request_with(&mut self, parameters: &[(&str, &str)]) -> Ended {
        let pair = |(key, value): &(&str, &str)| KeyValue { key: (*key).into(), value: (*value).into() };
        let query_parameters = parameters.iter().map(pair).collect();
        self.call(event::Kind::HttpRequest(HttpRequest { query_parameters, ..HttpRequest::default() })).await
    }

    pub(crate) async fn cancel(&mut self, id: u64, kind: bulkhead_proto::types::v1::FailureKind) {
        self.order(Order::Cancel(Cancel {
            invocation_id: id,
            reason: "the deadline of 1 s passed".into(),
            kind: kind.into(),
        }))
        .await;
    }
}

/// A request with a repeated parameter, headers and a body.
pub(crate) fn request_event() -> event::Kind {
    let pair = |key: &str, value: &str| KeyValue { key: key.into(), value: value.into() };
    event::Kind::HttpRequest(HttpRequest {
        method: "POST".into(),
        query_parameters: vec![pair("a", "1"), pair("b", "x y"), pair("a", "2")],
        headers: vec![pair("x-test", "Abc")],
        body: bytes::Bytes::from_static(b"\x00body"),
    })
}

/// A WAL batch.
pub(crate) fn wal(tables: Vec<bulkhead_proto::types::v1::TableBatch>) -> event::Kind {
    event::Kind::WalBatch(WalBatch { database: "db".into(), wal_sequence: 1, tables })
}

impl Ended {
    /// Makes a response of the parts, for whoever does not care how it came.
    fn join(&mut self) {
        if let (Some((head, parts)), Some(outcome::Kind::Success(success))) = (&self.streamed, &mut self.outcome.kind) {
            success.http_response = Some(HttpResponse { body: parts.concat().into(), ..head.clone() });
        }
    }

    pub(crate) fn response(&self) -> &HttpResponse {
        match &self.outcome.kind {
            Some(outcome::Kind::Success(success)) => success.http_response.as_ref().expect("no response"),
            other => panic!("no success but {other:?}"),
        }
    }

    /// Status, content type and body of the response.
    pub(crate) fn parts(&self) -> (u32, &str, String) {
        let response = self.response();
        let content_type = response.headers.iter().find(|header| header.key.eq_ignore_ascii_case("content-type"));
        let body = String::from_utf8_lossy(&response.body).into_owned();
        (response.status_code, content_type.map_or("", |header| &header.value), body)
    }

    pub(crate) fn body(&self) -> String {
        self.parts().2
    }

    pub(crate) fn failure(&self) -> &Failure {
        match &self.outcome.kind {
            Some(outcome::Kind::Failure(failure)) => failure,
            other => panic!("no failure but {other:?}"),
        }
    }

    pub(crate) fn succeeded(&self) -> &Self {
        assert!(matches!(self.outcome.kind, Some(outcome::Kind::Success(_))), "no success but {:?}", self.outcome);
        self
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &LogEntry> {
        self.logs.iter().filter_map(|log| log.entry.as_ref())
    }

    pub(crate) fn messages(&self) -> Vec<&str> {
        self.entries().map(|entry| entry.message.as_str()).collect()
    }

    /// The line protocol written to a database.
    pub(crate) fn written(&self, database: &str) -> String {
        let batches = self.writes.iter().filter_map(|written| written.batch.as_ref());
        batches
            .filter(|batch| batch.database == database)
            .map(|batch| String::from_utf8_lossy(&batch.line_protocol).into_owned())
            .collect()
    }
}
