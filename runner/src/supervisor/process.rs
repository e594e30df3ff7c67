//! One worker process: its holder's reports, its output, its end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_launcher::{
    Endpoint, LaunchError, LaunchPolicy, Launcher, Leaf, MemoryGauge, Network, Order, Pid, Report, ReportDecoder,
    Sandbox, Usage, encode_order, receive_with,
};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use super::forward::Forwards;
use super::stdio::{self, Tail};
use super::watchdog::{Excess, Kill, Watch, Watchdog};
use super::zygote::{Forked, ForkedEnd};
use crate::logs::{Level, LogWriter, Source};
use crate::tree;
use crate::trigger::{HostPattern, Permissions};

/// Time for a holder to report the end of a tree that it was told to kill, before it is killed itself.
const KILL_REPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two looks at a holder that is about to end, or at orphans that are.
const REAP_PAUSE: Duration = Duration::from_millis(5);
/// Looks at a holder, or at orphans, before they are given up with a warning.
const REAP_LOOKS_MAX: u32 = 400;
/// Time for the output of a dead process to be read; its writers are gone, so only the reader's pace counts.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(2);

/// A started process, with what it starts.
#[derive(Debug)]
pub(super) struct WorkerProcess {
    tree: Tree,
    stderr: Arc<Tail>,
    output: Vec<JoinHandle<()>>,
    /// Looks at its memory, once it runs.
    watch: Option<Watch>,
    log: LogWriter,
}

/// Who holds a process.
#[derive(Debug)]
enum Tree {
    /// A holder of its own.
    Launched(Box<Launched>),
    /// The holder of the zygote that has forked it. It starts nothing.
    Forked(Forked),
}

/// A process tree with a holder.
#[derive(Debug)]
struct Launched {
    launcher: Arc<Launcher>,
    holder: Pid,
    control: UnixStream,
    decoder: ReportDecoder,
    /// Hosts that the worker was granted, and the connections to them.
    endpoints: Vec<Endpoint>,
    /// What its proxy lets through.
    granted: Arc<[HostPattern]>,
    forwards: Forwards,
    /// Its control group.
    group: Option<Leaf>,
    /// Directory of its temporary files, where there are no mount namespaces.
    scratch: Option<PathBuf>,
    log: LogWriter,
}

/// How a process tree ended.
#[derive(Debug, Clone)]
pub(super) enum ProcessEnd {
    /// The program ran and ended with this raw wait status; the kernel ended so many processes of its group for their memory.
    Exited { raw_status: i32, usage: Usage, memory_kills: u64 },
    /// The program never ran.
    NotStarted(String),
    /// Whoever would have told it was killed, and everything with it.
    KeeperKilled(Keeper),
}

/// Who knows how a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeper {
    Holder,
    Zygote,
}

impl std::fmt::Display for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Holder => "holder",
            Self::Zygote => "zygote, the process that the workers of this trigger are copies of,",
        })
    }
}

impl WorkerProcess {
    /// Starts a tree.
    ///
    /// # Errors
    /// When not even the holder could be started.
    pub(super) async fn launch(
        launcher: Arc<Launcher>,
        (policy, permissions): (LaunchPolicy, &Permissions),
        session: OwnedFd,
        log: LogWriter,
        tracker: &TaskTracker,
    ) -> Result<Self, LaunchError> {
        let granted = permissions.allow_net.patterns().unwrap_or_default();
        let (launched, stdout, stderr) = Self::launch_apart(launcher, policy, (session, &granted), &log).await?;
        let (stderr, output) = drains(stdout, stderr, &log, tracker);
        Ok(Self { tree: launched, stderr, output, watch: None, log })
    }

    /// Starts a tree whose standard output and error the caller reads.
    ///
    /// # Errors
    /// As [`Self::launch`].
    pub(super) async fn launch_quietly(
        launcher: Arc<Launcher>,
        policy: LaunchPolicy,
        session: OwnedFd,
        log: LogWriter,
    ) -> Result<(Self, [OwnedFd; 2]), LaunchError> {
        let (tree, stdout, stderr) = Self::launch_apart(launcher, policy, (session, &[]), &log).await?;
        Ok((Self { tree, stderr: Arc::default(), output: Vec::new(), watch: None, log }, [stdout, stderr]))
    }

    async fn launch_apart(
        launcher: Arc<Launcher>,
        policy: LaunchPolicy,
        (session, granted): (OwnedFd, &[HostPattern]),
        log: &LogWriter,
    ) -> Result<(Tree, OwnedFd, OwnedFd), LaunchError> {
        let (endpoints, scratch) = match &policy.sandbox {
            Some(Sandbox { network: Network::Named(endpoints), scratch, .. }) => {
                (endpoints.clone(), Some(scratch.clone()))
            }
            Some(Sandbox { scratch, .. }) => (Vec::new(), Some(scratch.clone())),
            None => (Vec::new(), None),
        };
        let started = {
            let launcher = Arc::clone(&launcher);
            // The file system may be slow, and the start takes a millisecond at best.
            tokio::task::spawn_blocking(move || launcher.launch(&policy, session))
                .await
                .map_err(|error| LaunchError::Descriptors(io::Error::other(error)))??
        };
        let bulkhead_launcher::Launched { holder, control, stdout, stderr, group, .. } = started;
        let control = UnixStream::from_std(control).map_err(LaunchError::Descriptors)?;
        let decoder = ReportDecoder::new();
        let forwards = Forwards::default();
        let granted = granted.into();
        let log = log.clone();
        let launched =
            Launched { launcher, holder, control, decoder, endpoints, granted, forwards, group, scratch, log };
        Ok((Tree::Launched(Box::new(launched)), stdout, stderr))
    }

    /// Takes over a process that a zygote has forked, with the reading ends of its standard output and error.
    pub(super) fn forked(
        forked: Forked,
        [stdout, stderr]: [OwnedFd; 2],
        log: LogWriter,
        tracker: &TaskTracker,
    ) -> Self {
        let (stderr, output) = drains(stdout, stderr, &log, tracker);
        Self { tree: Tree::Forked(forked), stderr, output, watch: None, log }
    }

    /// The next report. Cancel safe.
    pub(super) async fn report(&mut self) -> Result<Report, ProcessEnd> {
        match &mut self.tree {
            Tree::Launched(launched) => launched.report().await,
            Tree::Forked(forked) => {
                let killed = ProcessEnd::KeeperKilled(Keeper::Zygote);
                let Some(end) = &mut forked.end else { return Err(killed) };
                let ended = end.await;
                forked.end = None;
                let ForkedEnd { raw_status, usage, memory_kills } = ended.map_err(|_| killed)?;
                let (killed_descendants, remaining_descendants) = (0, 0);
                Ok(Report::Exited { raw_status, usage, killed_descendants, remaining_descendants, memory_kills })
            }
        }
    }

    fn keeper(&self) -> Keeper {
        match self.tree {
            Tree::Launched(_) => Keeper::Holder,
            Tree::Forked(_) => Keeper::Zygote,
        }
    }

    /// Has a running worker's memory watched.
    pub(super) fn watch(&mut self, watchdog: &Watchdog, gauge: MemoryGauge, limit: u64) {
        let kill = match &self.tree {
            Tree::Launched(launched) => launched.control.as_fd().try_clone_to_owned().map(|fd| Kill::Order(fd.into())),
            Tree::Forked(forked) => forked.process.killer().map(Kill::Process),
        };
        match kill {
            Ok(kill) => self.watch = Some(watchdog.watch(gauge, limit, kill)),
            Err(error) => self.log.runner(Level::Warn, None, format!("its memory cannot be watched: {error}")),
        }
    }

    /// What the worker was killed for, if it held too much memory.
    pub(super) fn excess(&self) -> Option<Excess> {
        self.watch.as_ref().and_then(Watch::excess)
    }

    /// The end of the process. Cancel safe.
    pub(super) async fn ended(&mut self) -> ProcessEnd {
        loop {
            match self.report().await {
                Ok(Report::Started { .. } | Report::ChildExited { .. }) => {}
                Ok(Report::Failed { step, error }) => return ProcessEnd::NotStarted(format!("{step}: {error}")),
                Ok(Report::Exited { raw_status, usage, memory_kills, .. }) => {
                    return ProcessEnd::Exited { raw_status, usage, memory_kills };
                }
                Err(end) => return end,
            }
        }
    }

    /// Has the process killed, with all that it has started. The end comes as a report.
    pub(super) fn kill(&self) {
        match &self.tree {
            Tree::Launched(launched) => launched.kill(),
            Tree::Forked(forked) => forked.process.kill(),
        }
    }

    /// Makes sure that nothing of the process is left, and returns how it ended and its last words. `end` is the end when it
    /// has been reported already; otherwise it is killed.
    pub(super) async fn bury(mut self, end: Option<ProcessEnd>) -> (ProcessEnd, String) {
        let end = match end {
            Some(end) => end,
            None => {
                self.kill();
                match timeout(KILL_REPORT_TIMEOUT, self.ended()).await {
                    Ok(end) => end,
                    Err(_) => {
                        if let Tree::Launched(launched) = &self.tree {
                            launched.launcher.kill_holder(launched.holder);
                        }
                        ProcessEnd::KeeperKilled(self.keeper())
                    }
                }
            }
        };
        if let Tree::Launched(launched) = &mut self.tree {
            launched.bury(&end).await;
        }
        for task in std::mem::take(&mut self.output) {
            if timeout(OUTPUT_TIMEOUT, task).await.is_err() {
                self.log.runner(Level::Warn, None, "output of a dead worker did not end; the rest of it is lost");
            }
        }
        let tail = self.stderr.text();
        (end, tail)
    }
}

/// Reads both outputs to their ends; standard error's is kept.
fn drains(
    stdout: OwnedFd,
    stderr: OwnedFd,
    log: &LogWriter,
    tracker: &TaskTracker,
) -> (Arc<Tail>, Vec<JoinHandle<()>>) {
    let tail = Arc::new(Tail::default());
    let output = vec![
        tracker.spawn(stdio::drain(stdout, Source::Stdout, log.clone(), None)),
        tracker.spawn(stdio::drain(stderr, Source::Stderr, log.clone(), Some(Arc::clone(&tail)))),
    ];
    (tail, output)
}

impl Launched {
    /// The next report. An end of the stream, or garbage from a holder that a plugin got hold of, means that the
    /// holder is gone. Cancel safe.
    async fn report(&mut self) -> Result<Report, ProcessEnd> {
        loop {
            match self.decoder.next_report() {
                Ok(Some(report)) => return Ok(report),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!("holder {} of a worker: {error}", self.holder);
                    return Err(ProcessEnd::KeeperKilled(Keeper::Holder));
                }
            }
            if self.control.readable().await.is_err() {
                return Err(ProcessEnd::KeeperKilled(Keeper::Holder));
            }
            let mut buffer = [0; 4096];
            match self.control.try_io(Interest::READABLE, || receive_with(&self.control, &mut buffer)) {
                Ok((0, _)) => return Err(ProcessEnd::KeeperKilled(Keeper::Holder)),
                Ok((read, listeners)) => {
                    self.decoder.push(buffer.get(..read).unwrap_or_default());
                    if !listeners.is_empty() {
                        self.forwards.serve((&self.endpoints, &self.granted), listeners, &self.log);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(ProcessEnd::KeeperKilled(Keeper::Holder)),
            }
        }
    }

    /// Asks the holder to kill the tree. The end comes as a report.
    fn kill(&self) {
        let Ok(order) = encode_order(Order::Kill) else { return };
        // A socket that takes nothing has a holder that reads nothing; `bury` kills that holder.
        let _ = self.control.try_write(&order);
    }

    /// Waits for the holder to be gone, and removes what the tree has left.
    async fn bury(&mut self, end: &ProcessEnd) {
        if !matches!(end, ProcessEnd::KeeperKilled(_)) {
            // The holder outlives its last report while killed descendants are still ending.
            let _ = timeout(KILL_REPORT_TIMEOUT, async { while self.report().await.is_ok() {} }).await;
        }
        self.reap().await;
        if let Some(group) = self.group.take()
            && let Err(error) = group.remove()
        {
            tracing::warn!("control group of a worker in {}: {error}", group.directory().display());
        }
        if let Some(scratch) = self.scratch.take() {
            // It is there only where the launcher needed it.
            let (directory, removing) = (scratch.clone(), tokio::task::spawn_blocking(move || tree::remove(&scratch)));
            if let Err(error) = removing.await.map_err(io::Error::other).and_then(std::convert::identity) {
                tracing::warn!("temporary files of a worker in {}: {error}", directory.display());
            }
        }
    }

    async fn reap(&self) {
        let mut status = None;
        for look in 0..REAP_LOOKS_MAX {
            match self.launcher.try_reap(self.holder) {
                Ok(Some(raw)) => {
                    status = Some(raw);
                    break;
                }
                Ok(None) if look == REAP_LOOKS_MAX / 2 => self.launcher.kill_holder(self.holder),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!("holder {} cannot be reaped: {error}", self.holder);
                    break;
                }
            }
            sleep(REAP_PAUSE).await;
        }
        if status == Some(0) {
            return;
        }
        // Whatever the plugin had started fell to this process when the holder was killed.
        for _ in 0..REAP_LOOKS_MAX {
            if self.launcher.reap_orphans(crate::environment::is_tool_process).remaining == 0 {
                return;
            }
            sleep(REAP_PAUSE).await;
        }
        tracing::warn!("processes that a worker left behind could not be killed");
    }
}
