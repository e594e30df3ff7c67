//! Records: small values by key that are committed along with rows, in the same entry of the log.
//!
//! They are how a reader of the feed commits what follows from its work together with how far it has come. The log makes a record
//! durable; a [`RecordStore`] keeps it when its segment is gone, and answers what a key holds.

use std::fmt::Debug;

use bytes::Bytes;

/// One change of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: String,
    /// What it holds from now on; `None` removes it.
    pub value: Option<Bytes>,
}

/// Keeps records beyond the segments of the log that brought them.
pub trait RecordStore: Debug + Send + Sync {
    /// The sequence up to which all records are durable in the store; `None` for a store that has never been made durable.
    /// Segments with later entries are kept.
    fn durable(&self) -> Option<u64>;

    /// Takes in the records of one commit; it is called for each commit in order, and at start again for those above
    /// [`RecordStore::durable`]. It must be quick: the thread that commits calls it. It needs not make anything durable.
    fn apply(&self, sequence: u64, records: Vec<Record>);

    /// Whether so much has been taken in that it should be made durable soon.
    fn wants_sync(&self) -> bool;

    /// Makes durable what was taken in.
    ///
    /// # Errors
    /// The reason, for a person. Nothing is lost then: the log keeps the records, and the next call tries again.
    fn sync(&self) -> Result<(), String>;
}

/// For hosts whose commits carry no records.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoRecords;

impl RecordStore for NoRecords {
    fn durable(&self) -> Option<u64> {
        Some(u64::MAX)
    }

    fn apply(&self, _sequence: u64, _records: Vec<Record>) {}

    fn wants_sync(&self) -> bool {
        false
    }

    fn sync(&self) -> Result<(), String> {
        Ok(())
    }
}
