//! Bulkhead: the runner's own pool, launcher, virtual environment and session, one worker for each plugin.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bulkhead::clock::{SharedClock, SystemClock};
use bulkhead::environment::{EnvironmentStore, PackageManager};
use bulkhead::limits;
use bulkhead::logs::LogStore;
use bulkhead::session::{Questions, ResponseStream};
use bulkhead::supervisor::{
    Call, CallEnd, CallEvent, LateWrites, Pool, Supervisor, Watchdog, WorkerPackage, WorkerRegistry, WorkerSettings,
    WorkerSpec,
};
use bulkhead::trigger::{Permissions, TriggerId};
use bulkhead_launcher::{Launcher, ResourceLimits};
use bulkhead_proto::worker::v1::{EntryPoint, QueryRequest, QueryResponse, WriteSyncRequest};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;
use uuid::Uuid;

use super::Work;
use super::arrival::Arrival;
use crate::Error;
use crate::contest::Contestant;
use crate::python::{self, Plugin};

/// A worker waits longer than any bench takes.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// No call takes this long on any machine.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Time for the workers to leave at the end.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A runner without host, dispatch and API: what is left is the call path.
pub(crate) struct Runner {
    supervisor: Supervisor,
    logs: Arc<LogStore>,
    plugins: PathBuf,
}

/// Makes the event of a call. What it does counts.
pub(crate) type EventSource = Box<dyn Fn() -> Result<CallEvent, Error> + Send + Sync>;

impl Runner {
    /// A runner whose files lie below `root`.
    pub(crate) fn new(root: &Path) -> Result<Self, Error> {
        let clock: SharedClock = Arc::new(SystemClock);
        let package = WorkerPackage::materialise(&root.join("package"), None)?;
        let environments = EnvironmentStore::new(
            root.join("environments"),
            python::PROGRAM.map(Into::into),
            PackageManager::Discover,
            limits::ENVIRONMENT_BUILD_TIMEOUT,
        );
        let plugins = root.join("plugins");
        std::fs::create_dir_all(&plugins)?;
        let supervisor = Supervisor {
            launcher: Arc::new(Launcher::of_this_binary()?),
            package: Arc::new(package),
            environments: Arc::new(environments),
            registry: Arc::new(WorkerRegistry::default()),
            watchdog: Arc::new(Watchdog::start()?),
            clock: Arc::clone(&clock),
            tracker: TaskTracker::new(),
            settings: WorkerSettings {
                idle_timeout: IDLE_TIMEOUT,
                resources: ResourceLimits::default(),
                memory_bytes: limits::WORKER_MEMORY_BYTES,
                nice: bulkhead::limits::WORKER_NICE,
                homes: root.join("homes"),
                emulate: None,
                permission_policy: Arc::default(),
            },
        };
        Ok(Self { supervisor, logs: Arc::new(LogStore::new(clock)), plugins })
    }

    /// The workers of one trigger: at most one, started by its first call.
    pub(crate) fn pool(&self, plugin: Plugin, entry_point: EntryPoint) -> Result<Arc<Pool>, Error> {
        let path = self.plugins.join(plugin.file);
        std::fs::write(&path, plugin.source)?;
        let trigger = Arc::new(TriggerId::new("bench", plugin.file));
        let spec = WorkerSpec {
            trigger: Arc::clone(&trigger),
            plugin_named: path.clone(),
            plugin: Box::new(move || Ok(path.clone())),
            entry_point,
            arguments: None,
            plugin_dir: Some(self.plugins.clone()),
            log: self.logs.writer(trigger),
            questions: Arc::new(Unasked),
            late_writes: Arc::new(Unasked),
            cache: None,
            check_only: false,
            permissions: Permissions::default(),
            requirements: Arc::default(),
        };
        Ok(Arc::new(Pool::new(self.supervisor.clone(), spec, 1)))
    }

    /// Waits for the workers, whose pools are gone.
    pub(crate) async fn stop(self) -> Result<(), Error> {
        self.supervisor.tracker.close();
        tokio::time::timeout(STOP_TIMEOUT, self.supervisor.tracker.wait())
            .await
            .map_err(|_| "the workers did not leave in time".into())
    }
}

/// Calls of one pool with one kind of event.
pub(crate) struct WorkerCalls {
    pool: Arc<Pool>,
    event: EventSource,
    work: Work,
}

impl WorkerCalls {
    /// Calls on `pool` that have to do `work`.
    pub(crate) fn new(pool: Arc<Pool>, event: EventSource, work: Work) -> Self {
        Self { pool, event, work }
    }

    async fn call(&self) -> Result<Duration, Error> {
        let begun = Instant::now();
        let call = Call {
            invocation: Uuid::now_v7(),
            event: (self.event)()?,
            timeout: CALL_TIMEOUT,
            cancel: CancellationToken::new(),
            queue_timeout: None,
            patient: false,
            body: None,
        };
        let result = self.pool.run(call).await;
        let elapsed = begun.elapsed();
        match result.end {
            CallEnd::Returned { response, writes, .. } => {
                let lines: Vec<u8> = writes.iter().flat_map(|(_, lines)| lines.iter().copied()).collect();
                self.work.check(response.as_ref().map(|response| response.body.as_ref()), &lines)?;
                Ok(elapsed)
            }
            CallEnd::Failed(failure) => {
                Err(format!("a worker failed: {}\n{}", failure.message, failure.stderr_tail).into())
            }
        }
    }
}

impl Contestant for WorkerCalls {
    fn batch(&mut self, calls: usize) -> BoxFuture<'_, Result<Vec<Duration>, Error>> {
        Box::pin(async move {
            let mut times = Vec::with_capacity(calls);
            let mut arrival = Arrival::new()?;
            for _ in 0..calls {
                arrival.next().await?;
                times.push(self.call().await?);
            }
            Ok(times)
        })
    }
}

/// The plugins here ask nothing.
struct Unasked;

impl Questions for Unasked {
    fn query(&self, _: QueryRequest) -> BoxFuture<'static, Result<ResponseStream<QueryResponse>, Status>> {
        Box::pin(async { Err(Status::unimplemented("there is no host")) })
    }

    fn write_sync(&self, _: WriteSyncRequest) -> BoxFuture<'static, Result<(), Status>> {
        Box::pin(async { Err(Status::unimplemented("there is no host")) })
    }
}

impl LateWrites for Unasked {
    fn write(&self, _: Option<Uuid>, _: String, _: Bytes) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}
