//! `bulkhead serve`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bulkhead_launcher::Emulation;
use clap::{Args, ValueEnum};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::output::{CliError, note, say};
use super::packages::PackageArgs;
use crate::config::{Config, HostKind, ObjectStoreKind};
use crate::host::grpc::Address;
use crate::host::{Overflow, Retention, RetentionLimits};
use crate::limits;
use crate::plugin_repository::DEFAULT_REPOSITORY;
use crate::server::{Server, StartError};
use crate::trigger::{PermissionPolicy, TriggerKind};

/// `serve`.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Name of this node; its data lies in a directory of this name.
    #[arg(long, env = "INFLUXDB3_NODE_IDENTIFIER_PREFIX", default_value = "node0", value_name = "NAME")]
    node_id: String,
    /// Where data is kept: `file` below the data directory, `memory` until the process ends.
    #[arg(long, env = "INFLUXDB3_OBJECT_STORE", value_enum, default_value = "file")]
    object_store: ObjectStore,
    /// Directory for data, environments and workers' files.
    #[arg(long, env = "INFLUXDB3_DB_DIR", default_value = "./bulkhead-data", value_name = "DIR")]
    data_dir: PathBuf,
    /// Directory with plugins.
    #[arg(long, env = "INFLUXDB3_PLUGIN_DIR", value_name = "DIR")]
    plugin_dir: Option<PathBuf>,
    /// URL below which `gh:` plugins lie; any HTTP server that gives the files will do.
    #[arg(long, env = "INFLUXDB3_PLUGIN_REPO", default_value = DEFAULT_REPOSITORY, value_name = "URL")]
    plugin_repo: String,
    /// Take no plugins from clients or from a repository: only what lies in the plugin directory already.
    #[arg(long, env = "INFLUXDB3_PLUGIN_DIR_ONLY")]
    plugin_dir_only: bool,
    /// Kinds of triggers that may be created; all otherwise.
    #[arg(
        long,
        env = "INFLUXDB3_RESTRICT_PLUGIN_TRIGGERS_TO",
        value_enum,
        value_delimiter = ',',
        value_name = "KINDS"
    )]
    restrict_plugin_triggers_to: Vec<AllowedKind>,
    /// Address of the HTTP API; a loopback address until there is authentication.
    #[arg(long, env = "INFLUXDB3_HTTP_BIND_ADDR", default_value = "127.0.0.1:8181", value_name = "ADDRESS")]
    http_bind: SocketAddr,
    /// Address of the gRPC API for hosts that delegate: `unix:PATH` or a loopback `HOST:PORT`.
    #[arg(long, env = "BULKHEAD_GRPC_BIND", value_name = "ADDRESS", value_parser = grpc_bind)]
    grpc_bind: Option<Address>,
    /// The server that owns the data.
    #[arg(long = "host", env = "BULKHEAD_HOST", value_enum, default_value = "embedded")]
    host: HostName,
    /// Where that server speaks `bulkhead.host.v1`, with `--host grpc`: `unix:PATH` or `HOST:PORT`.
    #[arg(long, env = "BULKHEAD_HOST_ADDRESS", value_name = "ADDRESS", required_if_eq("host", "grpc"))]
    host_address: Option<Address>,
    /// Largest HTTP request body, bytes.
    #[arg(long, env = "INFLUXDB3_MAX_HTTP_REQUEST_SIZE", default_value_t = limits::HTTP_REQUEST_BYTES_MAX, value_name = "BYTES")]
    max_http_request_size: usize,
    /// How long a commit gathers writes.
    #[arg(long, env = "INFLUXDB3_WAL_FLUSH_INTERVAL", default_value = "10ms", value_parser = humantime::parse_duration, value_name = "DURATION")]
    wal_flush_interval: Duration,
    /// WAL size after which tables are written to Parquet, bytes.
    #[arg(long, env = "BULKHEAD_SNAPSHOT_BYTES", default_value_t = 64 << 20, value_name = "BYTES")]
    snapshot_bytes: usize,
    /// Most bytes of commits that are kept for triggers that are behind, or that wait for them; without limit otherwise. Needs
    /// `--journal-overflow`.
    #[arg(long, env = "BULKHEAD_JOURNAL_BYTES_MAX", requires = "journal_overflow", value_name = "BYTES")]
    journal_bytes_max: Option<u64>,
    /// Greatest age of commits that are kept for triggers that are behind; without limit otherwise. Needs `--journal-overflow`.
    #[arg(long, env = "BULKHEAD_JOURNAL_AGE_MAX", requires = "journal_overflow", value_parser = humantime::parse_duration, value_name = "DURATION")]
    journal_age_max: Option<Duration>,
    /// What happens beyond these limits: `pause` refuses clients' writes, or holds the host's batches back, until the trigger
    /// has caught up; `drop` drops the oldest commits for it and counts them. Without limits nothing is lost and nobody waits.
    #[arg(long, env = "BULKHEAD_JOURNAL_OVERFLOW", value_enum, value_name = "POLICY")]
    journal_overflow: Option<OverflowName>,
    /// Python interpreter for the workers, 3.10 or newer; found on PATH otherwise.
    #[arg(long, env = "BULKHEAD_PYTHON", value_name = "PATH")]
    python: Option<OsString>,
    #[command(flatten)]
    packages: PackageArgs,
    /// Time that one build of an environment may take.
    #[arg(long, env = "BULKHEAD_ENVIRONMENT_BUILD_TIMEOUT", default_value = "10m", value_parser = humantime::parse_duration, value_name = "DURATION")]
    environment_build_timeout: Duration,
    /// How long an environment that nobody uses is kept; `bulkhead env gc` removes such ones at once.
    #[arg(long, env = "BULKHEAD_ENVIRONMENT_GRACE", default_value = "15d", value_parser = humantime::parse_duration, value_name = "DURATION")]
    environment_grace: Duration,
    /// Longest run of one invocation, unless its trigger says otherwise.
    #[arg(long, env = "BULKHEAD_INVOCATION_TIMEOUT", default_value = "5m", value_parser = humantime::parse_duration, value_name = "DURATION")]
    invocation_timeout: Duration,
    /// Longest wait of a request for its turn; after it it is answered with 504.
    #[arg(long, env = "BULKHEAD_REQUEST_QUEUE_TIMEOUT", default_value = "60s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    request_queue_timeout: Duration,
    /// Time after which a worker without work is stopped.
    #[arg(long, env = "BULKHEAD_WORKER_IDLE_TIMEOUT", default_value = "60s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    worker_idle_timeout: Duration,
    /// Memory of one worker and all that it starts, unless its trigger says otherwise, MiB.
    #[arg(long, env = "BULKHEAD_WORKER_MEMORY_MIB", default_value_t = limits::WORKER_MEMORY_BYTES >> 20, value_name = "MIB", value_parser = clap::value_parser!(u64).range(limits::WORKER_MEMORY_BYTES_MIN >> 20..=1 << 30))]
    worker_memory_mib: u64,
    /// Niceness of workers, 0 to 19: how far they stand back behind the server when the processors are busy.
    #[arg(long, env = "BULKHEAD_WORKER_NICE", default_value_t = limits::WORKER_NICE, value_name = "N", value_parser = clap::value_parser!(i32).range(0..=19))]
    worker_nice: i32,
    /// File with the most that triggers may be granted and with limits for those that name none; see SECURITY.md.
    #[arg(long, env = "BULKHEAD_PERMISSIONS", value_name = "FILE", value_parser = permission_policy)]
    permissions: Option<PermissionPolicy>,
    /// Invocations of one asynchronous trigger that run at a time, each in a worker of its own.
    #[arg(long, env = "INFLUXDB3_ASYNC_TRIGGER_CONCURRENCY_LIMIT", default_value_t = limits::ASYNC_WORKERS_MAX, value_name = "N")]
    async_trigger_concurrency_limit: usize,
    /// Time for running invocations to end when the server stops.
    #[arg(long, env = "INFLUXDB3_SHUTDOWN_TIMEOUT", default_value = "30s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    shutdown_timeout: Duration,
    /// Imitates an environment that grants less than this machine, to see what is left of the sandbox there.
    #[arg(long, env = "BULKHEAD_SANDBOX_EMULATE", value_enum, value_name = "ENVIRONMENT", hide = true)]
    sandbox_emulate: Option<EmulationName>,
    /// What the server logs to standard error, such as `info` or `bulkhead=debug`. What plugins say stands in
    /// `system.processing_engine_logs`; here only their warnings are repeated.
    #[arg(long, env = "LOG_FILTER", default_value = "info,bulkhead::plugin=warn", value_name = "FILTER")]
    log_filter: String,
    /// How log lines are written: `text`, or `json` with an object a line.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value = "text", value_name = "FORMAT")]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OverflowName {
    Pause,
    Drop,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum AllowedKind {
    /// `table:` and `all_tables`.
    #[value(alias = "wal_flush")]
    Wal,
    /// `every:` and `cron:`.
    Schedule,
    /// `request:`.
    Request,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum EmulationName {
    Container,
    RestrictNamespaces,
    NoLandlock,
    ContainerWithoutLandlock,
    MaskedProc,
}

impl EmulationName {
    pub(super) fn emulation(self) -> Emulation {
        match self {
            Self::Container => Emulation::Container,
            Self::RestrictNamespaces => Emulation::RestrictNamespaces,
            Self::NoLandlock => Emulation::NoLandlock,
            Self::ContainerWithoutLandlock => Emulation::ContainerWithoutLandlock,
            Self::MaskedProc => Emulation::MaskedProc,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ObjectStore {
    File,
    Memory,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum HostName {
    /// This process keeps the data.
    Embedded,
    /// A server that speaks `bulkhead.host.v1`.
    Grpc,
}

/// An operator who has written a ceiling does not want a server without it.
fn permission_policy(path: &str) -> Result<PermissionPolicy, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    PermissionPolicy::read(&text)
}

/// The gRPC API has no authentication either.
fn grpc_bind(text: &str) -> Result<Address, String> {
    let address: Address = text.parse()?;
    if let Address::Tcp(tcp) = &address {
        let socket: SocketAddr = tcp.parse().map_err(|_| format!("`{tcp}` is not an IP address and a port"))?;
        if !socket.ip().is_loopback() {
            return Err("only loopback addresses and Unix sockets are allowed until there is authentication".to_owned());
        }
    }
    Ok(address)
}

impl ServeArgs {
    fn config(self) -> Config {
        let mut config = Config::new(self.data_dir, self.http_bind);
        config.node_id = self.node_id;
        config.object_store = match self.object_store {
            ObjectStore::File => ObjectStoreKind::File,
            ObjectStore::Memory => ObjectStoreKind::Memory,
        };
        config.plugin_dir = self.plugin_dir;
        config.plugin_repository = self.plugin_repo;
        config.plugin_dir_only = self.plugin_dir_only;
        let kinds = self.restrict_plugin_triggers_to.into_iter().map(|kind| match kind {
            AllowedKind::Wal => TriggerKind::Wal,
            AllowedKind::Schedule => TriggerKind::Schedule,
            AllowedKind::Request => TriggerKind::Request,
        });
        config.allowed_kinds = kinds.collect();
        config.grpc_bind = self.grpc_bind;
        config.host = match (self.host, self.host_address) {
            (HostName::Grpc, Some(address)) => HostKind::Grpc(address),
            _ => HostKind::Embedded,
        };
        config.request_bytes_max = self.max_http_request_size;
        config.wal_flush_interval = self.wal_flush_interval;
        config.snapshot_bytes = self.snapshot_bytes;
        let limits = RetentionLimits { bytes_max: self.journal_bytes_max, age_max: self.journal_age_max };
        config.retention = self.journal_overflow.map(|overflow| Retention {
            limits,
            overflow: match overflow {
                OverflowName::Pause => Overflow::Pause,
                OverflowName::Drop => Overflow::Drop,
            },
        });
        config.python = self.python;
        self.packages.apply(&mut config);
        config.environment_build_timeout = self.environment_build_timeout;
        config.invocation_timeout = self.invocation_timeout;
        config.request_queue_timeout = self.request_queue_timeout;
        config.environment_grace = self.environment_grace;
        config.worker_idle_timeout = self.worker_idle_timeout;
        config.worker_memory_bytes = self.worker_memory_mib << 20;
        config.worker_nice = self.worker_nice;
        config.async_workers_max = self.async_trigger_concurrency_limit;
        config.shutdown_timeout = self.shutdown_timeout;
        config.permission_policy = self.permissions.unwrap_or_default();
        config.emulate = self.sandbox_emulate.map(EmulationName::emulation);
        config
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        Self { message: error.message, hint: error.hint }
    }
}

/// Runs the command.
pub(super) async fn run(args: ServeArgs) -> Result<(), CliError> {
    log_to_stderr(&args.log_filter, args.log_format)?;
    let config = args.config();
    let has_plugin_dir = config.plugin_dir.is_some();
    let mut signals = Signals::new()?;
    let mut server = tokio::select! {
        server = Server::start(config) => server?,
        () = signals.next() => return Ok(()),
    };
    say(format!("bulkhead listens on http://{}", server.http_address()));
    if !has_plugin_dir {
        note("no plugin directory: start with `--plugin-dir DIR` to create triggers");
    }
    let failure = tokio::select! {
        () = signals.next() => None,
        failure = server.failed() => Some(failure),
    };
    note("stopping; a second signal hurries");
    tokio::select! {
        () = server.stop() => {}
        // What is durable is durable, and the holders end the workers.
        () = signals.next() => note("stopped without waiting"),
    }
    failure.map_or(Ok(()), |failure| Err(CliError::new(failure)))
}

pub(super) fn log_to_stderr(filter: &str, format: LogFormat) -> Result<(), CliError> {
    let filter =
        EnvFilter::try_new(filter).map_err(|error| CliError::new(format!("log filter `{filter}`: {error}")))?;
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(is_terminal).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}

/// The signals that ask a process to stop.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, CliError> {
        let listen = |kind| signal(kind).map_err(|error| CliError::new(format!("signals: {error}")));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
