//! The entries of one namespace, as far as this worker has them.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bulkhead_proto::worker::v1::CacheNamespace;
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyString};

/// How often entries that nobody asks for are looked through for those that have expired.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// Entries of one namespace. No Python code runs while its lock is held: whatever is removed is dropped afterwards, because a
/// destructor may use the cache.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) namespace: CacheNamespace,
    entries: Mutex<Entries>,
    /// Whether the runner may have entries that this worker has not seen.
    is_restorable: AtomicBool,
}

#[derive(Debug, Default)]
struct Entries {
    by_key: HashMap<String, Entry>,
    /// Keys that the running call put, deleted, or may have changed through the object.
    touched: HashSet<String>,
    /// Keys of which this worker knows all that the runner knows.
    settled: HashSet<String>,
    /// Keys whose entries could not be copied when they were last looked at.
    live_only: HashSet<String>,
    swept_at: Option<Instant>,
}

/// One entry.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) value: Py<PyAny>,
    pub(super) expires_at: Option<Instant>,
    /// Version of the runner's copy; 0 when there is none.
    pub(super) version: u64,
    /// Digest of the runner's copy.
    pub(super) digest: Option<u64>,
    pub(super) state: State,
}

/// How an entry relates to the runner's copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// There is a copy of it, as it was at the end of a call.
    Copied,
    /// It was put, and not sent yet.
    Changed,
    /// It cannot be copied.
    LiveOnly,
}

/// Where a key's value is.
pub(super) enum Found {
    /// Here.
    Live(Py<PyAny>),
    /// Nowhere.
    Gone,
    /// The runner knows; the version that is here, or 0.
    Ask(u64),
}

/// An entry that is about to be copied.
pub(super) struct Snapshot {
    pub(super) value: Py<PyAny>,
    pub(super) expires_in: Option<Duration>,
    pub(super) digest: Option<u64>,
    pub(super) state: State,
}

impl Entry {
    fn is_live(&self, now: Instant) -> bool {
        self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

impl Space {
    pub(super) fn new(namespace: CacheNamespace) -> Self {
        Self { namespace, entries: Mutex::default(), is_restorable: AtomicBool::new(false) }
    }

    pub(super) fn set_restorable(&self, is_restorable: bool) {
        self.is_restorable.store(is_restorable, Ordering::Relaxed);
    }

    pub(super) fn put(&self, key: &str, entry: Entry) {
        let now = Instant::now();
        let (_replaced, _expired) = {
            let mut entries = self.entries.lock();
            let expired = entries.sweep(now);
            entries.touch(key);
            (entries.by_key.insert(key.to_owned(), entry), expired)
        };
    }

    pub(super) fn delete(&self, key: &str) {
        let _removed = {
            let mut entries = self.entries.lock();
            entries.touch(key);
            entries.by_key.remove(key)
        };
    }

    /// Looks a key up. With `is_contested` others may have changed what is copied.
    pub(super) fn find(&self, py: Python<'_>, key: &str, is_contested: bool) -> Found {
        let now = Instant::now();
        let mut _expired = None;
        let mut entries = self.entries.lock();
        if entries.by_key.get(key).is_some_and(|entry| !entry.is_live(now)) {
            _expired = entries.by_key.remove(key);
        }
        let Entries { by_key, touched, settled, .. } = &mut *entries;
        let found = match by_key.get(key) {
            Some(entry) if is_contested && entry.state == State::Copied => Found::Ask(entry.version),
            Some(entry) => {
                if entry.state == State::Copied && may_change(entry.value.bind(py)) {
                    touched.insert(key.to_owned());
                }
                Found::Live(entry.value.clone_ref(py))
            }
            // Deleted, or put and expired, by the call that asks.
            None if touched.contains(key) => Found::Gone,
            None if is_contested => Found::Ask(0),
            None if self.is_restorable.load(Ordering::Relaxed) && !settled.contains(key) => Found::Ask(0),
            None => Found::Gone,
        };
        drop(entries);
        found
    }

    /// The runner's copy is the one that is here.
    pub(super) fn keep(&self, py: Python<'_>, key: &str) -> Option<Py<PyAny>> {
        let mut entries = self.entries.lock();
        let value = entries.by_key.get(key).map(|entry| entry.value.clone_ref(py))?;
        if may_change(value.bind(py)) {
            entries.touched.insert(key.to_owned());
        }
        Some(value)
    }

    /// Takes over what was read from the runner's copy, unless the plugin has put something there meanwhile.
    pub(super) fn restore(&self, py: Python<'_>, key: &str, entry: Entry) {
        let _replaced = {
            let mut entries = self.entries.lock();
            if entries.by_key.get(key).is_some_and(|known| known.state != State::Copied) {
                Some(entry)
            } else {
                entries.settled.insert(key.to_owned());
                if may_change(entry.value.bind(py)) {
                    entries.touched.insert(key.to_owned());
                }
                entries.by_key.insert(key.to_owned(), entry)
            }
        };
    }

    /// The runner has no copy that could be used.
    pub(super) fn settle(&self, key: &str) {
        let _removed = {
            let mut entries = self.entries.lock();
            entries.settled.insert(key.to_owned());
            let is_copy = entries.by_key.get(key).is_some_and(|entry| entry.state == State::Copied);
            if is_copy { entries.by_key.remove(key) } else { None }
        };
    }

    pub(super) fn take_touched(&self) -> HashSet<String> {
        std::mem::take(&mut self.entries.lock().touched)
    }

    pub(super) fn forget_touch(&self, key: &str) {
        self.entries.lock().touched.remove(key);
    }

    /// The entry as it is now; `None` when it is gone.
    pub(super) fn snapshot(&self, py: Python<'_>, key: &str) -> Option<Snapshot> {
        let now = Instant::now();
        let entries = self.entries.lock();
        let entry = entries.by_key.get(key).filter(|entry| entry.is_live(now))?;
        Some(Snapshot {
            value: entry.value.clone_ref(py),
            expires_in: entry.expires_at.map(|expires_at| expires_at.saturating_duration_since(now)),
            digest: entry.digest,
            state: entry.state,
        })
    }

    /// Notes what became of a snapshot, unless another object was put there meanwhile.
    pub(super) fn note(&self, key: &str, snapshot: &Snapshot, version: u64, digest: Option<u64>, state: State) {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.by_key.get_mut(key).filter(|entry| entry.value.as_ptr() == snapshot.value.as_ptr())
        {
            (entry.version, entry.digest, entry.state) = (version, digest, state);
            if state == State::LiveOnly {
                entries.live_only.insert(key.to_owned());
            }
        }
    }

    /// When the first of the entries that cannot be copied is over.
    pub(super) fn next_loss(&self, now: Instant) -> Option<Instant> {
        let entries = self.entries.lock();
        let over = |key: &String| match entries.by_key.get(key) {
            None => Some(now),
            Some(entry) if entry.state == State::LiveOnly => entry.expires_at,
            Some(_) => None,
        };
        entries.live_only.iter().filter_map(over).min()
    }

    /// Removes what could not be copied and is over, and returns its keys.
    pub(super) fn take_lost(&self, now: Instant) -> Vec<String> {
        let mut dropped = Vec::new();
        let mut entries = self.entries.lock();
        let Entries { by_key, live_only, .. } = &mut *entries;
        let mut lost = Vec::new();
        live_only.retain(|key| match by_key.get(key) {
            Some(entry) if entry.state != State::LiveOnly => false,
            Some(entry) if entry.is_live(now) => true,
            _ => {
                dropped.extend(by_key.remove(key));
                lost.push(key.clone());
                false
            }
        });
        drop(entries);
        drop(dropped);
        lost
    }
}

impl Entries {
    fn touch(&mut self, key: &str) {
        self.touched.insert(key.to_owned());
        self.settled.insert(key.to_owned());
    }

    fn sweep(&mut self, now: Instant) -> Vec<Entry> {
        let due = self.swept_at.is_none_or(|swept_at| now.duration_since(swept_at) >= SWEEP_EVERY);
        if !due {
            return Vec::new();
        }
        self.swept_at = Some(now);
        let dead: Vec<String> =
            self.by_key.iter().filter(|(_, entry)| !entry.is_live(now)).map(|(key, _)| key.clone()).collect();
        dead.iter().filter_map(|key| self.by_key.remove(key)).collect()
    }
}

/// Whether whoever gets the object can change it.
fn may_change(value: &Bound<'_, PyAny>) -> bool {
    let is_fixed = value.is_none()
        || value.is_exact_instance_of::<PyString>()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyBytes>();
    !is_fixed
}
