//! Rows as Arrow data, offered through the PyCapsule protocol: polars, pyarrow, pandas and DuckDB take them as they were received,
//! and none of them has to be there.

use std::ffi::CStr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchIterator, RecordBatchOptions, new_null_array};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ffi::FFI_ArrowSchema;
use arrow::ffi_stream::FFI_ArrowArrayStream;
use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyList};

use crate::invocation::Invocation;
use crate::rows::{Decoded, Nulls, build_rows, decode, malformed};

/// Names that the protocol gives the capsules.
const STREAM: &CStr = c"arrow_array_stream";
const SCHEMA: &CStr = c"arrow_schema";

/// Rows as they came, decoded when somebody looks at them.
#[pyclass(frozen, name = "ArrowRows", module = "bulkhead_worker")]
pub(crate) struct ArrowRows {
    streams: Vec<Bytes>,
    nulls: Nulls,
    /// The call that counts the time of making rows.
    counted_by: Option<Arc<Invocation>>,
    /// Read once: buffers that lie askew in their message are moved then, and all consumers share the result.
    decoded: OnceLock<Decoded>,
}

impl ArrowRows {
    pub(crate) fn new(streams: Vec<Bytes>, nulls: Nulls) -> Self {
        Self { streams, nulls, counted_by: None, decoded: OnceLock::new() }
    }

    /// With a call that counts the time of making rows.
    pub(crate) fn counted_by(mut self, invocation: Arc<Invocation>) -> Self {
        self.counted_by = Some(invocation);
        self
    }

    fn decoded(&self, py: Python<'_>) -> PyResult<&Decoded> {
        if let Some(decoded) = self.decoded.get() {
            return Ok(decoded);
        }
        // Two threads may read at once; the first result stays.
        let decoded = decode(py, &self.streams)?;
        Ok(self.decoded.get_or_init(|| decoded))
    }
}

#[pymethods]
impl ArrowRows {
    /// The rows as a stream of record batches. A consumer that asks for another schema casts by itself, as the protocol allows.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let _ = requested_schema;
        let Decoded { schemas, batches } = self.decoded(py)?;
        let schema = common(schemas).map_err(malformed)?;
        let batches: Vec<_> = batches.iter().map(|batch| conform(batch, &schema)).collect();
        let stream = FFI_ArrowArrayStream::new(Box::new(RecordBatchIterator::new(batches, schema)));
        PyCapsule::new_with_value(py, stream, STREAM)
    }

    /// Names and types of the columns.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let schema = common(&self.decoded(py)?.schemas).map_err(malformed)?;
        let schema = FFI_ArrowSchema::try_from(schema.as_ref()).map_err(malformed)?;
        PyCapsule::new_with_value(py, schema, SCHEMA)
    }

    /// How many rows there are.
    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.decoded(py)?.batches.iter().map(RecordBatch::num_rows).sum())
    }

    /// The rows, each a dictionary.
    fn rows<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let begun = Instant::now();
        let rows = build_rows(py, &self.streams, self.nulls);
        if let Some(invocation) = &self.counted_by {
            invocation.add_deserialise(begun.elapsed());
        }
        rows
    }
}

/// One schema for all streams: the parts of one commit may differ in the columns that they have.
fn common(schemas: &[SchemaRef]) -> Result<SchemaRef, ArrowError> {
    match schemas {
        [] => Ok(Arc::new(Schema::empty())),
        [first, rest @ ..] if rest.iter().all(|schema| schema == first) => Ok(Arc::clone(first)),
        all => Schema::try_merge(all.iter().map(|schema| schema.as_ref().clone())).map(Arc::new),
    }
}

/// The batch with the columns of `schema`; those that it lacks have no values.
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    if batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    let column = |name: &str, data_type| {
        batch.column_by_name(name).map_or_else(|| new_null_array(data_type, batch.num_rows()), ArrayRef::clone)
    };
    let columns = schema.fields().iter().map(|field| column(field.name(), field.data_type())).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}
