//! The entries and their limits: functions of (entries, change, time).

use std::collections::HashMap;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};

use super::{CacheChange, Looked, Namespace, Operation};
use crate::limits;
use crate::trigger::TriggerId;

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

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries_max: limits::CACHE_ENTRIES_MAX,
            namespace_bytes_max: limits::CACHE_NAMESPACE_BYTES_MAX,
            bytes_max: limits::CACHE_BYTES_MAX,
        }
    }
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

/// All entries.
#[derive(Debug)]
pub struct Mirror {
    triggers: HashMap<TriggerId, Entries>,
    global: Entries,
    limits: Limits,
}

#[derive(Debug, Default)]
struct Entries {
    by_key: HashMap<String, Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    version: u64,
    value: Bytes,
    expires_at: Option<DateTime<Utc>>,
}

impl Entry {
    fn is_live(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

impl Entries {
    fn remove(&mut self, key: &str) {
        if let Some((key, entry)) = self.by_key.remove_entry(key) {
            self.bytes -= key.len() + entry.value.len();
        }
    }

    fn insert(&mut self, key: String, entry: Entry) {
        self.bytes += key.len() + entry.value.len();
        self.by_key.insert(key, entry);
    }

    fn sweep(&mut self, now: DateTime<Utc>) {
        self.by_key.retain(|_, entry| entry.is_live(now));
        self.bytes = self.by_key.iter().map(|(key, entry)| key.len() + entry.value.len()).sum();
    }
}

impl Mirror {
    /// Nothing yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { triggers: HashMap::new(), global: Entries::default(), limits }
    }

    /// Looks at an entry.
    pub fn look(
        &mut self,
        trigger: &TriggerId,
        namespace: Namespace,
        key: &str,
        known_version: u64,
        now: DateTime<Utc>,
    ) -> Looked {
        let entries = match namespace {
            Namespace::Trigger => self.triggers.get_mut(trigger),
            Namespace::Global => Some(&mut self.global),
        };
        let Some(entries) = entries else { return Looked::Absent };
        match entries.by_key.get(key) {
            None => Looked::Absent,
            Some(entry) if !entry.is_live(now) => {
                entries.remove(key);
                Looked::Absent
            }
            Some(entry) if entry.version == known_version => Looked::Unchanged,
            Some(entry) => Looked::Found {
                version: entry.version,
                value: entry.value.clone(),
                expires_in: entry.expires_at.and_then(|expires_at| (expires_at - now).to_std().ok()),
            },
        }
    }

    /// Takes in one change.
    ///
    /// # Errors
    /// When a limit refuses the entry.
    pub fn apply(&mut self, trigger: &TriggerId, change: CacheChange, now: DateTime<Utc>) -> Result<(), Refused> {
        let CacheChange { namespace, key, operation } = change;
        self.entries(trigger, namespace).remove(&key);
        let Operation::Put { version, value, expires_in } = operation else { return Ok(()) };
        let asked = key.len() + value.len();
        if let Err((limit, max, asked)) = self.admit(trigger, namespace, asked, now) {
            return Err(Refused { key, limit, max, asked });
        }
        // A time beyond the calendar is never reached.
        let expires_at = expires_in
            .and_then(|expires_in| TimeDelta::from_std(expires_in).ok())
            .and_then(|expires_in| now.checked_add_signed(expires_in));
        self.entries(trigger, namespace).insert(key, Entry { version, value, expires_at });
        Ok(())
    }

    /// Whether the trigger has entries of its own.
    #[must_use]
    pub fn is_empty(&self, trigger: &TriggerId, now: DateTime<Utc>) -> bool {
        self.triggers.get(trigger).is_none_or(|entries| !entries.by_key.values().any(|entry| entry.is_live(now)))
    }

    /// Forgets the trigger's own entries.
    pub fn forget(&mut self, trigger: &TriggerId) {
        self.triggers.remove(trigger);
    }

    fn entries(&mut self, trigger: &TriggerId, namespace: Namespace) -> &mut Entries {
        match namespace {
            Namespace::Trigger => self.triggers.entry(trigger.clone()).or_default(),
            Namespace::Global => &mut self.global,
        }
    }

    /// Makes room by what has expired, if need be, and says which limit refuses `bytes` more.
    fn admit(
        &mut self,
        trigger: &TriggerId,
        namespace: Namespace,
        bytes: usize,
        now: DateTime<Utc>,
    ) -> Result<(), (&'static str, usize, usize)> {
        self.check(trigger, namespace, bytes).or_else(|_| {
            self.global.sweep(now);
            self.triggers.values_mut().for_each(|entries| entries.sweep(now));
            self.check(trigger, namespace, bytes)
        })
    }

    fn check(
        &mut self,
        trigger: &TriggerId,
        namespace: Namespace,
        bytes: usize,
    ) -> Result<(), (&'static str, usize, usize)> {
        let Limits { entries_max, namespace_bytes_max, bytes_max } = self.limits;
        let all = self.global.bytes + self.triggers.values().map(|entries| entries.bytes).sum::<usize>();
        let entries = self.entries(trigger, namespace);
        for (limit, max, asked) in [
            ("cache_entries_max", entries_max, entries.by_key.len() + 1),
            ("cache_namespace_bytes_max", namespace_bytes_max, entries.bytes + bytes),
            ("cache_bytes_max", bytes_max, all + bytes),
        ] {
            if asked > max {
                return Err((limit, max, asked));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SMALL: Limits = Limits { entries_max: 2, namespace_bytes_max: 100, bytes_max: 150 };

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn put(namespace: Namespace, key: &str, version: u64, bytes: usize, ttl: Option<u64>) -> CacheChange {
        let (value, expires_in) = (vec![b'x'; bytes].into(), ttl.map(Duration::from_secs));
        CacheChange { namespace, key: key.to_owned(), operation: Operation::Put { version, value, expires_in } }
    }

    fn version(looked: Looked) -> Option<u64> {
        match looked {
            Looked::Found { version, .. } => Some(version),
            Looked::Absent | Looked::Unchanged => None,
        }
    }

    #[test]
    fn entries_belong_to_their_trigger_or_to_all() {
        let (a, b) = (TriggerId::new("db", "a"), TriggerId::new("db", "b"));
        let mut mirror = Mirror::new(SMALL);
        mirror.apply(&a, put(Namespace::Trigger, "k", 1, 5, None), at(0)).unwrap();
        mirror.apply(&a, put(Namespace::Global, "k", 2, 5, None), at(0)).unwrap();
        assert_eq!(version(mirror.look(&a, Namespace::Trigger, "k", 0, at(1))), Some(1));
        assert_eq!(mirror.look(&b, Namespace::Trigger, "k", 0, at(1)), Looked::Absent);
        assert_eq!(version(mirror.look(&b, Namespace::Global, "k", 0, at(1))), Some(2));
        assert_eq!(mirror.look(&b, Namespace::Global, "k", 2, at(1)), Looked::Unchanged);
        assert_eq!((mirror.is_empty(&a, at(1)), mirror.is_empty(&b, at(1))), (false, true));
        mirror.forget(&a);
        assert!(mirror.is_empty(&a, at(1)));
        assert_eq!(version(mirror.look(&a, Namespace::Global, "k", 0, at(1))), Some(2), "what is shared stays");
    }

    #[test]
    fn entries_expire_and_a_new_value_has_a_time_of_its_own() {
        let a = TriggerId::new("db", "a");
        let mut mirror = Mirror::new(SMALL);
        mirror.apply(&a, put(Namespace::Trigger, "k", 1, 5, Some(10)), at(0)).unwrap();
        let Looked::Found { expires_in, .. } = mirror.look(&a, Namespace::Trigger, "k", 0, at(4)) else {
            panic!("it is there")
        };
        assert_eq!(expires_in, Some(Duration::from_secs(6)));
        assert_eq!(mirror.look(&a, Namespace::Trigger, "k", 1, at(10)), Looked::Absent);
        mirror.apply(&a, put(Namespace::Trigger, "k", 2, 5, Some(10)), at(20)).unwrap();
        mirror.apply(&a, put(Namespace::Trigger, "k", 3, 5, None), at(21)).unwrap();
        assert_eq!(version(mirror.look(&a, Namespace::Trigger, "k", 0, at(1000))), Some(3));
    }

    #[test]
    fn limits_refuse_after_what_has_expired_made_room() {
        let (a, b) = (TriggerId::new("db", "a"), TriggerId::new("db", "b"));
        let mut mirror = Mirror::new(SMALL);
        mirror.apply(&a, put(Namespace::Trigger, "1", 1, 50, Some(10)), at(0)).unwrap();
        mirror.apply(&a, put(Namespace::Trigger, "2", 1, 5, None), at(0)).unwrap();
        let refused = mirror.apply(&a, put(Namespace::Trigger, "3", 1, 5, None), at(1)).unwrap_err();
        assert_eq!(refused.to_string(), "cache entry '3' is not kept: cache_entries_max of 2 exceeded: 3 asked for");
        mirror.apply(&a, put(Namespace::Trigger, "3", 1, 5, None), at(10)).unwrap();
        let refused = mirror.apply(&a, put(Namespace::Trigger, "3", 2, 99, None), at(10)).unwrap_err();
        assert_eq!((refused.limit, refused.asked), ("cache_namespace_bytes_max", 106));
        assert_eq!(
            mirror.look(&a, Namespace::Trigger, "3", 0, at(10)),
            Looked::Absent,
            "the old value is not the entry's"
        );
        mirror.apply(&b, put(Namespace::Trigger, "1", 1, 90, None), at(10)).unwrap();
        let refused = mirror.apply(&a, put(Namespace::Trigger, "3", 2, 80, None), at(10)).unwrap_err();
        assert_eq!(refused.limit, "cache_bytes_max");
        let delete = CacheChange { namespace: Namespace::Trigger, key: "1".to_owned(), operation: Operation::Delete };
        mirror.apply(&b, delete, at(10)).unwrap();
        mirror.apply(&a, put(Namespace::Trigger, "3", 2, 80, None), at(10)).unwrap();
    }
}
