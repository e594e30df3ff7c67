//! The file of records: a table of values by key in an embedded transactional database, each value with its checksums.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use super::salvage::{Unsalvaged, salvage, shown};
use super::seal::{seal, unseal};

pub(super) const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// Key in [`META`]: version of the format.
pub(super) const FORMAT_KEY: &str = "format";
/// Key in [`META`]: see [`Store::applied`].
pub(super) const APPLIED_KEY: &str = "applied";
/// Key in [`META`]: the same with every bit turned, by which a damaged one is known.
pub(super) const APPLIED_TURNED_KEY: &str = "applied-turned";
/// The version that is written, and the newest that is read.
pub(super) const FORMAT: u64 = 2;
/// The version whose values have no checksums.
const FORMAT_WITHOUT_CHECKSUMS: u64 = 1;

/// Memory for pages of the file, bytes. Records are small and read seldom.
pub(super) const CACHE_BYTES: usize = 8 << 20;

/// Records that are read at a time when a file is brought to the present format.
const UPGRADE_RECORDS: usize = 64;

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
    /// The file is damaged, and a start cannot go on without what is.
    #[error(
        "journal {path} is damaged: {reason}. It says what is done and what is not, so there is no start without it: restore \
             it from a backup of the whole node directory"
    )]
    Damaged {
        /// The file.
        path: String,
        /// What was found.
        reason: String,
    },
    /// A record that was read is not as it was written.
    #[error(
        "journal {path}: its record `{key}` is damaged; when the server is stopped and started again it sets it aside, or \
             says what to do"
    )]
    DamagedRecord {
        /// The file.
        path: String,
        /// Its key.
        key: String,
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
    /// Opens the file, or makes it. Of a file whose rows are damaged the rest is taken, see [`salvage`].
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let store = Self { path: path.to_owned(), database: Mutex::new(None) };
        if let Err(redb::Error::Corrupted(reason)) = store.handle() {
            let shown = path.display().to_string();
            salvage(path).map_err(|error| match error {
                Unsalvaged::Damaged(why) => StoreError::Damaged { path: shown, reason: format!("{why} ({reason})") },
                Unsalvaged::Failed(why) => StoreError::Failed {
                    path: shown,
                    reason: format!("it is damaged ({reason}); what is good of it can be had, but {why}"),
                },
            })?;
        }
        let found = store.with(|database| {
            let transaction = database.begin_write()?;
            let found = {
                transaction.open_table(RECORDS)?;
                let meta = transaction.open_table(META)?;
                meta.get(FORMAT_KEY)?.map(|value| value.value())
            };
            if found == Some(FORMAT_WITHOUT_CHECKSUMS) {
                add_checksums(&transaction)?;
            }
            if found.is_none_or(|found| found < FORMAT) {
                transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
            }
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
                        Some(value) => records.insert(key.as_str(), seal(key, value).as_slice())?,
                        None => records.remove(key.as_str())?,
                    };
                }
                let mut meta = transaction.open_table(META)?;
                meta.insert(APPLIED_KEY, applied)?;
                meta.insert(APPLIED_TURNED_KEY, !applied)?;
            }
            transaction.commit()?;
            Ok(())
        })
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let found = self.with(|database| {
            let records = database.begin_read()?.open_table(RECORDS)?;
            Ok(records.get(key)?.map(|value| unseal(key, value.value())))
        })?;
        found.transpose().map_err(|_| self.damaged(key))
    }

    /// Up to `max` records from `from` on whose keys begin with `prefix`, in order.
    pub(super) fn range(&self, from: &str, prefix: &str, max: usize) -> Result<Vec<(String, Bytes)>, StoreError> {
        let found = self.with(|database| {
            let records = database.begin_read()?.open_table(RECORDS)?;
            let mut found = Vec::new();
            for entry in records.range(from..)? {
                let (key, value) = entry?;
                if found.len() >= max || !key.value().starts_with(prefix) {
                    break;
                }
                found.push((key.value().to_owned(), unseal(key.value(), value.value())));
            }
            Ok(found)
        })?;
        let whole = |(key, value): (String, Result<Bytes, _>)| match value {
            Ok(value) => Ok((key, value)),
            Err(_) => Err(self.damaged(&key)),
        };
        found.into_iter().map(whole).collect()
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let database = self.handle().map_err(|error| self.failed(&error))?;
        work(&database).map_err(|error| {
            *self.database.lock() = None;
            self.failed(&error)
        })
    }

    fn handle(&self) -> Result<Arc<Database>, redb::Error> {
        let mut database = self.database.lock();
        if let Some(database) = &*database {
            return Ok(Arc::clone(database));
        }
        // A file that somebody changed is found out here, not in the middle of the work.
        let opened = Builder::new().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).create(&self.path)?;
        let opened = Arc::new(opened);
        *database = Some(Arc::clone(&opened));
        Ok(opened)
    }

    pub(super) fn failed(&self, error: &dyn std::fmt::Display) -> StoreError {
        StoreError::Failed { path: self.path.display().to_string(), reason: error.to_string() }
    }

    fn damaged(&self, key: &str) -> StoreError {
        StoreError::DamagedRecord { path: self.path.display().to_string(), key: shown(key) }
    }
}

/// Gives every value its checksums.
fn add_checksums(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let mut meta = transaction.open_table(META)?;
    let applied = meta.get(APPLIED_KEY)?.map(|value| value.value());
    if let Some(applied) = applied {
        meta.insert(APPLIED_TURNED_KEY, !applied)?;
    }
    drop(meta);
    let mut records = transaction.open_table(RECORDS)?;
    let mut from = String::new();
    loop {
        let page: Vec<(String, Vec<u8>)> = records
            .range(from.as_str()..)?
            .take(UPGRADE_RECORDS)
            .map(|entry| entry.map(|(key, value)| (key.value().to_owned(), value.value().to_vec())))
            .collect::<Result<_, _>>()?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        // The first key behind it.
        from = format!("{last}\0");
        for (key, value) in &page {
            records.insert(key.as_str(), seal(key, value).as_slice())?;
        }
    }
}
