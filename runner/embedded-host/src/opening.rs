//! The steps of opening a host.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};

use crate::batches::decode_ipc;
use crate::commit::RecentCommits;
use crate::config::Config;
use crate::error::OpenError;
use crate::limits::UNSAVED_FACTOR_MAX;
use crate::series::SeriesSpans;
use crate::shared::Shared;
use crate::table::State;
use crate::unsaved::Unsaved;
use crate::wal::{Action, Queue, RecoveredLog};

/// What the parts of a host share, as recovery left it.
pub(crate) fn share(config: &Config, state: State, log: RecoveredLog, covered: u64, manifest_version: u64) -> Shared {
    Shared {
        store: Arc::clone(&config.store),
        prefix: config.prefix.clone(),
        local_store_root: config.local_store_root.clone(),
        now: Arc::clone(&config.now),
        snapshot_bytes: config.snapshot_bytes,
        snapshot_retry: config.snapshot_retry,
        state: RwLock::new(state),
        queue: Queue::default(),
        segments: Mutex::new(log.segments),
        recent: Mutex::new(RecentCommits::new(config.recent_bytes_max)),
        head: watch::Sender::new(log.last_sequence),
        released: AtomicU64::new(config.released),
        records: Arc::clone(&config.records),
        observer: Arc::clone(&config.observer),
        covered: AtomicU64::new(covered),
        unsaved: Unsaved::new(log.entry_bytes, config.snapshot_bytes.saturating_mul(UNSAVED_FACTOR_MAX)),
        rotate: AtomicBool::new(false),
        garbage: Mutex::new(Vec::new()),
        upkeep: Notify::new(),
        manifest_version: tokio::sync::Mutex::new(manifest_version),
    }
}

/// Applies one action of the log again.
pub(crate) fn replay(state: &mut State, action: Action, rows: &mut u64) -> Result<(), String> {
    match action {
        Action::Create(name) => {
            state.create(&name);
        }
        // The files that it had are found as orphans.
        Action::Delete(name) => drop(state.delete(&name)),
        Action::Rows(database, table) => {
            for batch in decode_ipc(&table.ipc).map_err(|error| error.to_string())? {
                *rows += batch.num_rows() as u64;
                let spans = SeriesSpans::of(&batch);
                state.push(&database, &table.table, batch, &[spans]);
            }
        }
        // Its store takes it.
        Action::Record(_) => {}
    }
    Ok(())
}

/// Makes the directory when it is missing and takes its lock.
pub(crate) fn lock_directory(directory: &Path) -> Result<File, OpenError> {
    let io_error = |action, path: PathBuf| move |source| OpenError::Io { action, path, source };
    fs::create_dir_all(directory).map_err(io_error("create", directory.to_owned()))?;
    let path = directory.join("LOCK");
    let lock = File::options().create(true).write(true).truncate(false).open(&path);
    let lock = lock.map_err(io_error("open", path.clone()))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(directory.to_owned())),
        Err(TryLockError::Error(source)) => {
            return Err(OpenError::Io { action: "lock", path, source });
        }
    }
    // Temporary files of queries that a crash cut short.
    let spill_dir = directory.join("query-spill");
    if spill_dir.exists() {
        fs::remove_dir_all(&spill_dir).map_err(io_error("remove", spill_dir.clone()))?;
    }
    fs::create_dir_all(&spill_dir).map_err(io_error("create", spill_dir))?;
    Ok(lock)
}
