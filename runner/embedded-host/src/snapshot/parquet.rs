//! Rows to the bytes of a Parquet file.

use std::sync::Arc;

use arrow::array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::batches::conform;
use crate::limits::ROW_GROUP_ROWS;
use crate::merge::merge_rows;
use crate::schema::TableSchema;
use crate::table::Chunk;

/// A finished file.
pub(super) struct ParquetBytes {
    pub(super) bytes: Vec<u8>,
    pub(super) rows: u64,
}

/// Writes a chunk with all columns of its table. Rows of the same series and time become one.
///
/// # Errors
/// When Arrow or Parquet refuse the rows.
pub(super) fn encode(chunk: &Chunk, schema: &TableSchema) -> Result<ParquetBytes, ParquetError> {
    let schema = schema.arrow();
    let mut batches: Vec<RecordBatch> =
        chunk.batches().iter().map(|batch| conform(batch, schema)).collect::<Result<_, _>>()?;
    if chunk.may_have_duplicates() {
        batches = vec![merge_rows(schema, &batches)?];
    }
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(schema), Some(properties))?;
    let mut rows = 0;
    for batch in &batches {
        rows += batch.num_rows() as u64;
        writer.write(batch)?;
    }
    Ok(ParquetBytes { bytes: writer.into_inner()?, rows })
}
