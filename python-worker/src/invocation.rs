//! What is known of one call while anything may still refer to it.

use std::pin::pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bulkhead_proto::types::v1::FailureKind;
use bulkhead_proto::worker::v1::Cancel;
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

/// Why a call was stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancellation {
    /// Why, as the plugin's author reads it.
    pub reason: String,
    /// Kind of the failure to report, a `FailureKind`.
    pub kind: i32,
}

impl From<Cancel> for Cancellation {
    fn from(cancel: Cancel) -> Self {
        let kind = match cancel.kind() {
            FailureKind::Unspecified => FailureKind::Cancelled,
            kind => kind,
        };
        Self { reason: cancel.reason, kind: kind.into() }
    }
}

/// One call of the plugin. The API object that came with the call keeps it alive.
#[derive(Debug)]
pub struct Invocation {
    id: u64,
    /// Whether a change of the plugin's file is not looked at for it.
    keeps_code: bool,
    cancellation: OnceLock<Cancellation>,
    cancelled: Notify,
    delivered: AtomicBool,
    ended: AtomicBool,
    buffered_bytes: AtomicU64,
    streamed: Mutex<Streamed>,
    streamed_changed: Condvar,
    /// Time that went into rows and into questions, nanoseconds.
    deserialise_ns: AtomicU64,
    callbacks_ns: AtomicU64,
}

/// Parts of a streamed response.
#[derive(Debug, Default)]
struct Streamed {
    sent: u64,
    read: u64,
}

impl Invocation {
    /// A call that has not begun.
    #[must_use]
    pub fn new(id: u64) -> Self {
        Self {
            id,
            keeps_code: false,
            cancellation: OnceLock::new(),
            cancelled: Notify::new(),
            delivered: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            buffered_bytes: AtomicU64::new(0),
            streamed: Mutex::default(),
            streamed_changed: Condvar::new(),
            deserialise_ns: AtomicU64::new(0),
            callbacks_ns: AtomicU64::new(0),
        }
    }

    /// The same, with the code that was loaded before.
    #[must_use]
    pub fn keeping_code(mut self, keeps_code: bool) -> Self {
        self.keeps_code = keeps_code;
        self
    }

    /// Whether it is made with the code that was loaded before.
    #[must_use]
    pub fn keeps_code(&self) -> bool {
        self.keeps_code
    }

    /// The id that the runner gave it.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Stops the call. The first reason stays.
    pub fn cancel(&self, cancellation: Cancellation) {
        if self.cancellation.set(cancellation).is_ok() {
            self.cancelled.notify_waiters();
            self.streamed_changed.notify_all();
        }
    }

    /// Why it was stopped, if it was.
    #[must_use]
    pub fn cancellation(&self) -> Option<&Cancellation> {
        self.cancellation.get()
    }

    /// Resolves when the call is stopped.
    pub async fn until_cancelled(&self) {
        let mut notified = pin!(self.cancelled.notified());
        // Registered before the look at the state, so that a cancel in between is not missed.
        notified.as_mut().enable();
        if self.cancellation.get().is_none() {
            notified.await;
        }
    }

    /// Whether the plugin has been told of the cancellation; the first caller gets `false`.
    pub fn deliver_cancellation(&self) -> bool {
        self.delivered.swap(true, Ordering::AcqRel)
    }

    /// Whether a signal is still needed for the plugin to learn of its cancellation.
    #[must_use]
    pub fn awaits_signal(&self) -> bool {
        self.cancellation.get().is_some() && !self.delivered.load(Ordering::Acquire)
    }

    /// Counts bytes of buffered writes against `max`; the error is the total asked for.
    ///
    /// # Errors
    /// The total that would have been buffered, when it is above `max`.
    pub fn reserve_write(&self, bytes: u64, max: u64) -> Result<(), u64> {
        // What a thread writes after the end belongs to no commit, so it does not add up.
        if self.ended.load(Ordering::Acquire) {
            return if bytes <= max { Ok(()) } else { Err(bytes) };
        }
        let total = self.buffered_bytes.fetch_add(bytes, Ordering::AcqRel).saturating_add(bytes);
        if total <= max {
            return Ok(());
        }
        self.buffered_bytes.fetch_sub(bytes, Ordering::AcqRel);
        Err(total)
    }

    /// The client has read so many parts of the streamed response in all.
    pub fn response_read(&self, parts: u64) {
        self.streamed.lock().read = parts;
        self.streamed_changed.notify_all();
    }

    /// Takes a place for one more part of a streamed response, of which `unread_max` may be unread; waits for it at most
    /// `timeout` and tells whether it got it.
    #[must_use]
    pub fn reserve_part(&self, unread_max: u64, timeout: Duration) -> bool {
        let mut streamed = self.streamed.lock();
        let is_full = |streamed: &mut Streamed| streamed.sent.saturating_sub(streamed.read) >= unread_max;
        if is_full(&mut streamed) && self.cancellation.get().is_none() {
            self.streamed_changed.wait_for(&mut streamed, timeout);
        }
        if is_full(&mut streamed) {
            return false;
        }
        streamed.sent += 1;
        true
    }

    /// Counts time that went into rows.
    pub fn add_deserialise(&self, time: Duration) {
        self.deserialise_ns.fetch_add(nanos(time), Ordering::Relaxed);
    }

    /// Counts the time until the result is dropped as time that went into a question.
    #[must_use]
    pub fn time_callback(&self) -> CallbackTimer<'_> {
        CallbackTimer { invocation: self, begun: Instant::now() }
    }

    /// Time that went into rows and into questions.
    #[must_use]
    pub fn times(&self) -> (Duration, Duration) {
        let read = |ns: &AtomicU64| Duration::from_nanos(ns.load(Ordering::Relaxed));
        (read(&self.deserialise_ns), read(&self.callbacks_ns))
    }

    /// Whether the call returned.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// The call returned.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }
}

/// A question that is under way.
#[derive(Debug)]
pub struct CallbackTimer<'a> {
    invocation: &'a Invocation,
    begun: Instant,
}

impl Drop for CallbackTimer<'_> {
    fn drop(&mut self) {
        self.invocation.callbacks_ns.fetch_add(nanos(self.begun.elapsed()), Ordering::Relaxed);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
