//! The embedded host's log as a feed.

use std::sync::Arc;

use bulkhead_embedded_host as embedded;
use bulkhead_embedded_host::EmbeddedHost;
use chrono::DateTime;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::host::readers::{ReaderId, Readers};
use crate::host::{FeedCommit, FeedDatabase, FeedError, FeedTable, WalFeed};

/// The embedded host's commits.
#[derive(Debug)]
pub(super) struct Feed {
    host: EmbeddedHost,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    readers: Readers,
    /// Whether the readers that a start brings back have joined. Before that nothing is released.
    is_open: bool,
}

impl Feed {
    pub(super) fn new(host: EmbeddedHost) -> Self {
        Self { host, state: Mutex::default() }
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
            self.host.release_up_to(state.readers.floor().unwrap_or(u64::MAX));
        }
    }
}

impl WalFeed for Feed {
    fn head(&self) -> watch::Receiver<u64> {
        self.host.head()
    }

    fn next_after(&self, after: u64) -> BoxFuture<'_, Result<Option<Arc<FeedCommit>>, FeedError>> {
        Box::pin(async move {
            let commit = self.host.read_commit(after).await.map_err(|error| {
                let oldest = match &error {
                    embedded::ReadError::Gone { oldest, .. } => Some(*oldest),
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
        let reader = state.readers.join(at);
        self.release(&state);
        (reader, at)
    }

    fn advance(&self, reader: ReaderId, position: u64) {
        let mut state = self.state.lock();
        let before = state.readers.floor();
        state.readers.advance(reader, position);
        if state.readers.floor() != before {
            self.release(&state);
        }
    }

    fn leave(&self, reader: ReaderId) {
        let mut state = self.state.lock();
        state.readers.leave(reader);
        self.release(&state);
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
