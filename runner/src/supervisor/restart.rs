//! When a trigger's next worker may start: a function of (ends so far, now).

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::end::WorkerEnd;
use crate::trigger::Backoff;

/// Faults in a row after which starts are delayed. The first restart is immediate: most crashes are the event's.
const FREE_RESTARTS: u32 = 1;

/// Memory of a trigger's faults.
#[derive(Debug, Default)]
pub(super) struct Restart {
    faults: u32,
    last: Option<LastFault>,
}

#[derive(Debug)]
struct LastFault {
    end: WorkerEnd,
    stderr_tail: String,
    not_before: Instant,
    code_changed_at: Option<SystemTime>,
}

/// The fault that delays a start.
#[derive(Debug, Clone)]
pub(super) struct Delay {
    pub(super) wait: Duration,
    pub(super) end: WorkerEnd,
    pub(super) stderr_tail: String,
}

impl Restart {
    /// A call ended well.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// A worker ended. `code_changed_at` is the time of the last change of the plugin's files.
    pub(super) fn ended(
        &mut self,
        end: &WorkerEnd,
        stderr_tail: &str,
        code_changed_at: Option<SystemTime>,
        now: Instant,
        chance: f64,
    ) {
        if !end.is_fault() {
            return;
        }
        self.faults = self.faults.saturating_add(1);
        // Code or an environment that cannot be used stays so until a person changes it, so even the first failure waits.
        let free = if matches!(end, WorkerEnd::Exited(_) | WorkerEnd::Deadline(_) | WorkerEnd::Memory(_)) {
            FREE_RESTARTS
        } else {
            0
        };
        let wait = match self.faults.checked_sub(free) {
            None | Some(0) => Duration::ZERO,
            Some(faults) => Backoff::RESTART.after(faults, chance),
        };
        let stderr_tail = stderr_tail.to_owned();
        self.last = Some(LastFault { end: end.clone(), stderr_tail, not_before: now + wait, code_changed_at });
    }

    /// What delays a start at `now`. A plugin whose files have changed since is worth a try at once; they are looked at
    /// only when there was a fault.
    pub(super) fn delay(&self, code_changed_at: impl FnOnce() -> Option<SystemTime>, now: Instant) -> Option<Delay> {
        let last = self.last.as_ref()?;
        if code_changed_at() != last.code_changed_at {
            return None;
        }
        let wait = last.not_before.checked_duration_since(now).filter(|wait| !wait.is_zero())?;
        Some(Delay { wait, end: last.end.clone(), stderr_tail: last.stderr_tail.clone() })
    }

    /// Faults in a row and the last of them, for people.
    pub(super) fn state(&self) -> Option<(u32, String)> {
        self.last.as_ref().map(|last| (self.faults, last.end.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_launcher::Exit;

    fn crash() -> WorkerEnd {
        WorkerEnd::Exited(Exit::Code(1))
    }

    #[test]
    fn the_first_crash_restarts_at_once_and_a_loop_waits_longer_and_longer() {
        let now = Instant::now();
        let mut restart = Restart::default();
        restart.ended(&crash(), "", None, now, 0.0);
        assert!(restart.delay(|| None, now).is_none());
        let waits: Vec<u128> = (0..4)
            .map(|_| {
                restart.ended(&crash(), "", None, now, 0.0);
                restart.delay(|| None, now).unwrap().wait.as_millis()
            })
            .collect();
        assert_eq!(waits, [100, 200, 400, 800]);
        assert!(restart.delay(|| None, now + Duration::from_secs(1)).is_none(), "the wait passes");
        restart.succeeded();
        assert!(restart.state().is_none());
    }

    #[test]
    fn changed_code_is_tried_at_once() {
        let now = Instant::now();
        let mut restart = Restart::default();
        let old = SystemTime::UNIX_EPOCH;
        restart.ended(&WorkerEnd::Load("SyntaxError".into()), "", Some(old), now, 0.0);
        assert_eq!(restart.delay(|| Some(old), now).unwrap().end, WorkerEnd::Load("SyntaxError".into()));
        assert!(restart.delay(|| Some(old + Duration::from_secs(1)), now).is_none());
    }

    #[test]
    fn an_orderly_end_is_no_fault() {
        let mut restart = Restart::default();
        restart.ended(&WorkerEnd::Stopped, "", None, Instant::now(), 0.0);
        assert!(restart.state().is_none());
    }
}
