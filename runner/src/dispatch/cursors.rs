//! How far each trigger has read the feed, and what nobody needs any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::host::WalFeed;
use crate::trigger::TriggerId;

/// Positions of all triggers that read the feed. The feed is told when the slowest of them moves on.
pub struct Cursors {
    feed: Arc<dyn WalFeed>,
    positions: Mutex<Positions>,
}

impl std::fmt::Debug for Cursors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursors").finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Positions {
    of: BTreeMap<TriggerId, u64>,
    /// How many triggers stand at a position; the first key is the slowest.
    count_at: BTreeMap<u64, usize>,
}

impl Positions {
    fn set(&mut self, id: &TriggerId, position: Option<u64>) {
        let old = match position {
            Some(position) => self.of.insert(id.clone(), position),
            None => self.of.remove(id),
        };
        if let Some(position) = position {
            *self.count_at.entry(position).or_default() += 1;
        }
        if let Some(old) = old
            && let Some(count) = self.count_at.get_mut(&old)
        {
            *count -= 1;
            if *count == 0 {
                self.count_at.remove(&old);
            }
        }
    }

    fn slowest(&self) -> Option<u64> {
        self.count_at.first_key_value().map(|(position, _)| *position)
    }
}

impl Cursors {
    /// No trigger reads yet.
    #[must_use]
    pub fn new(feed: Arc<dyn WalFeed>) -> Self {
        Self { feed, positions: Mutex::default() }
    }

    /// A trigger begins to read after the present end of the feed, and its position is returned.
    pub fn join(&self, id: &TriggerId) -> u64 {
        let mut positions = self.positions.lock();
        let head = *self.feed.head().borrow();
        positions.set(id, Some(head));
        // Told under the lock, so that floors arrive in the order in which they were found.
        self.feed.release(positions.slowest());
        head
    }

    /// A trigger is done with everything up to `position`.
    pub fn advance(&self, id: &TriggerId, position: u64) {
        let mut positions = self.positions.lock();
        let before = positions.slowest();
        positions.set(id, Some(position));
        let now = positions.slowest();
        if now != before {
            self.feed.release(now);
        }
    }

    /// A trigger reads no longer.
    pub fn leave(&self, id: &TriggerId) {
        let mut positions = self.positions.lock();
        positions.set(id, None);
        self.feed.release(positions.slowest());
    }

    /// The position of one trigger.
    #[must_use]
    pub fn position(&self, id: &TriggerId) -> Option<u64> {
        self.positions.lock().of.get(id).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::MemoryFeed;
    use chrono::DateTime;

    #[tokio::test]
    async fn the_slowest_trigger_decides_what_is_kept() {
        let feed = Arc::new(MemoryFeed::new(1 << 20));
        let cursors = Cursors::new(Arc::clone(&feed) as Arc<dyn WalFeed>);
        let (fast, slow) = (TriggerId::new("d", "fast"), TriggerId::new("d", "slow"));
        cursors.join(&fast);
        cursors.join(&slow);
        for _ in 0..3 {
            feed.push(DateTime::UNIX_EPOCH, Vec::new()).await;
        }
        let released = feed.released();
        cursors.advance(&fast, 3);
        assert_eq!(*released.borrow(), 0);
        cursors.advance(&slow, 1);
        assert_eq!(*released.borrow(), 1);
        cursors.leave(&slow);
        assert_eq!(*released.borrow(), 3);
        cursors.leave(&fast);
        feed.push(DateTime::UNIX_EPOCH, Vec::new()).await;
        assert_eq!(*released.borrow(), 4);
    }
}
