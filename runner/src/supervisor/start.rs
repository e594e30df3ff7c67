//! From nothing to a worker that waits for calls.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use bulkhead_launcher::{MemoryGauge, Report};
use bulkhead_proto::transport::SessionSocket;
use bulkhead_proto::worker::v1::session_request::Fact;
use bulkhead_proto::worker::v1::session_response::Order;
use bulkhead_proto::worker::v1::{LoadTrigger, SessionResponse, Welcome, WorkerLimits};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::confine;
use super::end::WorkerEnd;
use super::pool::Shared;
use super::process::{ProcessEnd, WorkerProcess};
use super::registry::{WorkerRow, WorkerState};
use super::worker::{Event, PluginIdentity, Terms, Worker};
use super::zygote::ZygoteSlot;
use super::{Supervisor, WorkerSpec};
use crate::environment::Environment;
use crate::environment::inventory::Hold;
use crate::limits;
use crate::session::nursery::Spawner;
use crate::session::{self, Session, Step};

/// A worker that did not become ready, and the last words of its process.
pub(super) struct StartFailure {
    pub(super) end: WorkerEnd,
    pub(super) stderr_tail: String,
}

impl From<WorkerEnd> for StartFailure {
    fn from(end: WorkerEnd) -> Self {
        Self { end, stderr_tail: String::new() }
    }
}

/// Starts a worker in an environment and loads the plugin into it, unless it is cancelled meanwhile. Its connection lives in `nursery`.
pub(super) async fn start(
    supervisor: &Supervisor,
    spec: &WorkerSpec,
    (nursery, zygote): (&Spawner, Option<&ZygoteSlot>),
    ((environment, hold), is_successor): ((Arc<Environment>, Hold), bool),
    cancel: &CancellationToken,
) -> Result<Worker, StartFailure> {
    let plugin = (spec.plugin)().map_err(WorkerEnd::Load)?;
    let forked = tokio::select! {
        forked = fork(supervisor, spec, (nursery, zygote), (&environment, &plugin)) => forked?,
        () = cancel.cancelled() => return Err(WorkerEnd::Cancelled.into()),
    };
    // From here on there is a process, which is buried whatever happens.
    let mut worker = match forked {
        Some(worker) => worker,
        None => launch(supervisor, spec, nursery, &environment, &plugin).await?,
    };
    worker.hold = Some(hold);
    let ready = tokio::select! {
        ready = prepare(&mut worker, spec, &plugin, is_successor) => ready,
        () = cancel.cancelled() => Err(Ended { end: Some(WorkerEnd::Cancelled), process: None }),
    };
    match ready {
        Ok(()) => {
            supervisor.registry.update(worker.id, |row| row.state = WorkerState::Idle);
            Ok(worker)
        }
        Err(ended) => Err(failed(worker, spec, ended).await),
    }
}

/// Starts a worker of a pool, in the environment that its trigger is to have.
pub(super) async fn start_in_ground(
    shared: &Arc<Shared>,
    nursery: &Spawner,
    is_successor: bool,
    cancel: &CancellationToken,
) -> Result<Worker, StartFailure> {
    let ground = tokio::select! {
        ground = shared.ground() => ground?,
        () = cancel.cancelled() => return Err(WorkerEnd::Cancelled.into()),
    };
    start(&shared.supervisor, &shared.spec, (nursery, shared.zygote.as_ref()), (ground, is_successor), cancel).await
}

/// From a started process to a loaded plugin, in bounded time.
async fn prepare(worker: &mut Worker, spec: &WorkerSpec, plugin: &Path, is_successor: bool) -> Result<(), Ended> {
    let load = LoadTrigger {
        trigger: spec.trigger.name.clone(),
        database: spec.trigger.database.clone(),
        plugin_path: plugin.to_string_lossy().into_owned(),
        entry_point: spec.entry_point.into(),
        arguments: spec.arguments.clone().unwrap_or_default(),
        has_arguments: spec.arguments.is_some(),
        check_only: spec.check_only,
        cache_is_shared: spec.cache.as_ref().is_some_and(|cache| cache.is_shared()),
        // What comes after another worker finds what that one puts there until it takes over.
        cache_is_empty: !is_successor && spec.cache.as_ref().is_none_or(|cache| cache.is_empty()),
    };
    timeout(limits::WORKER_START_TIMEOUT, greet(worker, spec, load))
        .await
        .unwrap_or_else(|_| Err(silent("did not introduce itself", limits::WORKER_START_TIMEOUT)))?;
    timeout(limits::PLUGIN_LOAD_TIMEOUT, loaded(worker, spec))
        .await
        .unwrap_or_else(|_| Err(silent("did not load its plugin", limits::PLUGIN_LOAD_TIMEOUT)))
}

fn silent(what: &str, limit: std::time::Duration) -> Ended {
    Ended {
        end: Some(WorkerEnd::Start(format!("worker {what} within {}", humantime::format_duration(limit)))),
        process: None,
    }
}

/// Why a start was broken off.
pub(super) struct Ended {
    /// The cause, when the runner found it; otherwise the process's own end tells.
    pub(super) end: Option<WorkerEnd>,
    /// The end of the process, when it was reported.
    pub(super) process: Option<ProcessEnd>,
}

async fn failed(worker: Worker, spec: &WorkerSpec, ended: Ended) -> StartFailure {
    let (end, stderr_tail) = worker.bury(ended.end, ended.process, spec).await;
    let end = match end {
        WorkerEnd::Exited(exit) => {
            WorkerEnd::Start(format!("worker ended before it was ready: {}", WorkerEnd::Exited(exit)))
        }
        end => end,
    };
    StartFailure { end, stderr_tail }
}

/// A worker out of the trigger's zygote; nothing where the trigger has none.
async fn fork(
    supervisor: &Supervisor,
    spec: &WorkerSpec,
    (nursery, zygote): (&Spawner, Option<&ZygoteSlot>),
    (environment, plugin): (&Environment, &Path),
) -> Result<Option<Worker>, StartFailure> {
    let Some(zygote) = zygote else { return Ok(None) };
    let start = |error: std::io::Error| StartFailure::from(WorkerEnd::Start(format!("worker's descriptors: {error}")));
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(start)?;
    let (stdout, workers_stdout) = std::io::pipe().map_err(start)?;
    let (stderr, workers_stderr) = std::io::pipe().map_err(start)?;
    let theirs = [OwnedFd::from(theirs), workers_stdout.into(), workers_stderr.into()];
    let descriptors = || {
        let [session, stdout, stderr] = &theirs;
        Ok([session.try_clone()?, stdout.try_clone()?, stderr.try_clone()?])
    };
    let Some(forked) = zygote.fork(supervisor, spec, (environment, plugin), descriptors).await else {
        return Ok(None);
    };
    // Nothing of the worker's may stay open here, or nobody would see it end.
    drop(theirs);
    let ours = SessionSocket::new(ours).map_err(start)?;
    let (worker_pid, enforced, missing) = (forked.process.pid, forked.enforced.clone(), forked.missing.clone());
    let outputs = [non_blocking(stdout).map_err(start)?, non_blocking(stderr).map_err(start)?];
    let process = WorkerProcess::forked(forked, outputs, spec.log.clone(), &supervisor.tracker);
    let id = Uuid::now_v7();
    let mut worker = worker((supervisor, nursery), spec, (environment, plugin), (id, process, ours));
    let started = worker.on_report(Ok(Report::Started { worker_pid, enforced, missing }), spec);
    debug_assert!(started.is_ok(), "a start is no end");
    Ok(Some(worker))
}

/// A pipe's ends have their status flags each, so the worker's end still blocks.
fn non_blocking(pipe: std::io::PipeReader) -> std::io::Result<OwnedFd> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(&pipe, FcntlArg::F_GETFL)?);
    fcntl(&pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(pipe.into())
}

async fn launch(
    supervisor: &Supervisor,
    spec: &WorkerSpec,
    nursery: &Spawner,
    environment: &Environment,
    plugin: &Path,
) -> Result<Worker, StartFailure> {
    let start = |reason: String| StartFailure::from(WorkerEnd::Start(reason));
    let (ours, theirs) =
        std::os::unix::net::UnixStream::pair().map_err(|error| start(format!("session socket: {error}")))?;
    let ours = SessionSocket::new(ours).map_err(|error| start(format!("session socket: {error}")))?;
    let id = Uuid::now_v7();
    let policy = confine::policy(supervisor, spec, environment, plugin, id).map_err(start)?;
    let process = WorkerProcess::launch(
        Arc::clone(&supervisor.launcher),
        (policy, &spec.permissions),
        OwnedFd::from(theirs),
        spec.log.of_worker(id),
        &supervisor.tracker,
    )
    .await
    .map_err(|error| start(error.to_string()))?;
    Ok(worker((supervisor, nursery), spec, (environment, plugin), (id, process, ours)))
}

/// A worker whose process is there, and says nothing yet.
fn worker(
    (supervisor, nursery): (&Supervisor, &Spawner),
    spec: &WorkerSpec,
    (environment, plugin): (&Environment, &Path),
    (id, process, session): (Uuid, WorkerProcess, SessionSocket),
) -> Worker {
    let endpoint = session::open(session, Arc::clone(&spec.questions), nursery, &supervisor.tracker);
    supervisor.registry.insert(WorkerRow {
        id,
        trigger: Arc::clone(&spec.trigger),
        pid: None,
        state: WorkerState::Starting,
        environment: environment.id.clone(),
        python: environment.python_version.clone(),
        enforced: Vec::new(),
        missing: Vec::new(),
        started_at: supervisor.clock.now(),
        ended_at: None,
        invocations: 0,
        end: None,
        cause: None,
        cpu_us: None,
        max_rss_bytes: None,
    });
    Worker {
        id,
        process,
        session: Session::default(),
        plugin: PluginIdentity::of(plugin),
        keeps_code: false,
        environment: environment.id.clone(),
        hold: None,
        opened: Some(endpoint.opened),
        verdict: endpoint.verdict,
        channel: None,
        terms: Terms {
            memory: confine::memory(supervisor, spec),
            may_fork: confine::may_fork(spec),
            cpu_is_limited: spec.permissions.cpu.is_some(),
        },
        supervisor: supervisor.clone(),
    }
}

/// Waits for the first words and answers them with the order to load the plugin.
async fn greet(worker: &mut Worker, spec: &WorkerSpec, load: LoadTrigger) -> Result<(), Ended> {
    open_session(worker, spec).await?;
    let hello = loop {
        match worker.step(spec).await? {
            Step::Greeted(hello) => break hello,
            _ => continue,
        }
    };
    let python = hello.python_version.chars().take(64).collect();
    worker.supervisor.registry.update(worker.id, |row| row.python = python);
    let welcome = Welcome {
        protocol_version: bulkhead_proto::WORKER_PROTOCOL_VERSION,
        worker_id: worker.id.to_string(),
        limits: Some(WorkerLimits {
            message_bytes_max: u32::try_from(bulkhead_proto::transport::MESSAGE_BYTES_MAX).unwrap_or(u32::MAX),
            write_buffer_bytes_max: limits::WRITE_BUFFER_BYTES_MAX,
            log_line_bytes_max: limits::LOG_LINE_BYTES_MAX,
            response_bytes_max: limits::RESPONSE_BYTES_MAX,
            response_parts_unread_max: limits::RESPONSE_PARTS_UNREAD_MAX,
            response_part_bytes_max: limits::RESPONSE_PART_BYTES_MAX,
            cache_entry_bytes_max: limits::CACHE_ENTRY_BYTES_MAX,
            cache_key_bytes_max: limits::CACHE_KEY_BYTES_MAX,
        }),
    };
    for order in [Order::Welcome(welcome), Order::LoadTrigger(load)] {
        worker.order(SessionResponse { order: Some(order) });
    }
    Ok(())
}

/// Waits until the worker opens its session, or is gone.
async fn open_session(worker: &mut Worker, spec: &WorkerSpec) -> Result<(), Ended> {
    let Some(mut opened) = worker.opened.take() else { return Ok(()) };
    loop {
        tokio::select! {
            channel = &mut opened => return match channel {
                Ok(channel) => {
                    worker.channel = Some(channel);
                    Ok(())
                }
                Err(oneshot::error::RecvError { .. }) => {
                    let process = worker.last_words().await;
                    // A process that goes on without a session has broken the protocol.
                    let how = || worker.verdict.violation().map_or_else(never_opened, ToString::to_string);
                    let end = if process.is_none() { Some(WorkerEnd::Disconnected(how())) } else { None };
                    Err(Ended { end, process })
                }
            },
            report = worker.process.report() => worker.on_report(report, spec)?,
        }
    }
}

fn never_opened() -> String {
    "it closed its connection without a session".to_owned()
}

async fn loaded(worker: &mut Worker, spec: &WorkerSpec) -> Result<(), Ended> {
    loop {
        match worker.step(spec).await? {
            Step::Loaded => return Ok(()),
            Step::LoadFailed(failure) => {
                if !failure.traceback.is_empty() {
                    spec.log.plugin(crate::logs::Level::Error, crate::logs::Source::Runner, None, failure.traceback);
                }
                return Err(Ended { end: Some(WorkerEnd::Load(failure.message)), process: None });
            }
            _ => {}
        }
    }
}

impl Worker {
    /// Takes in a report of the holder.
    pub(super) fn on_report(&mut self, report: Result<Report, ProcessEnd>, spec: &WorkerSpec) -> Result<(), Ended> {
        let ended = |process| Err(Ended { end: None, process: Some(process) });
        match report {
            Ok(Report::Started { worker_pid, enforced, missing }) => {
                self.supervisor.registry.warn_of_lost(&missing);
                let own_root = enforced.iter().any(|layer| layer.starts_with("root=own"));
                let gauge = MemoryGauge::new(worker_pid, self.terms.may_fork, own_root);
                self.process.watch(&self.supervisor.watchdog, gauge, self.terms.memory);
                if self.terms.cpu_is_limited
                    && let Some(lost) = missing.iter().find(|layer| layer.starts_with("cpu: "))
                {
                    spec.log.runner(crate::logs::Level::Warn, None, lost.as_str());
                }
                self.supervisor.registry.update(self.id, |row| {
                    row.pid = Some(worker_pid);
                    row.enforced = enforced;
                    row.missing = missing;
                });
                Ok(())
            }
            Ok(Report::Failed { step, error }) => ended(ProcessEnd::NotStarted(format!("{step}: {error}"))),
            Ok(Report::ChildExited { .. }) => Ok(()),
            Ok(Report::Exited { raw_status, usage, memory_kills, .. }) => {
                ended(ProcessEnd::Exited { raw_status, usage, memory_kills })
            }
            Err(end) => ended(end),
        }
    }

    /// The next fact that the machine accepts; log lines are passed on along the way.
    pub(super) async fn step(&mut self, spec: &WorkerSpec) -> Result<Step, Ended> {
        loop {
            match self.next_event().await {
                Event::Report(report) => self.on_report(report, spec)?,
                Event::Fact(fact) => {
                    if let Some(step) = self.accept(fact, spec).await? {
                        return Ok(step);
                    }
                    // A worker that never stops talking must not keep its owner from looking at the time.
                    tokio::task::consume_budget().await;
                }
                Event::Disconnected(how) => {
                    let process = self.last_words().await;
                    // A process that ended took its connection along; one that goes on has broken the protocol.
                    let end = if process.is_none() { Some(WorkerEnd::Disconnected(how)) } else { None };
                    return Err(Ended { end, process });
                }
            }
        }
    }

    /// Takes in a fact: log lines and late writes are passed on, the rest is returned.
    pub(super) async fn accept(&mut self, fact: Option<Fact>, spec: &WorkerSpec) -> Result<Option<Step>, Ended> {
        let violated = |violation| Ended { end: Some(WorkerEnd::Protocol(violation)), process: None };
        match self.session.on_fact(fact).map_err(violated)? {
            Step::Logged(lines) => {
                let log = spec.log.of_worker(self.id);
                for line in lines {
                    log.plugin(line.level, line.source, line.invocation, line.text);
                }
                Ok(None)
            }
            Step::WrittenLate { invocation, database, lines } => {
                spec.late_writes.write(invocation, database, lines).await;
                Ok(None)
            }
            Step::CachedLate { invocation, change } => {
                if let Some(cache) = &spec.cache {
                    cache.keep(invocation, vec![change]);
                }
                Ok(None)
            }
            Step::VariableMissing(name) => {
                spec.log.missing_variable(name);
                Ok(None)
            }
            Step::Buffered => Ok(None),
            step => Ok(Some(step)),
        }
    }
}
