//! Rows with the same tags and time are one row, in which the latest value of each field counts.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};

use crate::schema::TIME_COLUMN;

/// Whether the column is part of what makes two rows the same row.
pub(crate) fn is_key(field: &Field) -> bool {
    field.name() == TIME_COLUMN || matches!(field.data_type(), DataType::Dictionary(_, _))
}

/// Joins batches of `schema`, given in the order in which they were written, and merges the rows that are the same row.
///
/// `schema` must have every tag of the table and `time`. Rows keep the order of their first appearance.
///
/// # Errors
/// When the batches do not have the schema or are too large for Arrow to join.
pub(crate) fn merge_rows(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
    let all = concat_batches(schema, batches)?;
    let (group_of_row, groups) = group_rows(&all)?;
    if groups == all.num_rows() {
        return Ok(all);
    }
    let columns = schema
        .fields()
        .iter()
        .zip(all.columns())
        .map(|(_, column)| take(column, &last_valid(column, &group_of_row, groups), None))
        .collect::<Result<Vec<ArrayRef>, ArrowError>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns)
}

/// The number of the merged row that each row belongs to, and how many there are.
fn group_rows(batch: &RecordBatch) -> Result<(Vec<usize>, usize), ArrowError> {
    let schema = batch.schema();
    let keys = schema.fields().iter().zip(batch.columns()).filter(|(field, _)| is_key(field));
    let (fields, columns): (Vec<SortField>, Vec<ArrayRef>) =
        keys.map(|(field, column)| (SortField::new(field.data_type().clone()), Arc::clone(column))).unzip();
    let rows = RowConverter::new(fields)?.convert_columns(&columns)?;
    let mut group_of_key: HashMap<&[u8], usize> = HashMap::with_capacity(batch.num_rows());
    let mut group_of_row = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let next = group_of_key.len();
        // The keys borrow from `rows`, which lives as long as the map.
        let group = match group_of_key.entry(rows.row(row).data()) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => *entry.insert(next),
        };
        group_of_row.push(group);
    }
    Ok((group_of_row, group_of_key.len()))
}

/// For each merged row, the last of its rows that has a value in `column`. Keys have the same value in all of them.
fn last_valid(column: &ArrayRef, group_of_row: &[usize], groups: usize) -> UInt32Array {
    let mut winner: Vec<Option<u32>> = vec![None; groups];
    for (row, &group) in group_of_row.iter().enumerate() {
        if column.is_valid(row) {
            winner[group] = u32::try_from(row).ok();
        }
    }
    UInt32Array::from(winner)
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Float64Type;

    use super::*;
    use crate::batches::conform;
    use crate::line::{LineOptions, LineParser};
    use crate::precision::Precision;

    #[test]
    fn later_values_win_field_by_field() {
        let mut parser = LineParser::new(None);
        let options = LineOptions { precision: Precision::Nanosecond, default_time: 0, go_on: false };
        parser.feed("m,t=a v=1,w=1 1\nm,t=b v=2 1\nm,t=a v=3 1\nm v=5 1\nm w=6 1\nm,t=a v=4 2\n", options);
        let batch = parser.finish().unwrap().tables.remove(0).batch;
        let merged = merge_rows(&batch.schema(), &[batch.slice(0, 2), batch.slice(2, 4)]).unwrap();
        assert_eq!(merged.num_rows(), 4);
        let column =
            |name: &str| merged.column_by_name(name).unwrap().as_primitive::<Float64Type>().iter().collect::<Vec<_>>();
        assert_eq!(column("v"), [Some(3.0), Some(2.0), Some(5.0), Some(4.0)]);
        assert_eq!(column("w"), [Some(1.0), None, Some(6.0), None]);
        let same = conform(&merged, &batch.schema()).unwrap();
        assert_eq!(same, merged);
    }
}
