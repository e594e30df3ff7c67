//! Arguments of the plugin API, whose errors name the argument as InfluxDB 3's do.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

/// Reads an argument.
///
/// # Errors
/// What the conversion raises; a `TypeError` is told with the argument's name.
pub(crate) fn argument<'a, 'py, T>(name: &str, value: &'a Bound<'py, PyAny>) -> PyResult<T>
where
    T: FromPyObject<'a, 'py>,
{
    value.extract::<T>().map_err(|error| named(value.py(), name, error.into()))
}

/// Reads an argument that may be `None`.
///
/// # Errors
/// As [`argument`].
pub(crate) fn optional<'a, 'py, T>(name: &str, value: Option<&'a Bound<'py, PyAny>>) -> PyResult<Option<T>>
where
    T: FromPyObject<'a, 'py>,
{
    value.map(|value| argument(name, value)).transpose()
}

fn named(py: Python<'_>, name: &str, error: PyErr) -> PyErr {
    if error.get_type(py).is(py.get_type::<PyTypeError>()) {
        return PyTypeError::new_err(format!("argument '{name}': {}", error.value(py)));
    }
    error
}
