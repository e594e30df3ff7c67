//! What plugins keep in `influxdb3_local.cache`, as far as it outlives a worker.
//!
//! A worker holds the live objects. What of them can be written down is mirrored here at the end of a call, and a new worker
//! takes it from here; when a trigger has several workers, or triggers share an entry, the mirror says what counts.
//! The bytes are the worker's business: nothing here reads them.

mod mirror;
mod trigger;

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

pub use mirror::{Limits, Mirror, Refused};
pub use trigger::TriggerCache;

use crate::clock::SharedClock;
use crate::trigger::TriggerId;

/// Whom an entry belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Namespace {
    /// The trigger that put it there. The value is a pickle.
    Trigger,
    /// All triggers. The value is plain data.
    Global,
}

/// One changed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheChange {
    /// Whose entry.
    pub namespace: Namespace,
    /// Its key.
    pub key: String,
    /// What became of it.
    pub operation: Operation,
}

/// What becomes of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// It has this value now.
    Put {
        /// Identity of this value; the worker chose it.
        version: u64,
        /// The value.
        value: Bytes,
        /// Time after which it is gone.
        expires_in: Option<Duration>,
    },
    /// It is gone.
    Delete,
}

impl CacheChange {
    /// About the bytes that it takes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let value = match &self.operation {
            Operation::Put { value, .. } => value.len(),
            Operation::Delete => 0,
        };
        self.key.len() + value
    }
}

/// What a look at an entry finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Looked {
    /// There is none.
    Absent,
    /// It has the version that the caller knows.
    Unchanged,
    /// It has another one.
    Found {
        /// Its version.
        version: u64,
        /// Its value.
        value: Bytes,
        /// Time after which it is gone.
        expires_in: Option<Duration>,
    },
}

/// Keeps the entries of all triggers. An implementation that makes them durable commits the changes of a call together with
/// its writes.
pub trait CacheStore: Send + Sync + 'static {
    /// Looks at an entry.
    fn look(&self, trigger: &TriggerId, namespace: Namespace, key: &str, known_version: u64) -> Looked;
    /// Takes in the changes of one call, in order, and returns those that a limit refuses.
    fn apply(&self, trigger: &TriggerId, changes: Vec<CacheChange>) -> BoxFuture<'_, Vec<Refused>>;
    /// Whether the trigger has entries of its own.
    fn is_empty(&self, trigger: &TriggerId) -> bool;
    /// Forgets the trigger's own entries.
    fn forget(&self, trigger: &TriggerId);
}

/// Keeps the entries in memory.
pub struct MemoryCache {
    mirror: Mutex<Mirror>,
    clock: SharedClock,
}

impl MemoryCache {
    /// An empty one.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self { mirror: Mutex::new(Mirror::new(Limits::default())), clock }
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }
}

impl CacheStore for MemoryCache {
    fn look(&self, trigger: &TriggerId, namespace: Namespace, key: &str, known_version: u64) -> Looked {
        self.mirror.lock().look(trigger, namespace, key, known_version, self.now())
    }

    fn apply(&self, trigger: &TriggerId, changes: Vec<CacheChange>) -> BoxFuture<'_, Vec<Refused>> {
        let now = self.now();
        let mut mirror = self.mirror.lock();
        let refused = changes.into_iter().filter_map(|change| mirror.apply(trigger, change, now).err()).collect();
        Box::pin(std::future::ready(refused))
    }

    fn is_empty(&self, trigger: &TriggerId) -> bool {
        self.mirror.lock().is_empty(trigger, self.now())
    }

    fn forget(&self, trigger: &TriggerId) {
        self.mirror.lock().forget(trigger);
    }
}
