//! From Arrow IPC streams to record batches. What comes from the wire may be malformed: every way in
//! which that shows ends in a text.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use bytes::Bytes;

/// The batches of all streams, in order.
pub(super) fn decode_all(streams: &[Bytes]) -> Result<Vec<RecordBatch>, String> {
    let mut batches = Vec::with_capacity(streams.len());
    for stream in streams {
        // The reader checks what it reads, but it is not written to never panic.
        let decoded = catch_unwind(AssertUnwindSafe(|| decode_stream(stream, &mut batches)));
        decoded.map_err(|_| "the reader panicked".to_owned())?.map_err(|error| error.to_string())?;
    }
    Ok(batches)
}

fn decode_stream(stream: &Bytes, batches: &mut Vec<RecordBatch>) -> Result<(), ArrowError> {
    let mut buffer = Buffer::from(stream.clone());
    let mut decoder = StreamDecoder::new();
    while !buffer.is_empty() {
        if let Some(batch) = decoder.decode(&mut buffer)? {
            batches.push(batch);
        }
    }
    decoder.finish()?;
    if decoder.schema().is_none() {
        return Err(ArrowError::IpcError("the stream has no schema".to_owned()));
    }
    Ok(())
}
