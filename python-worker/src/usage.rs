//! What a call takes: two looks at the process's counters, and the times that its invocation gathered.

use std::time::{Duration, Instant};

use bulkhead_proto::worker::v1::Usage;
use nix::sys::resource::{Usage as Counters, UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

use crate::invocation::Invocation;

/// The state of clock and counters at the beginning of a call.
pub(crate) struct Begun {
    at: Instant,
    cpu_us: u64,
}

impl Begun {
    /// Looks at them.
    pub(crate) fn now() -> Self {
        Self { at: Instant::now(), cpu_us: counters().map_or(0, |counters| cpu_us(&counters)) }
    }

    /// Time since then.
    pub(crate) fn elapsed(&self) -> Duration {
        self.at.elapsed()
    }

    /// What the call took, of which `elapsed` is known.
    pub(crate) fn usage(&self, invocation: &Invocation, elapsed: Duration) -> Usage {
        let (deserialise, callbacks) = invocation.times();
        // Threads ask at the same time, so their waits may add up to more than there was.
        let plugin = elapsed.saturating_sub(deserialise).saturating_sub(callbacks);
        let counters = counters();
        Usage {
            deserialise_us: micros(deserialise),
            plugin_us: micros(plugin),
            callbacks_us: micros(callbacks),
            cpu_us: counters.as_ref().map_or(0, |counters| cpu_us(counters).saturating_sub(self.cpu_us)),
            // Linux counts in KiB.
            max_rss_bytes: counters.map_or(0, |counters| u64::try_from(counters.max_rss()).unwrap_or(0) * 1024),
        }
    }
}

/// It cannot fail for the own process; a call goes on without it all the same.
fn counters() -> Option<Counters> {
    getrusage(UsageWho::RUSAGE_SELF).ok()
}

fn cpu_us(counters: &Counters) -> u64 {
    let total = counters.user_time().num_microseconds() + counters.system_time().num_microseconds();
    u64::try_from(total).unwrap_or(0)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
