//! How the entries become durable: functions of (entries, what is committed, what came of it).
//!
//! Memory is what counts while the runner lives; records say what a start begins with. They are written in two ways. Changes of a
//! call that commits something else are part of that commit, and are taken in when it has succeeded. Other changes are taken in at
//! once, and their keys are gathered and recorded soon. A commit takes the gathered keys of its owner along, so that what a start
//! finds of a trigger is how it was at one moment.
//!
//! Commits may overlap, and nobody here learns in which order they came to be. So a key that two of them wrote, or that was changed
//! while one did, is recorded once more, as it is in memory.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::mirror::{Entries, Entry, InFlight, Keeping, Mirror, Refused, Size};
use super::record::{self, place};
use super::{CacheChange, Namespace, Owner};
use crate::journal::{Kind, Record};
use crate::trigger::TriggerId;

/// Changes on their way into a commit.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// What is recorded.
    pub(super) records: Vec<Record>,
    /// The entries that are new.
    new: Vec<New>,
    /// Entries that are recorded as they are.
    carried: Vec<Carried>,
}

#[derive(Debug)]
struct New {
    owner: Owner,
    namespace: Namespace,
    key: String,
    entry: Option<Entry>,
    stamp: u64,
    reserved: Size,
}

#[derive(Debug)]
struct Carried {
    owner: Option<Owner>,
    key: String,
    /// The change that made it; none for an entry that is gone.
    stamp: Option<u64>,
}

impl Mirror {
    /// Reads what was recorded of these owners and of what all share. Returns what removes the records of others, and of what has
    /// expired meanwhile.
    pub(super) fn load(
        &mut self,
        kind: Kind,
        records: Vec<(String, bytes::Bytes)>,
        owners: &BTreeMap<TriggerId, Owner>,
        now: DateTime<Utc>,
    ) -> Vec<Record> {
        let mut gone = Vec::new();
        for (key, value) in records {
            let stamp = self.next_stamp();
            let entry = match record::entry(&value, stamp) {
                Ok(entry) => entry,
                Err(reason) => {
                    tracing::error!("the recorded cache entry {key:?} cannot be read: {reason}");
                    gone.push(Record::remove(key));
                    continue;
                }
            };
            let entries = match place(kind, &key) {
                Some((None, name)) => Some((&mut self.global, name)),
                Some((Some((trigger, origin)), name)) => {
                    let owner = owners.get(&trigger).filter(|owner| owner.origin == origin);
                    owner.map(|owner| (self.owned.entry(owner.clone()).or_default(), name))
                }
                None => None,
            };
            match entries.filter(|_| entry.is_live(now)) {
                Some((entries, name)) => entries.set(&name, Some(entry)),
                None => gone.push(Record::remove(key)),
            }
        }
        gone
    }

    /// Prepares the changes of a call for a commit; what a limit refuses becomes a removal.
    pub(super) fn prepare(
        &mut self,
        owner: &Owner,
        changes: Vec<CacheChange>,
        now: DateTime<Utc>,
    ) -> (Changes, Vec<Refused>) {
        let mut prepared = Changes::default();
        let mut refused = Vec::new();
        if self.keeping != Keeping::Recorded {
            return (prepared, refused);
        }
        // The last change of a key is what counts.
        let last: BTreeMap<_, _> = changes.into_iter().map(|it| ((it.namespace, it.key), it.operation)).collect();
        for ((namespace, key), operation) in last {
            let entry = self.admit(owner, namespace, &key, operation, now).unwrap_or_else(|refusal| {
                refused.push(refusal);
                None
            });
            let stamp = self.next_stamp();
            let entry = entry.map(|entry| Entry { stamp, ..entry });
            let named = (namespace == Namespace::Trigger).then_some(owner);
            prepared.records.push(record::record(named, &key, entry.as_ref()));
            let entries = self.entries(owner, namespace);
            let reserved = entry.as_ref().map_or(Size::default(), |entry| {
                let old = entries.size_of(&key);
                let bytes = (key.len() + entry.value.len()).saturating_sub(old.bytes);
                Size { entries: 1 - old.entries, bytes }
            });
            entries.reserved.entries += reserved.entries;
            entries.reserved.bytes += reserved.bytes;
            entries.take_off(&key).new += 1;
            prepared.new.push(New { owner: owner.clone(), namespace, key, entry, stamp, reserved });
        }
        if let Some(entries) = self.owned.get_mut(owner) {
            // What is being recorded may not be there yet.
            let gathered = entries.unsaved.iter().chain(entries.in_flight.keys());
            let gathered: BTreeSet<String> = gathered.filter(|key| entries.may_carry(key)).cloned().collect();
            for key in gathered {
                carry(Some(owner), entries, key, &mut prepared);
            }
        }
        (prepared, refused)
    }

    /// What is to be recorded of the changes that belonged to no commit: some of it, if it is much.
    pub(super) fn unsaved(&mut self, bytes_max: usize) -> Changes {
        let mut prepared = Changes::default();
        let mut bytes = 0;
        let owned = self.owned.iter_mut().map(|(owner, entries)| (Some(owner), entries));
        for (owner, entries) in owned.chain([(None, &mut self.global)]) {
            let gathered: Vec<String> = entries.unsaved.iter().filter(|key| entries.may_carry(key)).cloned().collect();
            for key in gathered {
                if bytes >= bytes_max {
                    break;
                }
                bytes += key.len() + entries.size_of(&key).bytes;
                carry(owner, entries, key, &mut prepared);
            }
        }
        prepared
    }

    /// The commit of these changes has ended; `is_done` when it is certain that it succeeded. Returns whether something is to be
    /// recorded once more.
    pub(super) fn settle(&mut self, changes: Changes, is_done: bool) -> bool {
        let mut again = false;
        for New { owner, namespace, key, entry, stamp, reserved } in changes.new {
            let entries = match namespace {
                Namespace::Trigger => self.owned.get_mut(&owner),
                Namespace::Global => Some(&mut self.global),
            };
            // The owner may be gone.
            let Some(entries) = entries else { continue };
            entries.reserved.entries -= reserved.entries;
            entries.reserved.bytes -= reserved.bytes;
            if let Some(in_flight) = entries.in_flight.get_mut(&key) {
                in_flight.new = in_flight.new.saturating_sub(1);
            }
            let (is_alone, latest) = landed(entries, &key);
            let is_latest = latest < stamp;
            if is_done && is_latest {
                entries.set(&key, entry);
                entries.changed(&key, stamp);
            }
            if is_done && is_latest && is_alone {
                entries.unsaved.remove(&key);
            } else {
                entries.unsaved.insert(key);
                again = true;
            }
        }
        for Carried { owner, key, stamp } in changes.carried {
            let entries = match &owner {
                Some(owner) => self.owned.get_mut(owner),
                None => Some(&mut self.global),
            };
            let Some(entries) = entries else { continue };
            let (is_alone, _) = landed(entries, &key);
            let is_same = entries.by_key.get(&key).map(|entry| entry.stamp) == stamp;
            if is_done && is_same && is_alone {
                entries.unsaved.remove(&key);
            } else {
                entries.unsaved.insert(key);
                again = true;
            }
        }
        again
    }

    /// Forgets an owner's own entries. Returns what removes their records.
    pub(super) fn forget(&mut self, owner: &Owner) -> Vec<Record> {
        let Some(entries) = self.owned.remove(owner) else { return Vec::new() };
        if self.keeping != Keeping::Recorded {
            return Vec::new();
        }
        let keys = entries.by_key.keys().chain(&entries.unsaved);
        let keys: BTreeSet<&String> = keys.collect();
        keys.into_iter().map(|key| record::record(Some(owner), key, None)).collect()
    }
}

impl Entries {
    /// One more commit under way writes the key.
    fn take_off(&mut self, key: &str) -> &mut InFlight {
        let in_flight = self.in_flight.entry(key.to_owned()).or_default();
        in_flight.overlapped |= in_flight.commits > 0;
        in_flight.commits += 1;
        in_flight
    }

    /// Whether no commit under way brings a new value, which an old one must not follow.
    fn may_carry(&self, key: &str) -> bool {
        self.in_flight.get(key).is_none_or(|in_flight| in_flight.new == 0)
    }
}

/// Records an entry as it is now.
fn carry(owner: Option<&Owner>, entries: &mut Entries, key: String, prepared: &mut Changes) {
    let entry = entries.by_key.get(&key);
    prepared.records.push(record::record(owner, &key, entry));
    let stamp = entry.map(|entry| entry.stamp);
    entries.unsaved.remove(&key);
    entries.take_off(&key);
    prepared.carried.push(Carried { owner: owner.cloned(), key, stamp });
}

/// One commit of the key less. Returns whether no other one was under way with it, and the last change that was made meanwhile.
fn landed(entries: &mut Entries, key: &str) -> (bool, u64) {
    let Some(in_flight) = entries.in_flight.get_mut(key) else { return (true, 0) };
    in_flight.commits = in_flight.commits.saturating_sub(1);
    let (is_alone, latest) = (!in_flight.overlapped, in_flight.latest);
    if in_flight.commits == 0 {
        entries.in_flight.remove(key);
    }
    (is_alone, latest)
}

#[cfg(test)]
mod tests;
