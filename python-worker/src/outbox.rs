//! Facts on their way to the runner: log lines and writes are collected, everything leaves in order.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bulkhead_proto::types::v1::{LogEntry, LogLevel, Outcome, WriteBatch};
use bulkhead_proto::worker::v1::cache_change::Operation;
use bulkhead_proto::worker::v1::session_request::Fact;
use bulkhead_proto::worker::v1::{Cached, Finished, Log, Logs, SessionRequest, Usage, Written};
use futures_util::Stream;
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::limits::{FLUSH_BYTES, FLUSH_LINES, OPEN_BATCHES_MAX, OUTBOX_BYTES_MAX, SENT_GRACE};
use crate::split::split_lines;

/// Whether the caller may go on at once or should wait until the runner has read some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is room.
    Enough,
    /// More than `OUTBOX_BYTES_MAX` waits.
    Full,
}

/// How a call ended, as far as its collected writes are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effects {
    /// Send them.
    Keep,
    /// Drop what was not sent yet.
    Drop,
}

/// The queue. Python threads put in, the session thread takes out.
#[derive(Debug, Default)]
pub struct Outbox {
    state: Mutex<State>,
    room: Condvar,
    collecting: Notify,
}

#[derive(Debug, Default)]
struct State {
    sealed: VecDeque<(usize, Fact)>,
    sealed_bytes: usize,
    logs: Vec<Log>,
    logs_bytes: usize,
    batches: Vec<Batch>,
    /// Whether the session thread knows that something is being collected.
    timed: bool,
    /// Whether nothing was said for a while: then the next line is sent at once, because it may be the last one.
    quiet: bool,
    closed: bool,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Batch {
    invocation_id: u64,
    database: Arc<str>,
    lines: Vec<u8>,
}

impl Outbox {
    /// Collects a log line.
    pub fn log(&self, invocation_id: Option<u64>, entry: LogEntry) -> Room {
        let mut state = self.state.lock();
        if state.closed {
            return Room::Enough;
        }
        state.logs_bytes += entry.message.len();
        // What a plugin warns of may be the last thing that it says.
        let is_urgent = entry.level() >= LogLevel::Warn || std::mem::take(&mut state.quiet);
        state.logs.push(Log { invocation_id, entry: Some(entry) });
        if is_urgent || state.logs.len() >= FLUSH_LINES || state.logs_bytes >= FLUSH_BYTES {
            state.seal_logs();
            state.wake();
        } else {
            self.start_timer(&mut state);
        }
        state.room()
    }

    /// Whether nothing was said for a while, so that the next line is sent at once.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.state.lock().quiet
    }

    /// Collects line protocol.
    pub fn write(&self, invocation_id: u64, database: &Arc<str>, lines: &str) -> Room {
        let mut state = self.state.lock();
        if state.closed || lines.is_empty() {
            return Room::Enough;
        }
        let index = state.batch_for(invocation_id, database);
        let Some(batch) = state.batches.get_mut(index) else { return Room::Enough };
        batch.lines.extend_from_slice(lines.as_bytes());
        if !lines.ends_with('\n') {
            batch.lines.push(b'\n');
        }
        if batch.lines.len() >= FLUSH_BYTES {
            let batch = state.batches.swap_remove(index);
            state.seal_batch(batch);
            state.wake();
        } else {
            self.start_timer(&mut state);
        }
        state.room()
    }

    /// Sends a fact, after everything that was collected before it.
    pub fn post(&self, fact: Fact) {
        let mut state = self.state.lock();
        state.seal_logs();
        state.seal(0, fact);
        state.wake();
    }

    /// Sends a changed cache entry.
    pub fn cached(&self, cached: Cached) -> Room {
        let mut state = self.state.lock();
        let value = match cached.change.as_ref().and_then(|change| change.operation.as_ref()) {
            Some(Operation::Put(put)) => put.value.len(),
            _ => 0,
        };
        state.seal(value, Fact::Cached(cached));
        state.wake();
        state.room()
    }

    /// Ends a call: its lines and writes first, then its outcome.
    pub fn finish(&self, invocation_id: u64, outcome: Outcome, usage: Usage, effects: Effects, threads: u32) {
        let mut state = self.state.lock();
        state.seal_logs();
        let (own, others) =
            std::mem::take(&mut state.batches).into_iter().partition(|batch| batch.invocation_id == invocation_id);
        state.batches = others;
        if effects == Effects::Keep {
            let own: Vec<Batch> = own;
            own.into_iter().for_each(|batch| state.seal_batch(batch));
        }
        state.seal(0, Fact::Finished(Finished { invocation_id, outcome: Some(outcome), usage: Some(usage), threads }));
        state.wake();
    }

    /// Sends what was collected; tells whether there was anything.
    pub fn flush(&self) -> bool {
        let mut state = self.state.lock();
        let any = !state.logs.is_empty() || !state.batches.is_empty();
        if any {
            state.seal_logs();
            state.seal_batches();
            state.wake();
        }
        state.quiet = !any;
        any
    }

    /// Marks the flush timer as running (`true`) or stopped. It is not stopped while something waits for it.
    pub fn set_timed(&self, timed: bool) -> bool {
        let mut state = self.state.lock();
        state.timed = timed || !state.logs.is_empty() || !state.batches.is_empty();
        state.timed
    }

    /// Resolves when something is collected and no timer runs.
    pub async fn until_collecting(&self) {
        self.collecting.notified().await;
    }

    /// Sends the rest and ends the stream. What comes later is dropped.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.seal_logs();
        state.seal_batches();
        state.closed = true;
        state.wake();
        self.room.notify_all();
    }

    /// Waits until there is room, at most `timeout`.
    pub fn wait_for_room(&self, timeout: Duration) -> Room {
        let mut state = self.state.lock();
        if state.room() == Room::Full {
            self.room.wait_for(&mut state, timeout);
        }
        state.room()
    }

    /// Waits until everything was taken out, at most `timeout`.
    pub fn wait_until_sent(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        while !self.state.lock().sealed.is_empty() && Instant::now() < deadline {
            std::thread::sleep(SENT_GRACE);
        }
        std::thread::sleep(SENT_GRACE);
    }

    /// The next fact.
    pub fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Fact>> {
        let mut state = self.state.lock();
        let Some((bytes, fact)) = state.sealed.pop_front() else {
            if state.closed {
                return Poll::Ready(None);
            }
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        let was = state.room();
        state.sealed_bytes -= bytes;
        if was == Room::Full && state.room() == Room::Enough {
            self.room.notify_all();
        }
        Poll::Ready(Some(fact))
    }

    fn start_timer(&self, state: &mut State) {
        if !state.timed {
            state.timed = true;
            self.collecting.notify_one();
        }
    }
}

impl State {
    fn room(&self) -> Room {
        if self.closed || self.sealed_bytes <= OUTBOX_BYTES_MAX { Room::Enough } else { Room::Full }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn seal(&mut self, bytes: usize, fact: Fact) {
        if !self.closed {
            self.sealed_bytes += bytes;
            self.sealed.push_back((bytes, fact));
        }
    }

    fn seal_logs(&mut self) {
        if self.logs.is_empty() {
            return;
        }
        let lines = std::mem::take(&mut self.logs);
        let bytes = std::mem::take(&mut self.logs_bytes);
        self.seal(bytes, Fact::Logs(Logs { lines }));
    }

    fn seal_batches(&mut self) {
        for batch in std::mem::take(&mut self.batches) {
            self.seal_batch(batch);
        }
    }

    fn seal_batch(&mut self, batch: Batch) {
        for part in split_lines(batch.lines.into()) {
            let bytes = part.len();
            let batch_part = WriteBatch { database: batch.database.to_string(), line_protocol: part };
            self.seal(bytes, Fact::Written(Written { invocation_id: batch.invocation_id, batch: Some(batch_part) }));
        }
    }

    fn batch_for(&mut self, invocation_id: u64, database: &Arc<str>) -> usize {
        let known =
            self.batches.iter().position(|batch| batch.invocation_id == invocation_id && batch.database == *database);
        if let Some(index) = known {
            return index;
        }
        if self.batches.len() >= OPEN_BATCHES_MAX {
            self.seal_batches();
            self.wake();
        }
        self.batches.push(Batch { invocation_id, database: Arc::clone(database), lines: Vec::new() });
        self.batches.len() - 1
    }
}

/// The outbox as the request stream of the session.
#[derive(Debug)]
pub struct FactStream(pub Arc<Outbox>);

impl Stream for FactStream {
    type Item = SessionRequest;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<SessionRequest>> {
        self.0.poll_next(context).map(|fact| fact.map(|fact| SessionRequest { fact: Some(fact) }))
    }
}
