//! Feeds a WAL trigger with the commits that touch its tables.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::runner::{Next, TriggerRunner};
use crate::host::{FeedCommit, FeedError, ReaderId};
use crate::logs::Level;
use crate::supervisor::CallEvent;

/// Pause before a feed that could not be read is read again.
const FEED_RETRY: Duration = Duration::from_secs(1);

/// Runs until the trigger is stopped or disables itself. A trigger that disabled itself reads no longer; of one that was
/// stopped the engine knows whether it will read on.
pub(super) async fn run(runner: Arc<TriggerRunner>, reader: ReaderId, start: u64) {
    let (calls, open) = (JoinSet::new(), BTreeSet::new());
    let mut overlapping = Overlapping { runner: Arc::clone(&runner), reader, calls, open, done: start };
    let mut end = feed(&runner, start, &mut overlapping).await;
    // Calls that overlap and still run are part of this trigger's life.
    while let Some(next) = overlapping.finish_one().await {
        if next == Next::Disabled {
            end = Next::Disabled;
        }
    }
    if end == Next::Disabled {
        runner.feed.leave(reader);
    }
}

async fn feed(runner: &Arc<TriggerRunner>, mut cursor: u64, overlapping: &mut Overlapping) -> Next {
    let mut head = runner.feed.head();
    loop {
        head.mark_unchanged();
        let commit = match runner.feed.next_after(cursor).await {
            Ok(Some(commit)) => commit,
            Ok(None) => {
                tokio::select! {
                    changed = head.changed() => if changed.is_err() { return Next::Stopped },
                    Some(next) = overlapping.finish_one() => if next != Next::Continue { return next },
                    () = runner.stop.cancelled() => return Next::Stopped,
                }
                continue;
            }
            Err(FeedError { reason, oldest: Some(oldest) }) if oldest > cursor + 1 => {
                let lost = oldest - 1 - cursor;
                runner.log.runner(Level::Error, None, format!("{lost} commits were not delivered: {reason}"));
                cursor = oldest - 1;
                continue;
            }
            Err(error) => {
                runner.log.runner(Level::Error, None, format!("the write-ahead log cannot be read: {error}"));
                tokio::select! {
                    () = sleep(FEED_RETRY) => continue,
                    () = runner.stop.cancelled() => return Next::Stopped,
                }
            }
        };
        if runner.stop.is_cancelled() {
            return Next::Stopped;
        }
        cursor = commit.sequence;
        let next = match event(runner, &commit) {
            None => {
                overlapping.passed(cursor);
                Next::Continue
            }
            Some(event) if runner.definition.run_async => {
                overlapping.begin(cursor, TriggerRunner::occasion(event, commit.recorded_at)).await
            }
            Some(event) => {
                let next = runner.run(TriggerRunner::occasion(event, commit.recorded_at)).await;
                // An event that was cut off is not done: whoever reads on begins with it.
                if next != Next::Stopped {
                    overlapping.passed(cursor);
                }
                next
            }
        };
        if next != Next::Continue {
            return next;
        }
    }
}

/// The rows of a commit that the trigger wants. InfluxDB 3 calls a `table:` trigger with an empty list when only other
/// tables were written; here it is not called.
fn event(runner: &TriggerRunner, commit: &FeedCommit) -> Option<CallEvent> {
    let rows = commit.databases.iter().find(|rows| rows.database == runner.id.database)?;
    let wanted = rows.tables.iter().filter(|table| table.rows > 0 && runner.definition.spec.wants_table(&table.table));
    let tables: Vec<_> = wanted.cloned().collect();
    (!tables.is_empty()).then(|| CallEvent::Wal { database: rows.database.clone(), sequence: commit.sequence, tables })
}

/// Calls of an asynchronous trigger. The cursor moves to the commit before the oldest one that is not done.
struct Overlapping {
    runner: Arc<TriggerRunner>,
    reader: ReaderId,
    calls: JoinSet<(u64, Next)>,
    open: BTreeSet<u64>,
    done: u64,
}

impl Overlapping {
    async fn begin(&mut self, sequence: u64, occasion: super::runner::Occasion) -> Next {
        while self.calls.len() >= self.runner.workers_max {
            match self.finish_one().await {
                Some(Next::Continue) | None => {}
                Some(next) => return next,
            }
        }
        self.open.insert(sequence);
        self.done = sequence;
        let runner = Arc::clone(&self.runner);
        self.calls.spawn(async move { (sequence, runner.run(occasion).await) });
        Next::Continue
    }

    /// Waits for one call to end; `None` when there is none.
    async fn finish_one(&mut self) -> Option<Next> {
        let (sequence, next) = match self.calls.join_next().await? {
            Ok(finished) => finished,
            Err(error) => {
                tracing::error!("a call of trigger {} ended without a result: {error}", self.runner.id);
                return Some(Next::Continue);
            }
        };
        if next != Next::Stopped {
            self.open.remove(&sequence);
            self.publish();
        }
        Some(next)
    }

    fn passed(&mut self, sequence: u64) {
        self.done = sequence;
        self.publish();
    }

    fn publish(&self) {
        let position = self.open.first().map_or(self.done, |oldest| oldest - 1);
        self.runner.feed.advance(self.reader, position);
    }
}
