//! Rows in memory.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use crate::batches::time_bounds;
use crate::limits::{JOINED_BYTES_MAX, JOINED_ROWS_MAX};

/// Batches in the order in which they were committed, each with the columns that it was written with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chunk {
    batches: Vec<RecordBatch>,
    rows: usize,
    bounds: Option<(i64, i64)>,
    may_have_duplicates: bool,
}

impl Chunk {
    /// Adds a batch. `may_duplicate` says that a row of it may have the series and time of an earlier row of the table.
    pub(crate) fn push(&mut self, batch: RecordBatch, may_duplicate: bool) {
        self.rows += batch.num_rows();
        self.may_have_duplicates |= may_duplicate;
        self.bounds = union(self.bounds, time_bounds(&batch));
        self.batches.push(batch);
        self.join_tail();
    }

    /// Adds everything of a later chunk.
    pub(crate) fn append(&mut self, later: Self) {
        self.rows += later.rows;
        self.may_have_duplicates |= later.may_have_duplicates;
        self.bounds = union(self.bounds, later.bounds);
        self.batches.extend(later.batches);
    }

    pub(crate) fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    #[cfg(test)]
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// First and last time; `None` without rows.
    pub(crate) fn bounds(&self) -> Option<(i64, i64)> {
        self.bounds
    }

    pub(crate) fn may_have_duplicates(&self) -> bool {
        self.may_have_duplicates
    }

    /// Joins the last batches while the last is at least half as long as the one before, so that n small batches cost
    /// O(n log n) and leave O(log n) behind.
    fn join_tail(&mut self) {
        while let [.., before, last] = self.batches.as_slice() {
            let rows = before.num_rows() + last.num_rows();
            let small = rows <= JOINED_ROWS_MAX && last.num_rows() * 2 >= before.num_rows();
            if !small || before.schema_ref() != last.schema_ref() {
                return;
            }
            if before.get_array_memory_size() + last.get_array_memory_size() > JOINED_BYTES_MAX {
                return;
            }
            // Batches that cannot be joined stay as they are; that is slower to read and as right.
            let Ok(joined) = concat_batches(before.schema_ref(), [before, last]) else {
                return;
            };
            self.batches.truncate(self.batches.len() - 2);
            self.batches.push(joined);
        }
    }
}

fn union(one: Option<(i64, i64)>, other: Option<(i64, i64)>) -> Option<(i64, i64)> {
    match (one, other) {
        (Some((min, max)), Some((other_min, other_max))) => Some((min.min(other_min), max.max(other_max))),
        (bounds, None) | (None, bounds) => bounds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::{LineOptions, LineParser};
    use crate::precision::Precision;

    #[test]
    fn many_small_batches_become_few() {
        let mut chunk = Chunk::default();
        for time in 0..1_000 {
            let mut parser = LineParser::new(None);
            let options = LineOptions { precision: Precision::Nanosecond, default_time: time, go_on: false };
            parser.feed(&format!("m,t=a{} v=1", time % 7), options);
            chunk.push(parser.finish().unwrap().tables.remove(0).batch, false);
        }
        assert_eq!(chunk.rows(), 1_000);
        assert_eq!(chunk.batches().iter().map(RecordBatch::num_rows).sum::<usize>(), 1_000);
        assert!(chunk.batches().len() < 15, "{}", chunk.batches().len());
        assert_eq!(chunk.bounds(), Some((0, 999)));
    }
}
