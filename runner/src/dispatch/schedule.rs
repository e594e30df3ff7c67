//! Feeds a scheduled trigger with its ticks.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::task::JoinSet;

use super::runner::{Next, Settles, TriggerRunner};
use crate::trigger::{Due, Schedule, due};

/// Runs until the trigger is stopped or disables itself.
pub(super) async fn run(runner: Arc<TriggerRunner>, schedule: Schedule) {
    let mut calls: JoinSet<Next> = JoinSet::new();
    feed(&runner, &schedule, &mut calls).await;
    while calls.join_next().await.is_some() {}
}

async fn feed(runner: &Arc<TriggerRunner>, schedule: &Schedule, calls: &mut JoinSet<Next>) {
    // The last tick that needs no call. Ticks that were missed since, also while the runner was away, are due now.
    let mut last = tick_time(runner.cursor.position());
    let missed = runner.definition.delivery.missed_ticks.unwrap_or_default();
    let delay = runner.tick_delay();
    loop {
        if runner.stop.is_cancelled() {
            return;
        }
        match due(schedule, missed, last, runner.clock.now() - delay) {
            Due::Run(tick) => {
                last = tick;
                let occasion = runner.tick(tick);
                let Settles::Event(number) = occasion.settles else { continue };
                if runner.cursor.is_done(number) {
                    continue;
                }
                runner.cursor.begin(number);
                if runner.definition.run_async {
                    while calls.len() >= runner.workers_max {
                        if calls.join_next().await.is_some_and(is_over) {
                            return;
                        }
                    }
                    let runner = Arc::clone(runner);
                    calls.spawn(async move { runner.run(occasion).await });
                } else if runner.run(occasion).await != Next::Continue {
                    return;
                }
            }
            Due::Wait(tick) => tokio::select! {
                () = runner.clock.sleep_until(tick + delay) => {}
                Some(next) = calls.join_next() => if is_over(next) { return },
                () = runner.stop.cancelled() => return,
            },
            Due::Never => {
                runner.stop.cancelled().await;
                return;
            }
        }
    }
}

/// The time of a tick by its number.
fn tick_time(number: u64) -> DateTime<Utc> {
    DateTime::from_timestamp_nanos(i64::try_from(number).unwrap_or(i64::MAX))
}

fn is_over(next: Result<Next, tokio::task::JoinError>) -> bool {
    next.is_ok_and(|next| next != Next::Continue)
}
