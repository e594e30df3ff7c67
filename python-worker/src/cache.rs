//! `influxdb3_local.cache`: live Python objects, kept by reference.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::argument::{argument, optional};

/// How often entries that nobody asks for are looked through for those that have expired.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// The objects of one worker: the trigger's own, and the namespace that is named global.
#[derive(Debug, Default)]
pub(crate) struct CacheStore {
    local: Namespace,
    global: Namespace,
}

#[derive(Debug, Default)]
struct Namespace {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_key: HashMap<String, Entry>,
    swept_at: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    value: Py<PyAny>,
    expires_at: Option<Instant>,
}

impl Entry {
    fn is_live(&self, now: Instant) -> bool {
        self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

impl Namespace {
    // Whatever is removed is dropped after the lock: a destructor may use the cache.
    fn put(&self, key: &str, entry: Entry) {
        let now = Instant::now();
        let (_replaced, _expired) = {
            let mut entries = self.entries.lock();
            let expired = entries.sweep(now);
            (entries.by_key.insert(key.to_owned(), entry), expired)
        };
    }

    fn get(&self, py: Python<'_>, key: &str) -> Option<Py<PyAny>> {
        let now = Instant::now();
        let mut _expired = None;
        let mut entries = self.entries.lock();
        if entries.by_key.get(key).is_some_and(|entry| !entry.is_live(now)) {
            _expired = entries.by_key.remove(key);
        }
        let found = entries.by_key.get(key).map(|entry| entry.value.clone_ref(py));
        drop(entries);
        found
    }

    fn delete(&self, key: &str) -> bool {
        let removed = self.entries.lock().by_key.remove(key);
        removed.is_some_and(|entry| entry.is_live(Instant::now()))
    }
}

impl Entries {
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

/// `influxdb3_local.cache`.
#[pyclass(frozen, name = "PyCache", module = "builtins")]
pub(crate) struct PyCache {
    store: Arc<CacheStore>,
}

impl PyCache {
    pub(crate) fn new(store: Arc<CacheStore>) -> Self {
        Self { store }
    }

    fn namespace(&self, use_global: Option<&Bound<'_, PyAny>>) -> PyResult<&Namespace> {
        let use_global: Option<bool> = optional("use_global", use_global)?;
        Ok(if use_global.unwrap_or(false) { &self.store.global } else { &self.store.local })
    }
}

#[pymethods]
impl PyCache {
    /// Keeps an object under a key, for `ttl` seconds or until it is replaced.
    #[pyo3(signature = (key, value, ttl=None, use_global=None))]
    fn put(
        &self,
        key: &Bound<'_, PyAny>,
        value: Py<PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
        use_global: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let key: &str = argument("key", key)?;
        let ttl: Option<f64> = optional("ttl", ttl)?;
        let ttl = ttl
            .map(Duration::try_from_secs_f64)
            .transpose()
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        // A time beyond the clock's range is never reached.
        let expires_at = ttl.and_then(|ttl| Instant::now().checked_add(ttl));
        self.namespace(use_global)?.put(key, Entry { value, expires_at });
        Ok(())
    }

    /// The object under a key, or `default`.
    #[pyo3(signature = (key, default=None, use_global=None))]
    fn get(
        &self,
        key: &Bound<'_, PyAny>,
        default: Option<Py<PyAny>>,
        use_global: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        Ok(self.namespace(use_global)?.get(key.py(), argument("key", key)?).or(default))
    }

    /// Forgets a key; tells whether it was there.
    #[pyo3(signature = (key, use_global=None))]
    fn delete(&self, key: &Bound<'_, PyAny>, use_global: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        Ok(self.namespace(use_global)?.delete(argument("key", key)?))
    }
}
