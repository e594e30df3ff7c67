//! Dead letters: batches that a trigger gave up, with the cause, kept until a person has seen to them.

use serde::{Deserialize, Serialize};

use super::Record;
use super::keys::Kind;
use super::tables::encode_tables;
use crate::host::FeedTable;
use crate::trigger::TriggerId;

/// What is known of a dead letter, apart from its rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Identity: that of the invocation that failed.
    pub id: String,
    /// The trigger that gave it up.
    #[serde(flatten)]
    pub trigger: TriggerId,
    /// Place of the batch in the host's log.
    pub sequence: u64,
    /// When the host recorded the batch, nanoseconds since the epoch.
    pub recorded_at_ns: i64,
    /// When it was given up, nanoseconds since the epoch.
    pub dead_at_ns: i64,
    /// The word of the failure's kind.
    pub cause: String,
    /// The failure on one line.
    pub message: String,
    /// Python's traceback; may be empty.
    pub traceback: String,
    /// Last words of a worker that died.
    pub stderr_tail: String,
    /// How often the batch, or the part of it that this is, was tried.
    pub attempts: u32,
    /// Its rows, by table.
    pub tables: Vec<(String, u64)>,
    /// Bytes of the rows.
    pub bytes: u64,
    /// Whether these are only the rows that fail, after the others were done.
    pub isolated: bool,
}

impl Letter {
    /// How many rows it has.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|(_, rows)| rows).sum()
    }

    /// The records that keep it.
    ///
    /// # Errors
    /// When it has no JSON form, which no text of ours lacks.
    pub fn records(&self, tables: &[FeedTable]) -> Result<Vec<Record>, serde_json::Error> {
        Ok(vec![self.record()?, Record::set(Kind::LetterRows.named(&self.id), encode_tables(tables))])
    }

    /// The record of all but the rows.
    ///
    /// # Errors
    /// See [`Letter::records`].
    pub fn record(&self) -> Result<Record, serde_json::Error> {
        Ok(Record::set(Kind::Letter.named(&self.id), serde_json::to_vec(self)?))
    }

    /// The records that remove it.
    #[must_use]
    pub fn removal(id: &str) -> [Record; 2] {
        [Kind::Letter, Kind::LetterRows].map(|kind| Record::remove(kind.named(id)))
    }
}
