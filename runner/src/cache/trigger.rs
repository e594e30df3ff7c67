//! The cache as one trigger's workers see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use uuid::Uuid;

use super::{Cache, CacheChange, Looked, Namespace, Owner, Prepared, Refused};
use crate::journal::Record;
use crate::logs::{Level, LogWriter};

/// The entries of one trigger while it runs, and those that it shares.
pub struct TriggerCache {
    cache: Arc<Cache>,
    owner: Owner,
    log: LogWriter,
    is_shared: bool,
    /// Set when the trigger ends, so that a worker that is still leaving changes nothing any more.
    closed: AtomicBool,
}

impl TriggerCache {
    /// The trigger's view; `is_shared` when it has several workers.
    #[must_use]
    pub fn new(cache: Arc<Cache>, owner: Owner, log: LogWriter, is_shared: bool) -> Self {
        Self { cache, owner, log, is_shared, closed: AtomicBool::new(false) }
    }

    /// Whether several workers serve the trigger.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Looks at an entry.
    #[must_use]
    pub fn look(&self, namespace: Namespace, key: &str, known_version: u64) -> Looked {
        if self.is_closed() {
            return Looked::Absent;
        }
        self.cache.look(&self.owner, namespace, key, known_version)
    }

    /// Whether there is nothing that a new worker could take over.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.is_closed() || self.cache.is_empty(&self.owner)
    }

    /// Takes in changes that belong to no commit; the trigger's log tells what a limit refuses.
    pub fn keep(&self, invocation: Option<Uuid>, changes: Vec<CacheChange>) {
        if changes.is_empty() || self.is_closed() {
            return;
        }
        let refused = self.cache.keep(&self.owner, changes);
        self.tell(invocation, &refused);
    }

    /// Prepares changes to be committed with what else a call leaves behind; the trigger's log tells what a limit refuses.
    #[must_use]
    pub fn prepare(&self, invocation: Option<Uuid>, changes: Vec<CacheChange>) -> Prepared {
        let changes = if self.is_closed() { Vec::new() } else { changes };
        let (prepared, refused) = self.cache.prepare(&self.owner, changes);
        self.tell(invocation, &refused);
        prepared
    }

    fn tell(&self, invocation: Option<Uuid>, refused: &[Refused]) {
        for refused in refused {
            self.log.runner(Level::Warn, invocation, refused.to_string());
        }
    }

    /// The trigger was disabled or deleted: its own entries are not seen any more, as in InfluxDB 3.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Forgets the trigger's own entries, once nothing of it runs any more. Returns what removes their records.
    #[must_use]
    pub fn forget(&self) -> Vec<Record> {
        self.cache.forget(&self.owner)
    }

    /// The trigger was disabled or deleted.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}
