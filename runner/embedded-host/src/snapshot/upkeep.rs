//! What happens beside the write path: snapshots when they are due, and the removal of what nobody needs.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio::time::{Instant, timeout_at};

use super::{data_prefix, save};
use crate::shared::Shared;

/// Waits for work and does it, until it is aborted.
pub(crate) async fn run(shared: Arc<Shared>) {
    // When the next attempt is made after one that failed: not at every commit, and also when nothing is written any more.
    let mut again: Option<Instant> = None;
    loop {
        let notified = shared.upkeep.notified();
        match again {
            Some(at) => drop(timeout_at(at, notified).await),
            None => notified.await,
        }
        if shared.unsaved.bytes() < shared.snapshot_bytes {
            again = None;
        } else if again.is_none_or(|at| at <= Instant::now()) {
            again = match save(&shared).await {
                Ok(()) => None,
                Err(error) => {
                    tracing::warn!(%error, "a snapshot failed; the rows stay in memory and in the WAL");
                    Some(Instant::now() + shared.snapshot_retry)
                }
            };
        }
        if shared.records.wants_sync() {
            sync_records(&shared).await;
        }
        remove_segments(&shared).await;
        remove_garbage(&shared).await;
    }
}

/// Makes the records in their store durable. What fails is tried again the next time; the log keeps them meanwhile.
pub(crate) async fn sync_records(shared: &Shared) {
    let records = Arc::clone(&shared.records);
    let synced = tokio::task::spawn_blocking(move || records.sync()).await;
    if let Err(error) = synced.map_err(|error| error.to_string()).and_then(|synced| synced) {
        tracing::warn!(error, "records could not be stored; the WAL keeps them");
    }
}

/// Removes the WAL segments that a snapshot covers, whose records are stored, and which nobody needs to read.
pub(super) async fn remove_segments(shared: &Shared) {
    let floor = shared.covered.load(Ordering::Relaxed).min(shared.released.load(Ordering::Relaxed));
    if !shared.segments.lock().has_up_to(floor) {
        return;
    }
    if shared.records.durable().is_none_or(|durable| durable < floor) {
        sync_records(shared).await;
    }
    let floor = floor.min(shared.records.durable().unwrap_or_default());
    let removed = shared.segments.lock().remove_up_to(floor);
    for path in removed {
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(segment = %path.display(), %error, "cannot remove a WAL segment that is not needed any more");
        }
    }
}

/// Removes the files of deleted databases. What fails here is found again at the next start.
async fn remove_garbage(shared: &Shared) {
    let garbage = std::mem::take(&mut *shared.garbage.lock());
    for path in garbage {
        let Ok(location) = Path::parse(&path) else {
            continue;
        };
        if let Err(error) = shared.store.delete(&location).await {
            tracing::warn!(path, %error, "cannot remove a file of a deleted database");
        }
    }
}

/// Removes the Parquet files that the state does not know: those of a snapshot that did not get to its manifest, and of databases
/// that were deleted just before the end. Called at start, before there are new ones.
pub(crate) async fn clean_orphans(shared: &Shared) -> Result<(), object_store::Error> {
    let known: HashSet<String> = {
        let state = shared.state.read();
        let tables = state.databases.values().flat_map(|database| database.tables.values());
        tables.flat_map(|table| table.files().iter().map(|file| file.path.clone())).collect()
    };
    let objects: Vec<_> = shared.store.list(Some(&data_prefix(&shared.prefix))).try_collect().await?;
    for object in objects {
        if !known.contains(object.location.as_ref()) {
            tracing::info!(path = %object.location, "removing a file that no snapshot names");
            shared.store.delete(&object.location).await?;
        }
    }
    Ok(())
}
