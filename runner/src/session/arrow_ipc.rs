//! Arrow payloads: whole IPC streams in `bytes`, split by rows so that a message stays within its limit.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bulkhead_proto::transport;
use bytes::Bytes;

/// One complete IPC stream with these rows.
///
/// # Errors
/// When Arrow cannot write the type.
pub fn encode(schema: &Schema, batches: &[RecordBatch]) -> Result<Bytes, ArrowError> {
    let mut buffer = Vec::with_capacity(1024 + batches.iter().map(RecordBatch::get_array_memory_size).sum::<usize>());
    let mut writer = StreamWriter::try_new(&mut buffer, schema)?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()?;
    drop(writer);
    Ok(buffer.into())
}

/// The rows of one complete IPC stream.
///
/// # Errors
/// When the bytes are not one.
pub fn decode(bytes: &[u8]) -> Result<Vec<RecordBatch>, ArrowError> {
    StreamReader::try_new(bytes, None)?.collect()
}

/// Cuts a batch by rows into parts of at most `rows_max` rows and about [`transport::PAYLOAD_PART_BYTES`] bytes.
#[must_use]
pub fn split(batch: &RecordBatch, rows_max: usize) -> Vec<RecordBatch> {
    let rows = batch.num_rows();
    let row_bytes = (batch.get_array_memory_size() / rows.max(1)).max(1);
    let step = (transport::PAYLOAD_PART_BYTES / row_bytes).clamp(1, rows_max);
    (0..rows).step_by(step).map(|start| batch.slice(start, step.min(rows - start))).collect()
}

/// Cuts an IPC stream that is larger than a message should be into several; a smaller one is passed on as it is.
///
/// # Errors
/// When the bytes are not an IPC stream.
pub fn split_stream(stream: &Bytes) -> Result<Vec<Bytes>, ArrowError> {
    if stream.len() <= transport::PAYLOAD_PART_BYTES {
        return Ok(vec![stream.clone()]);
    }
    let batches = decode(stream)?;
    let parts = batches.iter().flat_map(|batch| split(batch, usize::MAX));
    parts.map(|part| encode(&part.schema(), std::slice::from_ref(&part))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};
    use std::sync::Arc;

    fn numbers(rows: i64) -> RecordBatch {
        RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from_iter_values(0..rows)) as ArrayRef)]).unwrap()
    }

    #[test]
    fn a_large_stream_is_split_by_rows_and_none_is_lost() {
        let batch = numbers(5_000_000);
        let stream = encode(&batch.schema(), std::slice::from_ref(&batch)).unwrap();
        let parts = split_stream(&stream).unwrap();
        assert!(parts.len() >= 4, "{} parts", parts.len());
        assert!(parts.iter().all(|part| part.len() < transport::PAYLOAD_PART_BYTES * 2));
        let rows: usize = parts.iter().flat_map(|part| decode(part).unwrap()).map(|batch| batch.num_rows()).sum();
        assert_eq!(rows, 5_000_000);
    }

    #[test]
    fn a_small_stream_is_passed_on() {
        let batch = numbers(3);
        let stream = encode(&batch.schema(), std::slice::from_ref(&batch)).unwrap();
        assert_eq!(split_stream(&stream).unwrap(), [stream]);
    }
}
