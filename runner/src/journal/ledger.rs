//! The records of a node, in memory as long as they are new and in their file.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::Record;
use super::store::{Store, StoreError};
use crate::limits;
use crate::metrics::Histogram;

/// Changes by key.
type Changes = BTreeMap<String, Option<Bytes>>;

/// The records of a node. What [`Ledger::apply`] took in is seen at once and durable after the next [`Ledger::sync`].
#[derive(Debug)]
pub struct Ledger {
    store: Store,
    recent: Mutex<Recent>,
    /// Held while the file is written, so that writes come one after another.
    writing: Mutex<()>,
    /// How long it took to make something durable that somebody waited for.
    pub syncs: Histogram,
}

#[derive(Debug, Default)]
struct Recent {
    /// Not in the file yet.
    new: Changes,
    new_bytes: usize,
    /// On their way to the file.
    leaving: Arc<Changes>,
    /// The place in the host's log up to which records were taken in.
    applied: u64,
    /// The place up to which the file has them.
    durable: Option<u64>,
}

impl Recent {
    fn get(&self, key: &str) -> Option<&Option<Bytes>> {
        self.new.get(key).or_else(|| self.leaving.get(key))
    }
}

impl Ledger {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let store = Store::open(path)?;
        let durable = store.applied()?;
        let recent = Recent { applied: durable.unwrap_or_default(), durable, ..Recent::default() };
        Ok(Self { store, recent: Mutex::new(recent), writing: Mutex::default(), syncs: Histogram::default() })
    }

    /// The place in the host's log up to which all records are in the file; `None` for a new file.
    #[must_use]
    pub fn durable(&self) -> Option<u64> {
        self.recent.lock().durable
    }

    /// Takes in changes that were made at the place `applied` of the host's log, or, without such a log, in this order.
    pub fn apply(&self, applied: u64, records: impl IntoIterator<Item = Record>) {
        let mut recent = self.recent.lock();
        recent.applied = applied;
        for Record { key, value } in records {
            recent.new_bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
            recent.new.insert(key, value);
        }
    }

    /// Whether memory holds so much that it belongs into the file.
    #[must_use]
    pub fn wants_sync(&self) -> bool {
        self.recent.lock().new_bytes > limits::LEDGER_RECENT_BYTES
    }

    /// Makes durable what was taken in before the call. Calls at the same time share one write.
    ///
    /// # Errors
    /// When the file cannot be written. What was taken in stays in memory, and the next call tries again.
    pub fn sync(&self) -> Result<(), StoreError> {
        let _writing = self.writing.lock();
        let (leaving, applied) = {
            let mut recent = self.recent.lock();
            if recent.new.is_empty() && recent.durable == Some(recent.applied) {
                return Ok(());
            }
            recent.leaving = Arc::new(std::mem::take(&mut recent.new));
            recent.new_bytes = 0;
            (Arc::clone(&recent.leaving), recent.applied)
        };
        let written = self.store.apply(leaving.iter(), applied);
        let mut recent = self.recent.lock();
        recent.leaving = Arc::default();
        match written {
            Ok(()) => recent.durable = Some(applied),
            Err(error) => {
                for (key, value) in Arc::unwrap_or_clone(leaving) {
                    recent.new_bytes += value.as_ref().map_or(0, Bytes::len);
                    // What came meanwhile is newer.
                    recent.new.entry(key).or_insert(value);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// What a key holds.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        loop {
            let before = {
                let recent = self.recent.lock();
                if let Some(value) = recent.get(key) {
                    return Ok(value.clone());
                }
                Arc::clone(&recent.leaving)
            };
            let stored = self.store.get(key)?;
            // What left for the file in between was in neither place.
            if Arc::ptr_eq(&before, &self.recent.lock().leaving) {
                return Ok(stored);
            }
        }
    }

    /// The first key that begins with `prefix`, among those in the file. It is for what a start finds.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn first(&self, prefix: &str) -> Result<Option<String>, StoreError> {
        Ok(self.store.range(prefix, prefix, 1)?.pop().map(|(key, _)| key))
    }

    /// Up to `max` records among those in the file, from the first key after `after` that begins with `prefix`. It is for what a
    /// start finds, in parts, because it may be more than fits into memory.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn page(&self, prefix: &str, after: &str, max: usize) -> Result<Vec<(String, Bytes)>, StoreError> {
        let from = if after < prefix { prefix.to_owned() } else { format!("{after}\0") };
        self.store.range(&from, prefix, max)
    }

    /// A failure of the work on the file.
    #[must_use]
    pub fn failed(&self, reason: &dyn std::fmt::Display) -> StoreError {
        self.store.failed(reason)
    }

    /// The records whose keys begin with `prefix`, in order.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn scan(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, StoreError> {
        loop {
            let (mut found, before) = {
                let recent = self.recent.lock();
                let of = |changes: &Changes| -> Changes {
                    let from = changes.range(prefix.to_owned()..);
                    from.take_while(|(key, _)| key.starts_with(prefix)).map(|(k, v)| (k.clone(), v.clone())).collect()
                };
                let mut found = of(&recent.leaving);
                found.extend(of(&recent.new));
                (found, Arc::clone(&recent.leaving))
            };
            let stored = self.store.range(prefix, prefix, usize::MAX)?;
            if !Arc::ptr_eq(&before, &self.recent.lock().leaving) {
                continue;
            }
            for (key, value) in stored {
                found.entry(key).or_insert(Some(value));
            }
            return Ok(found.into_iter().filter_map(|(key, value)| Some((key, value?))).collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &str, value: &str) -> Record {
        Record::set(key.to_owned(), value.to_owned())
    }

    fn seen(ledger: &Ledger, prefix: &str) -> Vec<String> {
        let found = ledger.scan(prefix).unwrap();
        found.into_iter().map(|(key, value)| format!("{key}={}", String::from_utf8_lossy(&value))).collect()
    }

    #[test]
    fn records_are_seen_at_once_and_come_back_after_a_sync() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let ledger = Ledger::open(&path).unwrap();
        assert_eq!(ledger.durable(), None);
        ledger.apply(3, [set("a/1", "x"), set("a/2", "y"), set("b", "z")]);
        assert_eq!(seen(&ledger, "a/"), ["a/1=x", "a/2=y"]);
        ledger.sync().unwrap();
        assert_eq!(ledger.durable(), Some(3));
        ledger.apply(4, [set("a/3", "new"), Record::remove("a/1".to_owned()), set("a/2", "other")]);
        assert_eq!(seen(&ledger, "a/"), ["a/2=other", "a/3=new"]);
        assert_eq!(ledger.get("a/1").unwrap(), None);
        assert_eq!(ledger.get("b").unwrap(), Some(Bytes::from_static(b"z")));
        drop(ledger);

        let ledger = Ledger::open(&path).unwrap();
        assert_eq!(
            (ledger.durable(), seen(&ledger, "")),
            (Some(3), vec!["a/1=x".into(), "a/2=y".into(), "b=z".into()])
        );
    }

    #[test]
    fn a_newer_format_and_a_file_that_is_none_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        drop(Ledger::open(&path).unwrap());
        let database = redb::Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let meta: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("meta");
        transaction.open_table(meta).unwrap().insert("format", 7).unwrap();
        transaction.commit().unwrap();
        drop(database);
        let error = Ledger::open(&path).unwrap_err().to_string();
        assert!(error.ends_with("its format 7 is newer than this version of bulkhead understands (2)"), "{error}");
        std::fs::write(&path, vec![7; 10_000]).unwrap();
        assert!(matches!(Ledger::open(&path), Err(StoreError::Failed { .. })));
    }
}
