//! The queue between writers and the thread that commits.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};

use super::admission::Pending;
use crate::error::LimitExceeded;
use crate::limits;
use crate::line::ParsedTable;
use crate::records::Record;
use crate::table::State;

/// One database's rows of a write.
#[derive(Debug)]
pub(crate) struct ParsedWrite {
    pub(crate) database: String,
    /// The generation of the database that the lines were checked against; `None` when it did not exist.
    pub(crate) generation: Option<u64>,
    pub(crate) tables: Vec<ParsedTable>,
}

/// What is to be committed.
#[derive(Debug)]
pub(crate) enum Operation {
    /// Rows, of one or several databases, that belong into one entry.
    Write(Vec<ParsedWrite>),
    Create(String),
    Delete(String),
}

/// An operation with those who wait for it.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) operation: Operation,
    /// Records that are committed in the same entry.
    pub(crate) records: Vec<Record>,
    /// The bytes of line protocol and records, by which commits are gathered.
    pub(crate) bytes: usize,
    /// Whether its caller does nothing else meanwhile, so that more is not gathered at its expense.
    pub(crate) is_urgent: bool,
    /// Told the sequence, or why there is none.
    pub(crate) reply: Option<oneshot::Sender<Result<u64, String>>>,
    /// The share of the queue's bytes, given back when the operation is done.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

/// What became of an attempt to enter the queue.
#[derive(Debug)]
pub(crate) enum Admission {
    Entered,
    /// The schema changed since the lines were parsed; parse them again.
    Stale,
    /// Something that is queued is in the way; wait until it is settled, then parse again.
    Busy,
    Refused(LimitExceeded),
    Closed,
}

#[derive(Debug, Default)]
struct Inner {
    operations: VecDeque<Queued>,
    bytes: usize,
    urgent: usize,
    pending: Pending,
    closed: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    filled: Condvar,
    /// Told whenever queued operations were settled.
    pub(crate) settled: Notify,
}

impl Queue {
    /// Lets a write in, or says why not. `queued` must be a write; on anything but `Entered` it comes back.
    pub(crate) fn enter(&self, state: &RwLock<State>, queued: Queued) -> (Admission, Option<Queued>) {
        let mut inner = self.inner.lock();
        let admission =
            if inner.closed { Admission::Closed } else { inner.pending.admit(&state.read(), &queued.operation) };
        if !matches!(admission, Admission::Entered) {
            return (admission, Some(queued));
        }
        inner.pending.note(&queued.operation, true);
        let before = inner.bytes;
        inner.bytes += queued.bytes;
        inner.urgent += usize::from(queued.is_urgent);
        let is_full = before < limits::GATHER_BYTES && inner.bytes >= limits::GATHER_BYTES;
        let wake = inner.operations.is_empty() || is_full || (queued.is_urgent && inner.urgent == 1);
        inner.operations.push_back(queued);
        drop(inner);
        if wake {
            self.filled.notify_one();
        }
        (Admission::Entered, None)
    }

    /// Waits for operations, gathers more for `interval` unless one is urgent, and takes those that belong into one entry. While
    /// that is forced to disk the next ones gather anyway. `None` when the queue is closed and empty.
    pub(super) fn take(&self, interval: Duration) -> Option<Vec<Queued>> {
        let mut inner = self.inner.lock();
        while inner.operations.is_empty() {
            if inner.closed {
                return None;
            }
            self.filled.wait(&mut inner);
        }
        let deadline = Instant::now() + interval;
        while inner.bytes < limits::GATHER_BYTES && inner.urgent == 0 && !inner.closed {
            if self.filled.wait_until(&mut inner, deadline).timed_out() {
                break;
            }
        }
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(next) = inner.operations.pop_front() {
            let alone = !matches!(next.operation, Operation::Write(_));
            // The creation or deletion of a database is an entry of its own, so an entry's rows have no order to keep with it.
            if !taken.is_empty() && (alone || bytes + next.bytes > limits::COMMIT_BYTES_MAX) {
                inner.operations.push_front(next);
                break;
            }
            bytes += next.bytes;
            inner.urgent -= usize::from(next.is_urgent);
            taken.push(next);
            if alone {
                break;
            }
        }
        inner.bytes -= bytes;
        Some(taken)
    }

    /// Forgets what these operations were about to add: by now it is committed or it failed.
    pub(super) fn settle(&self, operations: &[Queued]) {
        let mut inner = self.inner.lock();
        for queued in operations {
            inner.pending.note(&queued.operation, false);
        }
        drop(inner);
        self.settled.notify_waiters();
    }

    /// Whether nobody gets in any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.inner.lock().closed
    }

    /// Lets nobody in any more. What is queued is still committed.
    pub(crate) fn close(&self) {
        self.inner.lock().closed = true;
        self.filled.notify_one();
        self.settled.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than any test may take.
    const INTERVAL: Duration = Duration::from_secs(3600);

    fn write(is_urgent: bool) -> Queued {
        let operation = Operation::Write(Vec::new());
        Queued { operation, records: Vec::new(), bytes: 1, is_urgent, reply: None, permit: None }
    }

    #[test]
    fn an_urgent_write_takes_those_before_it_along_at_once() {
        let (queue, state) = (Queue::default(), RwLock::default());
        for is_urgent in [false, true, false] {
            assert!(matches!(queue.enter(&state, write(is_urgent)), (Admission::Entered, None)));
        }
        assert_eq!(queue.take(INTERVAL).map(|taken| taken.len()), Some(3));
        assert_eq!(queue.inner.lock().urgent, 0);
    }

    #[test]
    fn an_urgent_write_wakes_who_gathers() {
        let (queue, state) = (Queue::default(), RwLock::default());
        queue.enter(&state, write(false));
        std::thread::scope(|scope| {
            let gathering = scope.spawn(|| queue.take(INTERVAL).map(|taken| taken.len()));
            queue.enter(&state, write(true));
            // It may have begun before or after; both are taken in either case.
            assert_eq!(gathering.join().unwrap(), Some(2));
        });
    }
}
