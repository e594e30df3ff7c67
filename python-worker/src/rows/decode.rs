//! From Arrow IPC streams to record batches. What comes from the wire may be malformed: every way in
//! which that shows ends in a text.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use bytes::Bytes;

/// What streams hold.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    /// The schema of each stream.
    pub(crate) schemas: Vec<SchemaRef>,
    /// The batches of all streams, in order.
    pub(crate) batches: Vec<RecordBatch>,
}

/// Reads all streams.
pub(super) fn decode_all(streams: &[Bytes]) -> Result<Decoded, String> {
    let mut decoded = Decoded::default();
    for stream in streams {
        // The reader checks what it reads, but it is not written to never panic.
        let schema = catch_unwind(AssertUnwindSafe(|| decode_stream(stream, &mut decoded.batches)));
        let schema = schema.map_err(|_| "the reader panicked".to_owned())?.map_err(|error| error.to_string())?;
        decoded.schemas.push(schema);
    }
    Ok(decoded)
}

fn decode_stream(stream: &Bytes, batches: &mut Vec<RecordBatch>) -> Result<SchemaRef, ArrowError> {
    let mut buffer = Buffer::from(stream.clone());
    let mut decoder = StreamDecoder::new();
    while !buffer.is_empty() {
        if let Some(batch) = decoder.decode(&mut buffer)? {
            batches.push(batch);
        }
    }
    decoder.finish()?;
    decoder.schema().ok_or_else(|| ArrowError::IpcError("the stream has no schema".to_owned()))
}
