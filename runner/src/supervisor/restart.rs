//! When a trigger's next worker may start: a function of (ends so far, now).
//!
//! After faults in a row starts wait longer and longer. From [`limits::BREAKER_FAULTS`] on it is a breaker: it is open until the wait
//! is over, then half open, which lets one call through as a probe; a success closes it, a fault opens it for longer.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::end::WorkerEnd;
use crate::limits;
use crate::trigger::Backoff;

/// Faults in a row after which starts are delayed. The first restart is immediate: most crashes are the event's.
const FREE_RESTARTS: u32 = 1;

/// Memory of a trigger's faults.
#[derive(Debug, Default)]
pub(super) struct Restart {
    faults: u32,
    last: Option<LastFault>,
    /// Whether a probe is under way.
    is_probing: bool,
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
    /// How long; nothing is known of a probe's length.
    pub(super) wait: Option<Duration>,
    pub(super) end: WorkerEnd,
    pub(super) stderr_tail: String,
}

/// Whether a call may go on to a worker.
#[derive(Debug, Clone)]
pub(super) enum Admission {
    /// It may.
    Go,
    /// It may, and what becomes of it decides for the others; [`Restart::probed`] has to be called when it is over.
    Probe,
    /// Not yet.
    Wait(Delay),
}

/// What a crash loop has led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerState {
    /// Faults in a row.
    pub faults: u32,
    /// Time until the next probe; nothing while one is under way or due.
    pub opens_in: Option<Duration>,
    /// Whether a probe is under way.
    pub is_probing: bool,
    /// The last fault.
    pub reason: String,
}

impl Restart {
    /// A call ended and its worker lives.
    pub(super) fn succeeded(&mut self) {
        // The probe that this may have been is over when its call says so.
        *self = Self { is_probing: self.is_probing, ..Self::default() };
    }

    /// Its environment can be had.
    pub(super) fn environment_is_there(&mut self) {
        if self.last.as_ref().is_some_and(|last| matches!(last.end, WorkerEnd::Environment(_))) {
            self.succeeded();
        }
    }

    /// The probe is over, whatever came of it.
    pub(super) fn probed(&mut self) {
        self.is_probing = false;
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

    /// Whether a call may go on at `now`. A plugin whose files have changed since is worth a try at once; they are looked at only
    /// when there was a fault.
    pub(super) fn admit(&mut self, code_changed_at: impl FnOnce() -> Option<SystemTime>, now: Instant) -> Admission {
        let Some(last) = &self.last else { return Admission::Go };
        let wait = |wait| Admission::Wait(Delay { wait, end: last.end.clone(), stderr_tail: last.stderr_tail.clone() });
        let is_changed = || code_changed_at() != last.code_changed_at;
        let remaining = last.not_before.checked_duration_since(now).filter(|wait| !wait.is_zero());
        if self.faults < limits::BREAKER_FAULTS {
            return match remaining {
                Some(remaining) if !is_changed() => wait(Some(remaining)),
                _ => Admission::Go,
            };
        }
        if self.is_probing {
            return wait(None);
        }
        if let Some(remaining) = remaining
            && !is_changed()
        {
            return wait(Some(remaining));
        }
        self.is_probing = true;
        Admission::Probe
    }

    /// What a crash loop has led to, when there is one.
    pub(super) fn breaker(
        &self,
        code_changed_at: impl FnOnce() -> Option<SystemTime>,
        now: Instant,
    ) -> Option<BreakerState> {
        let last = self.last.as_ref().filter(|_| self.faults >= limits::BREAKER_FAULTS)?;
        let remaining = last.not_before.checked_duration_since(now).filter(|wait| !wait.is_zero());
        let opens_in = remaining.filter(|_| !self.is_probing && code_changed_at() == last.code_changed_at);
        let (faults, is_probing, reason) = (self.faults, self.is_probing, last.end.to_string());
        Some(BreakerState { faults, opens_in, is_probing, reason })
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

    fn wait(admission: &Admission) -> Option<Duration> {
        match admission {
            Admission::Wait(delay) => delay.wait,
            Admission::Go | Admission::Probe => None,
        }
    }

    #[test]
    fn the_first_crash_restarts_at_once_and_a_loop_waits_longer_and_longer() {
        let now = Instant::now();
        let mut restart = Restart::default();
        restart.ended(&crash(), "", None, now, 0.0);
        assert!(matches!(restart.admit(|| None, now), Admission::Go));
        let waits: Vec<u128> = (0..4)
            .map(|_| {
                restart.ended(&crash(), "", None, now, 0.0);
                wait(&restart.admit(|| None, now)).unwrap().as_millis()
            })
            .collect();
        assert_eq!(waits, [100, 200, 400, 800]);
        assert!(wait(&restart.admit(|| None, now + Duration::from_secs(1))).is_none(), "the wait passes");
        restart.succeeded();
        assert!(restart.state().is_none());
    }

    #[test]
    fn changed_code_is_tried_at_once() {
        let now = Instant::now();
        let mut restart = Restart::default();
        let old = SystemTime::UNIX_EPOCH;
        restart.ended(&WorkerEnd::Load("SyntaxError".into()), "", Some(old), now, 0.0);
        let Admission::Wait(delay) = restart.admit(|| Some(old), now) else { panic!() };
        assert_eq!(delay.end, WorkerEnd::Load("SyntaxError".into()));
        assert!(matches!(restart.admit(|| Some(old + Duration::from_secs(1)), now), Admission::Go));
    }

    #[test]
    fn an_orderly_end_is_no_fault() {
        let mut restart = Restart::default();
        restart.ended(&WorkerEnd::Stopped, "", None, Instant::now(), 0.0);
        assert!(restart.state().is_none());
    }

    #[test]
    fn a_breaker_lets_one_probe_through_whose_success_closes_it() {
        let (now, mut restart) = (Instant::now(), Restart::default());
        for _ in 0..limits::BREAKER_FAULTS {
            assert_eq!(restart.breaker(|| None, now), None);
            restart.ended(&crash(), "", None, now, 0.0);
        }
        let open = restart.breaker(|| None, now).unwrap();
        assert_eq!((open.faults, open.opens_in), (limits::BREAKER_FAULTS, Some(Duration::from_millis(800))));
        assert!(wait(&restart.admit(|| None, now)).is_some());
        let later = now + Duration::from_secs(1);
        assert!(matches!(restart.admit(|| None, later), Admission::Probe));
        let Admission::Wait(others) = restart.admit(|| None, later) else { panic!("one probe at a time") };
        assert_eq!((others.wait, restart.breaker(|| None, later).unwrap().opens_in), (None, None));
        restart.ended(&crash(), "", None, later, 0.0);
        restart.probed();
        assert_eq!(restart.breaker(|| None, later).unwrap().opens_in, Some(Duration::from_millis(1600)));
        let probe = restart.admit(|| None, later + Duration::from_secs(2));
        assert!(matches!(probe, Admission::Probe));
        restart.succeeded();
        restart.probed();
        assert!(restart.breaker(|| None, later).is_none());
        assert!(matches!(restart.admit(|| None, later), Admission::Go));
    }

    /// Against what has to hold whatever calls, ends and times come: nothing goes on before its time, an open breaker has one probe
    /// at most, and after a success nothing waits.
    #[test]
    fn a_breaker_keeps_its_promises() {
        let mut chance = fastrand::Rng::with_seed(5);
        for _ in 0..500 {
            let (mut now, mut restart) = (Instant::now(), Restart::default());
            let (mut not_before, mut faults, mut probes, mut running) = (now, 0_u32, 0, 0_u32);
            for _ in 0..200 {
                match chance.u8(0..5) {
                    0 => now += Duration::from_millis(chance.u64(0..3_000)),
                    1 | 2 => match restart.admit(|| None, now) {
                        Admission::Go => {
                            assert!(faults < limits::BREAKER_FAULTS && (faults < 2 || now >= not_before));
                            running += 1;
                        }
                        Admission::Probe => {
                            assert!(faults >= limits::BREAKER_FAULTS && now >= not_before && probes == 0);
                            probes = 1;
                        }
                        Admission::Wait(delay) => {
                            assert!(faults > 0);
                            match delay.wait {
                                Some(wait) => assert_eq!(now + wait, not_before),
                                None => assert_eq!(probes, 1),
                            }
                        }
                    },
                    end if running > 0 || probes > 0 => {
                        let is_probe = running == 0;
                        if end == 3 {
                            restart.succeeded();
                            (faults, not_before) = (0, now);
                        } else {
                            restart.ended(&crash(), "", None, now, 0.0);
                            faults += 1;
                            let wait =
                                if faults < 2 { Duration::ZERO } else { Backoff::RESTART.after(faults - 1, 0.0) };
                            not_before = now + wait;
                        }
                        if is_probe {
                            restart.probed();
                            probes = 0;
                        } else {
                            running -= 1;
                        }
                    }
                    _ => {}
                }
                assert_eq!(restart.breaker(|| None, now).is_some(), faults >= limits::BREAKER_FAULTS);
            }
        }
    }
}
