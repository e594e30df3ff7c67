//! Who drives the session. While the main thread has nothing to do it drives the session itself, so that an order wakes
//! one thread and not two. While it is away, inside the plugin, a helper thread takes over: at once when something is
//! waited for, else when a call has lasted for a moment. So a short call costs no hand-over, and in a long one pings,
//! cancellations, log lines and flow control work; neither thread needs the GIL for it.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{Thread, park, park_timeout};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::limits::{HELPER_LOOK, HELPER_LOOKS_MAX};

/// Signals that report a fault of the thread that gets them; blocking one kills without a report.
const FAULTS: [Signal; 6] =
    [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGABRT, Signal::SIGSYS];

/// The runtime of the session and the two threads that may drive it. It lives until the process ends.
#[derive(Debug)]
pub(crate) struct Driver {
    runtime: Runtime,
    /// Counts how often the main thread came and left: odd while it is away.
    turns: AtomicU64,
    /// Whether something is waited for that only a driven session can bring.
    needed: AtomicBool,
    /// Whether the helper drives, and has to be told when the main thread is back.
    helping: AtomicBool,
    /// Whether the helper sleeps until it is woken.
    asleep: AtomicBool,
    back: Notify,
    helper: OnceLock<Thread>,
}

impl Driver {
    /// A runtime and its helper. The main thread counts as away.
    ///
    /// # Errors
    /// When the process has no descriptor or thread left.
    pub(crate) fn start() -> io::Result<Arc<Self>> {
        let driver = Arc::new(Self {
            runtime: Builder::new_current_thread().enable_io().enable_time().build()?,
            turns: AtomicU64::new(1),
            needed: AtomicBool::new(false),
            helping: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            back: Notify::new(),
            helper: OnceLock::new(),
        });
        let helped = Arc::clone(&driver);
        let helper = std::thread::Builder::new().name("bulkhead-session".to_owned()).spawn(move || helped.help())?;
        // This is the only place that sets it.
        let _ = driver.helper.set(helper.thread().clone());
        Ok(driver)
    }

    /// Starts what is to run while somebody drives.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.runtime.spawn(task)
    }

    /// Drives until `future` is done. For the main thread, which must not hold the GIL.
    pub(crate) fn drive<T>(&self, future: impl Future<Output = T>) -> T {
        self.turns.fetch_add(1, Ordering::SeqCst);
        if self.helping.load(Ordering::SeqCst) {
            self.back.notify_one();
        }
        let output = self.runtime.block_on(future);
        self.turns.fetch_add(1, Ordering::SeqCst);
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.wake_helper();
        }
        output
    }

    /// Says that something should reach the runner now, or that a thread is about to wait for what the session brings.
    pub(crate) fn need(&self) {
        if !self.helping.load(Ordering::SeqCst) {
            self.needed.store(true, Ordering::SeqCst);
            self.wake_helper();
        }
    }

    fn wake_helper(&self) {
        if let Some(helper) = self.helper.get() {
            helper.unpark();
        }
    }

    fn help(&self) {
        leave_signals_to_python();
        let (mut seen, mut looks) = (0, 0);
        loop {
            let turn = self.turns.load(Ordering::SeqCst);
            let is_away = turn % 2 == 1;
            let needed = self.needed.swap(false, Ordering::SeqCst);
            if is_away && (needed || turn == seen) {
                self.helping.store(true, Ordering::SeqCst);
                self.runtime.block_on(self.until_turn_after(turn));
                self.helping.store(false, Ordering::SeqCst);
            }
            looks = if turn == seen { looks + 1 } else { 0 };
            seen = turn;
            if looks < HELPER_LOOKS_MAX {
                park_timeout(HELPER_LOOK);
                continue;
            }
            self.asleep.store(true, Ordering::SeqCst);
            // Looked at after the store: the main thread left before it and is seen here, or after it and wakes.
            if self.turns.load(Ordering::SeqCst) == turn {
                park();
            }
            self.asleep.store(false, Ordering::SeqCst);
            looks = 0;
        }
    }

    /// Resolves when the main thread has come back after the turn `turn`.
    async fn until_turn_after(&self, turn: u64) {
        loop {
            let mut back = pin!(self.back.notified());
            back.as_mut().enable();
            if self.turns.load(Ordering::SeqCst) != turn {
                return;
            }
            back.await;
        }
    }
}

/// A signal to the process has to reach the main thread, where Python's handlers run.
fn leave_signals_to_python() {
    let mut blocked = SigSet::all();
    for fault in FAULTS {
        blocked.remove(fault);
    }
    // It cannot fail: the set is valid and the thread is this one.
    let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&blocked), None);
}
