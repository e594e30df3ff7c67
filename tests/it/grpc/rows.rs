//! Rows as a host sends them.

use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Float64Array, StringArray, TimestampNanosecondArray};
use arrow::datatypes::Int32Type;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use bulkhead_proto::types::v1::{TableBatch, WalBatch};
use bytes::Bytes;

/// One complete Arrow IPC stream.
pub(super) fn ipc(batch: &RecordBatch) -> Bytes {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).expect("schema");
    writer.write(batch).expect("rows");
    writer.into_inner().expect("end of stream").into()
}

/// Rows with a tag, a field and a time, one for each value.
pub(super) fn values(values: &[f64]) -> RecordBatch {
    let stations: DictionaryArray<Int32Type> = values.iter().map(|_| Some("north")).collect();
    let times = TimestampNanosecondArray::from_iter_values((0..values.len()).map(|row| 1_000 + row as i64));
    let columns: [(&str, ArrayRef); 3] = [
        ("station", Arc::new(stations)),
        ("value", Arc::new(Float64Array::from(values.to_vec()))),
        ("time", Arc::new(times)),
    ];
    RecordBatch::try_from_iter(columns).expect("rows")
}

/// Rows whose text alone makes up `text_bytes` bytes each; every value is 1.
pub(super) fn wide(rows: usize, text_bytes: usize) -> RecordBatch {
    // Not all alike, so that a part which is lost or sent twice is seen in the plugin's sum of lengths.
    let texts = StringArray::from_iter_values((0..rows).map(|row| "x".repeat(text_bytes + row % 7)));
    let columns: [(&str, ArrayRef); 3] = [
        ("note", Arc::new(texts)),
        ("value", Arc::new(Float64Array::from(vec![1.0; rows]))),
        ("time", Arc::new(TimestampNanosecondArray::from_iter_values(0..rows as i64))),
    ];
    RecordBatch::try_from_iter(columns).expect("rows")
}

/// The rows of one table.
pub(super) fn table(name: &str, rows: &RecordBatch) -> TableBatch {
    TableBatch { table: name.to_owned(), arrow_ipc_stream: ipc(rows) }
}

/// A commit of one database with rows of one table.
pub(super) fn commit(database: &str, sequence: u64, table_name: &str, rows: &[f64]) -> WalBatch {
    WalBatch { database: database.to_owned(), wal_sequence: sequence, tables: vec![table(table_name, &values(rows))] }
}
