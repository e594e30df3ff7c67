//! How far each reader of a feed has come, and what nobody needs any more. Pure.

use std::collections::BTreeMap;

/// A reader of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReaderId(u64);

/// Positions of all readers.
#[derive(Debug, Default)]
pub(in crate::host) struct Readers {
    last_id: u64,
    at: BTreeMap<ReaderId, u64>,
    /// How many readers stand at a position; the first key is the slowest.
    count_at: BTreeMap<u64, usize>,
}

impl Readers {
    /// A new reader that is done with everything up to `position`.
    pub(in crate::host) fn join(&mut self, position: u64) -> ReaderId {
        self.last_id += 1;
        let id = ReaderId(self.last_id);
        self.set(id, Some(position));
        id
    }

    /// The reader is done with everything up to `position`. One that has left stays away.
    pub(in crate::host) fn advance(&mut self, id: ReaderId, position: u64) {
        if self.at.contains_key(&id) {
            self.set(id, Some(position));
        }
    }

    /// The reader reads no longer.
    pub(in crate::host) fn leave(&mut self, id: ReaderId) {
        self.set(id, None);
    }

    /// The position up to which every reader is done; `None` when nobody reads.
    pub(in crate::host) fn floor(&self) -> Option<u64> {
        self.count_at.first_key_value().map(|(position, _)| *position)
    }

    fn set(&mut self, id: ReaderId, position: Option<u64>) {
        let old = match position {
            Some(position) => {
                *self.count_at.entry(position).or_default() += 1;
                self.at.insert(id, position)
            }
            None => self.at.remove(&id),
        };
        if let Some(old) = old
            && let Some(count) = self.count_at.get_mut(&old)
        {
            *count -= 1;
            if *count == 0 {
                self.count_at.remove(&old);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_reader_decides() {
        let mut readers = Readers::default();
        assert_eq!(readers.floor(), None);
        let fast = readers.join(5);
        let slow = readers.join(5);
        readers.advance(fast, 9);
        assert_eq!(readers.floor(), Some(5));
        readers.advance(slow, 6);
        assert_eq!(readers.floor(), Some(6));
        readers.leave(slow);
        assert_eq!(readers.floor(), Some(9));
        readers.advance(slow, 7);
        assert_eq!(readers.floor(), Some(9), "a reader that has left holds nothing back");
        readers.leave(fast);
        assert_eq!(readers.floor(), None);
    }
}
