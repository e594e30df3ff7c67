//! The rows: 5 tags, 10 floats and a time, without nulls, the same in every run, in the form in which each contestant's server
//! holds them.
#![cfg_attr(not(libpython), expect(dead_code, reason = "only the incumbent reads rows that are structs"))]

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Int32Array, RecordBatch, StringArray, TimestampNanosecondArray,
};
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;

/// Table of the rows.
pub(crate) const TABLE: &str = "measurements";
/// Different values of each tag.
const TAG_VALUES: [u32; 5] = [3, 5, 10, 50, 200];
/// Number of float fields.
const FLOATS: u32 = 10;
/// Time of the first row, nanoseconds since the epoch.
const FIRST_TIME_NS: i64 = 1_700_000_000_000_000_000;
/// Time between rows.
const STEP_NS: i64 = 1_000_000;
/// Any start gives the same rows in every run.
const SEED: u64 = 0x0062_756c_6b68_6561;

/// Rows as the incumbent's write-ahead log has them.
#[derive(Debug)]
pub(crate) struct WalRows {
    /// The rows.
    pub(crate) rows: Vec<WalRow>,
    names: Vec<Arc<str>>,
}

/// One row.
#[derive(Debug)]
pub(crate) struct WalRow {
    /// Column and value.
    pub(crate) cells: Vec<(u16, Cell)>,
}

/// A value.
#[derive(Debug)]
pub(crate) enum Cell {
    /// Of a tag.
    Tag(String),
    /// Of a float field.
    Float(f64),
    /// Nanoseconds since the epoch.
    Time(i64),
}

impl WalRows {
    /// The column's name. The incumbent looks it up in its catalog for each cell.
    pub(crate) fn name(&self, column: u16) -> Arc<str> {
        self.names.get(usize::from(column)).map_or_else(|| Arc::from(""), Arc::clone)
    }
}

/// A table of `count` rows.
#[derive(Debug)]
pub(crate) struct Rows {
    /// How many.
    pub(crate) count: usize,
    /// As structs.
    pub(crate) wal: Arc<WalRows>,
    /// As Arrow.
    pub(crate) batch: RecordBatch,
    /// Sum of the field `f0`, added up in the order of the rows.
    pub(crate) sum: f64,
}

impl Rows {
    /// Makes them.
    pub(crate) fn new(count: usize) -> Result<Self, ArrowError> {
        let mut random = SEED;
        let mut columns: Vec<(String, ArrayRef)> = Vec::new();
        let mut rows: Vec<WalRow> = (0..count).map(|_| WalRow { cells: Vec::new() }).collect();
        let mut sum = 0.0;
        for (tag, different) in TAG_VALUES.into_iter().enumerate() {
            let values: Vec<String> = (0..different).map(|value| format!("t{tag}-value-{value:04}")).collect();
            let keys: Vec<i32> = (0..count).map(|_| below(&mut random, different)).collect();
            for (row, &key) in rows.iter_mut().zip(&keys) {
                let text = usize::try_from(key).ok().and_then(|key| values.get(key)).cloned().unwrap_or_default();
                push(row, columns.len(), Cell::Tag(text));
            }
            let array: DictionaryArray<Int32Type> =
                DictionaryArray::try_new(Int32Array::from(keys), Arc::new(StringArray::from(values)))?;
            columns.push((format!("t{tag}"), Arc::new(array)));
        }
        for field in 0..FLOATS {
            let values: Vec<f64> = (0..count).map(|_| f64::from(below(&mut random, 1 << 30)) / 1e6).collect();
            if field == 0 {
                // `Iterator::sum` may start from another zero.
                values.iter().for_each(|value| sum += value);
            }
            for (row, &value) in rows.iter_mut().zip(&values) {
                push(row, columns.len(), Cell::Float(value));
            }
            columns.push((format!("f{field}"), Arc::new(Float64Array::from(values))));
        }
        let times: Vec<i64> =
            (0..count).scan(FIRST_TIME_NS, |time, _| Some(std::mem::replace(time, *time + STEP_NS))).collect();
        for (row, &time) in rows.iter_mut().zip(&times) {
            push(row, columns.len(), Cell::Time(time));
        }
        columns.push(("time".to_owned(), Arc::new(TimestampNanosecondArray::from(times))));
        let names = columns.iter().map(|(name, _)| Arc::from(name.as_str())).collect();
        let batch = RecordBatch::try_from_iter(columns)?;
        Ok(Self { count, wal: Arc::new(WalRows { rows, names }), batch, sum })
    }
}

fn push(row: &mut WalRow, column: usize, cell: Cell) {
    row.cells.push((u16::try_from(column).unwrap_or(u16::MAX), cell));
}

/// The next pseudo-random number below `limit` (xorshift64*).
fn below(state: &mut u64, limit: u32) -> i32 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    let high = state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
    i32::try_from(high % u64::from(limit)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use arrow::datatypes::Float64Type;

    #[test]
    fn both_forms_hold_the_same_cells() {
        let rows = Rows::new(100).unwrap();
        assert_eq!((rows.batch.num_rows(), rows.batch.num_columns(), rows.count), (100, 16, 100));
        let column: &Float64Array = rows.batch.column(5).as_primitive::<Float64Type>();
        let mut sum = 0.0;
        for (row, value) in rows.wal.rows.iter().zip(column.values()) {
            assert_eq!(row.cells.len(), 16);
            assert!(matches!(row.cells.get(5), Some((5, Cell::Float(cell))) if cell == value));
            sum += value;
        }
        assert_eq!(sum.to_bits(), rows.sum.to_bits());
    }
}
