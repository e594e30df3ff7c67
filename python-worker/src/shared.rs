//! What the session thread and the Python threads share. No lock here is held while Python code runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bulkhead_proto::types::v1::{LogEntry, LogLevel, LogSource};
use bulkhead_proto::worker::v1::WorkerLimits;
use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::Signal;
use parking_lot::{Condvar, Mutex};
use tokio::sync::mpsc;

use crate::capture::cut_line;
use crate::clock;
use crate::driver::Driver;
use crate::inbox::Inbox;
use crate::invocation::Invocation;
use crate::outbox::{Outbox, Room};
use crate::question::Question;

/// Signal that makes the main thread look whether its call was cancelled. It is ignored by default,
/// so it harms nothing where no handler stands, and hardly any program uses it.
pub(crate) const CANCEL_SIGNAL: Signal = Signal::SIGURG;

/// State of one worker.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Facts for the runner.
    pub(crate) outbox: Arc<Outbox>,
    /// Who drives the session.
    pub(crate) driver: Arc<Driver>,
    /// Orders for the main thread.
    pub(crate) inbox: Inbox,
    /// Questions for the runner.
    pub(crate) questions: mpsc::Sender<Question>,
    /// Limits that the runner told.
    pub(crate) limits: WorkerLimits,
    /// Database of the trigger.
    pub(crate) database: Mutex<Arc<str>>,
    main_thread: Pthread,
    /// The call that is inside the plugin now.
    inside: Mutex<Option<Arc<Invocation>>>,
    /// Whether the main thread has taken its last order.
    closing: AtomicBool,
    /// Whether the runner has ended its side of the session.
    ended: Mutex<bool>,
    ended_changed: Condvar,
    /// Whether this is a copy of the process that the plugin forked.
    forked: AtomicBool,
}

impl Shared {
    /// The state at the start. To be called on the main thread.
    pub(crate) fn new(
        driver: Arc<Driver>,
        outbox: Arc<Outbox>,
        questions: mpsc::Sender<Question>,
        main_thread: Pthread,
        limits: WorkerLimits,
    ) -> Self {
        Self {
            outbox,
            driver,
            inbox: Inbox::default(),
            questions,
            limits,
            database: Mutex::new(Arc::from("")),
            main_thread,
            inside: Mutex::new(None),
            closing: AtomicBool::new(false),
            ended: Mutex::new(false),
            ended_changed: Condvar::new(),
            forked: AtomicBool::new(false),
        }
    }

    /// The plugin is entered.
    pub(crate) fn enter(&self, invocation: &Arc<Invocation>) {
        *self.inside.lock() = Some(Arc::clone(invocation));
    }

    /// The plugin was left; from here on no signal reaches it.
    pub(crate) fn leave(&self) {
        let left = self.inside.lock().take();
        if let Some(invocation) = left {
            invocation.end();
        }
    }

    /// The call inside the plugin, if any.
    pub(crate) fn inside(&self) -> Option<Arc<Invocation>> {
        self.inside.lock().clone()
    }

    /// Signals the main thread if the call is inside the plugin and has not noticed yet; tells whether
    /// it was needed.
    pub(crate) fn signal(&self, invocation: &Arc<Invocation>) -> bool {
        let inside = self.inside.lock();
        let needed =
            invocation.awaits_signal() && inside.as_ref().is_some_and(|current| Arc::ptr_eq(current, invocation));
        if needed {
            // The main thread exists as long as the process does.
            let _ = pthread_kill(self.main_thread, CANCEL_SIGNAL);
        }
        needed
    }

    /// Whether the caller is the thread that runs the plugin.
    pub(crate) fn is_main_thread(&self) -> bool {
        pthread_self() == self.main_thread
    }

    /// Collects a log line, tagged with `invocation_id`.
    pub(crate) fn log(&self, invocation_id: Option<u64>, level: LogLevel, source: LogSource, text: String) -> Room {
        if self.is_forked() {
            return Room::Enough;
        }
        let message = cut_line(text, self.log_line_bytes_max());
        let entry = LogEntry {
            logged_at: Some(clock::now()),
            level: level.into(),
            source: source.into(),
            message,
            dropped_before: 0,
        };
        let is_urgent = level >= LogLevel::Warn || self.outbox.is_quiet();
        let room = self.outbox.log(invocation_id, entry);
        if is_urgent {
            // It may be the last thing that the plugin says.
            self.driver.need();
        }
        room
    }

    /// Longest log line.
    pub(crate) fn log_line_bytes_max(&self) -> usize {
        usize::try_from(self.limits.log_line_bytes_max).unwrap_or(usize::MAX)
    }

    /// The main thread takes no more orders.
    pub(crate) fn set_closing(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Whether the end of the session is expected.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// The runner ended its side of the session.
    pub(crate) fn set_ended(&self) {
        *self.ended.lock() = true;
        self.ended_changed.notify_all();
    }

    /// Waits, at most `timeout`, until the runner has ended its side.
    pub(crate) fn wait_until_ended(&self, timeout: Duration) {
        self.driver.need();
        let mut ended = self.ended.lock();
        if !*ended {
            self.ended_changed.wait_for(&mut ended, timeout);
        }
    }

    /// This is a forked copy: the session belongs to the parent.
    pub(crate) fn set_forked(&self) {
        self.forked.store(true, Ordering::Release);
    }

    /// Whether this is a forked copy.
    pub(crate) fn is_forked(&self) -> bool {
        self.forked.load(Ordering::Acquire)
    }
}
