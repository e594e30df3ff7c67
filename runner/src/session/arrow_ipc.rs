//! Arrow payloads: whole IPC streams in `bytes`, split by rows so that a message stays within its limit.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, RecordBatch, new_null_array};
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamWriter;
use bulkhead_proto::transport;
use bytes::Bytes;

/// One complete IPC stream with these rows.
///
/// # Errors
/// When Arrow cannot write the type.
pub fn encode(schema: &Schema, batches: &[RecordBatch]) -> Result<Bytes, ArrowError> {
    let mut buffer = Vec::with_capacity(1024 + batches.iter().map(size).sum::<usize>());
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
pub fn decode(bytes: &Bytes) -> Result<Vec<RecordBatch>, ArrowError> {
    Ok(read(bytes)?.1)
}

/// Schema and rows of one complete IPC stream. The rows share its memory. Nothing is allocated on the word of a length that
/// the bytes do not bear out.
///
/// # Errors
/// When the bytes are not one.
pub fn read(bytes: &Bytes) -> Result<(SchemaRef, Vec<RecordBatch>), ArrowError> {
    // Arrow checks most of what a stream says of itself, and panics over some of the rest before it reads beyond a buffer.
    catch_unwind(AssertUnwindSafe(|| read_checked(bytes)))
        .unwrap_or_else(|_| Err(lie("lengths that its buffers do not have")))
}

fn read_checked(bytes: &Bytes) -> Result<(SchemaRef, Vec<RecordBatch>), ArrowError> {
    let mut rest = Buffer::from(bytes.clone());
    let mut decoder = StreamDecoder::new();
    let mut batches = Vec::new();
    while !rest.is_empty() {
        let Some(batch) = decoder.decode(&mut rest)? else { continue };
        // A value takes a bit at least; columns of nothing but NULL could claim any number.
        if batch.num_rows() / 8 > bytes.len() {
            return Err(lie("more rows than it has bits"));
        }
        batches.push(batch);
    }
    decoder.finish()?;
    let schema = decoder.schema().ok_or_else(|| ArrowError::IpcError("the stream has no schema".to_owned()))?;
    Ok((schema, batches))
}

fn lie(what: &str) -> ArrowError {
    ArrowError::IpcError(format!("the stream claims {what}"))
}

/// Bytes that the rows of a batch take, without what else lies in the same buffers.
fn size(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or_default()).sum()
}

/// Cuts a batch by rows into parts of at most `rows_max` rows and about [`transport::PAYLOAD_PART_BYTES`] bytes.
#[must_use]
pub fn split(batch: &RecordBatch, rows_max: usize) -> Vec<RecordBatch> {
    let rows = batch.num_rows();
    let row_bytes = (size(batch) / rows.max(1)).max(1);
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

/// Key of a schema's metadata under which [`join`] writes the name of the table.
const TABLE: &str = "bulkhead.table";

/// One stream of all rows of the table, whose batches may lack columns that others have: these are null there.
///
/// # Errors
/// When a batch has a column of another type than the others.
pub fn join(table: &str, batches: &[RecordBatch]) -> Result<Bytes, ArrowError> {
    let merged = Schema::try_merge(batches.iter().map(|batch| batch.schema().as_ref().clone()))?;
    let fields = merged.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    let metadata = HashMap::from([(TABLE.to_owned(), table.to_owned())]);
    let schema = Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), metadata));
    let widened = batches.iter().map(|batch| {
        let column = |name, data_type| {
            batch.column_by_name(name).cloned().unwrap_or_else(|| new_null_array(data_type, batch.num_rows()))
        };
        let columns = schema.fields().iter().map(|field| column(field.name(), field.data_type()));
        RecordBatch::try_new(Arc::clone(&schema), columns.collect())
    });
    encode(&schema, &widened.collect::<Result<Vec<_>, _>>()?)
}

/// The table that [`join`] named in these rows.
#[must_use]
pub fn table_of(batch: &RecordBatch) -> Option<&str> {
    batch.schema_ref().metadata().get(TABLE).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringArray};

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
    fn batches_with_other_columns_become_one_stream() {
        let texts = |name| RecordBatch::try_from_iter([(name, Arc::new(StringArray::from(vec!["x"])) as ArrayRef)]);
        let joined = decode(&join("m", &[numbers(2), texts("s").unwrap()]).unwrap()).unwrap();
        let nulls = |name, batch: usize| joined[batch].column_by_name(name).unwrap().null_count();
        assert_eq!([nulls("n", 0), nulls("s", 0), nulls("n", 1), nulls("s", 1)], [0, 2, 1, 0]);
        assert_eq!(table_of(&joined[1]), Some("m"));
        assert!(join("m", &[numbers(1), texts("n").unwrap()]).is_err(), "one column has two types");
    }

    #[test]
    fn a_stream_that_lies_of_its_lengths_is_refused() {
        let batch = numbers(3);
        let stream = encode(&batch.schema(), std::slice::from_ref(&batch)).unwrap();
        assert_eq!(decode(&stream).unwrap(), [batch]);
        // The number of rows stands there for the batch and for its column; as more than there are, it is found out.
        for (at, eight) in stream.windows(8).enumerate() {
            if eight == 3_i64.to_le_bytes() {
                for claimed in [4, 1 << 40, i64::MAX, -1] {
                    let mut lying = stream.to_vec();
                    lying[at..at + 8].copy_from_slice(&i64::to_le_bytes(claimed));
                    assert!(decode(&lying.into()).is_err(), "{claimed} at {at}");
                }
            }
        }
        assert!(decode(&stream.slice(..stream.len() / 2)).is_err(), "half a stream");
    }

    #[test]
    fn a_small_stream_is_passed_on() {
        let batch = numbers(3);
        let stream = encode(&batch.schema(), std::slice::from_ref(&batch)).unwrap();
        assert_eq!(split_stream(&stream).unwrap(), [stream]);
    }
}
