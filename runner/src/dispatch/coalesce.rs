//! Batches of a trigger that lags, given to it together.
//!
//! It is a shortcut: when the call for all of them fails, each is done by itself, with its own attempts, so that a bad one takes no
//! other along.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::beginnings;
use super::runner::{Next, TriggerRunner};
use super::wal::event;
use crate::host::FeedTable;
use crate::journal::{Kind, Record};
use crate::limits;
use crate::logs::Level;
use crate::supervisor::CallEvent;

/// A commit with rows for the trigger.
pub(super) struct Wanted {
    pub(super) sequence: u64,
    pub(super) recorded_at: DateTime<Utc>,
    pub(super) event: CallEvent,
}

/// What came of it.
pub(super) enum Coalesced {
    /// Everything up to this commit is done.
    Until(u64),
    /// The trigger ends.
    Ended(Next),
}

/// Calls the plugin for `first` and what follows it at this moment, up to `rows_max` rows.
pub(super) async fn run(runner: &Arc<TriggerRunner>, first: Wanted, rows_max: usize) -> Coalesced {
    // From here on the position does not pass the first one, whatever is known of the later ones.
    runner.cursor.begin(first.sequence);
    let (wanted, last) = gather(runner, first, rows_max).await;
    if wanted.len() > 1 {
        match together(runner, &wanted, last).await {
            Some(Next::Continue) => return Coalesced::Until(last),
            Some(next) => return Coalesced::Ended(next),
            None => {}
        }
    }
    for Wanted { sequence, recorded_at, event } in wanted {
        if runner.stop.is_cancelled() {
            return Coalesced::Ended(Next::Stopped);
        }
        runner.cursor.begin(sequence);
        let next = runner.run(runner.rows(event, recorded_at, sequence)).await;
        if next != Next::Continue {
            return Coalesced::Ended(next);
        }
    }
    if last > runner.cursor.position() {
        runner.cursor.pass(last, true);
    }
    Coalesced::Until(last)
}

/// What follows `first` and fits, and the last commit that was looked at for it.
async fn gather(runner: &TriggerRunner, first: Wanted, rows_max: usize) -> (Vec<Wanted>, u64) {
    let until = recorded(runner, first.sequence);
    let (mut rows, mut bytes) = size(&first.event);
    let (mut last, mut wanted) = (first.sequence, vec![first]);
    let far = last.saturating_add(limits::COALESCED_COMMITS_MAX);
    while last < until.unwrap_or(far) {
        let Ok(Some(commit)) = runner.feed.next_after(last).await else { break };
        if let Some(event) = event(runner, &commit) {
            let (more_rows, more_bytes) = size(&event);
            (rows, bytes) = (rows + more_rows, bytes + more_bytes);
            if until.is_none() && (rows > rows_max || bytes > limits::COALESCED_BYTES_MAX) {
                break;
            }
            wanted.push(Wanted { sequence: commit.sequence, recorded_at: commit.recorded_at, event });
        }
        last = commit.sequence;
    }
    (wanted, last)
}

fn size(event: &CallEvent) -> (usize, usize) {
    let (rows, bytes) = event.size();
    (usize::try_from(rows).unwrap_or(usize::MAX), usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// Up to where an earlier life of the runner gave the trigger the commits from `first` together.
fn recorded(runner: &TriggerRunner, first: u64) -> Option<u64> {
    let value = runner.host.ledger().get(&Kind::Together.of(&runner.id)).ok().flatten()?;
    let (from, to) = std::str::from_utf8(&value).ok()?.split_once(' ')?;
    if from.parse() == Ok(first) { to.parse().ok() } else { None }
}

/// One call for all; nothing when it failed, and each has to be done by itself.
async fn together(runner: &TriggerRunner, wanted: &[Wanted], last: u64) -> Option<Next> {
    let (first, newest) = (wanted.first()?, wanted.last()?);
    let CallEvent::Wal { database, .. } = &first.event else { return None };
    let tables: Vec<FeedTable> = wanted.iter().flat_map(|it| it.event.tables().iter().cloned()).collect();
    let event = CallEvent::Wal { database: database.clone(), sequence: last, tables };
    if !runner.host.commits_in_one_step() {
        // A call that a crash repeats has to have the same events, because the host knows its write by their numbers.
        let record = Record::set(Kind::Together.of(&runner.id), format!("{} {last}", first.sequence));
        if beginnings::commit(&runner.host, vec![record]).await.is_err() {
            return None;
        }
    }
    let occasion = runner.together(event, newest.recorded_at, (first.sequence, last));
    let invoked = runner.invoke(&occasion, None, runner.cancel.clone()).await;
    if invoked.outcome.is_ok() {
        runner.cursor.finish_all(first.sequence, last, invoked.is_recorded);
        return Some(Next::Continue);
    }
    if runner.cancel.is_cancelled() || runner.stop.is_cancelled() {
        return Some(Next::Stopped);
    }
    let text = format!("{} batches that were given together failed; each is tried by itself", wanted.len());
    runner.log.runner(Level::Warn, Some(occasion.invocation), text);
    None
}
