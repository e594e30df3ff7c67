//! What a worker says about its cache, as far as it can be believed.

use std::collections::BTreeMap;
use std::time::Duration;

use bulkhead_proto::worker::v1 as wire;
use bulkhead_proto::worker::v1::CacheNamespace;
use bulkhead_proto::worker::v1::cache_change::Operation as Said;

use super::machine::Violation;
use crate::cache::{CacheChange, Namespace, Operation};
use crate::limits;

/// Names that a report of lost entries holds.
const REPORTED_MAX: usize = 10;

/// Longest reason that is kept for an entry that cannot be copied, characters.
const REASON_CHARS_MAX: usize = 200;

/// The namespace of the wire.
#[must_use]
pub fn namespace(said: CacheNamespace) -> Option<Namespace> {
    match said {
        CacheNamespace::Unspecified => None,
        CacheNamespace::Trigger => Some(Namespace::Trigger),
        CacheNamespace::Global => Some(Namespace::Global),
    }
}

/// Cache entries that only one worker holds, by key, with the reason.
#[derive(Debug, Default)]
pub struct LiveOnly {
    reasons: BTreeMap<String, String>,
}

impl LiveOnly {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.reasons.is_empty()
    }

    /// What is lost when the worker ends, for its trigger's log.
    #[must_use]
    pub fn report(&self) -> Option<String> {
        let named = self.reasons.iter().take(REPORTED_MAX).map(|(key, reason)| format!("'{key}' ({reason})"));
        let named = named.collect::<Vec<_>>().join(", ");
        match self.reasons.len() {
            0 => None,
            1 => Some(format!("1 cache entry ended with its worker: {named}")),
            count if count <= REPORTED_MAX => Some(format!("{count} cache entries ended with their worker: {named}")),
            count => Some(format!("{count} cache entries ended with their worker, among them {named}")),
        }
    }

    /// Takes in a change and returns what of it concerns the runner's copies.
    pub(super) fn read(&mut self, said: wire::CacheChange) -> Result<CacheChange, Violation> {
        let namespace = namespace(said.namespace()).ok_or(Violation::NoEntry)?;
        let limit = |limit, max| Violation::Limit { limit, max, unit: "bytes" };
        if said.key.len() as u64 > u64::from(limits::CACHE_KEY_BYTES_MAX) {
            return Err(limit("cache_key_bytes_max", limits::CACHE_KEY_BYTES_MAX.into()));
        }
        let operation = match said.operation.ok_or(Violation::NoEntry)? {
            Said::Put(put) => {
                if put.value.len() as u64 > limits::CACHE_ENTRY_BYTES_MAX {
                    return Err(limit("cache_entry_bytes_max", limits::CACHE_ENTRY_BYTES_MAX));
                }
                let expires_in = put.expires_in.and_then(|time| Duration::try_from(time).ok());
                self.reasons.remove(&said.key);
                Operation::Put { version: put.version, value: put.value, expires_in }
            }
            Said::Delete(_) => {
                self.reasons.remove(&said.key);
                Operation::Delete
            }
            Said::LiveOnly(live) => {
                if self.reasons.len() < limits::CACHE_LIVE_ONLY_NAMED_MAX {
                    let reason = live.reason.chars().take(REASON_CHARS_MAX).collect();
                    self.reasons.insert(said.key.clone(), reason);
                }
                // An older copy is not what the plugin has now.
                Operation::Delete
            }
        };
        Ok(CacheChange { namespace, key: said.key, operation })
    }
}
