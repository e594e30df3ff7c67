//! The feed: every commit in order, for those who work on them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use crate::commit::Commit;
use crate::error::ReadError;
use crate::host::EmbeddedHost;
use crate::wal::{read_commit, set_aside_unreadable};

impl EmbeddedHost {
    /// The last committed, durable sequence. The receiver is told of every change, possibly of several at once.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<u64> {
        self.inner.shared.head.subscribe()
    }

    /// The first commit after sequence `after`: from memory when it is recent, else from the log on disk. `None` when there is
    /// none yet. Commits that create or delete a database come too, without rows.
    ///
    /// # Errors
    /// When the commit was removed, see [`EmbeddedHost::release_up_to`], or the log cannot be read.
    pub async fn read_commit(&self, after: u64) -> Result<Option<Arc<Commit>>, ReadError> {
        let shared = &self.inner.shared;
        let wanted = after.saturating_add(1);
        if wanted > *shared.head.borrow() {
            return Ok(None);
        }
        if let Some(commit) = shared.recent.lock().get(wanted) {
            return Ok(Some(commit));
        }
        let place = shared.segments.lock().find(wanted)?;
        let path = place.path().to_owned();
        let read = tokio::task::spawn_blocking(move || read_commit(&place)).await;
        match read {
            Ok(Ok(commit)) => Ok(Some(Arc::new(commit))),
            // The segment was removed between looking it up and opening it.
            Ok(Err(ReadError::Io { source, .. })) if source.kind() == std::io::ErrorKind::NotFound => {
                Err(shared.segments.lock().gone(wanted))
            }
            Ok(Err(error)) => {
                if let ReadError::Corrupt { path, .. } = &error {
                    set_aside_unreadable(path, wanted, &error);
                }
                Err(error)
            }
            Err(error) => Err(ReadError::Io { path, source: std::io::Error::other(error) }),
        }
    }

    /// Says that nobody will read the commits up to `sequence`. Segments of the log with later ones are kept even when a snapshot
    /// covers them. Before the first call [`crate::Config::released`] counts. The floor is not stored: it is said again after each
    /// start.
    pub fn release_up_to(&self, sequence: u64) {
        self.inner.shared.released.store(sequence, Ordering::Relaxed);
        self.inner.shared.upkeep.notify_one();
    }
}
