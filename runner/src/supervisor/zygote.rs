//! The zygote of a trigger: a process in the trigger's own sandbox that has imported what the plugin imports, and is copied
//! for each worker. A copy is ready in some milliseconds, however much there is to import, and shares most of its memory with
//! the others.
//!
//! One task owns the zygote's process. It sends an order with the descriptors of a worker over the zygote's channel and gets
//! back the word of the copy itself, of which the kernel says which process has sent it. The copies are children of the
//! sandbox's reaper, which reports their ends. What is said on the channel is a plugin's word otherwise.
//!
//! A worker that may start programs has no zygote: what it starts could outlive it among its siblings. Nor has one whose
//! imports start threads, which a copy would lack.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bulkhead_launcher::{
    ForkedProcess, LaunchPolicy, MemoryGauge, Report, Usage, pass_senders, receive_with_sender, send_with,
    worker_filters,
};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

use super::confine;
use super::process::{ProcessEnd, WorkerProcess};
use super::worker::PluginIdentity;
use super::{Supervisor, WorkerSpec};
use crate::environment::Environment;
use crate::limits;
use crate::logs::{Level, LogWriter};
use crate::trigger::Permissions;

/// Time for a copy to say that it is one. It takes some milliseconds on a machine that has time for it.
const FORK_TIMEOUT: Duration = Duration::from_secs(10);
/// Ends of processes that are remembered until it is known whose they are.
const STRAY_ENDS_MAX: usize = 64;
/// Orders that may wait while one is carried out; each lane sends one at a time.
const ORDERS_QUEUED_MAX: usize = 16;
/// Longest line of a zygote, bytes.
const LINE_BYTES_MAX: usize = 4096;

/// Where a pool keeps its zygote.
#[derive(Debug)]
pub(super) struct ZygoteSlot {
    slot: Mutex<Slot>,
    /// Whether the trigger ends.
    closed: AtomicBool,
    /// Workers that it may have at a time.
    workers_max: usize,
}

#[derive(Debug, Default)]
enum Slot {
    /// There is none yet.
    #[default]
    Empty,
    /// It takes orders.
    Ready(Zygote),
    /// This plugin is better off without, in this version of its code and environment.
    Unusable(Likeness),
}

/// What a zygote is a zygote of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Likeness {
    environment: String,
    /// Its directory; one that was removed and built anew is another one, which the zygote does not see.
    directory: PluginIdentity,
    plugin: PluginIdentity,
    changed_at: Option<std::time::SystemTime>,
}

/// A zygote that takes orders. Dropping it lets the process go once its copies are gone.
#[derive(Debug)]
struct Zygote {
    orders: mpsc::Sender<Order>,
    likeness: Likeness,
}

/// The order to make a worker.
struct Order {
    /// Session, standard output, standard error.
    descriptors: [OwnedFd; 3],
    reply: oneshot::Sender<Forked>,
}

/// A worker that a zygote has made.
#[derive(Debug)]
pub(super) struct Forked {
    pub(super) process: ForkedProcess,
    /// What confines it.
    pub(super) enforced: Vec<String>,
    pub(super) missing: Vec<String>,
    /// Its end, as its reaper has seen it, until it was received; it closes when the whole sandbox has ended.
    pub(super) end: Option<oneshot::Receiver<ForkedEnd>>,
}

/// How a copy ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct ForkedEnd {
    pub(super) raw_status: i32,
    pub(super) usage: Usage,
    /// Processes of the zygote's group that the kernel has ended for their memory of late.
    pub(super) memory_kills: u64,
}

impl ZygoteSlot {
    /// A slot for a pool of so many workers.
    pub(super) fn new(workers_max: usize) -> Self {
        Self { slot: Mutex::default(), closed: AtomicBool::new(false), workers_max }
    }

    /// A worker with these descriptors, made by the zygote of the plugin, which is started if it has to be; nothing where the
    /// plugin has none, and a worker is executed as if there were no zygotes.
    pub(super) async fn fork(
        &self,
        supervisor: &Supervisor,
        spec: &WorkerSpec,
        (environment, plugin): (&Environment, &Path),
        descriptors: impl Fn() -> io::Result<[OwnedFd; 3]>,
    ) -> Option<Forked> {
        if confine::may_fork(spec) || spec.check_only || self.closed.load(Ordering::SeqCst) {
            return None;
        }
        let likeness = Likeness {
            environment: environment.id.clone(),
            directory: PluginIdentity::of(&environment.path),
            plugin: PluginIdentity::of(plugin),
            changed_at: crate::plugin_files::changed_at(plugin),
        };
        let mut slot = self.slot.lock().await;
        match &*slot {
            Slot::Unusable(of) if *of == likeness => return None,
            Slot::Ready(zygote) if zygote.likeness == likeness => {
                if let Some(forked) = zygote.fork(descriptors().ok()?).await {
                    if self.closed.load(Ordering::SeqCst) {
                        *slot = Slot::Empty;
                    }
                    return Some(forked);
                }
            }
            _ => {}
        }
        *slot = Slot::Empty;
        match start(supervisor, spec, (environment, plugin), self.workers_max).await {
            Ok(orders) => {
                let zygote = Zygote { orders, likeness };
                let forked = zygote.fork(descriptors().ok()?).await;
                if !self.closed.load(Ordering::SeqCst) {
                    *slot = Slot::Ready(zygote);
                }
                forked
            }
            Err(reason) => {
                spec.log.runner(Level::Debug, None, format!("its workers are started one by one: {reason}"));
                *slot = Slot::Unusable(likeness);
                None
            }
        }
    }

    /// No zygote from here on; the one there is goes with its last worker.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        // Whoever holds the lock has seen it, or will.
        if let Ok(mut slot) = self.slot.try_lock() {
            *slot = Slot::Empty;
        }
    }
}

impl Zygote {
    async fn fork(&self, descriptors: [OwnedFd; 3]) -> Option<Forked> {
        let (reply, forked) = oneshot::channel();
        self.orders.send(Order { descriptors, reply }).await.ok()?;
        forked.await.ok()
    }
}

/// Starts a zygote and waits until it has imported.
async fn start(
    supervisor: &Supervisor,
    spec: &WorkerSpec,
    (environment, plugin): (&Environment, &Path),
    workers_max: usize,
) -> Result<mpsc::Sender<Order>, String> {
    let policy = confine::zygote_policy(supervisor, spec, (environment, plugin), Uuid::now_v7(), workers_max)?;
    let (orders, taken) = mpsc::channel(ORDERS_QUEUED_MAX);
    let (ready, is_ready) = oneshot::channel();
    let life = Life {
        log: spec.log.clone(),
        permissions: spec.permissions.clone(),
        idle_timeout: supervisor.settings.idle_timeout,
        memory: confine::memory(supervisor, spec),
        user: policy.sandbox.as_ref().and_then(|sandbox| sandbox.user),
        pid: 0,
        enforced: Vec::new(),
        missing: Vec::new(),
        children: BTreeMap::new(),
        strays: VecDeque::new(),
        line: Vec::new(),
        pending: None,
        ready: Some(ready),
        broken: false,
    };
    let supervisor = supervisor.clone();
    let tracker = supervisor.tracker.clone();
    tracker.spawn(async move { life.run(&supervisor, policy, taken).await });
    match timeout(limits::ZYGOTE_START_TIMEOUT, is_ready).await {
        Ok(Ok(Ok(()))) => Ok(orders),
        Ok(Ok(Err(reason))) => Err(reason),
        Ok(Err(_)) => Err("the process that was to import for them ended".to_owned()),
        Err(_) => {
            Err(format!("its imports take longer than {}", humantime::format_duration(limits::ZYGOTE_START_TIMEOUT)))
        }
    }
}

/// The life of a zygote.
struct Life {
    log: LogWriter,
    permissions: Permissions,
    idle_timeout: Duration,
    /// Memory that it may hold, bytes.
    memory: u64,
    /// The worker's user, for a runner that is root.
    user: Option<u32>,
    pid: i32,
    enforced: Vec<String>,
    missing: Vec<String>,
    /// Copies that live, by the process id that their reaper reports.
    children: BTreeMap<i32, oneshot::Sender<ForkedEnd>>,
    /// Ends of processes that are nobody's yet.
    strays: VecDeque<(i32, ForkedEnd)>,
    /// What was read of a line.
    line: Vec<u8>,
    pending: Option<(oneshot::Sender<Forked>, Instant)>,
    ready: Option<oneshot::Sender<Result<(), String>>>,
    broken: bool,
}

impl Life {
    async fn run(mut self, supervisor: &Supervisor, policy: LaunchPolicy, mut orders: mpsc::Receiver<Order>) {
        let (mut process, channel) = match launch(supervisor, (policy, &self.permissions), &self.log).await {
            Ok(started) => started,
            Err(reason) => return self.is_ready(Err(reason)),
        };
        let mut end = None;
        let mut idle_since = Instant::now();
        let mut closed = false;
        loop {
            let is_idle = self.children.is_empty() && self.pending.is_none();
            if self.broken || (closed && is_idle) {
                break;
            }
            if !is_idle {
                idle_since = Instant::now();
            }
            let overdue = self.pending.as_ref().map(|(_, until)| *until);
            tokio::select! {
                biased;
                report = process.report() => match report {
                    Ok(report) => if let Some(ended) = self.on_report(report, &mut process, supervisor) {
                        end = Some(ended);
                        break;
                    },
                    Err(ended) => {
                        end = Some(ended);
                        break;
                    }
                },
                readable = channel.readable() => self.read(readable.and_then(|()| read(&channel))),
                () = sleep_until(overdue.unwrap_or(idle_since)), if overdue.is_some() => {
                    // It makes no more workers; those that it has made go on.
                    self.pending = None;
                    orders.close();
                    while orders.try_recv().is_ok() {}
                    closed = true;
                }
                order = orders.recv(), if self.pending.is_none() && self.ready.is_none() && !closed => match order {
                    Some(order) => self.order(&channel, order),
                    None => closed = true,
                },
                () = sleep_until(idle_since + self.idle_timeout), if is_idle && self.ready.is_none() => break,
                // Whoever waited for it to get ready has given up; its imports may go on for ever.
                () = given_up(&mut self.ready), if self.ready.is_some() => closed = true,
            }
        }
        if end.is_some() {
            // What it said before it ended tells more than that it did.
            drop(timeout(limits::DRAIN_TIMEOUT, self.last_words(&channel)).await);
        }
        // Orders that come too late find the channel closed, and their lanes do without.
        drop(orders);
        process.bury(end).await;
    }

    /// Takes in what is left of what a zygote has said that ended before it was ready.
    async fn last_words(&mut self, channel: &UnixStream) {
        while self.ready.is_some() && channel.readable().await.is_ok() {
            match read(channel) {
                Ok(said) => self.read(Ok(said)),
                Err(_) => break,
            }
        }
    }

    fn is_ready(&mut self, how: Result<(), String>) {
        if let Some(ready) = self.ready.take() {
            // Nobody waits any more when the start took too long.
            let _ = ready.send(how);
        }
    }

    fn on_report(
        &mut self,
        report: Report,
        process: &mut WorkerProcess,
        supervisor: &Supervisor,
    ) -> Option<ProcessEnd> {
        match report {
            Report::Started { worker_pid, enforced, missing } => {
                self.pid = worker_pid;
                let gauge = MemoryGauge::new(worker_pid, false, false);
                process.watch(&supervisor.watchdog, gauge, self.memory);
                (self.enforced, self.missing) = (enforced, missing);
                None
            }
            Report::ChildExited { pid, raw_status, usage, memory_kills } => {
                let end = ForkedEnd { raw_status, usage, memory_kills };
                match self.children.remove(&pid) {
                    // Its lane may have buried it already.
                    Some(child) => drop(child.send(end)),
                    None => {
                        self.strays.truncate(STRAY_ENDS_MAX - 1);
                        self.strays.push_front((pid, end));
                    }
                }
                None
            }
            Report::Failed { step, error } => {
                self.is_ready(Err(format!("{step}: {error}")));
                Some(ProcessEnd::NotStarted(error))
            }
            Report::Exited { raw_status, usage, memory_kills, .. } => {
                Some(ProcessEnd::Exited { raw_status, usage, memory_kills })
            }
        }
    }

    /// Sends an order. The zygote waits for nothing else, so that it takes it at once or never will.
    fn order(&mut self, channel: &UnixStream, order: Order) {
        self.strays.clear();
        let fds = [&order.descriptors[0], &order.descriptors[1], &order.descriptors[2]].map(AsFd::as_fd);
        if let Some(id) = self.user {
            // Its standard output and error can be opened by name (`/dev/stderr`) by their owner only.
            for fd in fds.iter().skip(1) {
                let _ = nix::unistd::fchown(fd, Some(id.into()), Some(id.into()));
            }
        }
        match channel.try_io(Interest::WRITABLE, || send_with(channel, b"f", &fds)) {
            Ok(()) => self.pending = Some((order.reply, Instant::now() + FORK_TIMEOUT)),
            Err(_) => self.broken = true,
        }
    }

    /// Takes in what the zygote or a copy has said.
    fn read(&mut self, read: io::Result<Option<(Vec<u8>, Option<i32>)>>) {
        let (bytes, sender) = match read {
            Ok(Some(read)) => read,
            Ok(None) => return,
            Err(_) => {
                self.broken = true;
                return;
            }
        };
        self.line.extend_from_slice(&bytes);
        if self.line.len() > LINE_BYTES_MAX {
            self.broken = true;
        }
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let mut words = line.trim_end().split('\t');
            match words.next() {
                Some("ready") => self.is_ready(Ok(())),
                Some("unsafe") => {
                    let threads = words.next().unwrap_or_default();
                    self.is_ready(Err(format!("what it imports starts threads, which a copy would lack ({threads})")));
                    self.broken = true;
                }
                Some("forked") => self.forked(sender, words.map(str::to_owned).collect()),
                _ => self.broken = true,
            }
        }
    }

    /// A copy is a worker now.
    fn forked(&mut self, sender: Option<i32>, words: Vec<String>) {
        let Some((reply, _)) = self.pending.take() else {
            // Nobody waits for it any more; letting go of it ends it.
            drop(sender.map(|pid| ForkedProcess::open(pid, self.pid)));
            return;
        };
        let process = match sender
            .ok_or_else(|| "who it is was not told".to_owned())
            .and_then(|pid| ForkedProcess::open(pid, self.pid))
        {
            Ok(process) => process,
            Err(reason) => {
                self.log.runner(Level::Warn, None, format!("a forked worker cannot be used: {reason}"));
                self.broken = true;
                return;
            }
        };
        let (ended, end) = oneshot::channel();
        let stray = self.strays.iter().find(|(pid, ..)| *pid == process.inner_pid);
        match stray {
            Some((_, end)) => drop(ended.send(*end)),
            None => drop(self.children.insert(process.inner_pid, ended)),
        }
        let (mut enforced, mut missing) = (self.enforced.clone(), self.missing.clone());
        for word in words {
            match word.strip_prefix('!') {
                Some(lost) => missing.push(lost.to_owned()),
                None => enforced.push(word),
            }
        }
        // A lane that has given up lets go of it, which ends it.
        drop(reply.send(Forked { process, enforced, missing, end: Some(end) }));
    }
}

/// Starts the process and tells it its filters.
async fn launch(
    supervisor: &Supervisor,
    (policy, permissions): (LaunchPolicy, &Permissions),
    log: &LogWriter,
) -> Result<(WorkerProcess, UnixStream), String> {
    let failed = |error: io::Error| format!("its channel: {error}");
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
    pass_senders(&ours).and_then(|()| ours.set_nonblocking(true)).map_err(failed)?;
    let mut channel = UnixStream::from_std(ours).map_err(failed)?;
    let mut beginning = Vec::new();
    for filter in worker_filters()? {
        beginning.extend_from_slice(&u32::try_from(filter.len()).unwrap_or(0).to_le_bytes());
        beginning.extend(filter.into_iter().flat_map(u64::to_le_bytes));
    }
    // It fits into the socket, so nobody has to read it yet.
    channel.write_all(&beginning).await.map_err(failed)?;
    let (launcher, tracker) = (Arc::clone(&supervisor.launcher), &supervisor.tracker);
    let process = WorkerProcess::launch(launcher, (policy, permissions), theirs.into(), log.clone(), tracker)
        .await
        .map_err(|error| error.to_string())?;
    Ok((process, channel))
}

/// Returns when nobody waits for the start any more.
async fn given_up(ready: &mut Option<oneshot::Sender<Result<(), String>>>) {
    match ready {
        Some(ready) => ready.closed().await,
        None => std::future::pending().await,
    }
}

/// What is there to read; the end of the channel is an error.
fn read(channel: &UnixStream) -> io::Result<Option<(Vec<u8>, Option<i32>)>> {
    let mut buffer = [0; LINE_BYTES_MAX];
    match channel.try_io(Interest::READABLE, || receive_with_sender(channel, &mut buffer)) {
        Ok((0, _)) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok((read, sender)) => Ok(Some((buffer.get(..read).unwrap_or_default().to_vec(), sender))),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
