//! Helpers on record batches: bringing them to a table's schema, and to bytes and back.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{SchemaRef, TimestampNanosecondType};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use crate::schema::TIME_COLUMN;

/// `batch` with the columns of `schema`, in its order; a column that the batch lacks is null.
///
/// # Errors
/// When a column has another type than `schema` says.
pub(crate) fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) => Arc::clone(column),
            None => new_null_array(field.data_type(), batch.num_rows()),
        })
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

/// Writes `batch` to the end of `out` as one complete Arrow IPC stream.
///
/// # Errors
/// When Arrow cannot encode the batch.
pub(crate) fn encode_ipc(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    let mut writer = StreamWriter::try_new(out, batch.schema_ref())?;
    writer.write(batch)?;
    writer.finish()
}

/// Reads every batch of an Arrow IPC stream.
///
/// # Errors
/// When the bytes are no such stream.
pub(crate) fn decode_ipc(bytes: &[u8]) -> Result<Vec<RecordBatch>, ArrowError> {
    StreamReader::try_new(bytes, None)?.collect()
}

/// The first and the last time in a batch; `None` when it has no row.
pub(crate) fn time_bounds(batch: &RecordBatch) -> Option<(i64, i64)> {
    let times = batch.column_by_name(TIME_COLUMN)?.as_primitive_opt::<TimestampNanosecondType>()?;
    let first = *times.values().first()?;
    Some(times.values().iter().fold((first, first), |(min, max), &time| (min.min(time), max.max(time))))
}
