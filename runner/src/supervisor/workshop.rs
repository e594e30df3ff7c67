//! Where packages are built from source: on a bench that is confined as a worker is, with no network and no grant but the bench.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;

use bulkhead_launcher::{
    Access, Emulation, GroupLimits, LaunchPolicy, Launcher, MemoryGauge, Network, PathGrant, Report, Sandbox,
    seccomp_filters,
};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::time::{timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::process::{Keeper, ProcessEnd, WorkerProcess};
use super::registry::WorkerRegistry;
use super::watchdog::{Excess, Watchdog, kill_beyond};
use super::{confine, free_user};
use crate::clock::SharedClock;
use crate::environment::{BenchOutput, BenchTask, Listener, OutputTail, Workbench};
use crate::limits;
use crate::logs::LogStore;
use crate::trigger::TriggerId;

/// Runs the build code of packages.
#[derive(Clone)]
pub struct Workshop {
    /// Starts processes.
    pub launcher: Arc<Launcher>,
    /// Ends builds that hold too much memory.
    pub watchdog: Arc<Watchdog>,
    /// Says what of the sandbox this machine does not grant.
    pub registry: Arc<WorkerRegistry>,
    /// The time.
    pub clock: SharedClock,
    /// Owner of the tasks.
    pub tracker: TaskTracker,
    /// Directory below which each build gets one for its temporary files, where there are no mount namespaces.
    pub homes: PathBuf,
    /// An environment to imitate.
    pub emulate: Option<Emulation>,
}

impl std::fmt::Debug for Workshop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workshop").field("homes", &self.homes).field("emulate", &self.emulate).finish_non_exhaustive()
    }
}

impl Workbench for Workshop {
    fn run(&self, task: BenchTask, listener: Listener) -> BoxFuture<'static, Result<BenchOutput, String>> {
        let (workshop, cancel) = (self.clone(), CancellationToken::new());
        let dropped = cancel.clone().drop_guard();
        let (sender, done) = oneshot::channel();
        // A task of its own: whoever waits may go away, and the process has to be buried all the same.
        self.tracker.spawn(async move {
            let result = workshop.build(task, listener, cancel).await;
            // Nobody may wait any more.
            drop(sender.send(result));
        });
        async move {
            let result = done.await;
            drop(dropped);
            result.unwrap_or_else(|_| Err("the runner stops".to_owned()))
        }
        .boxed()
    }
}

impl Workshop {
    async fn build(
        &self,
        task: BenchTask,
        listener: Listener,
        cancel: CancellationToken,
    ) -> Result<BenchOutput, String> {
        let failed = |error: &dyn std::fmt::Display| format!("no sandbox: {error}");
        let policy = self.policy(&task)?;
        let (_session, theirs) = UnixStream::pair().map_err(|error| failed(&error))?;
        let log = Arc::new(LogStore::private(Arc::clone(&self.clock)));
        let log = log.writer(Arc::new(TriggerId::new("", "build")));
        let launched = WorkerProcess::launch_quietly(Arc::clone(&self.launcher), policy, theirs.into(), log).await;
        let (mut process, [stdout, stderr]) = launched.map_err(|error| failed(&error))?;
        let (mut out, mut err) = (OutputTail::default(), OutputTail::default());
        let (ended, is_late) = {
            let reading = async {
                tokio::join!(
                    out.fill(receiver(stdout), |line| listener(line)),
                    err.fill(receiver(stderr), |line| {
                        listener(line);
                    })
                )
            };
            tokio::pin!(reading);
            let mut all_read = false;
            let ended = timeout_at(task.deadline, async {
                loop {
                    tokio::select! {
                        ended = self.ended(&mut process) => return Some(ended),
                        _ = &mut reading, if !all_read => all_read = true,
                        () = cancel.cancelled() => return None,
                    }
                }
            });
            let ended = ended.await;
            let is_late = ended.is_err();
            let ended = ended.ok().flatten();
            if ended.is_none() {
                process.kill();
            }
            let ended = match ended {
                Some(ended) => ended,
                None => timeout(limits::DRAIN_TIMEOUT, process.ended())
                    .await
                    .unwrap_or(ProcessEnd::KeeperKilled(Keeper::Holder)),
            };
            if !all_read {
                // Whoever could write to it is dead.
                drop(timeout(limits::DRAIN_TIMEOUT, reading).await);
            }
            (ended, is_late)
        };
        let excess = process.excess();
        let (end, _) = process.bury(Some(ended)).await;
        let (status, remark) = match end {
            // Whoever is given up before it has started was late, and that is the reason.
            ProcessEnd::NotStarted(_) if is_late => (None, None),
            ProcessEnd::NotStarted(reason) => return Err(failed(&reason)),
            ProcessEnd::Exited { raw_status, .. } => (Some(ExitStatus::from_raw(raw_status)), None),
            ProcessEnd::KeeperKilled(_) => (None, Some("it was killed".to_owned())),
        };
        let remark = excess.as_ref().map(too_much).or(remark.filter(|_| !is_late));
        let status = status.filter(|_| !is_late);
        Ok(BenchOutput { status, stdout: out.text(), stderr: err.text(), remark })
    }

    /// Waits for the end, and has the memory watched meanwhile. Cancel safe.
    async fn ended(&self, process: &mut WorkerProcess) -> ProcessEnd {
        loop {
            match process.report().await {
                Ok(Report::Started { worker_pid, enforced, missing }) => {
                    self.registry.warn_of_lost(&missing);
                    let own_root = enforced.iter().any(|layer| layer.starts_with("root=own"));
                    let gauge = MemoryGauge::new(worker_pid, true, own_root);
                    process.watch(&self.watchdog, gauge, limits::BUILD_MEMORY_BYTES);
                }
                Ok(Report::ChildExited { .. }) => {}
                Ok(Report::Failed { step, error }) => return ProcessEnd::NotStarted(format!("{step}: {error}")),
                Ok(Report::Exited { raw_status, usage, memory_kills, .. }) => {
                    return ProcessEnd::Exited { raw_status, usage, memory_kills };
                }
                Err(end) => return end,
            }
        }
    }

    /// What a build starts with: nothing of the runner's, and no way but to its bench.
    fn policy(&self, task: &BenchTask) -> Result<LaunchPolicy, String> {
        let failed = |error: std::io::Error| format!("`{}`: {error}", task.bench.display());
        let user = if nix::unistd::geteuid().is_root() { give(&task.bench).map_err(failed)? } else { free_user() };
        let mut policy = LaunchPolicy::new(&task.python, &task.bench);
        policy.args.clone_from(&task.args);
        policy.resources.processes = Some(limits::BUILD_PROCESSES);
        policy.resources.open_files = Some(limits::BUILD_FILES);
        policy.resources.file_bytes = Some(limits::BUILD_FILE_BYTES);
        policy.resources.data_bytes = Some(limits::BUILD_MEMORY_BYTES);
        policy.resources.address_space_bytes = None;
        policy.nice = Some(limits::WORKER_NICE);
        policy.group = Some(GroupLimits {
            memory_bytes: Some(kill_beyond(limits::BUILD_MEMORY_BYTES)),
            processes: Some(limits::BUILD_PROCESSES),
            cpu_thousandths: None,
            nice: Some(limits::WORKER_NICE),
            ends_together: true,
        });
        let environment = &task.environment;
        let path = format!("{}/bin:/usr/local/bin:/usr/bin:/bin", environment.display());
        let variables = [("LANG", "C.UTF-8"), ("TZ", "UTC"), ("USER", "build"), ("LOGNAME", "build"), ("PATH", &path)];
        policy.env = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        policy.env.insert("VIRTUAL_ENV".to_owned(), environment.to_string_lossy().into_owned());
        let mut paths = vec![
            PathGrant::new(environment, Access::Execute),
            // A build runs what it has made, to see whether it works.
            PathGrant::new(&task.bench, Access::WriteAndExecute),
        ];
        paths.extend(confine::interpreter(&task.python));
        policy.sandbox = Some(Sandbox {
            paths,
            network: Network::None,
            subprocesses: true,
            tmp_bytes: limits::BUILD_TMP_BYTES,
            shm_bytes: limits::WORKER_SHM_BYTES,
            scratch: self.homes.join(Uuid::now_v7().to_string()),
            user: Some(user),
            filters: seccomp_filters(confine::profile(&Network::None, true, false))?,
            emulate: self.emulate,
        });
        Ok(policy)
    }
}

fn too_much(excess: &Excess) -> String {
    let mib = |bytes: u64| bytes >> 20;
    format!("{} MiB of memory, more than the {} MiB that a build may have", mib(excess.bytes), mib(excess.limit))
}

fn receiver(stream: OwnedFd) -> Option<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(stream).ok()
}

/// Makes a bench, on which nothing but files lies yet, a user's; whose it is.
fn give(bench: &Path) -> std::io::Result<u32> {
    let owner = std::fs::symlink_metadata(bench)?.uid();
    if confine::is_free_user(owner) {
        // The same build, a step further.
        return Ok(owner);
    }
    let user = free_user();
    for entry in std::fs::read_dir(bench)? {
        std::os::unix::fs::lchown(entry?.path(), Some(user), Some(user))?;
    }
    std::os::unix::fs::lchown(bench, Some(user), Some(user))?;
    Ok(user)
}
