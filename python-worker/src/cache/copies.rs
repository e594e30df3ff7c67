//! Entries on their way to the runner and back.

use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bulkhead_proto::worker::v1::cache_change::Operation;
use bulkhead_proto::worker::v1::{CacheChange, CacheDelete, CacheLiveOnly, CacheNamespace, CachePut, Cached};
use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::space::{Space, State};
use crate::api::wait_for_room;
use crate::asker::Asker;
use crate::capture::cut_line;
use crate::errors::limit_text;

/// Longest reason that is told for an entry that cannot be copied, bytes.
const REASON_BYTES_MAX: usize = 512;

/// Module of the package that turns objects into bytes.
const CODEC: &str = "bulkhead_worker.cache_codec";

/// A version that no other value has: counted from a random start.
fn new_version() -> u64 {
    static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(RandomState::new().build_hasher().finish()));
    // 0 says that there is no copy.
    NEXT.fetch_add(1, Ordering::Relaxed).max(1)
}

/// Tells one copy from another of the same entry.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// The object as bytes: a pickle, or plain data for those that other triggers read.
pub(super) fn write<'py>(value: &Bound<'py, PyAny>, namespace: CacheNamespace) -> PyResult<Bytes> {
    let name = if namespace == CacheNamespace::Global { "encode" } else { "dump" };
    let bytes = value.py().import(CODEC)?.getattr(name)?.call1((value,))?;
    Ok(Bytes::copy_from_slice(bytes.cast::<PyBytes>()?.as_bytes()))
}

/// The object that bytes stand for.
pub(super) fn read<'py>(py: Python<'py>, namespace: CacheNamespace, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let name = if namespace == CacheNamespace::Global { "decode" } else { "load" };
    py.import(CODEC)?.getattr(name)?.call1((PyBytes::new(py, bytes),))
}

/// Sends an entry as it is now, if it differs from the runner's copy.
pub(super) fn send(py: Python<'_>, asker: &Asker, space: &Space, key: &str) {
    let Some(snapshot) = space.snapshot(py, key) else {
        return post(py, asker, space, key, Operation::Delete(CacheDelete {}));
    };
    if snapshot.state == State::LiveOnly {
        return;
    }
    let limit = asker.shared.limits.cache_entry_bytes_max;
    let written = write(snapshot.value.bind(py), space.namespace).map_err(|error| describe(py, &error));
    let written = written.and_then(|bytes| match bytes.len() as u64 {
        size if size > limit => Err(limit_text("cache_entry_bytes_max", limit, size)),
        _ => Ok(bytes),
    });
    match written {
        Ok(bytes) => {
            let now = Some(digest(&bytes));
            if snapshot.state == State::Copied && now == snapshot.digest {
                return;
            }
            let version = new_version();
            space.note(key, &snapshot, version, now, State::Copied);
            let expires_in = snapshot.expires_in.and_then(|time| prost_types::Duration::try_from(time).ok());
            post(py, asker, space, key, Operation::Put(CachePut { version, value: bytes, expires_in }));
        }
        // What raised is the cancellation, not the object.
        Err(_) if asker.invocation.cancellation().is_some() => {}
        Err(reason) => {
            space.note(key, &snapshot, 0, None, State::LiveOnly);
            let reason = cut_line(reason, REASON_BYTES_MAX);
            post(py, asker, space, key, Operation::LiveOnly(CacheLiveOnly { reason }));
        }
    }
}

/// Says that an entry which was here only is over.
pub(super) fn send_loss(py: Python<'_>, asker: &Asker, space: &Space, key: &str) {
    post(py, asker, space, key, Operation::Delete(CacheDelete {}));
}

fn post(py: Python<'_>, asker: &Asker, space: &Space, key: &str, operation: Operation) {
    let change = CacheChange { namespace: space.namespace.into(), key: key.to_owned(), operation: Some(operation) };
    let room = asker.shared.outbox.cached(Cached { invocation_id: asker.invocation.id(), change: Some(change) });
    // A signal that raises here is for the plugin; the change is on its way already.
    let _ = wait_for_room(py, &asker.shared, room);
}

fn describe(py: Python<'_>, error: &PyErr) -> String {
    let kind = error.get_type(py);
    let name = kind.name().map_or_else(|_| "an exception".to_owned(), |name| name.to_string());
    format!("{name}: {}", error.value(py))
}
