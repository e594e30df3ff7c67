//! The cache as one trigger's workers see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use uuid::Uuid;

use super::{CacheChange, CacheStore, Looked, Namespace};
use crate::logs::{Level, LogWriter};
use crate::trigger::TriggerId;

/// The entries of one trigger while it runs, and those that it shares.
pub struct TriggerCache {
    store: Arc<dyn CacheStore>,
    trigger: Arc<TriggerId>,
    log: LogWriter,
    is_shared: bool,
    /// Set when the trigger ends, so that a worker that is still leaving changes nothing any more.
    closed: AtomicBool,
}

impl TriggerCache {
    /// The trigger's view; `is_shared` when it has several workers.
    #[must_use]
    pub fn new(store: Arc<dyn CacheStore>, trigger: Arc<TriggerId>, log: LogWriter, is_shared: bool) -> Self {
        Self { store, trigger, log, is_shared, closed: AtomicBool::new(false) }
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
        self.store.look(&self.trigger, namespace, key, known_version)
    }

    /// Whether there is nothing that a new worker could take over.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.is_closed() || self.store.is_empty(&self.trigger)
    }

    /// Takes in changes; the trigger's log tells what a limit refuses.
    pub async fn apply(&self, invocation: Option<Uuid>, changes: Vec<CacheChange>) {
        if changes.is_empty() || self.is_closed() {
            return;
        }
        for refused in self.store.apply(&self.trigger, changes).await {
            self.log.runner(Level::Warn, invocation, refused.to_string());
        }
    }

    /// The trigger was disabled or deleted: its own entries are gone, as in InfluxDB 3.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.store.forget(&self.trigger);
    }

    /// The trigger was disabled or deleted.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}
