//! The embedded host's log as a feed.

use std::sync::Arc;

use bulkhead_embedded_host as embedded;
use bulkhead_embedded_host::EmbeddedHost;
use chrono::DateTime;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::host::keeping::Keeping;
use crate::host::readers::ReaderId;
use crate::host::{
    Backlog, FeedCommit, FeedDatabase, FeedError, FeedTable, Retention, RetentionEvent, Totals, WalFeed,
};

/// The embedded host's commits.
#[derive(Debug)]
pub(super) struct Feed {
    host: EmbeddedHost,
    state: Mutex<State>,
    /// Sums over the commits in the log; the thread that commits adds to them.
    totals: Arc<Mutex<Totals>>,
}

#[derive(Debug, Default)]
struct State {
    keeping: Keeping,
    /// Whether the readers that a start brings back have joined. Before that nothing is released.
    is_open: bool,
}

impl Feed {
    pub(super) fn new(host: EmbeddedHost, totals: Arc<Mutex<Totals>>) -> Self {
        Self { host, state: Mutex::default(), totals }
    }

    /// Why clients' writes are held back, when they are.
    pub(super) fn paused(&self) -> Option<String> {
        self.state.lock().keeping.paused().map(str::to_owned)
    }

    /// See [`crate::host::Host::readers_joined`].
    pub(super) fn open(&self) {
        let mut state = self.state.lock();
        state.is_open = true;
        self.release(&state);
    }

    /// The log keeps what a reader has not done; told under the lock, so that floors arrive in order.
    fn release(&self, state: &State) {
        if state.is_open {
            let floor = state.keeping.floor();
            self.host.release_up_to(floor.unwrap_or(u64::MAX));
            self.totals.lock().forget(floor.unwrap_or_else(|| *self.host.head().borrow()));
        }
    }
}

impl WalFeed for Feed {
    fn head(&self) -> watch::Receiver<u64> {
        self.host.head()
    }

    fn next_after(&self, after: u64) -> BoxFuture<'_, Result<Option<Arc<FeedCommit>>, FeedError>> {
        if let Some(oldest) = self.state.lock().keeping.oldest_after(after) {
            let reason = "the journal reached its limit, and they were dropped".to_owned();
            return Box::pin(std::future::ready(Err(FeedError { reason, oldest: Some(oldest) })));
        }
        Box::pin(async move {
            let commit = self.host.read_commit(after).await.map_err(|error| {
                let oldest = match &error {
                    embedded::ReadError::Gone { oldest, .. } => Some(*oldest),
                    // It was set aside and reported; what follows it is good.
                    embedded::ReadError::Corrupt { .. } => Some(after + 2),
                    _ => None,
                };
                FeedError { reason: error.to_string(), oldest }
            })?;
            Ok(commit.map(|commit| Arc::new(feed_commit(&commit))))
        })
    }

    fn join(&self, at: Option<u64>) -> (ReaderId, u64) {
        let mut state = self.state.lock();
        let head = *self.host.head().borrow();
        let at = at.map_or(head, |at| at.min(head));
        let reader = state.keeping.readers.join(at);
        self.release(&state);
        (reader, at)
    }

    fn advance(&self, reader: ReaderId, position: u64) {
        let mut state = self.state.lock();
        let before = state.keeping.floor();
        state.keeping.readers.advance(reader, position);
        if state.keeping.floor() != before {
            self.release(&state);
        }
    }

    fn leave(&self, reader: ReaderId) {
        let mut state = self.state.lock();
        state.keeping.readers.leave(reader);
        self.release(&state);
    }

    fn backlog(&self, position: u64) -> Backlog {
        self.totals.lock().behind(position)
    }

    fn kept(&self) -> Backlog {
        self.state.lock().keeping.kept(&self.totals.lock())
    }

    fn retain(&self, retention: &Retention, now_ns: i64) -> Option<RetentionEvent> {
        let mut state = self.state.lock();
        if !state.is_open {
            return None;
        }
        let event = state.keeping.look(&self.totals.lock(), retention, now_ns)?;
        self.release(&state);
        Some(event)
    }
}

/// A table of a commit; its rows are not copied.
pub(super) fn feed_table(table: &embedded::TableRows) -> FeedTable {
    FeedTable { table: table.table.clone(), rows: table.rows, ipc: table.ipc.clone() }
}

/// Names and reference counts are copied, rows are not.
fn feed_commit(commit: &embedded::Commit) -> FeedCommit {
    let database = |batch: &embedded::DatabaseBatch| FeedDatabase {
        database: batch.database.clone(),
        tables: batch.tables.iter().map(feed_table).collect(),
    };
    FeedCommit {
        sequence: commit.sequence,
        recorded_at: DateTime::from_timestamp_nanos(commit.recorded_at_ns),
        databases: commit.databases.iter().map(database).collect(),
    }
}
