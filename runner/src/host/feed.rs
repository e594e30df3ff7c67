//! Committed rows on their way to triggers.
//!
//! Triggers pull: each asks for the next commit after its own position. A slow trigger therefore holds no queue that
//! could fill and no writer that could wait.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::readers::{ReaderId, Readers};

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
    /// Whether commits outlive the runner, so that a position has to be recorded before what lies behind it may go. Of another feed
    /// the host keeps what no reader is done with.
    fn is_durable(&self) -> bool;
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
}

/// A bounded feed in memory, for hosts that push their commits and keep what is not acknowledged.
#[derive(Debug)]
pub struct MemoryFeed {
    held: Mutex<Held>,
    head: watch::Sender<u64>,
    released: watch::Sender<u64>,
    room: Notify,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Held {
    commits: VecDeque<(Arc<FeedCommit>, usize)>,
    bytes: usize,
    readers: Readers,
}

impl MemoryFeed {
    /// A feed that holds at most about `bytes_max` bytes of rows.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            held: Mutex::default(),
            head: watch::Sender::new(0),
            released: watch::Sender::new(0),
            room: Notify::new(),
            bytes_max,
        }
    }

    /// Adds a commit once there is room and returns its sequence number. While nobody reads, nothing is kept.
    pub async fn push(&self, recorded_at: DateTime<Utc>, databases: Vec<FeedDatabase>) -> u64 {
        let bytes = databases.iter().flat_map(|database| &database.tables).map(|table| table.ipc.len()).sum::<usize>();
        loop {
            let room = self.room.notified();
            {
                let mut held = self.held.lock();
                // A single commit larger than the whole feed is let in when the feed is empty.
                if held.commits.is_empty() || held.bytes + bytes <= self.bytes_max {
                    let sequence = *self.head.borrow() + 1;
                    held.bytes += bytes;
                    held.commits.push_back((Arc::new(FeedCommit { sequence, recorded_at, databases }), bytes));
                    // Published under the lock, so that sequence numbers appear in order.
                    self.head.send_replace(sequence);
                    self.release(&mut held);
                    return sequence;
                }
            }
            room.await;
        }
    }

    /// The sequence number up to which every reader is done.
    #[must_use]
    pub fn released(&self) -> watch::Receiver<u64> {
        self.released.subscribe()
    }

    /// Drops what nobody needs.
    fn release(&self, held: &mut Held) {
        let floor = held.readers.floor().unwrap_or_else(|| *self.head.borrow());
        while let Some((_, bytes)) = held.commits.pop_front_if(|(commit, _)| commit.sequence <= floor) {
            held.bytes -= bytes;
        }
        self.released.send_if_modified(|released| {
            let is_later = floor > *released;
            *released = floor.max(*released);
            is_later
        });
        self.room.notify_waiters();
    }
}

impl WalFeed for MemoryFeed {
    fn is_durable(&self) -> bool {
        false
    }

    fn head(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    fn next_after(&self, after: u64) -> BoxFuture<'_, Result<Option<Arc<FeedCommit>>, FeedError>> {
        let held = self.held.lock();
        let next = held.commits.partition_point(|(commit, _)| commit.sequence <= after);
        let commit = held.commits.get(next).map(|(commit, _)| Arc::clone(commit));
        Box::pin(std::future::ready(Ok(commit)))
    }

    fn join(&self, at: Option<u64>) -> (ReaderId, u64) {
        let mut held = self.held.lock();
        let head = *self.head.borrow();
        let at = at.map_or(head, |at| at.min(head));
        (held.readers.join(at), at)
    }

    fn advance(&self, reader: ReaderId, position: u64) {
        let mut held = self.held.lock();
        held.readers.advance(reader, position);
        self.release(&mut held);
    }

    fn leave(&self, reader: ReaderId) {
        let mut held = self.held.lock();
        held.readers.leave(reader);
        self.release(&mut held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn rows(bytes: usize) -> Vec<FeedDatabase> {
        let tables = vec![FeedTable { table: "t".into(), rows: 1, ipc: vec![0; bytes].into() }];
        vec![FeedDatabase { database: "d".into(), tables }]
    }

    #[tokio::test]
    async fn commits_are_read_in_order_and_held_until_every_reader_is_done() {
        let feed = MemoryFeed::new(100);
        let (reader, start) = feed.join(None);
        assert_eq!(start, 0);
        assert_eq!(feed.push(DateTime::UNIX_EPOCH, rows(60)).await, 1);
        assert_eq!(feed.push(DateTime::UNIX_EPOCH, rows(40)).await, 2);
        assert_eq!(*feed.head().borrow(), 2);
        assert_eq!(feed.next_after(0).await.unwrap().unwrap().sequence, 1);
        assert_eq!(feed.next_after(1).await.unwrap().unwrap().sequence, 2);
        assert!(feed.next_after(2).await.unwrap().is_none());

        let mut third = Box::pin(feed.push(DateTime::UNIX_EPOCH, rows(50)));
        assert!((&mut third).now_or_never().is_none(), "the feed is full");
        feed.advance(reader, 1);
        assert_eq!(third.await, 3);
        assert_eq!(feed.next_after(0).await.unwrap().unwrap().sequence, 2);
        assert_eq!(*feed.released().borrow(), 1);
        feed.leave(reader);
        assert_eq!(*feed.released().borrow(), 3);
    }

    #[tokio::test]
    async fn nothing_is_kept_while_nobody_reads() {
        let feed = MemoryFeed::new(100);
        for _ in 0..10 {
            feed.push(DateTime::UNIX_EPOCH, rows(60)).await;
        }
        assert_eq!(*feed.released().borrow(), 10);
        assert!(feed.next_after(0).await.unwrap().is_none());
    }
}
