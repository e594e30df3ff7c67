//! Dry runs: a plugin is called as a trigger would call it, and what it says and writes is told instead of kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use bulkhead_proto::types::v1::{Failure, FailureKind, HttpRequest, HttpResponse};
use bulkhead_proto::worker::v1 as wire;
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use uuid::Uuid;

use super::engine::{EngineParts, entry_point};
use super::environments::own_requirements;
use super::error::EngineError;
use super::questions::{HostQuestions, check_target, write_status};
use super::runner::{finished, starting};
use crate::cache::{Cache, Owner, TriggerCache};
use crate::environment::OwnRequirements;
use crate::host::FeedTable;
use crate::limits;
use crate::logs::{Level, LogStore};
use crate::session::{Questions, ResponseStream};
use crate::supervisor::{
    BodyEvent, BodyReceiver, Call, CallEnd, CallEvent, CallResult, LateWrites, Pool, WorkerSpec, response_body,
};
use crate::trigger::{Permissions, PluginLocation, TriggerId, TriggerKind};

/// A plugin to try.
#[derive(Debug)]
pub struct DryRun {
    /// Its code.
    pub plugin: PluginLocation,
    /// Database that it sees as its own.
    pub database: String,
    /// What it is called with.
    pub event: DryEvent,
    /// Its arguments.
    pub arguments: Option<BTreeMap<String, String>>,
    /// Name of the cache that it sees; InfluxDB 3's otherwise.
    pub cache_name: Option<String>,
    /// Packages that it has besides those that it asks for itself.
    pub requirements: Vec<String>,
    /// What it may do beyond computing.
    pub permissions: Permissions,
}

/// What a plugin is tried with.
#[derive(Debug)]
pub enum DryEvent {
    /// Rows.
    Wal(Vec<FeedTable>),
    /// A time.
    Schedule(DateTime<Utc>),
    /// A request.
    Request(HttpRequest),
}

/// What a plugin did.
#[derive(Debug, Default)]
pub struct DryRunReport {
    /// What it said, as `LEVEL: text`.
    pub log_lines: Vec<String>,
    /// What it would have written, by database: lines in the order in which they would have been.
    pub writes: Vec<(String, Bytes)>,
    /// How it failed.
    pub failure: Option<Failure>,
    /// What it answered, for a request.
    pub response: Option<HttpResponse>,
}

/// The cache of tests that name none.
const CACHE_NAME: &str = "_shared_test";

/// Calls the plugin in a worker of its own. What it caches is kept in `caches` for the next test with this cache, and it sees
/// nothing of what triggers cache.
pub(super) async fn run(
    parts: &EngineParts,
    caches: &Arc<Cache>,
    dry_run: DryRun,
) -> Result<DryRunReport, EngineError> {
    dry_run.permissions.check()?;
    let requirements = own_requirements(&dry_run.requirements)?;
    parts.files.resolve(&dry_run.plugin)?;
    let cache_name = dry_run.cache_name.unwrap_or_else(|| CACHE_NAME.to_owned());
    if cache_name.is_empty() || cache_name.len() > limits::TEST_CACHE_NAME_BYTES_MAX {
        return Err(EngineError::CacheName);
    }
    let kind = match &dry_run.event {
        DryEvent::Wal(_) => TriggerKind::Wal,
        DryEvent::Schedule(_) => TriggerKind::Schedule,
        DryEvent::Request(_) => TriggerKind::Request,
    };
    let event = match dry_run.event {
        DryEvent::Wal(tables) => CallEvent::Wal { database: dry_run.database.clone(), sequence: 0, tables },
        DryEvent::Schedule(time) => CallEvent::Tick(time),
        DryEvent::Request(request) => CallEvent::Request(Arc::new(request)),
    };
    let logs = Arc::new(LogStore::private(Arc::clone(&parts.clock)));
    let trigger = Arc::new(TriggerId::new(dry_run.database, format!("test of {}", dry_run.plugin.filename())));
    let log = logs.writer(Arc::clone(&trigger));
    let owner = Owner { trigger: Arc::new(TriggerId::new("", cache_name)), origin: 0 };
    let cache = Arc::new(TriggerCache::new(Arc::clone(caches), owner, log.clone(), false));
    let questions = HostQuestions {
        host: Arc::clone(&parts.host),
        trigger: Arc::clone(&trigger),
        clock: Arc::clone(&parts.clock),
        log: log.clone(),
        cache: Arc::clone(&cache),
    };
    let collector = Arc::new(Collector { questions, written: Mutex::default() });
    let (files, plugin) = (parts.files.clone(), dry_run.plugin);
    let spec = WorkerSpec {
        trigger: Arc::clone(&trigger),
        plugin_named: files.named(&plugin),
        plugin: Box::new(move || files.resolve(&plugin).map_err(|error| error.to_string())),
        entry_point: entry_point(kind),
        arguments: dry_run.arguments,
        permissions: dry_run.permissions,
        requirements: Arc::new(OwnRequirements::new(requirements)),
        plugin_dir: parts.files.plugin_dir().map(std::path::Path::to_owned),
        log: log.clone(),
        questions: Arc::clone(&collector) as _,
        late_writes: Arc::clone(&collector) as _,
        cache: Some(Arc::clone(&cache)),
        check_only: false,
    };
    log.runner(Level::Info, None, starting(&event));
    let cancel = CancellationToken::new();
    // A caller that goes away cancels the run.
    let _guard = cancel.clone().drop_guard();
    let (sink, body) = response_body();
    let call = Call {
        invocation: Uuid::now_v7(),
        event,
        timeout: parts.settings.invocation_timeout,
        cancel: cancel.clone(),
        patient: false,
        queue_timeout: None,
        body: (kind == TriggerKind::Request).then_some(sink),
    };
    let pool = Pool::for_one_call(parts.supervisor.clone(), spec);
    let (result, streamed) = tokio::join!(pool.run(call), collect(body, &cancel));
    let mut report = DryRunReport::default();
    let streamed = match streamed {
        Ok(streamed) => streamed,
        Err(failure) => {
            report.failure = Some(failure);
            None
        }
    };
    let CallResult { end, elapsed, .. } = result;
    let mut writes = Vec::new();
    match end {
        CallEnd::Returned { response, writes: returned, cache: changes } => {
            cache.keep(None, changes);
            writes = returned;
            report.response = response.or(streamed);
            log.flush_dropped(None);
            log.runner(Level::Info, None, finished(elapsed));
        }
        CallEnd::Failed(failure) => report.failure = report.failure.or(Some(failure)),
    }
    report.writes = std::mem::take(&mut collector.written.lock().batches);
    report.writes.extend(writes.into_iter().map(|(database, lines)| (collector.questions.database(database), lines)));
    report.log_lines = logs.rows(None).into_iter().map(|row| format!("{}: {}", row.level.word(), row.text)).collect();
    Ok(report)
}

/// Joins a response that comes in parts, as far as it is bounded.
async fn collect(mut body: BodyReceiver, cancel: &CancellationToken) -> Result<Option<HttpResponse>, Failure> {
    let mut head = None;
    let mut joined = BytesMut::new();
    while let Some(event) = body.next().await {
        match event {
            BodyEvent::Begun(response) => head = Some(response),
            BodyEvent::Part(part) => joined.extend_from_slice(&part),
        }
        if joined.len() > limits::DRY_RUN_RESPONSE_BYTES_MAX {
            cancel.cancel();
            let max = limits::DRY_RUN_RESPONSE_BYTES_MAX;
            let message = format!("the response has more than {max} bytes, which is the limit of a test");
            return Err(Failure { kind: FailureKind::Limit.into(), message, ..Failure::default() });
        }
    }
    Ok(head.map(|head| HttpResponse { body: joined.freeze(), ..head }))
}

/// Answers queries from the real data, and collects what would have been written.
struct Collector {
    questions: HostQuestions,
    written: Mutex<Written>,
}

#[derive(Default)]
struct Written {
    batches: Vec<(String, Bytes)>,
    bytes: u64,
}

impl Collector {
    fn collect(&self, database: String, lines: Bytes) {
        let mut written = self.written.lock();
        written.bytes += lines.len() as u64;
        // What goes beyond is what no invocation could commit either.
        if written.bytes <= limits::WRITE_BUFFER_BYTES_MAX {
            written.batches.push((self.questions.database(database), lines));
        }
    }
}

impl Questions for Collector {
    fn query(
        &self,
        request: wire::QueryRequest,
    ) -> BoxFuture<'static, Result<ResponseStream<wire::QueryResponse>, Status>> {
        self.questions.query(request)
    }

    fn write_sync(&self, request: wire::WriteSyncRequest) -> BoxFuture<'static, Result<(), Status>> {
        let batch = request.batch.unwrap_or_default();
        let database = self.questions.database(batch.database);
        let answer = check_target(&database).map_err(|error| write_status(&database, &error));
        if answer.is_ok() {
            self.collect(database, batch.line_protocol);
        }
        std::future::ready(answer).boxed()
    }

    fn cache_get(&self, request: wire::CacheGetRequest) -> wire::CacheGetResponse {
        self.questions.cache_get(request)
    }
}

impl LateWrites for Collector {
    fn write(&self, _: Option<Uuid>, database: String, lines: Bytes) -> BoxFuture<'static, ()> {
        self.collect(database, lines);
        std::future::ready(()).boxed()
    }
}
