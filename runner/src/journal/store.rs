//! The file of records: a table of values by key in an embedded transactional database.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition};

const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// Key in [`META`]: version of the format.
const FORMAT_KEY: &str = "format";
/// Key in [`META`]: see [`Store::applied`].
const APPLIED_KEY: &str = "applied";
/// The version that is written, and the newest that is read.
const FORMAT: u64 = 1;

/// Memory for pages of the file, bytes. Records are small and read seldom.
const CACHE_BYTES: usize = 8 << 20;

/// A file of records that cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The file system or the file failed.
    #[error("journal {path}: {reason}")]
    Failed {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// Written by a newer version.
    #[error("journal {path}: its format {found} is newer than this version of bulkhead understands ({FORMAT})")]
    Newer {
        /// The file.
        path: String,
        /// Its version.
        found: u64,
    },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    /// After a failure of the file system the handle is of no use; the next call opens the file again.
    database: Mutex<Option<Arc<Database>>>,
}

impl Store {
    /// Opens the file, or makes it.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let store = Self { path: path.to_owned(), database: Mutex::new(None) };
        let found = store.with(|database| {
            let transaction = database.begin_write()?;
            let found = {
                transaction.open_table(RECORDS)?;
                let mut meta = transaction.open_table(META)?;
                let found = meta.get(FORMAT_KEY)?.map(|value| value.value());
                if found.is_none() {
                    meta.insert(FORMAT_KEY, FORMAT)?;
                }
                found
            };
            transaction.commit()?;
            Ok(found.unwrap_or(FORMAT))
        })?;
        if found > FORMAT {
            return Err(StoreError::Newer { path: path.display().to_string(), found });
        }
        Ok(store)
    }

    /// The place in the host's log up to which the file has all records; `None` when it was never said.
    pub(super) fn applied(&self) -> Result<Option<u64>, StoreError> {
        self.with(|database| {
            let meta = database.begin_read()?.open_table(META)?;
            Ok(meta.get(APPLIED_KEY)?.map(|value| value.value()))
        })
    }

    /// Makes changes durable, all of them or none.
    pub(super) fn apply<'a>(
        &self,
        changes: impl Iterator<Item = (&'a String, &'a Option<Bytes>)> + Clone,
        applied: u64,
    ) -> Result<(), StoreError> {
        self.with(|database| {
            let transaction = database.begin_write()?;
            {
                let mut records = transaction.open_table(RECORDS)?;
                for (key, value) in changes.clone() {
                    match value {
                        Some(value) => records.insert(key.as_str(), value.as_ref())?,
                        None => records.remove(key.as_str())?,
                    };
                }
                transaction.open_table(META)?.insert(APPLIED_KEY, applied)?;
            }
            transaction.commit()?;
            Ok(())
        })
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.with(|database| {
            let records = database.begin_read()?.open_table(RECORDS)?;
            Ok(records.get(key)?.map(|value| Bytes::copy_from_slice(value.value())))
        })
    }

    /// Up to `max` records from `from` on whose keys begin with `prefix`, in order.
    pub(super) fn range(&self, from: &str, prefix: &str, max: usize) -> Result<Vec<(String, Bytes)>, StoreError> {
        self.with(|database| {
            let records = database.begin_read()?.open_table(RECORDS)?;
            let mut found = Vec::new();
            for entry in records.range(from..)? {
                let (key, value) = entry?;
                if found.len() >= max || !key.value().starts_with(prefix) {
                    break;
                }
                found.push((key.value().to_owned(), Bytes::copy_from_slice(value.value())));
            }
            Ok(found)
        })
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let database = self.handle()?;
        work(&database).map_err(|error| {
            *self.database.lock() = None;
            self.failed(&error)
        })
    }

    fn handle(&self) -> Result<Arc<Database>, StoreError> {
        let mut database = self.database.lock();
        if let Some(database) = &*database {
            return Ok(Arc::clone(database));
        }
        // A file that somebody changed is found out here, not in the middle of the work.
        let opened = Builder::new().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).create(&self.path);
        let opened = Arc::new(opened.map_err(|error| self.failed(&error))?);
        *database = Some(Arc::clone(&opened));
        Ok(opened)
    }

    pub(super) fn failed(&self, error: &dyn std::fmt::Display) -> StoreError {
        StoreError::Failed { path: self.path.display().to_string(), reason: error.to_string() }
    }
}
