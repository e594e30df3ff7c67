//! A timer for deadlines that are hardly ever reached.

use std::pin::Pin;

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that stays set from call to call. Deadlines move on with every call, so that a timer which is set anew each time
/// would wake the thread that watches the clock each time; this one is early at most once for each time that it is set.
pub(super) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// A timer that is not set.
    pub(super) fn new() -> Self {
        Self { sleep: None }
    }

    /// Resolves at `deadline`. Cancel safe.
    pub(super) async fn until(&mut self, deadline: Instant) {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            sleep.as_mut().await;
            if Instant::now() >= deadline {
                return;
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const STEP: Duration = Duration::from_millis(5);

    #[tokio::test]
    async fn rings_at_the_deadline_it_is_asked_for() {
        let mut alarm = Alarm::new();
        let begun = Instant::now();
        alarm.until(begun + STEP).await;
        assert!(begun.elapsed() >= STEP, "the first time");
        alarm.until(begun + 3 * STEP).await;
        assert!(begun.elapsed() >= 3 * STEP, "later than it was set for");
        alarm.until(begun).await;
    }

    #[tokio::test]
    async fn an_early_deadline_is_not_held_up_by_a_late_one() {
        let mut alarm = Alarm::new();
        let begun = Instant::now();
        tokio::select! {
            biased;
            () = alarm.until(begun + Duration::from_secs(3600)) => {}
            () = std::future::ready(()) => {}
        }
        alarm.until(begun + STEP).await;
        assert!(begun.elapsed() < Duration::from_secs(3600));
    }
}
