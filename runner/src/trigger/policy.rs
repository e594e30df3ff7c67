//! What follows a failure: functions of (policy, attempt, chance).

use std::time::Duration;

use super::definition::ErrorBehavior;

/// Growing waits between attempts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// Wait before the second attempt.
    pub initial: Duration,
    /// Longest wait.
    pub cap: Duration,
}

/// Factor from one wait to the next.
const FACTOR: u32 = 2;
/// Share of a wait that chance may take away, so that many triggers do not try again in step.
const JITTER: f64 = 0.5;

impl Backoff {
    /// Waits between attempts of an event.
    pub const RETRY: Self = Self { initial: Duration::from_millis(100), cap: Duration::from_secs(30) };
    /// Waits between starts of a worker that keeps dying.
    pub const RESTART: Self = Self { initial: Duration::from_millis(100), cap: Duration::from_secs(30) };

    /// The wait after `failures` failures in a row (1 or more). `chance` is a random number from 0 to 1.
    #[must_use]
    pub fn after(&self, failures: u32, chance: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        let full = self.initial.saturating_mul(FACTOR.saturating_pow(doublings)).min(self.cap);
        full.mul_f64(1.0 - JITTER * chance.clamp(0.0, 1.0))
    }
}

/// How often an event is tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// What to do when the attempts are spent, and whether there is more than one.
    pub behavior: ErrorBehavior,
    /// Attempts in all when the behavior is retry.
    pub attempts_max: u32,
    /// Waits in between.
    pub backoff: Backoff,
}

/// What to do with an event whose invocation failed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AfterFailure {
    /// Go on with the next event.
    Skip,
    /// Try the same event again after this long.
    RetryAfter(Duration),
    /// Stop the trigger.
    Disable,
}

/// What to do after the `attempt`th attempt (from 1) of an event failed.
#[must_use]
pub fn after_failure(policy: &RetryPolicy, attempt: u32, chance: f64) -> AfterFailure {
    match policy.behavior {
        ErrorBehavior::Log => AfterFailure::Skip,
        ErrorBehavior::Disable => AfterFailure::Disable,
        ErrorBehavior::Retry if attempt >= policy.attempts_max => AfterFailure::Skip,
        ErrorBehavior::Retry => AfterFailure::RetryAfter(policy.backoff.after(attempt, chance)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_jitter_takes_half_at_most() {
        let backoff = Backoff { initial: Duration::from_millis(100), cap: Duration::from_secs(1) };
        let waits: Vec<u128> = (1..=6).map(|failures| backoff.after(failures, 0.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.after(2, 1.0), Duration::from_millis(100));
        assert_eq!(backoff.after(u32::MAX, 0.0), Duration::from_secs(1));
    }

    #[test]
    fn attempts_are_bounded() {
        let policy = |behavior| RetryPolicy { behavior, attempts_max: 3, backoff: Backoff::RETRY };
        assert_eq!(after_failure(&policy(ErrorBehavior::Log), 1, 0.0), AfterFailure::Skip);
        assert_eq!(after_failure(&policy(ErrorBehavior::Disable), 1, 0.0), AfterFailure::Disable);
        let retry = policy(ErrorBehavior::Retry);
        assert_eq!(after_failure(&retry, 1, 0.0), AfterFailure::RetryAfter(Duration::from_millis(100)));
        assert_eq!(after_failure(&retry, 2, 0.0), AfterFailure::RetryAfter(Duration::from_millis(200)));
        assert_eq!(after_failure(&retry, 3, 0.0), AfterFailure::Skip);
    }
}
