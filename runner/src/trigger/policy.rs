//! What follows a failure: functions of (policy, attempt, cause, chance).

use std::time::Duration;

use super::definition::ErrorBehavior;

/// Growing waits between attempts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// Wait before the second attempt.
    pub initial: Duration,
    /// Factor from one wait to the next.
    pub factor: f64,
    /// Longest wait.
    pub cap: Duration,
    /// Share of a wait that chance may take away, so that many triggers do not try again in step.
    pub jitter: f64,
}

impl Backoff {
    /// Waits between attempts of an event.
    pub const RETRY: Self =
        Self { initial: Duration::from_millis(100), factor: 2.0, cap: Duration::from_secs(30), jitter: 0.5 };
    /// Waits between starts of a worker that keeps dying.
    pub const RESTART: Self = Self::RETRY;

    /// The wait after `failures` failures in a row (1 or more). `chance` is a random number from 0 to 1.
    #[must_use]
    pub fn after(&self, failures: u32, chance: f64) -> Duration {
        let growth = self.factor.powf(f64::from(failures.saturating_sub(1)));
        // Beyond the cap the product may be no duration any more.
        let full = Duration::try_from_secs_f64(self.initial.as_secs_f64() * growth).unwrap_or(self.cap).min(self.cap);
        full.mul_f64(1.0 - self.jitter * chance.clamp(0.0, 1.0))
    }
}

/// How often an event is tried.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// What to do when the attempts are spent, and whether there is more than one.
    pub behavior: ErrorBehavior,
    /// Attempts in all when the behavior is retry.
    pub attempts_max: u32,
    /// Waits in between.
    pub backoff: Backoff,
    /// Causes after which no further attempt is made.
    pub no_retry_on: Vec<String>,
}

/// Why an invocation failed, as far as it decides what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause<'a> {
    /// The word of the kind.
    pub kind: &'a str,
    /// The class of the exception, when it was one.
    pub exception: Option<&'a str>,
}

/// What to do with an event whose invocation failed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AfterFailure {
    /// Give the event up and go on with the next one.
    GiveUp,
    /// Try the same event again after this long.
    RetryAfter(Duration),
    /// Give the event up and stop the trigger.
    Disable,
}

/// What to do after the `attempt`th attempt (from 1) of an event failed.
#[must_use]
pub fn after_failure(policy: &RetryPolicy, attempt: u32, cause: Cause<'_>, chance: f64) -> AfterFailure {
    let is_final =
        policy.no_retry_on.iter().any(|named| named == cause.kind || Some(named.as_str()) == cause.exception);
    match policy.behavior {
        ErrorBehavior::Log => AfterFailure::GiveUp,
        ErrorBehavior::Disable => AfterFailure::Disable,
        ErrorBehavior::Retry if attempt >= policy.attempts_max || is_final => AfterFailure::GiveUp,
        ErrorBehavior::Retry => AfterFailure::RetryAfter(policy.backoff.after(attempt, chance)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAISED: Cause<'static> = Cause { kind: "exception", exception: Some("KeyError") };

    fn policy(behavior: ErrorBehavior) -> RetryPolicy {
        RetryPolicy { behavior, attempts_max: 3, backoff: Backoff::RETRY, no_retry_on: Vec::new() }
    }

    #[test]
    fn waits_double_up_to_the_cap_and_jitter_takes_half_at_most() {
        let backoff = Backoff { cap: Duration::from_secs(1), ..Backoff::RETRY };
        let waits: Vec<u128> = (1..=6).map(|failures| backoff.after(failures, 0.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.after(2, 1.0), Duration::from_millis(100));
        assert_eq!(backoff.after(u32::MAX, 0.0), Duration::from_secs(1));
    }

    #[test]
    fn attempts_are_bounded() {
        assert_eq!(after_failure(&policy(ErrorBehavior::Log), 1, RAISED, 0.0), AfterFailure::GiveUp);
        assert_eq!(after_failure(&policy(ErrorBehavior::Disable), 1, RAISED, 0.0), AfterFailure::Disable);
        let retry = policy(ErrorBehavior::Retry);
        assert_eq!(after_failure(&retry, 1, RAISED, 0.0), AfterFailure::RetryAfter(Duration::from_millis(100)));
        assert_eq!(after_failure(&retry, 2, RAISED, 0.0), AfterFailure::RetryAfter(Duration::from_millis(200)));
        assert_eq!(after_failure(&retry, 3, RAISED, 0.0), AfterFailure::GiveUp);
    }

    #[test]
    fn some_causes_are_final() {
        let named = |cause: &str| RetryPolicy { no_retry_on: vec![cause.to_owned()], ..policy(ErrorBehavior::Retry) };
        assert_eq!(after_failure(&named("KeyError"), 1, RAISED, 0.0), AfterFailure::GiveUp);
        assert_eq!(after_failure(&named("exception"), 1, RAISED, 0.0), AfterFailure::GiveUp);
        assert!(matches!(after_failure(&named("ValueError"), 1, RAISED, 0.0), AfterFailure::RetryAfter(_)));
    }

    /// Whatever the settings, waits lie between the share that jitter leaves and the cap, and without jitter they never shrink.
    #[test]
    fn waits_keep_their_bounds() {
        let mut chance = fastrand::Rng::with_seed(7);
        for _ in 0..5_000 {
            let initial = Duration::from_millis(chance.u64(1..100_000));
            let backoff = Backoff {
                initial,
                factor: 1.0 + chance.f64() * 999.0,
                cap: initial + Duration::from_millis(chance.u64(0..10_000_000)),
                jitter: chance.f64(),
            };
            let mut before = Duration::ZERO;
            for failures in (1..40).chain([u32::MAX]) {
                let full = backoff.after(failures, 0.0);
                assert!(
                    full >= before && full <= backoff.cap && full >= initial.min(backoff.cap),
                    "{backoff:?} {failures}"
                );
                let least = full.mul_f64(1.0 - backoff.jitter);
                assert!(backoff.after(failures, chance.f64()) >= least.saturating_sub(Duration::from_nanos(1)));
                before = full;
            }
        }
    }
}
