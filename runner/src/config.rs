//! What an operator decides about a runner.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bulkhead_launcher::{Emulation, ResourceLimits};

use crate::environment::{IndexSettings, PackageManager};
use crate::host::Retention;
use crate::host::grpc::Address;
use crate::plugin_repository::DEFAULT_REPOSITORY;
use crate::trigger::{PermissionPolicy, TriggerKind};

/// Settings of a runner.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of this node; its data lies in a directory of this name.
    pub node_id: String,
    /// Where nodes keep their data.
    pub data_dir: PathBuf,
    /// Where catalog and tables are kept.
    pub object_store: ObjectStoreKind,
    /// Where plugins lie.
    pub plugin_dir: Option<PathBuf>,
    /// Address of the HTTP API.
    pub http_bind: SocketAddr,
    /// Address of the gRPC API, when it is served.
    pub grpc_bind: Option<Address>,
    /// The server that owns the data.
    pub host: HostKind,
    /// Largest HTTP request body, bytes.
    pub request_bytes_max: usize,
    /// How long a commit of the embedded host gathers writes.
    pub wal_flush_interval: Duration,
    /// How much is kept for triggers that are behind; everything when it is absent.
    pub retention: Option<Retention>,
    /// WAL bytes of the embedded host after which a snapshot is taken.
    pub snapshot_bytes: usize,
    /// The interpreter for workers; found on `PATH` when absent.
    pub python: Option<OsString>,
    /// Which tool makes environments.
    pub package_manager: PackageManager,
    /// Where packages come from, and which may be installed.
    pub index: IndexSettings,
    /// Time that one build of an environment may take.
    pub environment_build_timeout: Duration,
    /// Longest run of one invocation by default.
    pub invocation_timeout: Duration,
    /// Longest wait of a request for its turn.
    pub request_queue_timeout: Duration,
    /// Time after which a worker without work is stopped.
    pub worker_idle_timeout: Duration,
    /// Workers of one asynchronous trigger.
    pub async_workers_max: usize,
    /// Resource limits of every worker process.
    pub worker_resources: ResourceLimits,
    /// Memory of one worker and all that it starts, bytes.
    pub worker_memory_bytes: u64,
    /// Niceness of workers, 0 (as the runner) to 19.
    pub worker_nice: i32,
    /// Time for running invocations to end when the runner stops.
    pub shutdown_timeout: Duration,
    /// Where `gh:` plugins come from.
    pub plugin_repository: String,
    /// Whether only what lies in the plugin directory already can be a plugin.
    pub plugin_dir_only: bool,
    /// Kinds of triggers that may be created; all when it is empty.
    pub allowed_kinds: Vec<TriggerKind>,
    /// Time for which an environment that nobody uses is kept.
    pub environment_grace: Duration,
    /// Directory for virtual environments; one of the data directory otherwise.
    pub environments_dir: Option<PathBuf>,
    /// What triggers may be granted at most, and limits of those that name none.
    pub permission_policy: PermissionPolicy,
    /// An environment whose denials the launcher imitates, to see what is left of the sandbox there.
    pub emulate: Option<Emulation>,
}

/// Where catalog and tables are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectStoreKind {
    /// Below the data directory.
    File,
    /// In a temporary directory that goes with the process.
    Memory,
}

/// The server that owns the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostKind {
    /// This process.
    Embedded,
    /// A server that speaks `bulkhead.host.v1`.
    Grpc(Address),
}

impl Config {
    /// Settings with the defaults of the command line for everything but the places.
    #[must_use]
    pub fn new(data_dir: PathBuf, http_bind: SocketAddr) -> Self {
        use crate::limits;
        Self {
            node_id: "node0".to_owned(),
            data_dir,
            object_store: ObjectStoreKind::File,
            plugin_dir: None,
            http_bind,
            grpc_bind: None,
            host: HostKind::Embedded,
            request_bytes_max: limits::HTTP_REQUEST_BYTES_MAX,
            wal_flush_interval: Duration::from_millis(10),
            retention: None,
            snapshot_bytes: 64 << 20,
            python: None,
            package_manager: PackageManager::Discover,
            index: IndexSettings::default(),
            environment_build_timeout: limits::ENVIRONMENT_BUILD_TIMEOUT,
            invocation_timeout: limits::INVOCATION_TIMEOUT,
            request_queue_timeout: limits::REQUEST_QUEUE_TIMEOUT,
            worker_idle_timeout: limits::WORKER_IDLE_TIMEOUT,
            async_workers_max: limits::ASYNC_WORKERS_MAX,
            worker_resources: ResourceLimits::default(),
            worker_memory_bytes: limits::WORKER_MEMORY_BYTES,
            worker_nice: limits::WORKER_NICE,
            shutdown_timeout: limits::SHUTDOWN_TIMEOUT,
            plugin_repository: DEFAULT_REPOSITORY.to_owned(),
            plugin_dir_only: false,
            allowed_kinds: Vec::new(),
            environment_grace: limits::ENVIRONMENT_GRACE,
            environments_dir: None,
            permission_policy: PermissionPolicy::default(),
            emulate: None,
        }
    }
}
