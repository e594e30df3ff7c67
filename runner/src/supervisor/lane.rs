//! The life of one worker: a task that starts it, gives it one call after another, and buries it.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_launcher::{Exit, Report, describe_exit};
use bulkhead_proto::types::v1::{Failure, FailureKind, HttpResponse, outcome};
use bulkhead_proto::worker::v1::session_request::Fact;
use bulkhead_proto::worker::v1::session_response::Order;
use bulkhead_proto::worker::v1::{Cancel, Drain, ResponseRead, SessionResponse, Usage};
use bulkhead_python_worker::package::{EXIT_PROTOCOL, EXIT_SESSION_LOST};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::alarm::Alarm;
use super::end::WorkerEnd;
use super::pool::{Shared, Slot};
use super::process::{ProcessEnd, WorkerProcess};
use super::queue::{self, Next, Queued};
use super::registry::WorkerState;
use super::response_body::{BodyEvent, BodySink};
use super::start::{self, Ended};
use super::{Call, CallCosts, CallEnd, CallResult, Supervisor, WorkerSpec};
use crate::cache::CacheChange;
use crate::environment::inventory::Hold;
use crate::limits;
use crate::logs::Level;
use crate::session::nursery::Spawner;
use crate::session::{Session, SessionChannel, Step};

/// Time for a worker whose connection ended to be reported dead, before it is taken for alive.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(1);

/// A call on its way to a lane.
pub(super) struct Job {
    /// By what its caller finds it in the queue.
    pub(super) ticket: u64,
    pub(super) call: Call,
    pub(super) reply: oneshot::Sender<Reply>,
    /// Since when its caller waits.
    pub(super) asked: Instant,
}

/// What a caller hears.
pub(super) enum Reply {
    Done(CallResult),
    /// The lane that it waited for is gone; nothing was done.
    AskAgain(Call),
}

impl Job {
    /// Tells the caller that its lane is gone, before anything was done.
    pub(super) fn ask_again(self) {
        // A caller that went away asks nobody.
        let _ = self.reply.send(Reply::AskAgain(self.call));
    }
}

impl Queued for Job {
    fn ticket(&self) -> u64 {
        self.ticket
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }
}

/// A started worker.
pub(super) struct Worker {
    pub(super) id: Uuid,
    pub(super) process: WorkerProcess,
    /// The file or directory that the sandbox shows it as its plugin.
    pub(super) plugin: PluginIdentity,
    /// Of what is asked for beside the plugin's files, when it was started.
    pub(super) generation: u64,
    /// On its environment.
    pub(super) hold: Option<Hold>,
    pub(super) session: Session,
    pub(super) opened: Option<oneshot::Receiver<SessionChannel>>,
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
}

/// Which file or directory a plugin is, beyond its name. A sandbox shows a worker the one that was there when it
/// started: an editor that writes a new file in place of the old one makes a worker necessary that sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PluginIdentity(Option<(u64, u64)>);

impl PluginIdentity {
    pub(super) fn of(path: &std::path::Path) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino())))
    }
}

/// What a worker or its holder made known.
pub(super) enum Event {
    Fact(Option<Fact>),
    Disconnected(String),
    Report(Result<Report, ProcessEnd>),
}

/// Runs one worker from its first job to its end.
pub(super) async fn run(slot: Slot, first: Job, nursery: Spawner) {
    let shared = Arc::clone(slot.shared());
    let (mut current, mut taken) = (first, Instant::now());
    let mut worker =
        match start::start(&shared.supervisor, &shared.spec, (&nursery, shared.zygote.as_ref()), &current.call.cancel)
            .await
        {
            Ok(worker) => worker,
            Err(failure) => return not_started(&shared, Caller::of(current, taken), failure, taken.elapsed()),
        };
    let mut alarm = Alarm::new();
    // The first job alone had to wait for the start.
    let mut start = taken.elapsed();
    let ended = loop {
        match serve(&mut worker, &shared, current, taken, &mut alarm, std::mem::take(&mut start)).await {
            Ok(()) => {}
            Err(broken) => break Err((broken.ended, broken.waiting)),
        }
        current = match shared.next() {
            Next::Job(job) => job,
            Next::Wait(mut jobs) => match idle(&mut worker, &shared, &mut jobs, &mut alarm).await {
                Ok(Some(job)) => job,
                Ok(None) => break Ok(()),
                Err(ended) => {
                    if let Some(job) = queue::leave(&mut jobs) {
                        job.ask_again();
                    }
                    break Err((ended, None));
                }
            },
            Next::Leave => break Ok(()),
        };
        taken = Instant::now();
        if worker.is_outdated(&shared.spec) {
            worker.leave(&shared.spec).await;
            let starting = Instant::now();
            match start::start(
                &shared.supervisor,
                &shared.spec,
                (&nursery, shared.zygote.as_ref()),
                &current.call.cancel,
            )
            .await
            {
                Ok(fresh) => worker = fresh,
                Err(failure) => return not_started(&shared, Caller::of(current, taken), failure, starting.elapsed()),
            }
            start = starting.elapsed();
        }
    };
    match ended {
        Ok(()) => {
            // Whoever comes now gets a worker that stays.
            drop(slot);
            worker.leave(&shared.spec).await;
        }
        Err((ended, waiting)) => {
            // Nobody has to wait for the burial of a worker whose caller was answered.
            let slot = waiting.is_some().then_some(slot);
            let id = worker.id;
            let (end, tail) = worker.bury(ended.end, ended.process, &shared.spec).await;
            shared.ended(&end, &tail);
            if let Some(Waiting { caller, begun, start }) = waiting {
                let answered = Answered { elapsed: begun.elapsed(), worker: Some(id), start, usage: None };
                caller.answer(CallEnd::Failed(end.failure(tail)), answered);
            }
            drop(slot);
        }
    }
}

/// Answers the call for which no worker could be started.
fn not_started(shared: &Shared, caller: Caller, failure: start::StartFailure, after: Duration) {
    shared.ended(&failure.end, &failure.stderr_tail);
    let failed = CallEnd::Failed(failure.end.failure(failure.stderr_tail));
    caller.answer(failed, Answered { start: after, ..Answered::default() });
}

/// A worker that cannot go on, with the caller who still waits for it, if there is one.
struct Broken {
    ended: Ended,
    waiting: Option<Waiting>,
}

/// A caller who waits, and since when.
struct Waiting {
    caller: Caller,
    begun: Instant,
    start: Duration,
}

/// What is told of a call besides its end.
#[derive(Default)]
struct Answered {
    elapsed: Duration,
    worker: Option<Uuid>,
    start: Duration,
    usage: Option<Usage>,
}

/// Who made a call.
struct Caller {
    reply: oneshot::Sender<Reply>,
    /// How long the call waited for a lane.
    queue: Duration,
}

impl Caller {
    fn of(job: Job, taken: Instant) -> Self {
        Self::new(job.reply, job.asked, taken)
    }

    fn new(reply: oneshot::Sender<Reply>, asked: Instant, taken: Instant) -> Self {
        Self { reply, queue: taken.saturating_duration_since(asked) }
    }

    fn answer(self, end: CallEnd, answered: Answered) {
        let Answered { elapsed, worker, start, usage } = answered;
        let costs = CallCosts { queue: self.queue, start, usage };
        // A caller that went away has cancelled the call; nobody is left to tell.
        let _ = self.reply.send(Reply::Done(CallResult { end, elapsed, worker, costs }));
    }
}

/// Waits for the next job, or for the end of the worker's patience.
async fn idle(
    worker: &mut Worker,
    shared: &Shared,
    jobs: &mut oneshot::Receiver<Job>,
    alarm: &mut Alarm,
) -> Result<Option<Job>, Ended> {
    let deadline = Instant::now() + shared.supervisor.settings.idle_timeout;
    loop {
        tokio::select! {
            biased;
            // It fails when the lane is not needed any more.
            job = &mut *jobs => return Ok(job.ok()),
            step = worker.step(&shared.spec) => match step? {
                Step::Finished { .. }
                | Step::Greeted(_)
                | Step::Loaded
                | Step::LoadFailed(_)
                | Step::ResponseBegun { .. }
                | Step::ResponsePart(_) => {
                    return Err(Ended { end: Some(WorkerEnd::Disconnected("a fact without an order".to_owned())), process: None });
                }
                _ => {}
            },
            // Threads and live objects of the plugin go on between calls.
            () = alarm.until(deadline), if !worker.session.is_held() => return Ok(queue::leave(jobs)),
        }
    }
}

/// Does one job and answers it, unless the worker ends over it.
async fn serve(
    worker: &mut Worker,
    shared: &Shared,
    job: Job,
    taken: Instant,
    alarm: &mut Alarm,
    start: Duration,
) -> Result<(), Broken> {
    let Job { call, reply, asked, .. } = job;
    let caller = Caller::new(reply, asked, taken);
    let begun = Instant::now();
    worker.supervisor.registry.update(worker.id, |row| {
        row.state = WorkerState::Running;
        row.invocations += 1;
    });
    let (end, trust, usage) = match worker.call(&call, &shared.spec, alarm).await {
        Ok(done) => done,
        Err(ended) => return Err(Broken { ended, waiting: Some(Waiting { caller, begun, start }) }),
    };
    let answered = Answered { elapsed: begun.elapsed(), worker: Some(worker.id), start, usage };
    match trust {
        Trust::Kept => {
            if matches!(end, CallEnd::Returned { .. }) {
                shared.succeeded();
            }
            worker.supervisor.registry.update(worker.id, |row| row.state = WorkerState::Idle);
            caller.answer(end, answered);
            Ok(())
        }
        Trust::Lost => {
            caller.answer(end, answered);
            // The caller has its answer; the worker is replaced because the plugin was interrupted half way.
            Err(Broken { ended: Ended { end: Some(WorkerEnd::Cancelled), process: None }, waiting: None })
        }
    }
}

/// What the worker said last about a call.
enum Finished {
    Returned { response: Option<HttpResponse>, writes: Vec<(String, bytes::Bytes)>, cache: Vec<CacheChange> },
    Failed(Failure, Vec<CacheChange>),
}

/// Whether a worker may be given another call.
enum Trust {
    Kept,
    Lost,
}

impl Worker {
    /// Whether the plugin is another file by now, or has other packages. One that is gone keeps its last code.
    fn is_outdated(&self, spec: &WorkerSpec) -> bool {
        if self.supervisor.generation(spec) != self.generation {
            return true;
        }
        let now = PluginIdentity::of(&spec.plugin_named);
        now != PluginIdentity(None) && now != self.plugin
    }

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
            fact = channel.facts.message() => match fact {
                Ok(Some(fact)) => Event::Fact(fact.fact),
                Ok(None) => Event::Disconnected("it closed its session and went on".to_owned()),
                Err(status) => Event::Disconnected(format!("its session failed: {}", status.message())),
            },
            report = self.process.report() => Event::Report(report),
        }
    }

    /// Waits a little for the end of a process whose connection ended.
    pub(super) async fn last_words(&mut self) -> Option<ProcessEnd> {
        timeout(LAST_WORDS_TIMEOUT, self.process.ended()).await.ok()
    }

    /// One call, from the order to the result.
    async fn call(
        &mut self,
        call: &Call,
        spec: &WorkerSpec,
        alarm: &mut Alarm,
    ) -> Result<(CallEnd, Trust, Option<Usage>), Ended> {
        let id = self.session.next_id(first_wire_id);
        self.session.begin(id, call.invocation, call.body.is_some());
        let orders = super::pool::orders(call, id);
        let sender = self.channel.as_ref().map(|channel| channel.orders.clone());
        let credit = sender.clone();
        let mut sending = std::pin::pin!(async move {
            for order in orders {
                if let Some(sender) = &sender
                    && sender.send(SessionResponse { order: Some(order) }).await.is_err()
                {
                    break;
                }
            }
        });
        let (mut sent, mut cancelled) = (false, None);
        let mut deadline = Instant::now() + call.timeout;
        let mut read = 0;
        loop {
            tokio::select! {
                biased;
                () = &mut sending, if !sent => sent = true,
                () = call.cancel.cancelled(), if cancelled.is_none() => {
                    deadline = self.cancel(id, &WorkerEnd::Cancelled);
                    cancelled = Some(WorkerEnd::Cancelled);
                }
                () = alarm.until(deadline) => match cancelled.take() {
                    None => {
                        let end = WorkerEnd::Deadline(call.timeout);
                        deadline = self.cancel(id, &end);
                        cancelled = Some(end);
                    }
                    // It did not end in time: the process goes.
                    Some(end) => return Err(Ended { end: Some(end), process: None }),
                },
                parts = tell_read(call.body.as_ref(), credit.as_ref(), id, read) => {
                    read = parts;
                    self.session.response_read(parts);
                }
                step = self.step(spec) => match step? {
                    Step::Finished { outcome, writes, cache, usage } => {
                        let (end, trust) = finished(outcome, writes, cache, cancelled.as_ref());
                        return Ok((settle_cache(call, spec, end), trust, usage));
                    }
                    Step::ResponseBegun { status_code, headers } => {
                        let head = HttpResponse { status_code, headers, body: bytes::Bytes::new() };
                        pass_on(call.body.as_ref(), BodyEvent::Begun(head));
                    }
                    Step::ResponsePart(part) => pass_on(call.body.as_ref(), BodyEvent::Part(part)),
                    Step::HoldChanged => {}
                    _ => return Err(Ended { end: Some(WorkerEnd::Disconnected("a fact without an order".to_owned())), process: None }),
                },
            }
        }
    }

    /// Asks the plugin to stop and returns the time at which it is made to.
    fn cancel(&mut self, invocation_id: u64, why: &WorkerEnd) -> Instant {
        let cancel = Cancel { invocation_id, reason: why.to_string(), kind: why.failure_kind().into() };
        self.order(SessionResponse { order: Some(Order::Cancel(cancel)) });
        Instant::now() + limits::CANCEL_GRACE
    }

    /// Lets a worker without work leave, and sees to it that it does.
    async fn leave(mut self, spec: &WorkerSpec) {
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
                Event::Report(report) => self.on_report(report).err(),
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
        let Self { id, process: tree, supervisor, channel, hold, .. } = self;
        drop(channel);
        let cause = tree.excess().map(WorkerEnd::Memory).or(cause);
        let (process, tail) = tree.bury(process).await;
        let end = cause.unwrap_or_else(|| match &process {
            ProcessEnd::Exited { raw_status, .. } => exited(describe_exit(*raw_status)),
            ProcessEnd::NotStarted(reason) => WorkerEnd::Start(format!("worker could not be started: {reason}")),
            ProcessEnd::HolderKilled => WorkerEnd::Disconnected("its holder was killed".to_owned()),
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
                let Ok(Some(fact)) = channel.facts.message().await else { return };
                if self.accept(fact.fact, spec).await.is_err() {
                    return;
                }
            }
        };
        // A process that is gone has nothing to add after this.
        let _ = timeout(LAST_WORDS_TIMEOUT, rest).await;
    }
}

/// The end of a process that nobody told to end. A worker leaves with codes of its own when its session cannot go on.
fn exited(exit: Exit) -> WorkerEnd {
    match exit {
        Exit::Code(EXIT_PROTOCOL | EXIT_SESSION_LOST) => {
            WorkerEnd::Disconnected("its session cannot be read any more".to_owned())
        }
        exit => WorkerEnd::Exited(exit),
    }
}

/// Tells the worker how far its response was read, once that is further than `told`. Cancel safe.
async fn tell_read(
    body: Option<&BodySink>,
    orders: Option<&mpsc::Sender<SessionResponse>>,
    invocation_id: u64,
    told: u64,
) -> u64 {
    if let (Some(body), Some(orders)) = (body, orders) {
        let parts = body.read_beyond(told).await;
        if let Ok(place) = orders.reserve().await {
            place.send(SessionResponse { order: Some(Order::ResponseRead(ResponseRead { invocation_id, parts })) });
            return parts;
        }
    }
    std::future::pending().await
}

fn pass_on(body: Option<&BodySink>, event: BodyEvent) {
    if let Some(body) = body {
        body.send(event);
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

/// As in InfluxDB 3, what a call that raised has put into the cache stays there. A call that was cancelled says nothing of its
/// cache: it was interrupted anywhere.
fn settle_cache(call: &Call, spec: &WorkerSpec, end: Finished) -> CallEnd {
    match end {
        Finished::Returned { response, writes, cache } => CallEnd::Returned { response, writes, cache },
        Finished::Failed(failure, changes) => {
            if let Some(cache) = &spec.cache {
                cache.keep(Some(call.invocation), changes);
            }
            CallEnd::Failed(failure)
        }
    }
}

/// The result of a call. A call that was cancelled has failed, however it ended.
fn finished(
    outcome: bulkhead_proto::types::v1::Outcome,
    writes: Vec<(String, bytes::Bytes)>,
    cache: Vec<CacheChange>,
    cancelled: Option<&WorkerEnd>,
) -> (Finished, Trust) {
    if let Some(why) = cancelled {
        return (Finished::Failed(why.failure(String::new()), Vec::new()), Trust::Lost);
    }
    let end = match outcome.kind {
        Some(outcome::Kind::Success(success)) => Finished::Returned { response: success.http_response, writes, cache },
        Some(outcome::Kind::Failure(mut failure)) => {
            // A live worker knows of its plugin's failures only; the runner names the others.
            if !matches!(failure.kind(), FailureKind::Load | FailureKind::Limit | FailureKind::Response) {
                failure.kind = FailureKind::Exception.into();
            }
            Finished::Failed(failure, cache)
        }
        None => {
            let end = WorkerEnd::Disconnected("a result without an outcome".to_owned());
            Finished::Failed(end.failure(String::new()), Vec::new())
        }
    };
    (end, Trust::Kept)
}

/// The id of a worker's first call: one that says nothing of other workers' calls.
fn first_wire_id() -> u64 {
    Uuid::new_v4().as_u64_pair().0
}
