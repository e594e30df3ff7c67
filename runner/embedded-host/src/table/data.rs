//! One table's rows.

use std::sync::Arc;

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

use super::Chunk;
use crate::schema::TableSchema;
use crate::series::{SeriesSpans, SeriesTracker};

/// A Parquet file of one table. No two of its rows have the same series and time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DataFile {
    /// The object's path in the store.
    pub(crate) path: String,
    /// Its length.
    pub(crate) size_bytes: u64,
    /// How many rows it holds.
    pub(crate) rows: u64,
    /// The first time in it, in nanoseconds.
    pub(crate) min_time: i64,
    /// The last time in it, in nanoseconds.
    pub(crate) max_time: i64,
}

/// A table's rows: oldest in files, then those that a snapshot is writing, then the newest.
#[derive(Debug)]
pub(crate) struct TableData {
    files: Arc<Vec<Arc<DataFile>>>,
    saving: Arc<Chunk>,
    buffer: Chunk,
    tracker: SeriesTracker,
    may_have_duplicates: bool,
}

/// What a query sees of a table; it does not change any more.
#[derive(Debug, Clone)]
pub(crate) struct TableSnapshot {
    /// The columns.
    pub(crate) schema: Arc<TableSchema>,
    /// The files, oldest first.
    pub(crate) files: Arc<Vec<Arc<DataFile>>>,
    /// The rows in memory, oldest first.
    pub(crate) chunks: [Arc<Chunk>; 2],
    /// Whether two rows may have the same series and time.
    pub(crate) may_have_duplicates: bool,
}

impl TableData {
    /// A table that has these files and nothing in memory.
    pub(crate) fn new(files: Vec<Arc<DataFile>>, may_have_duplicates: bool) -> Self {
        let newest = files.iter().map(|file| file.max_time).max();
        Self {
            files: Arc::new(files),
            saving: Arc::default(),
            buffer: Chunk::default(),
            tracker: SeriesTracker::after(newest),
            may_have_duplicates,
        }
    }

    /// Adds committed rows. `spans` are those of the batches that were joined to this one, in their order.
    pub(crate) fn push(&mut self, batch: RecordBatch, spans: &[SeriesSpans]) {
        let mut may_duplicate = false;
        for spans in spans {
            may_duplicate |= self.tracker.observe(spans);
        }
        self.may_have_duplicates |= may_duplicate;
        self.buffer.push(batch, may_duplicate);
    }

    /// The table as it is now.
    pub(crate) fn snapshot(&self, schema: Arc<TableSchema>) -> TableSnapshot {
        TableSnapshot {
            schema,
            files: Arc::clone(&self.files),
            chunks: [Arc::clone(&self.saving), Arc::new(self.buffer.clone())],
            may_have_duplicates: self.may_have_duplicates,
        }
    }

    /// Sets the rows in memory apart for a snapshot to write. Those that an earlier, failed snapshot left are among them.
    pub(crate) fn begin_save(&mut self) -> Arc<Chunk> {
        let buffer = std::mem::take(&mut self.buffer);
        if !buffer.is_empty() {
            Arc::make_mut(&mut self.saving).append(buffer);
        }
        Arc::clone(&self.saving)
    }

    /// Replaces the rows that were set apart by the file that now holds them.
    pub(crate) fn finish_save(&mut self, file: Option<DataFile>) {
        self.saving = Arc::default();
        Arc::make_mut(&mut self.files).extend(file.map(Arc::new));
    }

    pub(crate) fn files(&self) -> &Arc<Vec<Arc<DataFile>>> {
        &self.files
    }

    pub(crate) fn may_have_duplicates(&self) -> bool {
        self.may_have_duplicates
    }
}
