//! What a host is opened with.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use object_store::ObjectStore;

use crate::records::{NoRecords, RecordStore};

/// The clock: nanoseconds since the epoch.
pub type Now = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The tables of schema `system`, which their owner fills when a query asks.
pub trait SystemTables: Send + Sync + fmt::Debug {
    /// The name and the columns of each table that queries of `database` see.
    fn tables(&self, database: &str) -> Vec<(String, SchemaRef)>;

    /// The rows of a table at this moment; `None` means none. It is called on a query's thread and must not wait for queries.
    fn scan(&self, database: &str, table: &str) -> Option<RecordBatch>;
}

/// No system tables at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSystemTables;

impl SystemTables for NoSystemTables {
    fn tables(&self, _database: &str) -> Vec<(String, SchemaRef)> {
        Vec::new()
    }

    fn scan(&self, _database: &str, _table: &str) -> Option<RecordBatch> {
        None
    }
}

/// The size of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitSize {
    /// Its sequence.
    pub sequence: u64,
    /// Its rows, of all databases.
    pub rows: u64,
    /// Bytes of its entry in the log.
    pub bytes: u64,
    /// When it was written, nanoseconds since the epoch.
    pub recorded_at_ns: i64,
}

/// Is told what happens to the log. The thread that commits calls it, so it must be quick.
pub trait Observer: Send + Sync + fmt::Debug {
    /// A commit is in the log; also for those that opening finds there, in their order.
    fn committed(&self, size: CommitSize);

    /// Forcing an entry to disk took so long.
    fn synced(&self, took: Duration);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn committed(&self, _size: CommitSize) {}

    fn synced(&self, _took: Duration) {}
}

/// Where a host keeps its data and how it behaves.
#[derive(Clone)]
pub struct Config {
    /// The directory of the WAL segments; it is made if it is missing and belongs to one host at a time.
    pub wal_dir: PathBuf,
    /// Where Parquet files and manifests go.
    pub store: Arc<dyn ObjectStore>,
    /// The path in the store below which they lie.
    pub prefix: object_store::path::Path,
    /// The directory that `store` writes to, when it is a local one. Snapshots are then forced to disk before the WAL that they
    /// cover is removed, which `object_store` itself does not do. `None` for a store whose answer means durable.
    pub local_store_root: Option<PathBuf>,
    /// How long a commit gathers writes. Zero means no wait.
    pub wal_flush_interval: Duration,
    /// WAL bytes after which a snapshot is taken.
    pub snapshot_bytes: usize,
    /// Time after which a snapshot that failed is tried again.
    pub snapshot_retry: Duration,
    /// Bytes of recent commits that are kept in memory for readers of the feed.
    pub recent_bytes_max: usize,
    /// The sequence up to which nobody will read, until [`crate::EmbeddedHost::release_up_to`] says it anew. `u64::MAX` for a host
    /// without readers; 0 keeps everything until they have come.
    pub released: u64,
    /// What keeps the records of commits.
    pub records: Arc<dyn RecordStore>,
    /// Who is told what happens to the log.
    pub observer: Arc<dyn Observer>,
    /// The clock.
    pub now: Now,
    /// The tables of schema `system`.
    pub system_tables: Arc<dyn SystemTables>,
}

impl Config {
    /// The defaults: commits gather for 10 ms, snapshots come after 64 MiB and, when one has failed, again after 5 s, 64 MiB of
    /// commits stay in memory, there are no readers, records or system tables.
    #[must_use]
    pub fn new(wal_dir: PathBuf, store: Arc<dyn ObjectStore>, prefix: object_store::path::Path, now: Now) -> Self {
        Self {
            wal_dir,
            store,
            prefix,
            local_store_root: None,
            wal_flush_interval: Duration::from_millis(10),
            snapshot_bytes: 64 * 1024 * 1024,
            snapshot_retry: Duration::from_secs(5),
            recent_bytes_max: 64 * 1024 * 1024,
            released: u64::MAX,
            records: Arc::new(NoRecords),
            observer: Arc::new(NoObserver),
            now,
            system_tables: Arc::new(NoSystemTables),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Config")
            .field("wal_dir", &self.wal_dir)
            .field("store", &self.store)
            .field("prefix", &self.prefix)
            .field("wal_flush_interval", &self.wal_flush_interval)
            .field("snapshot_bytes", &self.snapshot_bytes)
            .field("recent_bytes_max", &self.recent_bytes_max)
            .finish_non_exhaustive()
    }
}
