//! How much a worker's session weighs.
//!
//! Where the scheduler shares the processors between sessions first (`sched_autogroup_enabled`), niceness counts only within one,
//! and a session has a niceness of its own. The kernel lets those without `CAP_SYS_ADMIN` set one every 100 ms, all of them
//! together, so the holder tries until it is its turn. Best effort: without it the worker is a worse neighbour, not an unsafe one.

use std::fs;
use std::io;

use nix::unistd::{Pid, getsid};

use crate::limits::SESSION_WEIGHT_TRIES;
use crate::raw;

/// A weight that a session has not got yet.
pub(crate) struct SessionWeight {
    nice: i32,
    tries: u32,
}

impl SessionWeight {
    /// For workers of this niceness, or of the caller's if that is more.
    pub(crate) fn new(nice: i32) -> Self {
        Self { nice: nice.max(raw::niceness()), tries: SESSION_WEIGHT_TRIES }
    }

    /// Gives it to the session of a process, unless that is the caller's own; what comes back has to be tried again.
    pub(crate) fn give(mut self, process: Pid) -> Option<Self> {
        // Process 1 is in the runner's session, and stands where a worker was that has ended.
        if getsid(Some(process)).is_ok_and(|session| Ok(session) == getsid(None)) {
            return None;
        }
        let given = fs::write(format!("/proc/{process}/autogroup"), self.nice.to_string());
        self.tries = self.tries.saturating_sub(1);
        given.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock && self.tries > 0).then_some(self)
    }
}
