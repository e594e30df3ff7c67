//! The server's data: tables in memory, and the commits that the runner has not acknowledged.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
};
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use bulkhead_proto::types::v1::{TableBatch, WalBatch};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::line::{self, Field, Row};

/// The one database of this server.
pub(crate) const DATABASE: &str = "example";
/// Idempotency keys that are remembered. A runner repeats a write for seconds, and the event behind it for minutes.
const KEYS_MAX: usize = 10_000;

/// Rows by table.
type Tables = BTreeMap<String, Vec<Row>>;

/// The data.
#[derive(Debug, Default)]
pub(crate) struct Store {
    state: Mutex<State>,
    /// Told when there is a new commit.
    pub(crate) committed: Notify,
}

#[derive(Debug, Default)]
struct State {
    tables: Tables,
    sequence: u64,
    /// Commits to send again after a reconnect. A real server keeps them in its write-ahead log.
    unacknowledged: BTreeMap<u64, WalBatch>,
    keys: VecDeque<String>,
}

/// A write that was refused as a whole.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// A line cannot be read.
    Line {
        /// Its number, from 1.
        number: usize,
        /// Why.
        reason: String,
    },
    /// Arrow cannot hold the rows.
    Rows(ArrowError),
}

impl std::fmt::Display for WriteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line { number, reason } => write!(f, "line {number}: {reason}"),
            Self::Rows(error) => write!(f, "{error}"),
        }
    }
}

impl Store {
    /// Commits lines, all or none, and returns the number of the commit. `on_behalf` is the idempotency key of a plugin's
    /// write and the time of its lines without one; a key that is known already changes nothing.
    pub(crate) fn write(&self, lines: &str, on_behalf: Option<(&str, i64)>) -> Result<u64, WriteError> {
        let default_time = on_behalf.map_or(0, |(_, time)| time);
        let mut rows = Tables::new();
        for (index, text) in lines.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
            let (table, row) =
                line::parse(text, default_time).map_err(|reason| WriteError::Line { number: index + 1, reason })?;
            rows.entry(table).or_default().push(row);
        }
        let encode = |(table, rows): (&String, &Vec<Row>)| {
            let arrow_ipc_stream = ipc(&batch(rows)?)?.into();
            Ok(TableBatch { table: table.clone(), arrow_ipc_stream })
        };
        let tables = rows.iter().map(encode).collect::<Result<Vec<_>, _>>().map_err(WriteError::Rows)?;

        let mut state = self.state.lock();
        if let Some((key, _)) = on_behalf {
            if state.keys.iter().any(|known| known == key) {
                return Ok(state.sequence);
            }
            if state.keys.len() >= KEYS_MAX {
                state.keys.pop_front();
            }
            state.keys.push_back(key.to_owned());
        }
        state.sequence += 1;
        let sequence = state.sequence;
        // What plugins write is a commit like any other, so their triggers see it, too.
        let commit = WalBatch { database: DATABASE.to_owned(), wal_sequence: sequence, tables };
        state.unacknowledged.insert(sequence, commit);
        for (table, rows) in rows {
            state.tables.entry(table).or_default().extend(rows);
        }
        drop(state);
        self.committed.notify_one();
        Ok(sequence)
    }

    /// All rows of a table, as Arrow.
    pub(crate) fn rows(&self, table: &str) -> Option<Result<RecordBatch, ArrowError>> {
        self.state.lock().tables.get(table).map(|rows| batch(rows))
    }

    /// All rows of a table, as text.
    pub(crate) fn show(&self, table: &str) -> Vec<String> {
        let state = self.state.lock();
        let rows = state.tables.get(table).into_iter().flatten();
        rows.map(|row| format!("{} {:?} {:?}", row.time, row.tags, row.fields)).collect()
    }

    /// The first commit after `sequence` that is not acknowledged.
    pub(crate) fn unacknowledged_after(&self, sequence: u64) -> Option<WalBatch> {
        self.state.lock().unacknowledged.range(sequence + 1..).next().map(|(_, commit)| commit.clone())
    }

    /// How many commits are not acknowledged.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.state.lock().unacknowledged.len()
    }

    /// The runner is done with all commits up to and including `sequence`.
    pub(crate) fn acknowledge(&self, sequence: u64) {
        let mut state = self.state.lock();
        state.unacknowledged = state.unacknowledged.split_off(&(sequence + 1));
    }
}

/// Rows as Arrow: `time`, a column for each tag, a column for each field. A cell that a row lacks is null.
fn batch(rows: &[Row]) -> Result<RecordBatch, ArrowError> {
    let time = TimestampNanosecondArray::from_iter_values(rows.iter().map(|row| row.time));
    let mut columns: Vec<(String, ArrayRef, bool)> = vec![("time".to_owned(), Arc::new(time), false)];
    let tags: BTreeSet<&String> = rows.iter().flat_map(|row| row.tags.keys()).collect();
    for name in tags {
        let values: DictionaryArray<Int32Type> =
            rows.iter().map(|row| row.tags.get(name).map(String::as_str)).collect();
        columns.push((name.clone(), Arc::new(values), true));
    }
    let fields: BTreeSet<&String> = rows.iter().flat_map(|row| row.fields.keys()).collect();
    for name in fields {
        columns.push((name.clone(), field(rows.iter().map(|row| row.fields.get(name)))?, true));
    }
    RecordBatch::try_from_iter_with_nullable(columns)
}

/// The column of a field. Its first value says which type it has.
fn field<'a>(values: impl Iterator<Item = Option<&'a Field>> + Clone) -> Result<ArrayRef, ArrowError> {
    let mixed = || ArrowError::InvalidArgumentError("a field has values of different types".to_owned());
    let first = values.clone().flatten().next();
    Ok(match first {
        Some(Field::Integer(_)) => {
            let typed = values.map(|value| match value {
                None => Ok(None),
                Some(Field::Integer(value)) => Ok(Some(*value)),
                Some(_) => Err(mixed()),
            });
            Arc::new(typed.collect::<Result<Int64Array, _>>()?)
        }
        Some(Field::Text(_)) => {
            let typed = values.map(|value| match value {
                None => Ok(None),
                Some(Field::Text(value)) => Ok(Some(value)),
                Some(_) => Err(mixed()),
            });
            Arc::new(typed.collect::<Result<StringArray, _>>()?)
        }
        _ => {
            let typed = values.map(|value| match value {
                None => Ok(None),
                Some(Field::Float(value)) => Ok(Some(*value)),
                Some(_) => Err(mixed()),
            });
            Arc::new(typed.collect::<Result<Float64Array, _>>()?)
        }
    })
}

/// One complete Arrow IPC stream.
pub(crate) fn ipc(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(batch)?;
    writer.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_applied_once_and_kept_until_it_is_acknowledged() {
        let store = Store::default();
        assert_eq!(store.write("a x=1 1", None).unwrap(), 1);
        assert_eq!(store.write("b,t=u x=1i", Some(("key", 5))).unwrap(), 2);
        assert_eq!(store.write("b,t=u x=1i", Some(("key", 5))).unwrap(), 2);
        assert_eq!(store.rows("b").unwrap().unwrap().num_rows(), 1);
        assert!(store.write("a x=1\nb", None).unwrap_err().to_string().starts_with("line 2"));
        assert_eq!(store.unacknowledged(), 2);
        store.acknowledge(1);
        assert_eq!(store.unacknowledged_after(0).unwrap().wal_sequence, 2);
        store.acknowledge(2);
        assert_eq!(store.unacknowledged(), 0);
    }
}
