//! `influxdb3_local.cache`: live Python objects, kept by reference, and their copies at the runner.
//!
//! The objects live here. At the end of a call those that it touched are written down and sent to the runner, which gives them
//! to the trigger's next worker. Where others may change an entry (several workers of one trigger, the global namespace) the
//! runner is asked first whether the version here still counts.

mod copies;
mod space;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bulkhead_proto::types::v1::{LogLevel, LogSource};
use bulkhead_proto::worker::v1::cache_get_response::State as Wire;
use bulkhead_proto::worker::v1::{CacheGetRequest, CacheGetResponse, CacheNamespace};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use self::copies::{digest, read, write};
use self::space::{Entry, Found, Space, State};
use crate::argument::{argument, optional};
use crate::asker::Asker;
use crate::errors::limit_exceeded;
use crate::question::{Answer, Ask};

/// The objects of one worker: the trigger's own, and those that it shares with all.
#[derive(Debug)]
pub(crate) struct CacheStore {
    own: Space,
    global: Space,
    /// Whether other workers serve the same trigger.
    is_shared: AtomicBool,
}

impl Default for CacheStore {
    fn default() -> Self {
        Self {
            own: Space::new(CacheNamespace::Trigger),
            global: Space::new(CacheNamespace::Global),
            is_shared: AtomicBool::new(false),
        }
    }
}

impl CacheStore {
    /// A trigger is loaded: whether other workers serve it too, and whether the runner has entries of it.
    pub(crate) fn prepare(&self, is_shared: bool, is_empty: bool) {
        self.is_shared.store(is_shared, Ordering::Relaxed);
        self.own.set_restorable(!is_empty);
    }

    /// Sends what the call changed. To be called at its end, while it may still be cancelled.
    pub(crate) fn send_changes(&self, py: Python<'_>, asker: &Asker) {
        for space in [&self.own, &self.global] {
            for key in space.take_touched() {
                if asker.invocation.cancellation().is_some() {
                    return;
                }
                copies::send(py, asker, space, &key);
            }
        }
    }

    /// When the first of the objects that live here only is over.
    pub(crate) fn next_loss(&self) -> Option<Instant> {
        let now = Instant::now();
        [&self.own, &self.global].into_iter().filter_map(|space| space.next_loss(now)).min()
    }

    /// Forgets objects that live here only and are over, and says so. Tells whether there were any.
    pub(crate) fn forget_lost(&self, py: Python<'_>, asker: &Asker) -> bool {
        let now = Instant::now();
        let mut any = false;
        for space in [&self.own, &self.global] {
            for key in space.take_lost(now) {
                copies::send_loss(py, asker, space, &key);
                any = true;
            }
        }
        any
    }

    /// Whether the runner has to be asked whether an entry that is here still counts.
    fn is_contested(&self, space: &Space) -> bool {
        space.namespace == CacheNamespace::Global || self.is_shared.load(Ordering::Relaxed)
    }
}

/// `influxdb3_local.cache`.
#[pyclass(frozen, name = "PyCache", module = "builtins")]
pub(crate) struct PyCache {
    store: Arc<CacheStore>,
    asker: Asker,
}

impl PyCache {
    pub(crate) fn new(store: Arc<CacheStore>, asker: Asker) -> Self {
        Self { store, asker }
    }

    fn space(&self, use_global: Option<&Bound<'_, PyAny>>) -> PyResult<&Space> {
        let use_global: Option<bool> = optional("use_global", use_global)?;
        Ok(if use_global.unwrap_or(false) { &self.store.global } else { &self.store.own })
    }

    /// The live object under a key; one that only the runner has is read.
    fn find(&self, py: Python<'_>, space: &Space, key: &str) -> PyResult<Option<Py<PyAny>>> {
        match space.find(py, key, self.store.is_contested(space)) {
            Found::Live(value) => Ok(Some(value)),
            Found::Gone => Ok(None),
            Found::Ask(known_version) => self.ask(py, space, key, known_version),
        }
    }

    fn ask(&self, py: Python<'_>, space: &Space, key: &str, known_version: u64) -> PyResult<Option<Py<PyAny>>> {
        let request = CacheGetRequest {
            invocation_id: self.asker.invocation.id(),
            namespace: space.namespace.into(),
            key: key.to_owned(),
            known_version,
        };
        let CacheGetResponse { state, version, value, expires_in } = match self.asker.ask(py, Ask::Cache(request))? {
            Answer::Cached(response) => response,
            Answer::Refused(reason) => return Err(PyRuntimeError::new_err(reason)),
            Answer::Rows(_) | Answer::Written | Answer::Cancelled => return Err(self.asker.cancelled()),
        };
        match Wire::try_from(state).unwrap_or_default() {
            Wire::Unchanged => Ok(space.keep(py, key)),
            Wire::Found => {
                let live = match read(py, space.namespace, &value) {
                    Ok(live) => live,
                    Err(error) => {
                        self.warn(format!("cache entry '{key}' could not be restored: {error}"));
                        space.settle(key);
                        return Ok(None);
                    }
                };
                let expires_in = expires_in.and_then(|time| Duration::try_from(time).ok());
                // What was read may be written in other bytes than those it was read from, and is no change for that.
                let written = write(&live, space.namespace).ok();
                let entry = Entry {
                    value: live.clone().unbind(),
                    expires_at: expires_in.and_then(|time| Instant::now().checked_add(time)),
                    version,
                    digest: written.map(|bytes| digest(&bytes)),
                    state: State::Copied,
                };
                space.restore(py, key, entry);
                Ok(Some(live.unbind()))
            }
            Wire::Unspecified | Wire::Absent => {
                space.settle(key);
                Ok(None)
            }
        }
    }

    /// A thread that runs between two calls has no end at which changes are sent.
    fn send_if_between_calls(&self, py: Python<'_>, space: &Space, key: &str) {
        if self.asker.shared.inside().is_none() && !self.asker.shared.is_forked() {
            space.forget_touch(key);
            copies::send(py, &self.asker, space, key);
        }
    }

    fn warn(&self, text: String) {
        self.asker.shared.log(Some(self.asker.invocation.id()), LogLevel::Warn, LogSource::Api, text);
    }
}

#[pymethods]
impl PyCache {
    /// Keeps an object under a key, for `ttl` seconds or until it is replaced.
    #[pyo3(signature = (key, value, ttl=None, use_global=None))]
    fn put(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
        use_global: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = value.py();
        let key: &str = argument("key", key)?;
        let ttl: Option<f64> = optional("ttl", ttl)?;
        let ttl = ttl
            .map(Duration::try_from_secs_f64)
            .transpose()
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let space = self.space(use_global)?;
        let limits = &self.asker.shared.limits;
        let key_bytes_max = u64::from(limits.cache_key_bytes_max);
        if key.len() as u64 > key_bytes_max {
            return Err(limit_exceeded("cache_key_bytes_max", key_bytes_max, key.len() as u64));
        }
        if space.namespace == CacheNamespace::Global {
            // What cannot be shared is refused at once, where its author sees it.
            let bytes = write(value, space.namespace)?.len() as u64;
            if bytes > limits.cache_entry_bytes_max {
                return Err(limit_exceeded("cache_entry_bytes_max", limits.cache_entry_bytes_max, bytes));
            }
        }
        // A time beyond the clock's range is never reached.
        let expires_at = ttl.and_then(|ttl| Instant::now().checked_add(ttl));
        space.put(
            key,
            Entry { value: value.clone().unbind(), expires_at, version: 0, digest: None, state: State::Changed },
        );
        self.send_if_between_calls(py, space, key);
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
        Ok(self.find(key.py(), self.space(use_global)?, argument("key", key)?)?.or(default))
    }

    /// Forgets a key; tells whether it was there.
    #[pyo3(signature = (key, use_global=None))]
    fn delete(&self, key: &Bound<'_, PyAny>, use_global: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let (py, space) = (key.py(), self.space(use_global)?);
        let key: &str = argument("key", key)?;
        let was_there = self.find(py, space, key)?.is_some();
        space.delete(key);
        self.send_if_between_calls(py, space, key);
        Ok(was_there)
    }
}
