//! Ends workers that hold more memory than they may.
//!
//! One thread looks at every live worker; the closer it is to its limit, the sooner comes the next look. The private memory
//! of the worker's own process is held by the kernel, so that a plugin gets a `MemoryError` where it asks for too much: its
//! limit follows what libraries have reserved and do not touch, which costs nothing. What the kernel's limit does not count
//! (shared memory, temporary files, page tables, several processes together) ends the worker here.

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bulkhead_launcher::{MemoryGauge, Order, ProcessKiller, encode_order};
use parking_lot::{Condvar, Mutex};

use crate::limits;

/// How fast a process can fill memory on machines of today, bytes a second; as measured, with all of its time spent on
/// page faults.
const FILL_BYTES_PER_SECOND: u64 = 4 << 30;
/// Pause before a worker near its limit is looked at again.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// Longest pause: a worker may fork, which makes it faster than one process is.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Memory that a worker held when it was ended for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excess {
    /// What it held, bytes.
    pub bytes: u64,
    /// What it may hold, bytes.
    pub limit: u64,
    /// Processes that held it.
    pub processes: usize,
}

/// The watching thread. Dropping it ends it.
#[derive(Debug)]
pub struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    watched: Vec<Arc<Watched>>,
    stopping: bool,
}

/// A worker under watch. It is looked at for as long as this lives.
#[derive(Debug)]
pub(super) struct Watch {
    shared: Arc<Shared>,
    watched: Arc<Watched>,
}

#[derive(Debug)]
struct Watched {
    gauge: MemoryGauge,
    limit: u64,
    /// Private memory that the kernel allows its process, bytes.
    held_to: AtomicU64,
    /// How to end it.
    kill: Kill,
    next_look: Mutex<Instant>,
    excess: OnceLock<Excess>,
}

/// How a worker is ended.
#[derive(Debug)]
pub(super) enum Kill {
    /// By an order to its holder.
    Order(UnixStream),
    /// By a signal.
    Process(ProcessKiller),
}

impl Kill {
    fn now(&self) {
        match self {
            Self::Order(control) => {
                let Ok(order) = encode_order(Order::Kill) else { return };
                // A holder that takes no orders is dealt with by whoever waits for its report.
                drop(std::io::Write::write(&mut &*control, &order));
            }
            Self::Process(process) => process.kill(),
        }
    }
}

impl Watchdog {
    /// Starts the thread, which sleeps until there is somebody to watch.
    ///
    /// # Errors
    /// The process may have no further thread.
    pub fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let watching = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("bulkhead-watchdog".to_owned()).spawn(move || watching.watch())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Watches a worker that may hold `limit` bytes.
    pub(super) fn watch(&self, gauge: MemoryGauge, limit: u64, kill: Kill) -> Watch {
        let watched = Arc::new(Watched {
            gauge,
            limit,
            held_to: AtomicU64::new(0),
            kill,
            next_look: Mutex::new(Instant::now()),
            excess: OnceLock::new(),
        });
        self.shared.state.lock().watched.push(Arc::clone(&watched));
        self.shared.changed.notify_one();
        Watch { shared: Arc::clone(&self.shared), watched }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.state.lock().stopping = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // It has no cause to panic, and a panic of it is no reason for another.
            let _ = thread.join();
        }
    }
}

impl Watch {
    /// What the worker was ended for.
    pub(super) fn excess(&self) -> Option<Excess> {
        self.watched.excess.get().copied()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.state.lock().watched.retain(|other| !Arc::ptr_eq(other, &self.watched));
    }
}

impl Shared {
    fn watch(&self) {
        let mut state = self.state.lock();
        while !state.stopping {
            let now = Instant::now();
            // Those that are nearly due are looked at along with those that are.
            let soon = now + PAUSE_MIN / 2;
            let due: Vec<Arc<Watched>> =
                state.watched.iter().filter(|watched| *watched.next_look.lock() <= soon).cloned().collect();
            if due.is_empty() {
                let next = state.watched.iter().map(|watched| *watched.next_look.lock()).min();
                match next {
                    Some(next) => drop(self.changed.wait_until(&mut state, next)),
                    None => self.changed.wait(&mut state),
                }
                continue;
            }
            drop(state);
            for watched in due {
                let pause = watched.look();
                *watched.next_look.lock() = Instant::now() + pause;
            }
            state = self.state.lock();
        }
    }
}

impl Watched {
    /// Looks, acts, and says how long it may be left alone.
    fn look(&self) -> Duration {
        if self.excess.get().is_some() {
            return PAUSE_MAX;
        }
        // Gone, or about to be: its owner ends the watch.
        let Some(glance) = self.gauge.quick() else { return PAUSE_MAX };
        self.hold(glance.untouched_bytes);
        let most = kill_beyond(self.limit);
        if glance.bytes_max < self.limit {
            return pause(most - glance.bytes_max);
        }
        let Some(held) = self.gauge.exact(most) else { return PAUSE_MAX };
        if held.bytes > most {
            let excess = Excess { bytes: held.bytes, limit: self.limit, processes: held.processes };
            // Whoever asks for the cause afterwards finds it.
            let _ = self.excess.set(excess);
            self.kill.now();
            return PAUSE_MAX;
        }
        pause((most - held.bytes) / u64::try_from(held.processes).unwrap_or(u64::MAX).max(1))
    }

    /// Has the kernel hold the worker's process to its limit, `untouched` and a little more aside.
    fn hold(&self, untouched: u64) {
        let private = self.limit.saturating_add(untouched).saturating_add(limits::WORKER_MEMORY_RESERVE_BYTES);
        if private.abs_diff(self.held_to.load(Ordering::Relaxed)) > limits::WORKER_MEMORY_RESERVE_BYTES / 8 {
            self.held_to.store(private, Ordering::Relaxed);
            self.gauge.limit_private(private);
        }
    }
}

/// Memory beyond which a worker is ended, bytes: far enough from the limit that its own process meets the kernel's first.
pub(super) fn kill_beyond(limit: u64) -> u64 {
    limit.saturating_add((limit / 8).max(limits::WORKER_MEMORY_TOLERANCE_BYTES))
}

/// Time that it takes to fill `bytes`.
fn pause(bytes: u64) -> Duration {
    Duration::from_micros(bytes.saturating_mul(1_000_000) / FILL_BYTES_PER_SECOND).clamp(PAUSE_MIN, PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_the_limit_the_sooner_the_next_look() {
        assert_eq!(pause(0), PAUSE_MIN);
        assert_eq!(pause(200 << 20), Duration::from_micros(48_828));
        assert_eq!(pause(u64::MAX), PAUSE_MAX);
        assert_eq!(kill_beyond(512 << 20), 576 << 20);
        assert_eq!(kill_beyond(32 << 20), 96 << 20);
    }

    #[test]
    fn with_nobody_to_watch_the_end_comes_at_once() {
        drop(Watchdog::start().unwrap());
    }
}
