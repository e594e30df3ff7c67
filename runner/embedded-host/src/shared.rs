//! What the handle, the writer thread and the upkeep task share.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use object_store::ObjectStore;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};

use crate::commit::RecentCommits;
use crate::config::{Now, Observer};
use crate::records::RecordStore;
use crate::table::State;
use crate::unsaved::Unsaved;
use crate::wal::{Queue, Segments};

/// See the module. No lock is held while another is waited for, except that admission reads `state` under the queue's lock.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) prefix: object_store::path::Path,
    pub(crate) local_store_root: Option<PathBuf>,
    pub(crate) now: Now,
    pub(crate) snapshot_bytes: usize,
    pub(crate) snapshot_retry: Duration,
    pub(crate) state: RwLock<State>,
    pub(crate) queue: Queue,
    pub(crate) segments: Mutex<Segments>,
    pub(crate) recent: Mutex<RecentCommits>,
    /// The last durable sequence.
    pub(crate) head: watch::Sender<u64>,
    /// The last sequence that nobody needs to read any more.
    pub(crate) released: AtomicU64,
    /// What the records of commits are kept in.
    pub(crate) records: Arc<dyn RecordStore>,
    /// Who is told what happens to the log.
    pub(crate) observer: Arc<dyn Observer>,
    /// The last sequence that a snapshot holds.
    pub(crate) covered: AtomicU64,
    /// What no snapshot has taken.
    pub(crate) unsaved: Unsaved,
    /// Asks the writer to begin a new segment with the next entry.
    pub(crate) rotate: AtomicBool,
    /// Objects of deleted databases.
    pub(crate) garbage: Mutex<Vec<String>>,
    /// Told when there is a snapshot to take, a segment or an object to remove.
    pub(crate) upkeep: Notify,
    /// One snapshot at a time; the value is the number of the last manifest.
    pub(crate) manifest_version: tokio::sync::Mutex<u64>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
