//! How far the triggers have come, and recording it.
//!
//! A position is recorded in two ways. A call with effects commits its event's record together with them, so that neither is there
//! without the other. Calls without effects and commits that are not for a trigger only move the position in memory; the positions
//! that moved are gathered and recorded together. After a crash such a call may be made again, and nothing is the worse for it.
//! Each way has keys of its own, and the later position counts, so the two need not wait for each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::host::{Host, HostError, ReaderId, WalFeed};
use crate::journal::{Kind, Mark, Progress, Record};
use crate::limits;
use crate::trigger::TriggerId;

/// Where a trigger's events begin.
pub(super) struct Beginning {
    /// What was recorded of it.
    pub(super) progress: Progress,
    /// Events beyond the position that are recorded as done.
    pub(super) recorded_done: BTreeSet<u64>,
    /// See [`Mark::origin`].
    pub(super) origin: u64,
    /// Its place in the feed, for rows.
    pub(super) reader: Option<ReaderId>,
}

/// The position of one trigger.
pub(super) struct Cursor {
    id: Arc<TriggerId>,
    /// See [`Mark::origin`].
    pub(super) origin: u64,
    /// Whether events are recorded one by one, because a later one may be done before an earlier one.
    overlaps: bool,
    feed: Arc<dyn WalFeed>,
    reader: Option<ReaderId>,
    state: Mutex<State>,
    moved: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    progress: Progress,
    /// The position that is recorded.
    recorded: u64,
    /// Events beyond it that are recorded.
    recorded_done: BTreeSet<u64>,
    /// Whether a call ended without a record.
    called: bool,
    /// Commits with rows that were passed over since the last record.
    skipped: u64,
}

impl Cursor {
    /// Whether the event needs no call: an earlier life of the runner made it.
    pub(super) fn is_done(&self, event: u64) -> bool {
        self.state.lock().progress.is_done(event)
    }

    /// The event up to which all are done.
    pub(super) fn position(&self) -> u64 {
        self.state.lock().progress.position()
    }

    /// The number of an event that comes next: `wanted`, unless that was used already, as after a clock was set back.
    pub(super) fn number(&self, wanted: u64) -> u64 {
        wanted.max(self.state.lock().progress.last().saturating_add(1))
    }

    /// How many events beyond the position are done.
    pub(super) fn ahead(&self) -> usize {
        self.state.lock().progress.ahead()
    }

    /// The record that the event is done, to be committed with its effects.
    pub(super) fn record(&self, event: u64) -> Record {
        if self.overlaps {
            return Record::set(Kind::Done.numbered(&self.id, event), Bytes::new());
        }
        Record::set(Kind::At.of(&self.id), Mark { position: event, origin: self.origin }.encode())
    }

    /// The event begins.
    pub(super) fn begin(&self, event: u64) {
        self.state.lock().progress.begin(event);
    }

    /// The event is done; `is_recorded` when its record was committed.
    pub(super) fn finish(&self, event: u64, is_recorded: bool) {
        let mut state = self.state.lock();
        state.progress.finish(event);
        if is_recorded && !self.overlaps {
            let position = state.progress.position();
            self.set_recorded(&mut state, position);
            return;
        }
        if is_recorded {
            state.recorded_done.insert(event);
        }
        state.called = true;
        self.moved.notify_one();
    }

    /// All events from `first`, which was begun, to `last` are done.
    pub(super) fn finish_all(&self, first: u64, last: u64, is_recorded: bool) {
        {
            // The last one is open before the first one is not, so that the position does not run ahead.
            let mut state = self.state.lock();
            state.progress.begin(last);
            state.progress.finish(first);
        }
        self.finish(last, is_recorded);
    }

    /// A commit that is not for this trigger.
    pub(super) fn pass(&self, event: u64, has_rows: bool) {
        let mut state = self.state.lock();
        state.progress.finish(event);
        // A commit of records only is passed over for nothing: counting it would make the next record follow from the last.
        state.skipped += u64::from(has_rows);
        if state.skipped >= limits::COMMITS_SKIPPED_MAX {
            self.moved.notify_one();
        }
    }

    /// Reads no longer: nothing is kept for it.
    pub(super) fn leave(&self) {
        if let Some(reader) = self.reader {
            self.feed.leave(reader);
        }
    }

    /// The position that should be recorded now, with the records that say it.
    fn due(&self, all: bool) -> Option<(u64, Vec<Record>)> {
        let state = self.state.lock();
        let position = state.progress.position();
        let is_due = all || state.called || state.skipped >= limits::COMMITS_SKIPPED_MAX;
        if position <= state.recorded || !is_due {
            return None;
        }
        let mut records = vec![Record::set(Kind::Seen.of(&self.id), position.to_string())];
        let past = state.recorded_done.range(..=position);
        records.extend(past.map(|event| Record::remove(Kind::Done.numbered(&self.id, *event))));
        Some((position, records))
    }

    /// The position is recorded.
    fn recorded(&self, position: u64) {
        let mut state = self.state.lock();
        state.recorded_done = state.recorded_done.split_off(&(position + 1));
        if state.progress.position() == position {
            state.called = false;
        }
        self.set_recorded(&mut state, position);
    }

    fn set_recorded(&self, state: &mut State, position: u64) {
        state.recorded = state.recorded.max(position);
        state.skipped = 0;
        if let Some(reader) = self.reader {
            self.feed.advance(reader, state.recorded);
        }
    }
}

/// The positions of all triggers that run.
pub(super) struct Positions {
    host: Arc<dyn Host>,
    cursors: Mutex<BTreeMap<Arc<TriggerId>, Arc<Cursor>>>,
    moved: Arc<Notify>,
}

impl Positions {
    pub(super) fn new(host: Arc<dyn Host>) -> Self {
        Self { host, cursors: Mutex::default(), moved: Arc::default() }
    }

    /// The position of a trigger that begins to run.
    pub(super) fn begin(
        &self,
        id: &Arc<TriggerId>,
        feed: &Arc<dyn WalFeed>,
        overlaps: bool,
        beginning: Beginning,
    ) -> Arc<Cursor> {
        let Beginning { progress, recorded_done, origin, reader } = beginning;
        let recorded = progress.position();
        let state = State { progress, recorded, recorded_done, called: false, skipped: 0 };
        let cursor = Arc::new(Cursor {
            id: Arc::clone(id),
            origin,
            overlaps,
            feed: Arc::clone(feed),
            reader,
            state: Mutex::new(state),
            moved: Arc::clone(&self.moved),
        });
        self.cursors.lock().insert(Arc::clone(id), Arc::clone(&cursor));
        cursor
    }

    /// The trigger runs no longer.
    pub(super) fn end(&self, cursor: &Arc<Cursor>) {
        let mut cursors = self.cursors.lock();
        // Another one of the same name may have begun meanwhile.
        if cursors.get(&cursor.id).is_some_and(|present| Arc::ptr_eq(present, cursor)) {
            cursors.remove(&cursor.id);
        }
    }

    /// Records positions as they move, until `stop`.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = self.moved.notified() => {}
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = sleep(limits::POSITIONS_GATHERED) => {}
                () = stop.cancelled() => return,
            }
            if let Err(error) = self.flush(false).await {
                tracing::warn!("positions of triggers could not be recorded, so the log is kept longer: {error}");
                tokio::select! {
                    () = sleep(limits::HOST_RETRY) => self.moved.notify_one(),
                    () = stop.cancelled() => return,
                }
            }
        }
    }

    /// Records the positions that moved: those that are due, or all.
    pub(super) async fn flush(&self, all: bool) -> Result<(), HostError> {
        let cursors: Vec<_> = self.cursors.lock().values().cloned().collect();
        let (mut moved, mut records) = (Vec::new(), Vec::new());
        for cursor in cursors {
            if let Some((position, mut of_cursor)) = cursor.due(all) {
                records.append(&mut of_cursor);
                moved.push((cursor, position));
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        self.host.commit(None, records).await?;
        for (cursor, position) in moved {
            cursor.recorded(position);
        }
        Ok(())
    }
}
