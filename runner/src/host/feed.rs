//! Committed rows on their way to triggers.
//!
//! Triggers pull: each asks for the next commit after its own position. A slow trigger therefore holds no queue that
//! could fill and no writer that could wait.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::backlog::{Backlog, Retention, RetentionEvent};
use super::readers::ReaderId;

/// One commit of the host's write-ahead log.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedCommit {
    /// Position in the feed; strictly increasing.
    pub sequence: u64,
    /// When the host recorded it; the time of lines that plugins write without one.
    pub recorded_at: DateTime<Utc>,
    /// The rows, by database.
    pub databases: Vec<FeedDatabase>,
}

/// Rows of one database.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedDatabase {
    /// Its name.
    pub database: String,
    /// The rows, by table.
    pub tables: Vec<FeedTable>,
}

/// Rows of one table.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedTable {
    /// Its name.
    pub table: String,
    /// How many rows.
    pub rows: usize,
    /// One complete Arrow IPC stream.
    pub ipc: Bytes,
}

/// A feed that cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct FeedError {
    /// Why.
    pub reason: String,
    /// The oldest commit that can still be read, when the wanted one is gone.
    pub oldest: Option<u64>,
}

/// The committed rows of a host, in order.
pub trait WalFeed: Send + Sync + 'static {
    /// The last sequence number that was committed; changes wake the readers.
    fn head(&self) -> watch::Receiver<u64>;
    /// The first commit after `after`, or `None` when there is none yet.
    fn next_after(&self, after: u64) -> BoxFuture<'_, Result<Option<Arc<FeedCommit>>, FeedError>>;
    /// Begins to read after `at`, or at the present end when it is `None` or beyond the end; the place is returned. What comes
    /// after it is kept for the reader.
    fn join(&self, at: Option<u64>) -> (ReaderId, u64);
    /// The reader is done with everything up to and including `position`.
    fn advance(&self, reader: ReaderId, position: u64);
    /// The reader reads no longer; nothing is kept for it. Repeating it changes nothing.
    fn leave(&self, reader: ReaderId);
    /// What lies behind `position`.
    fn backlog(&self, position: u64) -> Backlog;
    /// What is kept for the slowest reader, by the positions that are recorded.
    fn kept(&self) -> Backlog;
    /// Looks whether more is kept for readers than may be, and does what the policy says.
    fn retain(&self, retention: &Retention, now_ns: i64) -> Option<RetentionEvent>;
}
