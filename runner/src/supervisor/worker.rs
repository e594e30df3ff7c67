//! One started worker: what it and its holder make known, and how it ends.

use std::fs::Metadata;
use std::time::Duration;

use bulkhead_launcher::{Exit, Report, describe_exit};
use bulkhead_proto::worker::v1::session_request::Fact;
use bulkhead_proto::worker::v1::session_response::Order;
use bulkhead_proto::worker::v1::{Drain, SessionResponse};
use bulkhead_python_worker::package::{EXIT_PROTOCOL, EXIT_SESSION_LOST};
use tokio::sync::oneshot;
use tokio::time::timeout;
use uuid::Uuid;

use super::end::WorkerEnd;
use super::process::{ProcessEnd, WorkerProcess};
use super::watchdog::{Excess, kill_beyond};
use super::{Supervisor, WorkerSpec};
use crate::environment::inventory::Hold;
use crate::limits;
use crate::logs::Level;
use crate::session::{Session, SessionChannel, Verdict};

/// Time for a worker whose connection ended to be reported dead, before it is taken for alive.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(1);

/// Number of the signal by which the kernel ends a process for its memory.
const KILLED: i32 = 9;

/// A started worker.
pub(super) struct Worker {
    pub(super) id: Uuid,
    pub(super) process: WorkerProcess,
    /// The file or directory that the sandbox shows it as its plugin.
    pub(super) plugin: PluginIdentity,
    /// Whether it calls the code that it has loaded, although its file has changed.
    pub(super) keeps_code: bool,
    /// Name of its environment.
    pub(super) environment: String,
    /// On that.
    pub(super) hold: Option<Hold>,
    pub(super) session: Session,
    pub(super) opened: Option<oneshot::Receiver<SessionChannel>>,
    /// On its connection.
    pub(super) verdict: Verdict,
    pub(super) channel: Option<SessionChannel>,
    pub(super) terms: Terms,
    pub(super) supervisor: Supervisor,
}

/// What the watchdog holds a worker to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// Memory of the worker and all that it starts, bytes.
    pub(super) memory: u64,
    /// Whether it can start anything.
    pub(super) may_fork: bool,
    /// Whether its processor time is to be limited.
    pub(super) cpu_is_limited: bool,
}

/// Which file or directory a plugin is, beyond its name. A sandbox shows a worker the one that was there when it
/// started: an editor that writes a new file in place of the old one makes a worker necessary that sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PluginIdentity(Option<(u64, u64)>);

impl PluginIdentity {
    /// Whether there is anything.
    pub(super) fn is_there(self) -> bool {
        self.0.is_some()
    }

    pub(super) fn of(path: &std::path::Path) -> Self {
        Self::from(std::fs::metadata(path).ok().as_ref())
    }
}

impl From<Option<&Metadata>> for PluginIdentity {
    fn from(metadata: Option<&Metadata>) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(metadata.map(|metadata| (metadata.dev(), metadata.ino())))
    }
}

/// What a worker or its holder made known.
pub(super) enum Event {
    Fact(Option<Fact>),
    Disconnected(String),
    Report(Result<Report, ProcessEnd>),
}

impl Worker {
    /// Tells the worker something. A worker that takes no orders is dealt with by the deadline of what it was told.
    pub(super) fn order(&mut self, order: SessionResponse) {
        if let Some(channel) = &self.channel {
            let _ = channel.orders.try_send(order);
        }
    }

    /// The next thing that worker or holder makes known. Cancel safe.
    pub(super) async fn next_event(&mut self) -> Event {
        let Some(channel) = &mut self.channel else {
            return Event::Report(self.process.report().await);
        };
        tokio::select! {
            biased;
            fact = channel.next_fact() => fact.map_or_else(Event::Disconnected, Event::Fact),
            report = self.process.report() => Event::Report(report),
        }
    }

    /// Waits a little for the end of a process whose connection ended.
    pub(super) async fn last_words(&mut self) -> Option<ProcessEnd> {
        timeout(LAST_WORDS_TIMEOUT, self.process.ended()).await.ok()
    }

    /// Lets a worker without work leave, and sees to it that it does.
    pub(super) async fn leave(mut self, spec: &WorkerSpec) {
        let drain = Drain { timeout: prost_types::Duration::try_from(limits::DRAIN_TIMEOUT).ok() };
        self.order(SessionResponse { order: Some(Order::Drain(drain)) });
        let process = timeout(limits::DRAIN_TIMEOUT, self.left(spec)).await.unwrap_or_default();
        self.bury(Some(WorkerEnd::Stopped), process, spec).await;
    }

    /// Takes in the last facts of a worker that is leaving, until its process has ended.
    async fn left(&mut self, spec: &WorkerSpec) -> Option<ProcessEnd> {
        loop {
            let ended = match self.next_event().await {
                Event::Fact(fact) => self.accept(fact, spec).await.err(),
                Event::Report(report) => self.on_report(report, spec).err(),
                // It has said everything; the end of our orders is what it waits for.
                Event::Disconnected(_) => {
                    self.channel = None;
                    None
                }
            };
            if let Some(ended) = ended {
                return ended.process;
            }
        }
    }

    /// Ends the process tree if it has not ended, and reports the end.
    pub(super) async fn bury(
        mut self,
        cause: Option<WorkerEnd>,
        process: Option<ProcessEnd>,
        spec: &WorkerSpec,
    ) -> (WorkerEnd, String) {
        if process.is_some() {
            self.drain_facts(spec).await;
        }
        let lost = self.session.live_only().report();
        let Self { id, process: tree, supervisor, channel, hold, verdict, terms, .. } = self;
        drop(channel);
        let cause = tree.excess().map(WorkerEnd::Memory).or(cause);
        let (process, tail) = tree.bury(process).await;
        let end = cause.unwrap_or_else(|| match &process {
            ProcessEnd::Exited { raw_status, memory_kills, .. } => match describe_exit(*raw_status) {
                // The kernel knows the limit of its group, and tells neither how much nor how many it was.
                Exit::Signal { number: KILLED, .. } if *memory_kills > 0 => {
                    let limit = terms.memory;
                    WorkerEnd::Memory(Excess { bytes: kill_beyond(limit), limit, processes: 1 })
                }
                exit => exited(exit, &verdict),
            },
            ProcessEnd::NotStarted(reason) => WorkerEnd::Start(format!("worker could not be started: {reason}")),
            ProcessEnd::KeeperKilled(keeper) => WorkerEnd::Disconnected(format!("its {keeper} was killed")),
        });
        spec.log.flush_dropped(None);
        report_death(&end, &tail, spec);
        if let Some(lost) = lost
            && spec.cache.as_ref().is_some_and(|cache| !cache.is_closed())
        {
            spec.log.runner(Level::Warn, None, lost);
        }
        let ended_at = supervisor.clock.now();
        if let Some(hold) = hold {
            hold.touch(ended_at.into());
        }
        supervisor.registry.end(id, |row| {
            row.ended_at = Some(ended_at);
            row.end = Some(end.to_string());
            row.cause = Some(end.word());
            if let ProcessEnd::Exited { usage, .. } = &process {
                row.cpu_us = Some(usage.user_us.saturating_add(usage.system_us));
                row.max_rss_bytes = Some(usage.max_rss_bytes);
            }
        });
        (end, tail)
    }

    /// Takes in what a process said before it ended and nobody has read yet.
    async fn drain_facts(&mut self, spec: &WorkerSpec) {
        let rest = async {
            while let Some(channel) = &mut self.channel {
                let Ok(fact) = channel.next_fact().await else { return };
                if self.accept(fact, spec).await.is_err() {
                    return;
                }
            }
        };
        // A process that is gone has nothing to add after this.
        let _ = timeout(LAST_WORDS_TIMEOUT, rest).await;
    }
}

/// The end of a process that nobody told to end. A worker leaves with codes of its own when its session cannot go on.
fn exited(exit: Exit, verdict: &Verdict) -> WorkerEnd {
    match exit {
        Exit::Code(EXIT_PROTOCOL | EXIT_SESSION_LOST) => {
            let nothing_known = || "its session cannot be read any more".to_owned();
            WorkerEnd::Disconnected(verdict.violation().map_or_else(nothing_known, ToString::to_string))
        }
        exit => WorkerEnd::Exited(exit),
    }
}

fn report_death(end: &WorkerEnd, tail: &str, spec: &WorkerSpec) {
    if !end.is_fault() {
        return;
    }
    let text = if tail.trim().is_empty() {
        end.to_string()
    } else {
        format!("{end}; last words on stderr:\n{}", tail.trim_end())
    };
    spec.log.runner(Level::Error, None, text);
}
