//! The workers of one trigger.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bulkhead_proto::types::v1::{Event, Failure, FailureKind, ScheduleTick, TableBatch, WalBatch, event};
use bulkhead_proto::worker::v1::session_response::Order;
use bulkhead_proto::worker::v1::{Invoke, InvokeRows};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use super::end::WorkerEnd;
use super::lane::{self, Job, Reply};
use super::packages::{EnvironmentState, Packages};
use super::queue::{Next, Placed, Queue};
use super::restart::{Admission, BreakerState, Restart};
use super::zygote::ZygoteSlot;
use super::{Call, CallCosts, CallEnd, CallEvent, CallResult, Supervisor, WorkerSpec};
use crate::plugin_files;
use crate::session::{arrow_ipc, nursery};

/// Longest restart delay that a request waits out; after a longer one it is answered with the failure.
const IMPATIENT_WAIT_MAX: Duration = Duration::from_secs(1);

/// Workers for one trigger: none while there is nothing to do, up to a limit when calls overlap.
pub struct Pool {
    shared: Arc<Shared>,
    tickets: AtomicU64,
    /// Told when a probe is over.
    probed: Notify,
}

/// What the lanes of a pool share.
pub(super) struct Shared {
    pub(super) supervisor: Supervisor,
    pub(super) spec: WorkerSpec,
    /// Makes its workers, unless it is to do without.
    pub(super) zygote: Option<ZygoteSlot>,
    /// In which environment its workers run.
    pub(super) packages: Packages,
    restart: Mutex<Restart>,
    queue: Mutex<Queue<Job>>,
}

impl Shared {
    pub(super) fn succeeded(&self) {
        self.restart.lock().succeeded();
    }

    pub(super) fn ended(&self, end: &WorkerEnd, stderr_tail: &str) {
        // One that was not even started has no row whose end would be counted.
        if matches!(end, WorkerEnd::Environment(_)) {
            self.supervisor.registry.count_end(end.word());
        }
        self.restart.lock().ended(end, stderr_tail, self.code_changed_at(), Instant::now(), fastrand::f64());
    }

    /// An environment that could not be had is no reason any more to delay a start.
    pub(super) fn environment_is_there(&self) {
        self.restart.lock().environment_is_there();
    }

    /// What a lane does that is done with a job.
    pub(super) fn next(&self) -> Next<Job> {
        self.queue.lock().next()
    }

    fn code_changed_at(&self) -> Option<std::time::SystemTime> {
        (self.spec.plugin)().ok().and_then(|path| plugin_files::changed_at(&path))
    }
}

/// The right of a lane to do jobs. When it ends another lane may be made, and who waited asks again.
pub(super) struct Slot(Arc<Shared>);

impl Slot {
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let waiting = self.0.queue.lock().vacate();
        for job in waiting {
            // A caller that went away has no need of it.
            let _ = job.reply.send(Reply::AskAgain(job.call));
        }
    }
}

impl Pool {
    /// A pool of at most `workers_max` workers.
    #[must_use]
    pub fn new(supervisor: Supervisor, spec: WorkerSpec, workers_max: usize) -> Self {
        Self::with_zygote(supervisor, spec, workers_max, Some(ZygoteSlot::new(workers_max)))
    }

    /// A pool for a single call, which is not worth a zygote.
    #[must_use]
    pub fn for_one_call(supervisor: Supervisor, spec: WorkerSpec) -> Self {
        Self::with_zygote(supervisor, spec, 1, None)
    }

    fn with_zygote(supervisor: Supervisor, spec: WorkerSpec, workers_max: usize, zygote: Option<ZygoteSlot>) -> Self {
        let queue = Mutex::new(Queue::new(workers_max.max(1)));
        let (packages, restart) = (Packages::default(), Mutex::default());
        let shared = Arc::new(Shared { supervisor, spec, zygote, packages, restart, queue });
        Self { shared, tickets: AtomicU64::new(0), probed: Notify::new() }
    }

    /// Makes a call on a worker that is free, or on a new one.
    pub async fn run(&self, mut call: Call) -> CallResult {
        let asked = Instant::now();
        let cancel = call.cancel.clone();
        loop {
            let _probe = match self.wait_for_restart(&call).await {
                Ok(probe) => probe,
                Err(result) => return result,
            };
            let (reply, mut replied) = oneshot::channel();
            let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
            let patience = call.queue_timeout;
            // A caller that goes away must not leave its job behind.
            let place = self.place(Job { ticket, call, reply, asked });
            let reply = tokio::select! {
                biased;
                reply = &mut replied => reply,
                () = sleep_until(asked + patience.unwrap_or_default()), if patience.is_some() && place.is_some() => {
                    if self.shared.queue.lock().withdraw(ticket).is_some() {
                        return waited_in_vain(patience.unwrap_or_default());
                    }
                    replied.await
                }
                () = cancel.cancelled() => {
                    if self.shared.queue.lock().withdraw(ticket).is_some() {
                        return failed(&WorkerEnd::Cancelled, String::new());
                    }
                    // A lane has it, and sees the cancellation too.
                    replied.await
                }
            };
            match reply {
                Ok(Reply::Done(result)) => {
                    if matches!(&result.end, CallEnd::Failed(failure) if failure.kind() == FailureKind::Exception) {
                        // What a plugin raises is no fault of its worker.
                        self.shared.succeeded();
                    }
                    return result;
                }
                Ok(Reply::AskAgain(returned)) => call = returned,
                Err(oneshot::error::RecvError { .. }) => return failed(&WorkerEnd::Stopped, String::new()),
            }
        }
    }

    fn place(&self, job: Job) -> Option<Place<'_>> {
        let ticket = job.ticket;
        let placed = self.shared.queue.lock().place(job);
        match placed {
            Placed::Given => None,
            Placed::NewLane(job) => {
                let slot = Slot(Arc::clone(&self.shared));
                self.shared.supervisor.tracker.spawn(nursery::run(|nursery| lane::run(slot, job, nursery)));
                None
            }
            Placed::Waits => Some(Place { queue: &self.shared.queue, ticket }),
        }
    }

    /// Finds out which environment the workers run in, and builds it if need be, before there is anything to do.
    pub async fn prepare(&self) {
        let finding = self.shared.find_environment();
        drop(self.shared.packages.closed().run_until_cancelled(finding).await);
    }

    /// Brings the workers to the environment that is asked for now. Where that is complete, the next calls run in it when this
    /// returns; otherwise it is being built, and calls run in the old one meanwhile.
    pub async fn renew_environment(&self) {
        self.shared.renew_environment().await;
    }

    /// Name of the environment that workers start in, once there is one.
    #[must_use]
    pub fn environment_id(&self) -> Option<String> {
        self.shared.packages.wanted().borrow().as_ref().map(|environment| environment.id.clone())
    }

    /// How it is with the environment, when there is something to say.
    #[must_use]
    pub fn environment(&self) -> Option<EnvironmentState> {
        self.shared.packages.state()
    }

    /// Faults in a row and the last of them, when there are any.
    #[must_use]
    pub fn faults(&self) -> Option<(u32, String)> {
        self.shared.restart.lock().state()
    }

    /// Lets the idle workers leave, and makes no more of them in advance. Calls that run go on.
    pub fn retire_idle(&self) {
        self.shared.queue.lock().retire_idle();
        if let Some(zygote) = &self.shared.zygote {
            zygote.close();
        }
    }

    /// What a crash loop has led to, when there is one.
    #[must_use]
    pub fn breaker(&self) -> Option<BreakerState> {
        self.shared.restart.lock().breaker(|| self.shared.code_changed_at(), Instant::now())
    }

    /// Waits out the delay after a fault, or answers with the fault. What is returned is kept while the call runs.
    async fn wait_for_restart(&self, call: &Call) -> Result<Option<Probe<'_>>, CallResult> {
        loop {
            // From before the look on, so that no end of a probe is missed.
            let mut probed = std::pin::pin!(self.probed.notified());
            probed.as_mut().enable();
            let admission = self.shared.restart.lock().admit(|| self.shared.code_changed_at(), Instant::now());
            let delay = match admission {
                Admission::Go => return Ok(None),
                Admission::Probe => return Ok(Some(Probe(self))),
                Admission::Wait(delay) => delay,
            };
            // Code and requirements stay unusable until somebody changes them: waiting for that would only pile up events.
            let is_hopeless = matches!(delay.end, WorkerEnd::Load(_) | WorkerEnd::Environment(_));
            let is_long = delay.wait.is_none_or(|wait| wait > IMPATIENT_WAIT_MAX);
            if is_hopeless || (!call.patient && is_long) {
                return Err(failed(&delay.end, delay.stderr_tail));
            }
            let waited = async {
                match delay.wait {
                    Some(wait) => sleep(wait).await,
                    None => probed.await,
                }
            };
            tokio::select! {
                () = waited => {}
                () = call.cancel.cancelled() => return Err(failed(&WorkerEnd::Cancelled, String::new())),
            }
        }
    }
}

/// A call that decides for those that wait.
struct Probe<'a>(&'a Pool);

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.0.shared.restart.lock().probed();
        self.0.probed.notify_waiters();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.packages.close();
        self.shared.queue.lock().close();
    }
}

/// A job's place among those that wait.
struct Place<'a> {
    queue: &'a Mutex<Queue<Job>>,
    ticket: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.lock().withdraw(self.ticket);
    }
}

fn failed(end: &WorkerEnd, stderr_tail: String) -> CallResult {
    CallResult {
        end: CallEnd::Failed(end.failure(stderr_tail)),
        elapsed: Duration::ZERO,
        worker: None,
        costs: CallCosts::default(),
    }
}

fn waited_in_vain(most: Duration) -> CallResult {
    let message = format!("waited {} for its turn in vain", humantime::format_duration(most));
    let failure = Failure { kind: FailureKind::Deadline.into(), message, ..Failure::default() };
    CallResult { end: CallEnd::Failed(failure), elapsed: Duration::ZERO, worker: None, costs: CallCosts::default() }
}

/// The orders that make a call. Rows beyond the size of one message follow in further ones.
pub(super) fn orders(call: &Call, invocation_id: u64, keep_code: bool) -> Vec<Order> {
    let invoke =
        |kind, more| Order::Invoke(Invoke { invocation_id, event: Some(Event { kind: Some(kind) }), more, keep_code });
    match &call.event {
        CallEvent::Tick(time) => {
            let scheduled_at = prost_types::Timestamp {
                seconds: time.timestamp(),
                nanos: i32::try_from(time.timestamp_subsec_nanos()).unwrap_or_default(),
            };
            vec![invoke(event::Kind::ScheduleTick(ScheduleTick { scheduled_at: Some(scheduled_at) }), false)]
        }
        CallEvent::Request(request) => vec![invoke(event::Kind::HttpRequest(request.as_ref().clone()), false)],
        CallEvent::Wal { database, sequence, tables } => {
            let mut parts = parts(tables).into_iter().peekable();
            let first = parts.next().unwrap_or_default();
            let batch = WalBatch { database: database.clone(), wal_sequence: *sequence, tables: first };
            let mut orders = vec![invoke(event::Kind::WalBatch(batch), parts.peek().is_some())];
            while let Some(tables) = parts.next() {
                orders.push(Order::InvokeRows(InvokeRows { invocation_id, tables, more: parts.peek().is_some() }));
            }
            orders
        }
    }
}

/// Groups table batches into messages of about [`bulkhead_proto::transport::PAYLOAD_PART_BYTES`].
fn parts(tables: &[crate::host::FeedTable]) -> Vec<Vec<TableBatch>> {
    let mut parts: Vec<Vec<TableBatch>> = Vec::new();
    let mut room = 0;
    for table in tables {
        // A stream that cannot be split is sent as it is; the worker says what is wrong with it.
        let streams = arrow_ipc::split_stream(&table.ipc).unwrap_or_else(|_| vec![table.ipc.clone()]);
        for stream in streams {
            let bytes = stream.len();
            let batch = TableBatch { table: table.table.clone(), arrow_ipc_stream: stream };
            match parts.last_mut() {
                Some(part) if bytes <= room => {
                    room -= bytes;
                    part.push(batch);
                }
                _ => {
                    room = bulkhead_proto::transport::PAYLOAD_PART_BYTES.saturating_sub(bytes);
                    parts.push(vec![batch]);
                }
            }
        }
    }
    parts
}
