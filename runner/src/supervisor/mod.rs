//! Worker processes: starting, using, ending and accounting for them.
//!
//! A [`Pool`] belongs to one trigger and hands calls to its workers. Each worker is one lane: a task that owns the
//! process and its session from start to end, and does one call at a time.

mod alarm;
mod check;
mod confine;
mod end;
mod examine;
mod forward;
mod invoke;
mod kernel_view;
mod lane;
mod package;
mod packages;
mod pool;
mod process;
mod proxy;
mod queue;
mod registry;
mod response_body;
mod restart;
mod start;
mod stdio;
mod succession;
mod watchdog;
mod worker;
mod workshop;
mod zygote;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_launcher::{Emulation, Launcher, ResourceLimits};
use bulkhead_proto::types::v1::{Failure, HttpRequest, HttpResponse};
use bulkhead_proto::worker::v1::{EntryPoint, Usage};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use confine::{check_ceiling, free_user, hosts_cannot_be_granted, unheld_limit};
pub use end::WorkerEnd;
pub use examine::{Examination, StartTimes, examine, time_starts};
pub use kernel_view::{ProcessUsage, kernel_view, process_usage};
pub use package::{PackageError, WorkerPackage};
pub use packages::EnvironmentState;
pub use pool::Pool;
pub use registry::{WorkerRegistry, WorkerRow, WorkerState};
pub use response_body::{BodyEvent, BodyReceiver, BodySink, response_body};
pub use restart::BreakerState;
pub use watchdog::{Excess, Watchdog};
pub use workshop::Workshop;

use crate::cache::{CacheChange, TriggerCache};
use crate::clock::SharedClock;
use crate::environment::{EnvironmentStore, OwnRequirements};
use crate::host::FeedTable;
use crate::logs::LogWriter;
use crate::session::Questions;
use crate::trigger::{PermissionPolicy, Permissions, TriggerId};

/// What all workers of a runner share.
#[derive(Clone)]
pub struct Supervisor {
    /// Starts processes.
    pub launcher: Arc<Launcher>,
    /// The Python package that every worker runs.
    pub package: Arc<WorkerPackage>,
    /// Virtual environments.
    pub environments: Arc<EnvironmentStore>,
    /// Live and ended workers.
    pub registry: Arc<WorkerRegistry>,
    /// Ends workers that hold too much memory.
    pub watchdog: Arc<Watchdog>,
    /// The time.
    pub clock: SharedClock,
    /// Owner of all worker tasks.
    pub tracker: TaskTracker,
    /// Settings of the operator.
    pub settings: WorkerSettings,
}

impl Supervisor {
    /// Starts a process as confined as a worker, notes what of the sandbox this machine grants, and says aloud what it does not.
    pub async fn look_at_layers(&self) {
        let (launcher, emulate) = (Arc::clone(&self.launcher), self.settings.emulate);
        match tokio::task::spawn_blocking(move || examine(&launcher, emulate)).await {
            Ok(Ok(examination)) => self.registry.note_layers(examination.enforced, &examination.missing),
            Ok(Err(reason)) => tracing::warn!("sandbox: {reason}; every call of a plugin will fail"),
            Err(error) => tracing::warn!("sandbox: it could not be tried: {error}"),
        }
    }
}

/// Settings of the operator for all workers.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Time after which a worker without work is stopped.
    pub idle_timeout: Duration,
    /// Resource limits of every worker process.
    pub resources: ResourceLimits,
    /// Memory of one worker and all that it starts, bytes.
    pub memory_bytes: u64,
    /// Niceness of every worker process, 0 to 19, or the runner's own if that is more.
    pub nice: i32,
    /// Directory below which each worker gets one for its temporary files, where there are no mount namespaces.
    pub homes: PathBuf,
    /// An environment to imitate.
    pub emulate: Option<Emulation>,
    /// What triggers may be granted at most, and limits of those that name none.
    pub permission_policy: Arc<PermissionPolicy>,
}

/// What the workers of one trigger are for.
pub struct WorkerSpec {
    /// The trigger.
    pub trigger: Arc<TriggerId>,
    /// Absolute path of the plugin, or why there is none.
    pub plugin: PluginResolver,
    /// The plugin before links are followed: one look at it, before each call, tells whether it is another file by now.
    pub plugin_named: PathBuf,
    /// The function to call.
    pub entry_point: EntryPoint,
    /// Arguments of the trigger.
    pub arguments: Option<std::collections::BTreeMap<String, String>>,
    /// The directory that plugins see as `PLUGIN_DIR`.
    pub plugin_dir: Option<PathBuf>,
    /// What the plugin may do.
    pub permissions: Permissions,
    /// Packages that the trigger asks for besides its plugin.
    pub requirements: Arc<OwnRequirements>,
    /// Where the plugin's lines go.
    pub log: LogWriter,
    /// Answers what the plugin asks.
    pub questions: Arc<dyn Questions>,
    /// Takes what a thread writes that outlived its invocation.
    pub late_writes: Arc<dyn LateWrites>,
    /// The trigger's cache; a worker that only looks at code has none.
    pub cache: Option<Arc<TriggerCache>>,
    /// Whether the plugin is only looked at: nothing of it runs, and its requirements are not needed.
    pub check_only: bool,
}

/// Finds the plugin anew for each start, so that a file that comes back is found.
pub type PluginResolver = Box<dyn Fn() -> Result<PathBuf, String> + Send + Sync>;

/// Takes writes that belong to no running invocation.
pub trait LateWrites: Send + Sync + 'static {
    /// Writes `lines` to `database`, or to the trigger's own when it is empty.
    fn write(
        &self,
        invocation: Option<Uuid>,
        database: String,
        lines: Bytes,
    ) -> futures_util::future::BoxFuture<'static, ()>;
}

/// One call of a plugin.
#[derive(Debug, Clone)]
pub struct Call {
    /// Identity, the same for every attempt of the same event.
    pub invocation: Uuid,
    /// What the plugin is called with.
    pub event: CallEvent,
    /// Longest run.
    pub timeout: Duration,
    /// Ends the call early.
    pub cancel: CancellationToken,
    /// Whether the caller waits out a restart delay; a person at the other end of a request does not.
    pub patient: bool,
    /// Longest wait for a worker that is free; for ever when it is absent.
    pub queue_timeout: Option<Duration>,
    /// Takes a response that comes in parts, when somebody waits for one.
    pub body: Option<BodySink>,
}

/// What a plugin is called with.
#[derive(Debug, Clone)]
pub enum CallEvent {
    /// Rows.
    Wal {
        /// Their database.
        database: String,
        /// Their place in the feed.
        sequence: u64,
        /// The tables that the trigger wants.
        tables: Vec<FeedTable>,
    },
    /// A time.
    Tick(DateTime<Utc>),
    /// A request.
    Request(Arc<HttpRequest>),
}

impl CallEvent {
    /// The rows of a commit; nothing for other events.
    #[must_use]
    pub fn tables(&self) -> &[FeedTable] {
        match self {
            Self::Wal { tables, .. } => tables,
            Self::Tick(_) | Self::Request(_) => &[],
        }
    }

    /// Rows and encoded bytes.
    #[must_use]
    pub fn size(&self) -> (u64, u64) {
        match self {
            Self::Wal { tables, .. } => tables
                .iter()
                .fold((0, 0), |(rows, bytes), table| (rows + table.rows as u64, bytes + table.ipc.len() as u64)),
            Self::Tick(_) => (0, 0),
            Self::Request(request) => (0, request.body.len() as u64),
        }
    }
}

/// How a call ended.
#[derive(Debug)]
pub struct CallResult {
    /// Return value or failure.
    pub end: CallEnd,
    /// From the order to the end, as seen by the runner.
    pub elapsed: Duration,
    /// The worker that did it, when one was found.
    pub worker: Option<Uuid>,
    /// What came before and beside it.
    pub costs: CallCosts,
}

/// What a call took besides its own run.
#[derive(Debug, Clone, Default)]
pub struct CallCosts {
    /// Wait for a worker to be free, restart delays included.
    pub queue: Duration,
    /// Start of the worker, when the call needed a new one.
    pub start: Duration,
    /// What the worker counted, when it lived to tell.
    pub usage: Option<Usage>,
}

/// Return value or failure of a call.
#[derive(Debug)]
pub enum CallEnd {
    /// The plugin returned.
    Returned {
        /// Its response, for a request.
        response: Option<HttpResponse>,
        /// Its buffered writes, by database in order; the trigger's own when empty.
        writes: Vec<(String, Bytes)>,
        /// Its changes of the cache, in order. Those of a call that fails have been taken in already.
        cache: Vec<CacheChange>,
    },
    /// It did not.
    Failed(Failure),
}
