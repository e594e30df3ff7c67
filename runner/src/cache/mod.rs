//! What plugins keep in `influxdb3_local.cache`, as far as it outlives a worker.
//!
//! A worker holds the live objects. What of them can be written down is mirrored here at the end of a call, and a new worker
//! takes it from here; when a trigger has several workers, or triggers share an entry, the mirror says what counts.
//! The bytes are the worker's business: nothing here reads them. What is here survives the runner as records of the journal.

mod commits;
mod mirror;
mod record;
mod trigger;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::sync::Notify;

use self::commits::Changes;
pub use self::mirror::{Keeping, Limits, Mirror, Refused};
pub use self::trigger::TriggerCache;
use crate::clock::SharedClock;
use crate::journal::{Kind, Ledger, Record, StoreError};
use crate::limits;
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

/// A trigger from when it is enabled until it is disabled or deleted, also over restarts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The trigger.
    pub trigger: Arc<TriggerId>,
    /// Differs whenever a trigger of this name begins anew.
    pub origin: u64,
}

/// The entries of all triggers.
pub struct Cache {
    mirror: Mutex<Mirror>,
    clock: SharedClock,
    /// Told when there is something to be recorded.
    changed: Notify,
}

impl Cache {
    /// For triggers: what is kept is also recorded.
    #[must_use]
    pub fn of_triggers(clock: SharedClock) -> Self {
        let mirror = Mutex::new(Mirror::new(Limits::TRIGGERS, Keeping::Recorded));
        Self { mirror, clock, changed: Notify::new() }
    }

    /// For plugins that are only tried: everything is kept for a while.
    #[must_use]
    pub fn of_tests(clock: SharedClock) -> Self {
        let mirror = Mutex::new(Mirror::new(Limits::TESTS, Keeping::For(limits::TEST_CACHE_KEPT)));
        Self { mirror, clock, changed: Notify::new() }
    }

    /// Reads what was recorded of these owners, and returns what removes the records of others.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn load(&self, ledger: &Ledger, owners: impl Iterator<Item = Owner>) -> Result<Vec<Record>, StoreError> {
        let owners: BTreeMap<TriggerId, Owner> = owners.map(|owner| (owner.trigger.as_ref().clone(), owner)).collect();
        let now = self.now();
        let mut gone = Vec::new();
        for kind in [Kind::Cached, Kind::Shared] {
            let records = ledger.scan(&kind.prefix())?;
            gone.append(&mut self.mirror.lock().load(kind, records, &owners, now));
        }
        Ok(gone)
    }

    /// Looks at an entry.
    #[must_use]
    pub fn look(&self, owner: &Owner, namespace: Namespace, key: &str, known_version: u64) -> Looked {
        self.mirror.lock().look(owner, namespace, key, known_version, self.now())
    }

    /// Whether the owner has entries of its own.
    #[must_use]
    pub fn is_empty(&self, owner: &Owner) -> bool {
        self.mirror.lock().is_empty(owner, self.now())
    }

    /// Takes in changes that belong to no commit, and returns those that a limit refuses. They are recorded soon.
    pub fn keep(&self, owner: &Owner, changes: Vec<CacheChange>) -> Vec<Refused> {
        let now = self.now();
        let mut mirror = self.mirror.lock();
        let refused = changes.into_iter().filter_map(|change| mirror.keep(owner, change, now).err()).collect();
        drop(mirror);
        self.changed.notify_one();
        refused
    }

    /// Prepares the changes of a call for a commit, and returns those that a limit refuses.
    #[must_use]
    pub fn prepare(self: &Arc<Self>, owner: &Owner, changes: Vec<CacheChange>) -> (Prepared, Vec<Refused>) {
        let (changes, refused) = self.mirror.lock().prepare(owner, changes, self.now());
        (Prepared { cache: Arc::clone(self), changes: Some(changes) }, refused)
    }

    /// What is to be recorded of the changes that belonged to no commit; `None` when that is nothing.
    #[must_use]
    pub fn unsaved(self: &Arc<Self>) -> Option<Prepared> {
        let changes = self.mirror.lock().unsaved(limits::CACHE_SAVED_BYTES);
        (!changes.records.is_empty()).then(|| Prepared { cache: Arc::clone(self), changes: Some(changes) })
    }

    /// Waits until there is something to be recorded.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Forgets an owner's own entries. Returns what removes their records.
    #[must_use]
    pub fn forget(&self, owner: &Owner) -> Vec<Record> {
        self.mirror.lock().forget(owner)
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    fn settle(&self, changes: Changes, is_done: bool) {
        if self.mirror.lock().settle(changes, is_done) {
            self.changed.notify_one();
        }
    }
}

/// Changes that are part of a commit. They are seen when it has succeeded; dropping them says that nobody knows whether it has.
pub struct Prepared {
    cache: Arc<Cache>,
    changes: Option<Changes>,
}

impl Prepared {
    /// Whether there is nothing to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.as_ref().is_none_or(|changes| changes.records.is_empty())
    }

    /// What is to be committed.
    pub fn take_records(&mut self) -> Vec<Record> {
        self.changes.as_mut().map(|changes| std::mem::take(&mut changes.records)).unwrap_or_default()
    }

    /// The commit has succeeded.
    pub fn committed(mut self) {
        if let Some(changes) = self.changes.take() {
            self.cache.settle(changes, true);
        }
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if let Some(changes) = self.changes.take() {
            self.cache.settle(changes, false);
        }
    }
}
