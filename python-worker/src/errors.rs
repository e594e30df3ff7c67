//! Exceptions that plugins may see.

use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyKeyboardInterrupt};

create_exception!(influxdb3_py_api, QueryError, PyException, "A query was refused or failed; the text says why.");
create_exception!(
    bulkhead_worker,
    Cancelled,
    PyKeyboardInterrupt,
    "The call was stopped: its deadline passed, or its trigger was disabled."
);
create_exception!(bulkhead_worker, LimitExceeded, PyException, "A limit of the worker was reached; the text names it.");

/// The text of a `LimitExceeded`: which limit, its value, and what was asked for.
pub(crate) fn limit_text(limit: &str, max: u64, asked: u64) -> String {
    format!("{limit} of {max} bytes exceeded: {asked} bytes asked for")
}

/// A `LimitExceeded`.
pub(crate) fn limit_exceeded(limit: &str, max: u64, asked: u64) -> pyo3::PyErr {
    LimitExceeded::new_err(limit_text(limit, max, asked))
}
