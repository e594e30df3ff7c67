//! A whole runner in one value: made of a [`Config`], serving until it is stopped.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bulkhead_launcher::{Cgroups, Launcher};
use futures_util::FutureExt;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::api::grpc::GrpcApi;
use crate::api::http::HttpApi;
use crate::api::{grpc, http};
use crate::cache::Cache;
use crate::catalog::Catalog;
use crate::clock::{SharedClock, SystemClock};
use crate::config::{Config, HostKind, ObjectStoreKind};
use crate::dispatch::{Engine, EngineParts, EngineSettings};
use crate::environment::EnvironmentStore;
use crate::host::grpc::{GrpcHost, Spools};
use crate::host::{DataApi, Host};
use crate::invocations::Invocations;
use crate::journal::Ledger;
use crate::limits;
use crate::logs::LogStore;
use crate::plugin_files::PluginFiles;
use crate::supervisor::{PackageError, Supervisor, Watchdog, WorkerPackage, WorkerRegistry, WorkerSettings, Workshop};
use crate::system_tables::SystemTables;

/// A runner that could not be started: what, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl StartError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A runner that serves.
pub struct Server {
    engine: Arc<Engine>,
    http_address: SocketAddr,
    /// Begins the stop: no new work is taken in.
    stop: CancellationToken,
    apis: JoinSet<Result<(), String>>,
    _node: Node,
}

/// The data directory of a node, held against other processes.
struct Node {
    directory: PathBuf,
    _lock: File,
    _temporary: Option<TempDir>,
}

impl Server {
    /// Starts a runner.
    ///
    /// # Errors
    /// When something that it cannot do without is missing or in use.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        if !config.http_bind.ip().is_loopback() {
            return Err(StartError::new(format!(
                "refusing to listen on {}: there is no authentication yet",
                config.http_bind
            ))
            .hint(
                "bind a loopback address such as 127.0.0.1:8181, and put a proxy that authenticates in front of it",
            ));
        }
        let node = open_node(&config)?;
        let clock: SharedClock = Arc::new(SystemClock);
        let logs = Arc::new(LogStore::new(Arc::clone(&clock)));
        let registry = Arc::new(WorkerRegistry::default());
        let invocations = Arc::new(Invocations::default());
        let tables = Arc::new(SystemTables::new(Arc::clone(&logs), Arc::clone(&registry), Arc::clone(&invocations)));

        let listener = TcpListener::bind(config.http_bind).await.map_err(|error| {
            StartError::new(format!("HTTP address {}: {error}", config.http_bind))
                .hint("choose another one with `--http-bind`")
        })?;
        let http_address = listener.local_addr().map_err(|error| StartError::new(error.to_string()))?;

        let objects = node.directory.join("objects");
        let store = local_store(&objects)?;
        let ledger =
            Ledger::open(&node.directory.join("journal.redb")).map_err(|error| StartError::new(error.to_string()))?;
        let hosts = open_host(&config, &node, (&store, &objects), &clock, (&tables, Arc::new(ledger))).await?;
        let catalog = Catalog::open(store, object_store::path::Path::from("catalog"))
            .await
            .map_err(|error| StartError::new(error.to_string()))?;
        let supervisor = supervisor(&config, &node, &clock, &registry)?;
        supervisor.look_at_layers().await;
        let plugin_dir = config.plugin_dir.as_deref().map(plugin_dir).transpose()?;
        let environments = Arc::clone(&supervisor.environments);
        let engine = Engine::start(EngineParts {
            catalog: Arc::new(catalog),
            host: Arc::clone(&hosts.host),
            supervisor,
            logs,
            cache: Arc::new(Cache::of_triggers(Arc::clone(&clock))),
            invocations,
            metrics: Arc::default(),
            journal_paths: vec![node.directory.join("wal"), node.directory.join("journal.redb")],
            files: PluginFiles::new(plugin_dir, node.directory.join("uploads"))
                .with_repository(&config.plugin_repository, &node.directory.join("repository"))
                .plugin_dir_only(config.plugin_dir_only),
            clock: Arc::clone(&clock),
            settings: EngineSettings {
                invocation_timeout: config.invocation_timeout,
                request_queue_timeout: config.request_queue_timeout,
                async_workers_max: config.async_workers_max,
                shutdown_timeout: config.shutdown_timeout,
                allowed_kinds: config.allowed_kinds.clone(),
                retention: config.retention,
            },
        })
        .await
        .map_err(|error| StartError::new(error.to_string()))?;
        tables.attach(&engine, hosts.data.as_ref());

        let stop = CancellationToken::new();
        let mut apis = JoinSet::new();
        let api = HttpApi {
            engine: Arc::clone(&engine),
            data: hosts.data,
            clock: Arc::clone(&clock),
            process_id: Uuid::new_v4(),
            request_bytes_max: config.request_bytes_max,
        };
        let collector = collect_environments(environments, config.environment_grace, Arc::clone(&clock));
        apis.spawn(stop.clone().run_until_cancelled_owned(collector).map(|_| Ok(())));
        let stopped = stop.clone().cancelled_owned();
        apis.spawn(async move { http::serve(api, listener, stopped).await.map_err(|error| error.to_string()) });
        if let Some(address) = config.grpc_bind {
            let api = GrpcApi {
                engine: Arc::clone(&engine),
                spools: hosts.spools,
                clock,
                intake: stop.clone(),
                storing: Arc::default(),
            };
            let stopped = stop.clone().cancelled_owned();
            apis.spawn(async move { grpc::serve(api, &address, stopped).await });
        }
        Ok(Self { engine, http_address, stop, apis, _node: node })
    }

    /// Where the HTTP API is served.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Waits for an API that fails; one that serves on never returns.
    pub async fn failed(&mut self) -> String {
        loop {
            match self.apis.join_next().await {
                Some(Ok(Err(error))) => return error,
                Some(Err(error)) => return error.to_string(),
                Some(Ok(Ok(()))) => {}
                None => return "no API is served any more".to_owned(),
            }
        }
    }

    /// Stops: no new work, running invocations end or are cancelled, what was acknowledged is durable, no worker is left.
    pub async fn stop(mut self) {
        self.stop.cancel();
        self.engine.shutdown().await;
        // Requests that were in flight have their answers now; a client that keeps its connection open does not hold the stop.
        let served = async { while self.apis.join_next().await.is_some() {} };
        if tokio::time::timeout(limits::DRAIN_TIMEOUT, served).await.is_err() {
            self.apis.shutdown().await;
        }
        self.engine.host().close().await;
    }
}

/// Removes environments that nobody has used for `grace`, for ever.
async fn collect_environments(environments: Arc<EnvironmentStore>, grace: Duration, clock: SharedClock) {
    loop {
        environments.collect(grace, clock.now().into()).await;
        tokio::time::sleep(limits::ENVIRONMENT_COLLECT_PERIOD).await;
    }
}

fn open_node(config: &Config) -> Result<Node, StartError> {
    let is_plain = !config.node_id.is_empty()
        && config.node_id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !is_plain || config.node_id.starts_with('.') {
        return Err(StartError::new(format!(
            "node id `{}` must consist of letters, digits, `-`, `_` and `.`",
            config.node_id
        )));
    }
    let temporary = match config.object_store {
        ObjectStoreKind::File => None,
        ObjectStoreKind::Memory => {
            let directory = tempfile::Builder::new().prefix("bulkhead-").tempdir();
            Some(directory.map_err(|error| StartError::new(format!("temporary directory: {error}")))?)
        }
    };
    let root = temporary.as_ref().map_or(config.data_dir.as_path(), TempDir::path);
    let directory = root.join(&config.node_id);
    let unusable = |error: std::io::Error| {
        StartError::new(format!("data directory {}: {error}", directory.display()))
            .hint("choose another one with `--data-dir`")
    };
    std::fs::create_dir_all(&directory).map_err(unusable)?;
    let directory = directory.canonicalize().map_err(unusable)?;
    let lock =
        File::options().create(true).truncate(false).write(true).open(directory.join("lock")).map_err(unusable)?;
    lock.try_lock().map_err(|error| match error {
        std::fs::TryLockError::WouldBlock => {
            StartError::new(format!("data directory {} is in use by another runner", directory.display()))
                .hint("stop the other one, or choose another `--node-id` or `--data-dir`")
        }
        std::fs::TryLockError::Error(error) => unusable(error),
    })?;
    Ok(Node { directory, _lock: lock, _temporary: temporary })
}

fn local_store(directory: &Path) -> Result<Arc<dyn ObjectStore>, StartError> {
    let unusable =
        |error: &dyn std::fmt::Display| StartError::new(format!("object store {}: {error}", directory.display()));
    std::fs::create_dir_all(directory).map_err(|error| unusable(&error))?;
    Ok(Arc::new(LocalFileSystem::new_with_prefix(directory).map_err(|error| unusable(&error))?))
}

fn plugin_dir(path: &Path) -> Result<PathBuf, StartError> {
    let unusable = |error: std::io::Error| StartError::new(format!("plugin directory {}: {error}", path.display()));
    std::fs::create_dir_all(path).map_err(unusable)?;
    path.canonicalize().map_err(unusable)
}

/// The host, and what else is known of it.
struct Hosts {
    host: Arc<dyn Host>,
    data: Option<Arc<dyn DataApi>>,
    spools: Option<Arc<Spools>>,
}

#[cfg_attr(not(feature = "embedded-host"), expect(unused_variables, reason = "only the embedded host keeps data here"))]
async fn open_host(
    config: &Config,
    node: &Node,
    (store, directory): (&Arc<dyn ObjectStore>, &Path),
    clock: &SharedClock,
    (tables, ledger): (&Arc<SystemTables>, Arc<Ledger>),
) -> Result<Hosts, StartError> {
    match &config.host {
        HostKind::Grpc(address) => {
            let host = GrpcHost::new(address.clone(), ledger)
                .map_err(|error| StartError::new(format!("host {address}: {error}")))?;
            let spools = host.spools();
            Ok(Hosts { host: Arc::new(host), data: None, spools: Some(spools) })
        }
        #[cfg(feature = "embedded-host")]
        HostKind::Embedded => {
            use crate::host::embedded;
            let settings = embedded::EmbeddedSettings {
                wal_flush_interval: config.wal_flush_interval,
                snapshot_bytes: config.snapshot_bytes,
            };
            let store = (Arc::clone(store), Some(directory));
            let host = embedded::open(
                &node.directory.join("wal"),
                store,
                &settings,
                Arc::clone(clock),
                (Arc::clone(tables), ledger),
            )
            .await
            .map_err(|error| StartError::new(format!("embedded host: {error}")))?;
            Ok(Hosts { host: Arc::clone(&host) as _, data: Some(host), spools: None })
        }
        #[cfg(not(feature = "embedded-host"))]
        HostKind::Embedded => {
            Err(StartError::new("this build has no embedded host")
                .hint("name a host with `--host grpc --host-address`"))
        }
    }
}

fn supervisor(
    config: &Config,
    node: &Node,
    clock: &SharedClock,
    registry: &Arc<WorkerRegistry>,
) -> Result<Supervisor, StartError> {
    let launcher = Launcher::of_this_binary().map_err(|error| StartError::new(error.to_string()))?;
    let launcher = launcher.with_cgroups(Cgroups::discover());
    let watchdog = Watchdog::start().map_err(|error| StartError::new(format!("watchdog of memory: {error}")))?;
    let package =
        WorkerPackage::materialise(&node.directory.join("worker-package"), None).map_err(|error| match error {
            PackageError::NoExec { .. } => StartError::new(error.to_string())
                .hint("mount it without `noexec`, or choose another place with `--data-dir`"),
            _ => StartError::new(error.to_string()),
        })?;
    // Environments hold no data and are shared by the nodes of a data directory.
    let environments = match (&config.environments_dir, config.object_store) {
        (Some(directory), _) => directory.clone(),
        (None, ObjectStoreKind::File) => config.data_dir.join("environments"),
        (None, ObjectStoreKind::Memory) => node.directory.join("environments"),
    };
    let environments = EnvironmentStore::new(
        environments,
        config.python.clone(),
        config.package_manager,
        config.environment_build_timeout,
    );
    let mut index = config.index.clone();
    index.check().map_err(StartError::new)?;
    let (launcher, watchdog, tracker) = (Arc::new(launcher), Arc::new(watchdog), TaskTracker::new());
    let homes = node.directory.join("homes");
    let workshop = Workshop {
        launcher: Arc::clone(&launcher),
        watchdog: Arc::clone(&watchdog),
        registry: Arc::clone(registry),
        clock: Arc::clone(clock),
        tracker: tracker.clone(),
        homes: homes.clone(),
        emulate: config.emulate,
    };
    let environments = environments.with_index(index).with_workbench(Arc::new(workshop));
    Ok(Supervisor {
        launcher,
        package: Arc::new(package),
        environments: Arc::new(environments),
        registry: Arc::clone(registry),
        watchdog,
        clock: Arc::clone(clock),
        tracker,
        settings: WorkerSettings {
            idle_timeout: config.worker_idle_timeout,
            resources: config.worker_resources,
            memory_bytes: config.worker_memory_bytes,
            nice: config.worker_nice,
            homes,
            emulate: config.emulate,
            permission_policy: Arc::new(config.permission_policy.clone()),
        },
    })
}
