//! The entries and their limits: functions of (entries, change, time).

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};

use super::{CacheChange, Looked, Namespace, Operation, Owner};
use crate::limits;

/// How much may be kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Entries of one trigger, and of the global namespace.
    pub entries_max: usize,
    /// Bytes of one trigger, and of the global namespace.
    pub namespace_bytes_max: usize,
    /// Bytes of all.
    pub bytes_max: usize,
}

impl Limits {
    /// For triggers.
    pub const TRIGGERS: Self = Self {
        entries_max: limits::CACHE_ENTRIES_MAX,
        namespace_bytes_max: limits::CACHE_NAMESPACE_BYTES_MAX,
        bytes_max: limits::CACHE_BYTES_MAX,
    };

    /// For plugins that are only tried.
    pub const TESTS: Self = Self {
        entries_max: limits::TEST_CACHE_ENTRIES_MAX,
        namespace_bytes_max: limits::TEST_CACHE_BYTES_MAX,
        bytes_max: limits::TEST_CACHE_BYTES_MAX,
    };
}

/// An entry that was not kept; what it held before is gone too, because it is not what the plugin put there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cache entry '{key}' is not kept: {limit} of {max} exceeded: {asked} asked for")]
pub struct Refused {
    /// Its key.
    pub key: String,
    /// The limit.
    pub limit: &'static str,
    /// The limit's value.
    pub max: usize,
    /// What would have been there.
    pub asked: usize,
}

/// How entries are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// Changes are recorded, so that they survive the runner.
    Recorded,
    /// In memory only. An entry that says nothing of its end has this time.
    For(Duration),
}

/// All entries.
#[derive(Debug)]
pub struct Mirror {
    pub(super) owned: HashMap<Owner, Entries>,
    pub(super) global: Entries,
    limits: Limits,
    pub(super) keeping: Keeping,
    /// The number of the last change.
    stamp: u64,
    swept_at: Option<DateTime<Utc>>,
}

/// The entries of one namespace.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) by_key: HashMap<String, Entry>,
    bytes: usize,
    /// Entries and bytes that commits under way will add.
    pub(super) reserved: Size,
    /// Keys whose records are not what is here, or may not be.
    pub(super) unsaved: BTreeSet<String>,
    /// Keys that commits under way write.
    pub(super) in_flight: HashMap<String, InFlight>,
}

/// What something takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

/// See [`Entries::in_flight`].
#[derive(Debug, Default)]
pub(super) struct InFlight {
    pub(super) commits: usize,
    /// How many of them bring a new value.
    pub(super) new: usize,
    /// Whether there were several at a time since there was none.
    pub(super) overlapped: bool,
    /// The stamp of the last change that was made meanwhile.
    pub(super) latest: u64,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) version: u64,
    pub(super) value: Bytes,
    pub(super) expires_at: Option<DateTime<Utc>>,
    /// The number of the change that made it.
    pub(super) stamp: u64,
}

impl Entry {
    pub(super) fn is_live(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

impl Entries {
    /// Sets an entry, or removes it.
    pub(super) fn set(&mut self, key: &str, entry: Option<Entry>) {
        if let Some((key, old)) = self.by_key.remove_entry(key) {
            self.bytes -= key.len() + old.value.len();
        }
        if let Some(entry) = entry {
            self.bytes += key.len() + entry.value.len();
            self.by_key.insert(key.to_owned(), entry);
        }
    }

    /// Whether there is neither an entry nor a record of the key, nor can there come one.
    fn is_unknown(&self, key: &str) -> bool {
        !self.by_key.contains_key(key) && !self.unsaved.contains(key) && !self.in_flight.contains_key(key)
    }

    /// Notes for the commits under way that there was a later change than theirs.
    pub(super) fn changed(&mut self, key: &str, stamp: u64) {
        if let Some(in_flight) = self.in_flight.get_mut(key) {
            in_flight.latest = stamp;
        }
    }

    /// What the entry takes now.
    pub(super) fn size_of(&self, key: &str) -> Size {
        let bytes = self.by_key.get(key).map(|entry| key.len() + entry.value.len());
        Size { entries: usize::from(bytes.is_some()), bytes: bytes.unwrap_or_default() }
    }

    fn expired(&self, now: DateTime<Utc>) -> Vec<String> {
        self.by_key.iter().filter(|(_, entry)| !entry.is_live(now)).map(|(key, _)| key.clone()).collect()
    }
}

impl Mirror {
    /// Nothing yet.
    #[must_use]
    pub fn new(limits: Limits, keeping: Keeping) -> Self {
        Self { owned: HashMap::new(), global: Entries::default(), limits, keeping, stamp: 0, swept_at: None }
    }

    /// Looks at an entry.
    pub fn look(
        &mut self,
        owner: &Owner,
        namespace: Namespace,
        key: &str,
        known_version: u64,
        now: DateTime<Utc>,
    ) -> Looked {
        let entries = match namespace {
            Namespace::Trigger => self.owned.get(owner),
            Namespace::Global => Some(&self.global),
        };
        match entries.and_then(|entries| entries.by_key.get(key)).filter(|entry| entry.is_live(now)) {
            None => Looked::Absent,
            Some(entry) if entry.version == known_version => Looked::Unchanged,
            Some(entry) => Looked::Found {
                version: entry.version,
                value: entry.value.clone(),
                expires_in: entry.expires_at.and_then(|expires_at| (expires_at - now).to_std().ok()),
            },
        }
    }

    /// Whether the owner has entries of its own.
    #[must_use]
    pub fn is_empty(&self, owner: &Owner, now: DateTime<Utc>) -> bool {
        self.owned.get(owner).is_none_or(|entries| !entries.by_key.values().any(|entry| entry.is_live(now)))
    }

    /// Takes in a change that belongs to nothing that is committed.
    ///
    /// # Errors
    /// When a limit refuses the entry.
    pub fn keep(&mut self, owner: &Owner, change: CacheChange, now: DateTime<Utc>) -> Result<(), Refused> {
        let CacheChange { namespace, key, operation } = change;
        if operation == Operation::Delete && self.entries(owner, namespace).is_unknown(&key) {
            return Ok(());
        }
        let (entry, refused) = match self.admit(owner, namespace, &key, operation, now) {
            Ok(entry) => (entry, None),
            Err(refused) => (None, Some(refused)),
        };
        let stamp = self.next_stamp();
        let is_recorded = self.keeping == Keeping::Recorded;
        let entries = self.entries(owner, namespace);
        entries.set(&key, entry.map(|entry| Entry { stamp, ..entry }));
        entries.changed(&key, stamp);
        if is_recorded {
            entries.unsaved.insert(key);
        }
        refused.map_or(Ok(()), Err)
    }

    pub(super) fn next_stamp(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp
    }

    pub(super) fn entries(&mut self, owner: &Owner, namespace: Namespace) -> &mut Entries {
        match namespace {
            Namespace::Trigger => self.owned.entry(owner.clone()).or_default(),
            Namespace::Global => &mut self.global,
        }
    }

    /// The entry that a change makes, if the limits allow it; what has expired makes room if need be.
    pub(super) fn admit(
        &mut self,
        owner: &Owner,
        namespace: Namespace,
        key: &str,
        operation: Operation,
        now: DateTime<Utc>,
    ) -> Result<Option<Entry>, Refused> {
        let Operation::Put { version, value, expires_in } = operation else { return Ok(None) };
        let due = self.swept_at.is_none_or(|swept_at| now - swept_at >= limits::CACHE_SWEPT_EVERY);
        if due {
            self.sweep(now);
        }
        let bytes = key.len() + value.len();
        let checked = self.check(owner, namespace, key, bytes).or_else(|refused| {
            self.sweep(now);
            self.check(owner, namespace, key, bytes).map_err(|_| refused)
        });
        checked?;
        let expires_in = match self.keeping {
            Keeping::For(time) => expires_in.or(Some(time)),
            Keeping::Recorded => expires_in,
        };
        // A time beyond the calendar is never reached.
        let expires_at = expires_in
            .and_then(|expires_in| TimeDelta::from_std(expires_in).ok())
            .and_then(|expires_in| now.checked_add_signed(expires_in));
        Ok(Some(Entry { version, value, expires_at, stamp: 0 }))
    }

    fn check(&mut self, owner: &Owner, namespace: Namespace, key: &str, bytes: usize) -> Result<(), Refused> {
        let Limits { entries_max, namespace_bytes_max, bytes_max } = self.limits;
        let every = self.owned.values().chain([&self.global]);
        let all: usize = every.map(|entries| entries.bytes + entries.reserved.bytes).sum();
        let entries = self.entries(owner, namespace);
        let old = entries.size_of(key);
        for (limit, max, asked) in [
            ("cache_entries_max", entries_max, entries.by_key.len() + entries.reserved.entries + 1 - old.entries),
            (
                "cache_namespace_bytes_max",
                namespace_bytes_max,
                entries.bytes + entries.reserved.bytes + bytes - old.bytes,
            ),
            ("cache_bytes_max", bytes_max, all + bytes - old.bytes),
        ] {
            if asked > max {
                return Err(Refused { key: key.to_owned(), limit, max, asked });
            }
        }
        Ok(())
    }

    fn sweep(&mut self, now: DateTime<Utc>) {
        self.swept_at = Some(now);
        let is_recorded = self.keeping == Keeping::Recorded;
        for entries in self.owned.values_mut().chain([&mut self.global]) {
            for key in entries.expired(now) {
                entries.set(&key, None);
                if is_recorded {
                    entries.unsaved.insert(key);
                }
            }
        }
        if !is_recorded {
            self.owned.retain(|_, entries| !entries.by_key.is_empty());
        }
    }
}

#[cfg(test)]
mod tests;
