//! How far a trigger has come in its events: a function of what began and what ended. Pure.
//!
//! Events have numbers that grow: places in the host's log for rows, nanoseconds since the epoch for ticks. A synchronous trigger
//! does one after the other; an asynchronous one may be done with a later event before an earlier one, so the position, up to which
//! all are done, stands still at the earliest that is open, and what is done beyond it is remembered by number.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// How far a trigger has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last event that was begun or passed over.
    last: u64,
    /// Events that were begun and have not ended.
    open: BTreeSet<u64>,
    /// Events beyond the position that are done.
    done: BTreeSet<u64>,
}

impl Progress {
    /// A trigger that was done with everything up to `position`, and with these later events, when it was last heard of.
    #[must_use]
    pub fn new(position: u64, done: impl IntoIterator<Item = u64>) -> Self {
        let done = done.into_iter().filter(|event| *event > position).collect();
        Self { last: position, open: BTreeSet::new(), done }
    }

    /// Whether the event needs no call: it is done.
    #[must_use]
    pub fn is_done(&self, event: u64) -> bool {
        event <= self.position() || self.done.contains(&event)
    }

    /// The event begins. Events begin in order.
    pub fn begin(&mut self, event: u64) {
        self.last = self.last.max(event);
        self.open.insert(event);
    }

    /// The event is done, or was passed over because it is not for this trigger.
    pub fn finish(&mut self, event: u64) {
        self.last = self.last.max(event);
        self.open.remove(&event);
        self.done.insert(event);
        let position = self.position();
        self.done = self.done.split_off(&(position + 1));
    }

    /// How many events beyond the position are done.
    #[must_use]
    pub fn ahead(&self) -> usize {
        self.done.len()
    }

    /// The last event that was begun or passed over.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The event up to which all are done.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.open.first().map_or(self.last, |earliest| earliest.saturating_sub(1))
    }
}

/// What is recorded of a trigger with each commit of its effects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The position.
    pub position: u64,
    /// Differs between two triggers of one name, one of which was made after the other was deleted.
    pub origin: u64,
}

impl Mark {
    /// The record's value.
    #[must_use]
    pub fn encode(self) -> Bytes {
        // Two numbers have a JSON form.
        serde_json::to_vec(&self).unwrap_or_default().into()
    }

    /// Reads a record's value.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(value: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_waits_for_the_earliest_open_event() {
        let mut progress = Progress::new(5, [3, 7]);
        assert_eq!((progress.position(), progress.is_done(7), progress.is_done(6)), (5, true, false));
        progress.begin(6);
        progress.finish(7);
        progress.begin(8);
        progress.begin(9);
        progress.finish(9);
        assert_eq!((progress.position(), progress.is_done(9), progress.is_done(8)), (5, true, false));
        progress.finish(6);
        assert_eq!(progress.position(), 7);
        progress.finish(8);
        assert_eq!((progress.position(), progress.done.len()), (9, 0));
    }

    #[test]
    fn a_mark_reads_back() {
        let mark = Mark { position: u64::MAX, origin: 7 };
        assert_eq!(Mark::decode(&mark.encode()).unwrap(), mark);
        assert!(Mark::decode(b"{}").is_err());
    }

    /// Against a model that keeps every event: whatever the order of ends, a crash at any point leaves a position and a set of done
    /// events from which exactly the others are done again.
    #[test]
    fn a_crash_at_any_point_repeats_what_was_not_done_and_nothing_else() {
        for seed in 0..2_000 {
            let mut chance = fastrand::Rng::with_seed(seed);
            let mut done: BTreeSet<u64> = BTreeSet::new();
            let (mut position, mut recorded) = (0, Vec::new());
            for _life in 0..4 {
                let mut progress = Progress::new(position, recorded.iter().copied());
                let (mut next, mut open) = (position + 1, Vec::new());
                for _step in 0..chance.usize(0..40) {
                    if chance.bool() && open.len() < 4 && next <= 60 {
                        let event = next;
                        next += 1;
                        if progress.is_done(event) {
                            assert!(done.contains(&event), "seed {seed}: event {event} was left out");
                            progress.finish(event);
                        } else if chance.u8(..4) == 0 {
                            // Not for this trigger.
                            done.insert(event);
                            progress.finish(event);
                        } else {
                            assert!(!done.contains(&event), "seed {seed}: event {event} was repeated");
                            progress.begin(event);
                            open.push(event);
                        }
                    } else if !open.is_empty() {
                        let event = open.swap_remove(chance.usize(..open.len()));
                        done.insert(event);
                        progress.finish(event);
                    }
                    let all_up_to = |position| (1..=position).all(|event| done.contains(&event));
                    assert!(all_up_to(progress.position()), "seed {seed}: {progress:?}");
                }
                position = progress.position();
                recorded = progress.done.iter().copied().collect();
            }
        }
    }
}
