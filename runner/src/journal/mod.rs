//! What a node remembers of its work: how far its triggers have come, which batches they gave up, what a host has streamed.
//!
//! It is all kept as [`Record`]s, values by key, in one transactional file, the [`Ledger`]. With the embedded host a record is
//! committed in the entry of the write-ahead log that holds the rows which belong to it, and reaches the file later; with a remote
//! host it is durable in the file itself.

mod damaged_file;
mod keys;
mod ledger;
mod letter;
mod progress;
mod salvage;
mod seal;
mod store;
mod tables;

pub use keys::{Kind, number, parts_of_number, trigger_of};
pub use ledger::Ledger;
pub use letter::Letter;
pub use progress::{Mark, Progress};
pub use store::StoreError;
pub use tables::{decode_tables, encode_tables};

use bytes::Bytes;

/// One change of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: String,
    /// What it holds from now on; `None` removes it.
    pub value: Option<Bytes>,
}

impl Record {
    /// Sets a record.
    #[must_use]
    pub fn set(key: String, value: impl Into<Bytes>) -> Self {
        Self { key, value: Some(value.into()) }
    }

    /// Removes a record.
    #[must_use]
    pub fn remove(key: String) -> Self {
        Self { key, value: None }
    }
}
