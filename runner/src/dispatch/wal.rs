//! Feeds a WAL trigger with the commits that touch its tables.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::coalesce::{self, Coalesced, Wanted};
use super::runner::{Next, Occasion, TriggerRunner};
use crate::host::{FeedCommit, FeedError};
use crate::limits;
use crate::logs::Level;
use crate::supervisor::CallEvent;

/// Runs until the trigger is stopped or disables itself. A trigger that disabled itself reads no longer; of one that was
/// stopped the engine knows whether it will read on.
pub(super) async fn run(runner: Arc<TriggerRunner>) {
    let mut overlapping = Overlapping { runner: Arc::clone(&runner), calls: JoinSet::new() };
    let mut end = feed(&runner, &mut overlapping).await;
    // Calls that overlap and still run are part of this trigger's life.
    while let Some(next) = overlapping.finish_one().await {
        if next == Next::Disabled {
            end = Next::Disabled;
        }
    }
    if end == Next::Disabled {
        runner.cursor.leave();
    }
}

async fn feed(runner: &Arc<TriggerRunner>, overlapping: &mut Overlapping) -> Next {
    let mut head = runner.feed.head();
    let mut at = runner.cursor.position();
    loop {
        head.mark_unchanged();
        let commit = match runner.feed.next_after(at).await {
            Ok(Some(commit)) => commit,
            Ok(None) => {
                tokio::select! {
                    changed = head.changed() => if changed.is_err() { return Next::Stopped },
                    Some(next) = overlapping.finish_one() => if next != Next::Continue { return next },
                    () = runner.stop.cancelled() => return Next::Stopped,
                }
                continue;
            }
            Err(FeedError { reason, oldest: Some(oldest) }) if oldest > at + 1 => {
                let lost = oldest - 1 - at;
                runner.metrics.undelivered_commits.fetch_add(lost, Ordering::Relaxed);
                runner.log.runner(Level::Error, None, format!("{lost} commits were not delivered: {reason}"));
                at = oldest - 1;
                continue;
            }
            Err(error) => {
                runner.log.runner(Level::Error, None, format!("the write-ahead log cannot be read: {error}"));
                tokio::select! {
                    () = sleep(limits::HOST_RETRY) => continue,
                    () = runner.stop.cancelled() => return Next::Stopped,
                }
            }
        };
        if runner.stop.is_cancelled() {
            return Next::Stopped;
        }
        at = commit.sequence;
        let event = if runner.cursor.is_done(at) { None } else { event(runner, &commit) };
        let Some(event) = event else {
            runner.cursor.pass(at, !commit.databases.is_empty());
            continue;
        };
        if let (false, Some(rows_max)) = (runner.definition.run_async, runner.definition.delivery.coalesce_rows) {
            let first = Wanted { sequence: at, recorded_at: commit.recorded_at, event };
            match coalesce::run(runner, first, rows_max).await {
                Coalesced::Until(last) => at = last,
                Coalesced::Ended(next) => return next,
            }
            continue;
        }
        let occasion = runner.rows(event, commit.recorded_at, at);
        let next = if runner.definition.run_async {
            overlapping.begin(at, occasion).await
        } else {
            runner.cursor.begin(at);
            runner.run(occasion).await
        };
        if next != Next::Continue {
            return next;
        }
    }
}

/// The rows of a commit that the trigger wants. InfluxDB 3 calls a `table:` trigger with an empty list when only other
/// tables were written; here it is not called.
pub(super) fn event(runner: &TriggerRunner, commit: &FeedCommit) -> Option<CallEvent> {
    let rows = commit.databases.iter().find(|rows| rows.database == runner.id.database)?;
    let wanted = rows.tables.iter().filter(|table| table.rows > 0 && runner.definition.spec.wants_table(&table.table));
    let tables: Vec<_> = wanted.cloned().collect();
    (!tables.is_empty()).then(|| CallEvent::Wal { database: rows.database.clone(), sequence: commit.sequence, tables })
}

/// Calls of an asynchronous trigger.
struct Overlapping {
    runner: Arc<TriggerRunner>,
    calls: JoinSet<Next>,
}

impl Overlapping {
    async fn begin(&mut self, sequence: u64, occasion: Occasion) -> Next {
        let is_full = |calls: &JoinSet<Next>, runner: &TriggerRunner| {
            calls.len() >= runner.workers_max
                || (!calls.is_empty() && runner.cursor.ahead() >= limits::EVENTS_AHEAD_MAX)
        };
        while is_full(&self.calls, &self.runner) {
            match self.finish_one().await {
                Some(Next::Continue) | None => {}
                Some(next) => return next,
            }
        }
        self.runner.cursor.begin(sequence);
        let runner = Arc::clone(&self.runner);
        self.calls.spawn(async move { runner.run(occasion).await });
        Next::Continue
    }

    /// Waits for one call to end; `None` when there is none.
    async fn finish_one(&mut self) -> Option<Next> {
        match self.calls.join_next().await? {
            Ok(next) => Some(next),
            Err(error) => {
                tracing::error!("a call of trigger {} ended without a result: {error}", self.runner.id);
                Some(Next::Continue)
            }
        }
    }
}
