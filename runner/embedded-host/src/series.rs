//! Whether a table may hold two rows of one series and time.
//!
//! Rows of a series that arrive in increasing time cannot, and nearly all data arrives so. Only a table that broke the rule has to
//! be merged when it is read. Series are told apart by a 64-bit hash: two series that share one look like a single series, which
//! may cause a needless merge and never hides a duplicate.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, TimestampNanosecondType};

use crate::limits::TRACKED_SERIES_MAX;
use crate::schema::TIME_COLUMN;

/// The series' hash is one already.
#[derive(Debug, Default)]
struct SeriesHasher(u64);

impl Hasher for SeriesHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

type SeriesMap<V> = HashMap<u64, V, BuildHasherDefault<SeriesHasher>>;

/// The series of one batch, each with the times that it covers there.
#[derive(Debug, Clone)]
pub(crate) struct SeriesSpans {
    /// Hash of the series, its first and its last time in the batch.
    spans: Vec<(u64, i64, i64)>,
    /// Whether the rows of every series come in strictly increasing time.
    increasing: bool,
}

impl SeriesSpans {
    /// The series of a batch as this crate writes it: tags are dictionaries, `time` is in nanoseconds.
    pub(crate) fn of(batch: &RecordBatch) -> Self {
        let mut spans: Vec<(u64, i64, i64)> = Vec::new();
        let mut increasing = true;
        let Some(times) =
            batch.column_by_name(TIME_COLUMN).and_then(|it| it.as_primitive_opt::<TimestampNanosecondType>())
        else {
            return Self { spans, increasing };
        };
        let hashes = row_hashes(batch);
        let mut place_of: SeriesMap<usize> = SeriesMap::default();
        let mut last: Option<(u64, usize)> = None;
        for (&time, &series) in times.values().iter().zip(&hashes) {
            let place = match last {
                Some((last_series, place)) if last_series == series => place,
                _ => match place_of.entry(series) {
                    Entry::Occupied(entry) => *entry.get(),
                    Entry::Vacant(entry) => {
                        entry.insert(spans.len());
                        last = Some((series, spans.len()));
                        spans.push((series, time, time));
                        continue;
                    }
                },
            };
            last = Some((series, place));
            let (_, first, latest) = &mut spans[place];
            increasing &= time > *latest;
            *first = (*first).min(time);
            *latest = (*latest).max(time);
        }
        Self { spans, increasing }
    }
}

/// One hash per row over its tags, whatever order the batch has them in.
fn row_hashes(batch: &RecordBatch) -> Vec<u64> {
    let mut hashes = vec![0_u64; batch.num_rows()];
    let schema = batch.schema();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if !matches!(field.data_type(), DataType::Dictionary(_, _)) {
            continue;
        }
        let Some(tags) = column.as_dictionary_opt::<Int32Type>() else {
            continue;
        };
        let Some(values) = tags.values().as_string_opt::<i32>() else {
            continue;
        };
        let value_hashes: Vec<u64> =
            values.iter().map(|value| tag_hash(field.name(), value.unwrap_or_default())).collect();
        for (row, hash) in hashes.iter_mut().enumerate() {
            if tags.is_valid(row) {
                let key = usize::try_from(tags.keys().value(row)).unwrap_or_default();
                *hash = hash.wrapping_add(value_hashes.get(key).copied().unwrap_or_default());
            }
        }
    }
    hashes
}

fn tag_hash(name: &str, value: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    value.hash(&mut hasher);
    hasher.finish()
}

/// The last time of every series of a table, as far as it is remembered.
#[derive(Debug, Default)]
pub(crate) struct SeriesTracker {
    last: SeriesMap<i64>,
    /// The last time of the series that are not in `last`; `None` when there are no such rows.
    floor: Option<i64>,
    newest: Option<i64>,
}

impl SeriesTracker {
    /// A tracker for a table whose rows so far, of unknown series, reach up to `newest`.
    pub(crate) fn after(newest: Option<i64>) -> Self {
        Self { last: SeriesMap::default(), floor: newest, newest }
    }

    /// Takes in a batch. Returns whether a row of it may have the series and time of an earlier row, in the batch or before it.
    pub(crate) fn observe(&mut self, spans: &SeriesSpans) -> bool {
        let mut may_duplicate = !spans.increasing;
        for &(series, first, last) in &spans.spans {
            let before = self.last.get(&series).copied().or(self.floor);
            may_duplicate |= before.is_some_and(|before| first <= before);
            let latest = before.map_or(last, |before| before.max(last));
            self.last.insert(series, latest);
            self.newest = Some(self.newest.map_or(last, |newest| newest.max(last)));
        }
        if self.last.len() > TRACKED_SERIES_MAX {
            *self = Self::after(self.newest);
        }
        may_duplicate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::{LineOptions, LineParser};
    use crate::precision::Precision;

    fn spans(body: &str) -> SeriesSpans {
        let mut parser = LineParser::new(None);
        parser.feed(body, LineOptions { precision: Precision::Nanosecond, default_time: 0, go_on: false });
        parser.finish().unwrap().tables.remove(0).spans
    }

    #[test]
    fn series_in_increasing_time_have_no_duplicates() {
        let mut tracker = SeriesTracker::default();
        assert!(!tracker.observe(&spans("m,a=1,b=1 v=1 1\nm,a=2,b=1 v=1 1\nm,b=1,a=1 v=1 2\n")));
        assert!(!tracker.observe(&spans("m,b=1,a=2 v=1 2\nm v=1 1\n")));
    }

    #[test]
    fn a_time_that_does_not_increase_is_seen_within_and_across_batches() {
        let mut tracker = SeriesTracker::default();
        assert!(tracker.observe(&spans("m,a=1 v=1 5\nm,a=1 w=1 5\n")));
        assert!(tracker.observe(&spans("m,a=1 v=1 4\n")));
        assert!(!tracker.observe(&spans("m,a=1 v=1 6\n")));
    }

    #[test]
    fn after_a_restart_only_newer_rows_are_surely_new() {
        let mut tracker = SeriesTracker::after(Some(10));
        assert!(!tracker.observe(&spans("m,a=1 v=1 11\n")));
        assert!(tracker.observe(&spans("m,a=2 v=1 10\n")));
    }
}
