//! Feeds a scheduled trigger with its ticks.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::runner::{Next, TriggerRunner};
use crate::supervisor::CallEvent;
use crate::trigger::{Due, Schedule, due};

/// Runs until the trigger is stopped or disables itself.
pub(super) async fn run(runner: Arc<TriggerRunner>, schedule: Schedule) {
    let mut calls: JoinSet<Next> = JoinSet::new();
    feed(&runner, &schedule, &mut calls).await;
    while calls.join_next().await.is_some() {}
}

async fn feed(runner: &Arc<TriggerRunner>, schedule: &Schedule, calls: &mut JoinSet<Next>) {
    let mut last = runner.clock.now();
    loop {
        if runner.stop.is_cancelled() {
            return;
        }
        match due(schedule, last, runner.clock.now()) {
            Due::Run(tick) => {
                last = tick;
                let occasion = TriggerRunner::occasion(CallEvent::Tick(tick), runner.clock.now());
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
                () = runner.clock.sleep_until(tick) => {}
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

fn is_over(next: Result<Next, tokio::task::JoinError>) -> bool {
    next.is_ok_and(|next| next != Next::Continue)
}
