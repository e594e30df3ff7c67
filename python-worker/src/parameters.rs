//! Parameters of a query: text as in InfluxDB 3, and beyond it the other scalars that SQL knows.

use std::collections::BTreeMap;

use bulkhead_proto::worker::v1::ParameterValue;
use bulkhead_proto::worker::v1::parameter_value::Kind;
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyString, PyType};

use crate::argument::argument;

const NANOSECONDS_PER_MICROSECOND: i64 = 1_000;
const MICROSECONDS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// Reads the argument `args` of `query`.
///
/// # Errors
/// `TypeError` for a value of another type, `OverflowError` for a number or time that the database cannot hold.
pub(crate) fn query_parameters(args: &Bound<'_, PyAny>) -> PyResult<BTreeMap<String, ParameterValue>> {
    if args.is_none() {
        return Ok(BTreeMap::new());
    }
    let args = args.cast::<PyDict>().map_err(|error| {
        let error = PyErr::from(error);
        PyTypeError::new_err(format!("argument 'args': {}", error.value(args.py())))
    })?;
    args.iter().map(|(name, value)| Ok((argument("args", &name)?, ParameterValue { kind: kind(&value)? }))).collect()
}

fn kind(value: &Bound<'_, PyAny>) -> PyResult<Option<Kind>> {
    // `bool` is an `int` in Python, so it comes first.
    if value.is_none() {
        Ok(None)
    } else if let Ok(text) = value.cast::<PyString>() {
        Ok(Some(Kind::Text(text.to_str()?.to_owned())))
    } else if let Ok(truth) = value.cast::<PyBool>() {
        Ok(Some(Kind::Boolean(truth.is_true())))
    } else if value.is_instance_of::<PyInt>() {
        integer(value).map(Some)
    } else if let Ok(float) = value.cast::<PyFloat>() {
        Ok(Some(Kind::Float(float.value())))
    } else if let Some(nanoseconds) = timestamp(value)? {
        Ok(Some(Kind::TimestampNs(nanoseconds)))
    } else {
        let name = value.get_type().name()?;
        let text = format!("argument 'args': '{name}' object is not an instance of 'str'");
        Err(PyTypeError::new_err(format!("{text}, nor of 'int', 'float', 'bool', 'datetime' or None")))
    }
}

fn integer(value: &Bound<'_, PyAny>) -> PyResult<Kind> {
    if let Ok(signed) = value.extract::<i64>() {
        return Ok(Kind::Integer(signed));
    }
    value
        .extract::<u64>()
        .map(Kind::Unsigned)
        .map_err(|_| PyOverflowError::new_err(format!("argument 'args': {value} is outside of 64 bits")))
}

/// Nanoseconds since the epoch of a `datetime`; one without a zone is in UTC, as `call_time` is.
fn timestamp(value: &Bound<'_, PyAny>) -> PyResult<Option<i64>> {
    static DATETIME: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = value.py();
    let class = DATETIME.import(py, "datetime", "datetime")?;
    if !value.is_instance(class)? {
        return Ok(None);
    }
    // The difference to the epoch is exact, which `timestamp()`, a float, is not.
    let epoch = if value.getattr("tzinfo")?.is_none() {
        class.call1((1970, 1, 1))?
    } else {
        let utc = py.import("datetime")?.getattr("timezone")?.getattr("utc")?;
        class.call1((1970, 1, 1, 0, 0, 0, 0, utc))?
    };
    let delta = value.sub(epoch)?;
    let part = |name: &str| -> PyResult<i64> { delta.getattr(name)?.extract() };
    let seconds = part("days")? * SECONDS_PER_DAY + part("seconds")?;
    let microseconds = seconds * MICROSECONDS_PER_SECOND + part("microseconds")?;
    let nanoseconds = microseconds.checked_mul(NANOSECONDS_PER_MICROSECOND);
    nanoseconds.map(Some).ok_or_else(|| {
        PyOverflowError::new_err(format!("argument 'args': {value} is outside of 64 bits of nanoseconds"))
    })
}
