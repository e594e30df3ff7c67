//! The workers of one trigger.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_proto::types::v1::{Event, Failure, FailureKind, ScheduleTick, TableBatch, WalBatch, event};
use bulkhead_proto::worker::v1::session_response::Order;
use bulkhead_proto::worker::v1::{Invoke, InvokeRows};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::end::WorkerEnd;
use super::lane::{self, Job};
use super::restart::Restart;
use super::{Call, CallCosts, CallEnd, CallEvent, CallResult, Supervisor, WorkerSpec};
use crate::plugin_files;
use crate::session::arrow_ipc;

/// Longest restart delay that a request waits out; after a longer one it is answered with the failure.
const IMPATIENT_WAIT_MAX: Duration = Duration::from_secs(1);

/// Workers for one trigger: none while there is nothing to do, up to a limit when calls overlap.
pub struct Pool {
    shared: Arc<Shared>,
    idle: Mutex<Vec<mpsc::Sender<Job>>>,
    permits: Semaphore,
}

/// What the lanes of a pool share.
pub(super) struct Shared {
    pub(super) supervisor: Supervisor,
    pub(super) spec: WorkerSpec,
    restart: Mutex<Restart>,
}

impl Shared {
    pub(super) fn succeeded(&self) {
        self.restart.lock().succeeded();
    }

    pub(super) fn ended(&self, end: &WorkerEnd, stderr_tail: &str) {
        self.restart.lock().ended(end, stderr_tail, self.code_changed_at(), Instant::now(), fastrand::f64());
    }

    fn code_changed_at(&self) -> Option<std::time::SystemTime> {
        (self.spec.plugin)().ok().and_then(|path| plugin_files::changed_at(&path))
    }
}

impl Pool {
    /// A pool of at most `workers_max` workers.
    #[must_use]
    pub fn new(supervisor: Supervisor, spec: WorkerSpec, workers_max: usize) -> Self {
        let shared = Arc::new(Shared { supervisor, spec, restart: Mutex::default() });
        Self { shared, idle: Mutex::default(), permits: Semaphore::new(workers_max.max(1)) }
    }

    /// Makes a call on a worker that is free, or on a new one.
    pub async fn run(&self, call: Call) -> CallResult {
        let asked = Instant::now();
        let queued_too_long = async {
            match call.queue_timeout {
                Some(most) => sleep(most).await,
                None => std::future::pending().await,
            }
        };
        let permit = tokio::select! {
            biased;
            permit = self.permits.acquire() => permit,
            () = queued_too_long => return waited_in_vain(call.queue_timeout.unwrap_or_default()),
            () = call.cancel.cancelled() => return failed(&WorkerEnd::Cancelled, String::new()),
        };
        let Ok(_permit) = permit else { return failed(&WorkerEnd::Stopped, String::new()) };
        if let Err(result) = self.wait_for_restart(&call).await {
            return result;
        }
        loop {
            let queue = asked.elapsed();
            let (lane, is_new) = self.lane();
            let (reply, result) = oneshot::channel();
            let job = Job { call: call.clone(), reply };
            if lane.send(job).await.is_ok()
                && let Ok(mut result) = result.await
            {
                result.costs.queue = queue;
                if !lane.is_closed() {
                    self.idle.lock().push(lane);
                }
                return result;
            }
            // An idle worker can leave at the very moment at which it is given a job; a new one cannot.
            if is_new {
                return failed(&WorkerEnd::Stopped, String::new());
            }
        }
    }

    /// Faults in a row and the last of them, when there are any.
    #[must_use]
    pub fn faults(&self) -> Option<(u32, String)> {
        self.shared.restart.lock().state()
    }

    /// Lets the idle workers leave. Calls that run go on.
    pub fn retire_idle(&self) {
        self.idle.lock().clear();
    }

    fn lane(&self) -> (mpsc::Sender<Job>, bool) {
        let mut idle = self.idle.lock();
        while let Some(lane) = idle.pop() {
            if !lane.is_closed() {
                return (lane, false);
            }
        }
        let (lane, jobs) = mpsc::channel(1);
        self.shared.supervisor.tracker.spawn(lane::run(Arc::clone(&self.shared), jobs));
        (lane, true)
    }

    /// Waits out the delay after a fault, or answers with the fault.
    async fn wait_for_restart(&self, call: &Call) -> Result<(), CallResult> {
        let Some(delay) = self.shared.restart.lock().delay(|| self.shared.code_changed_at(), Instant::now()) else {
            return Ok(());
        };
        // Code and requirements stay unusable until somebody changes them: waiting for that would only pile up events.
        let is_hopeless = matches!(delay.end, WorkerEnd::Load(_) | WorkerEnd::Environment(_));
        if is_hopeless || (!call.patient && delay.wait > IMPATIENT_WAIT_MAX) {
            return Err(failed(&delay.end, delay.stderr_tail));
        }
        tokio::select! {
            () = sleep(delay.wait) => Ok(()),
            () = call.cancel.cancelled() => Err(failed(&WorkerEnd::Cancelled, String::new())),
        }
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
pub(super) fn orders(call: &Call, invocation_id: u64) -> Vec<Order> {
    let invoke = |kind, more| Order::Invoke(Invoke { invocation_id, event: Some(Event { kind: Some(kind) }), more });
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
