//! The handle of an open host: opening, querying and closing.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::error::{OpenError, QueryError, SnapshotError};
use crate::limits;
use crate::name::INTERNAL_DATABASE;
use crate::opening::{lock_directory, replay, share};
use crate::query::{ParameterValue, QueryEngine, QueryResult};
use crate::shared::Shared;
use crate::snapshot::{clean_orphans, load_newest, run_upkeep, save, sync_records};
use crate::wal::{Action, DiskFiles, WalFiles, Writer, recover};

/// What opening found in the write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    /// Entries that no snapshot held and that were applied again.
    pub entries_replayed: u64,
    /// Their rows.
    pub rows_replayed: u64,
    /// Bytes of an unfinished, never acknowledged entry that were cut from the end of the log.
    pub bytes_cut: u64,
    /// Entries that could not be read and were set aside.
    pub entries_lost: u64,
    /// The last sequence that a snapshot held.
    pub covered_sequence: u64,
    /// The last durable sequence.
    pub last_sequence: u64,
}

/// A query.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryRequest {
    /// The database whose tables it sees.
    pub database: String,
    /// One SQL statement that only reads.
    pub sql: String,
    /// The values of `$name` in the statement, by name without the dollar sign.
    pub parameters: BTreeMap<String, ParameterValue>,
}

/// An open host. Clones are handles of the same one; when the last is dropped without [`EmbeddedHost::close`], what was accepted
/// is still written to the log.
#[derive(Clone)]
pub struct EmbeddedHost {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    /// Shares of the bytes that may be parsed or queued at once, in KiB.
    pub(crate) write_budget: Arc<Semaphore>,
    engine: QueryEngine,
    writer: Mutex<Option<JoinHandle<()>>>,
    upkeep: Mutex<JoinSet<()>>,
    closing: tokio::sync::Mutex<bool>,
    recovery: RecoveryReport,
    /// The directory's lock, held as long as the host is open.
    lock: Mutex<Option<File>>,
}

impl fmt::Debug for EmbeddedHost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EmbeddedHost").field("head", &*self.inner.shared.head.borrow()).finish_non_exhaustive()
    }
}

impl EmbeddedHost {
    /// Opens the host: reads the newest snapshot's manifest, then everything in the log that it does not cover.
    ///
    /// # Errors
    /// When the directory or the store cannot be read, belongs to another process, or holds what cannot be trusted; see
    /// [`OpenError`]. Nothing is changed then, except that an unfinished end of the log may be cut off.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        Self::open_with(config, Arc::new(DiskFiles)).await
    }

    /// [`EmbeddedHost::open`] on files of another make.
    pub(crate) async fn open_with(config: Config, files: Arc<dyn WalFiles>) -> Result<Self, OpenError> {
        let lock = lock_directory(&config.wal_dir)?;
        let manifest = load_newest(config.store.as_ref(), &config.prefix).await?;
        let covered = manifest.state.applied;
        let directory = config.wal_dir.clone();
        let mut state = manifest.state;
        let (records, observer) = (Arc::clone(&config.records), Arc::clone(&config.observer));
        let replayed = tokio::task::spawn_blocking(move || {
            let mut rows = 0;
            let recorded = records.durable();
            let log = recover(&directory, covered, recorded, observer.as_ref(), |sequence, action| match action {
                Action::Record(record) if recorded.is_none_or(|recorded| sequence > recorded) => {
                    records.apply(sequence, vec![record]);
                    Ok(())
                }
                action => replay(&mut state, action, &mut rows),
            })?;
            records.apply(log.last_sequence, Vec::new());
            if recorded.is_some_and(|recorded| recorded > log.last_sequence) {
                // The log was taken away. What it numbers from here on must not pass for what the store has already.
                records.sync().map_err(OpenError::Records)?;
            }
            state.applied = log.last_sequence;
            Ok::<_, OpenError>((log, state, rows))
        });
        let (log, state, rows_replayed) = replayed.await.map_err(|error| OpenError::Engine(error.to_string()))??;
        let recovery = RecoveryReport {
            entries_replayed: log.entries,
            rows_replayed,
            bytes_cut: log.bytes_cut,
            entries_lost: log.entries_lost,
            covered_sequence: covered,
            last_sequence: log.last_sequence,
        };
        let shared = Arc::new(share(&config, state, log, covered, manifest.version));
        if manifest.newest_is_valid {
            clean_orphans(&shared).await?;
        }
        let spill_dir = config.wal_dir.join("query-spill");
        let engine = QueryEngine::start(Arc::clone(&shared), Arc::clone(&config.system_tables), &spill_dir)?;
        let interval = config.wal_flush_interval;
        let writer = Writer::new(Arc::clone(&shared), files, config.wal_dir, interval, recovery.last_sequence);
        let thread = std::thread::Builder::new().name("bulkhead-wal".to_owned()).spawn(move || writer.run());
        let mut upkeep = JoinSet::new();
        upkeep.spawn_on(run_upkeep(Arc::clone(&shared)), engine.handle());
        // The log may be long enough for a snapshot already.
        shared.upkeep.notify_one();
        let inner = Inner {
            shared,
            write_budget: Arc::new(Semaphore::new(limits::QUEUE_BYTES_MAX / 1024)),
            engine,
            writer: Mutex::new(Some(thread.map_err(OpenError::Thread)?)),
            upkeep: Mutex::new(upkeep),
            closing: tokio::sync::Mutex::new(false),
            recovery,
            lock: Mutex::new(Some(lock)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What opening found.
    #[must_use]
    pub fn recovery(&self) -> RecoveryReport {
        self.inner.recovery
    }

    /// Begins a query; it returns when the result's columns are known.
    ///
    /// # Errors
    /// When the database does not exist, the text is no query over its tables, or the query fails at its very start.
    pub async fn query(&self, request: QueryRequest) -> Result<QueryResult, QueryError> {
        if !self.database_exists(&request.database) {
            return Err(QueryError::DatabaseNotFound(request.database));
        }
        self.inner.engine.query(request.database, request.sql, request.parameters).await
    }

    /// Whether queries may name this database. [`INTERNAL_DATABASE`] always exists.
    #[must_use]
    pub fn database_exists(&self, name: &str) -> bool {
        name == INTERNAL_DATABASE || self.inner.shared.state.read().databases.contains_key(name)
    }

    /// Takes a snapshot now. Without new rows, and on a closed host, it does nothing.
    ///
    /// # Errors
    /// When the store fails or the rows cannot be encoded. Nothing is lost then.
    pub async fn snapshot(&self) -> Result<(), SnapshotError> {
        // Holding the lock keeps `close` from giving the directory away meanwhile.
        let closed = self.inner.closing.lock().await;
        if *closed { Ok(()) } else { save(&self.inner.shared).await }
    }

    /// Closes the host: writes what was accepted to the log, takes a snapshot when there is much to replay otherwise, and stops
    /// the threads. Later calls on any handle fail with `Closed`; closing again does nothing.
    pub async fn close(&self) {
        let mut closed = self.inner.closing.lock().await;
        if *closed {
            return;
        }
        *closed = true;
        let inner = Arc::clone(&self.inner);
        if let Err(error) = tokio::task::spawn_blocking(move || inner.stop_writer()).await {
            tracing::warn!(%error, "the WAL thread could not be joined");
        }
        let unsaved = self.inner.shared.unsaved.bytes();
        if unsaved >= limits::CLOSE_SNAPSHOT_BYTES_MIN
            && let Err(error) = save(&self.inner.shared).await
        {
            tracing::warn!(%error, "the last snapshot failed; the next start replays the WAL instead");
        }
        let mut upkeep = std::mem::take(&mut *self.inner.upkeep.lock());
        upkeep.shutdown().await;
        sync_records(&self.inner.shared).await;
        self.inner.engine.stop();
        drop(self.inner.lock.lock().take());
    }
}

impl Inner {
    fn stop_writer(&self) {
        self.shared.queue.close();
        self.shared.unsaved.wake();
        let thread = self.writer.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the WAL thread panicked");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop_writer();
        self.engine.stop();
    }
}

#[cfg(test)]
mod tests;
