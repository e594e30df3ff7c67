//! Arrow data becomes rows: a plain `list` of plain `dict`.

mod column;
mod decode;
mod ffi;
mod object;

use arrow::array::RecordBatch;
use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use self::column::Column;
pub(crate) use self::decode::Decoded;
use self::ffi::{DictRow, NewList};
use crate::limits::ROWS_PER_SIGNAL_CHECK;

/// What becomes of a cell without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nulls {
    /// The row lacks the column.
    Omit,
    /// The value is `None`.
    None,
}

/// The record batches of all streams, in order; their buffers are the bytes of the streams.
pub(crate) fn decode(py: Python<'_>, streams: &[Bytes]) -> PyResult<Decoded> {
    py.detach(|| decode::decode_all(streams)).map_err(malformed)
}

/// The error of data that cannot be read.
pub(crate) fn malformed(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(format!("malformed Arrow data: {error}"))
}

/// The rows of all streams, in order.
pub(crate) fn build_rows<'py>(py: Python<'py>, streams: &[Bytes], nulls: Nulls) -> PyResult<Bound<'py, PyList>> {
    let Decoded { batches, .. } = decode(py, streams)?;
    let mut rows = NewList::with_length(py, batches.iter().map(RecordBatch::num_rows).sum())?;
    for batch in &batches {
        append_batch(py, batch, nulls, &mut rows)?;
    }
    Ok(rows.finish())
}

fn append_batch<'py>(py: Python<'py>, batch: &RecordBatch, nulls: Nulls, rows: &mut NewList<'py>) -> PyResult<()> {
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        // One string object a name for all rows, and its hash is computed once.
        let name = PyString::intern(py, field.name());
        let missing = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        columns.push((name, Column::new(array), missing));
    }
    for row in 0..batch.num_rows() {
        if row % ROWS_PER_SIGNAL_CHECK == ROWS_PER_SIGNAL_CHECK - 1 {
            py.check_signals()?;
        }
        let dict = DictRow::new(py)?;
        for (name, column, missing) in &mut columns {
            if missing.as_ref().is_some_and(|missing| missing.is_null(row)) {
                if nulls == Nulls::None {
                    dict.set_none(name)?;
                }
                continue;
            }
            column.set(&dict, name, row)?;
        }
        rows.push(dict)?;
    }
    Ok(())
}
