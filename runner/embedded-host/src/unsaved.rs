//! What no snapshot has taken yet, and how writers wait for one.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::error::WriteError;

/// The rows in memory that no snapshot has taken, by their bytes in the log.
#[derive(Debug)]
pub(crate) struct Unsaved {
    bytes: AtomicUsize,
    /// Bytes beyond which a writer waits.
    limit: usize,
    /// Why the last snapshot failed, if it did.
    failure: Mutex<Option<String>>,
    /// Told when a snapshot has ended, one way or the other, and when there will be none any more.
    ended: Notify,
}

impl Unsaved {
    pub(crate) fn new(bytes: usize, limit: usize) -> Self {
        Self { bytes: AtomicUsize::new(bytes), limit, failure: Mutex::default(), ended: Notify::new() }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Counts a commit, and gives what there is with it.
    pub(crate) fn add(&self, bytes: usize) -> usize {
        self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    /// A snapshot has taken so many bytes.
    pub(crate) fn saved(&self, bytes: usize) {
        // The failure goes first: who looks in between waits, and is not refused for what is over.
        *self.failure.lock() = None;
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.ended.notify_waiters();
    }

    /// A snapshot has failed.
    pub(crate) fn not_saved(&self, reason: String) {
        *self.failure.lock() = Some(reason);
        self.ended.notify_waiters();
    }

    /// Lets writers look whether the host is closed.
    pub(crate) fn wake(&self) {
        self.ended.notify_waiters();
    }

    /// Waits until a writer may add rows: a snapshot that is under way is waited for, however fast others write. So memory is
    /// bounded, and who writes faster than snapshots can be taken is slowed down to their pace.
    ///
    /// # Errors
    /// The last snapshot failed, so nobody knows when there will be room; or the host is closed.
    pub(crate) async fn room(&self, is_closed: impl Fn() -> bool) -> Result<(), WriteError> {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // Counted from before the bytes are looked at, so that no end after that is missed.
            ended.as_mut().enable();
            let bytes = self.bytes();
            if bytes <= self.limit {
                return Ok(());
            }
            if is_closed() {
                return Err(WriteError::Closed);
            }
            if let Some(reason) = self.failure.lock().as_deref() {
                let limit = self.limit;
                let text = format!("{bytes} bytes wait for a snapshot, {limit} may, and the last one failed: {reason}");
                return Err(WriteError::Storage(text));
            }
            ended.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_writer_waits_for_a_snapshot_and_not_for_one_that_fails() {
        let unsaved = Unsaved::new(0, 10);
        assert!(matches!(unsaved.room(|| false).now_or_never(), Some(Ok(()))));
        assert_eq!(unsaved.add(11), 11);
        let mut waiting = Box::pin(unsaved.room(|| false));
        assert!(waiting.as_mut().now_or_never().is_none());
        unsaved.saved(1);
        assert!(matches!(waiting.now_or_never(), Some(Ok(()))));

        unsaved.add(1);
        let mut waiting = Box::pin(unsaved.room(|| false));
        assert!(waiting.as_mut().now_or_never().is_none());
        unsaved.not_saved("no space left".to_owned());
        let words = "11 bytes wait for a snapshot, 10 may, and the last one failed: no space left";
        assert!(matches!(waiting.now_or_never(), Some(Err(WriteError::Storage(text))) if text == words));
        unsaved.saved(11);
        assert!(matches!(unsaved.room(|| false).now_or_never(), Some(Ok(()))));
    }

    #[test]
    fn nobody_waits_for_a_host_that_is_closed() {
        let unsaved = Unsaved::new(11, 10);
        let closed = std::cell::Cell::new(false);
        let mut waiting = Box::pin(unsaved.room(|| closed.get()));
        assert!(waiting.as_mut().now_or_never().is_none());
        closed.set(true);
        unsaved.wake();
        assert!(matches!(waiting.now_or_never(), Some(Err(WriteError::Closed))));
    }
}
