//! `LineBuilder`: line protocol, one part after the other. It gives the same text as InfluxDB 3's class, which is Python, for
//! values of every type: what is not plain text or a plain number takes Python's own way (`str`, `format`, `%`).

use std::fmt::Write as _;

use parking_lot::Mutex;
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyFloat, PyInt, PyString, PyTuple};

create_exception!(__main__, InfluxDBError, PyException, "Base of the errors of line protocol.");
create_exception!(__main__, InvalidMeasurementError, InfluxDBError, "The measurement cannot be written.");
create_exception!(__main__, InvalidKeyError, InfluxDBError, "A tag or field has a key that cannot be written.");
create_exception!(__main__, InvalidLineError, InfluxDBError, "The line is not complete.");

/// What no key may contain, and its plural.
const FORBIDDEN_IN_KEYS: [(char, &str); 3] = [(' ', "spaces"), (',', "commas"), ('=', "equals signs")];

/// One line of line protocol. Methods that add something return the builder.
#[pyclass(frozen, subclass, dict, name = "LineBuilder", module = "builtins")]
#[derive(Default)]
pub(crate) struct LineBuilder {
    parts: Mutex<Parts>,
}

#[derive(Default)]
struct Parts {
    measurement: String,
    /// Values as they were given.
    tags: Vec<(String, String)>,
    /// Values as they are written.
    fields: Vec<(String, String)>,
    time: Option<String>,
}

/// Sets a key; one that is there keeps its place.
fn set(pairs: &mut Vec<(String, String)>, key: &str, value: String) {
    match pairs.iter_mut().find(|(known, _)| known == key) {
        Some((_, old)) => *old = value,
        None => pairs.push((key.to_owned(), value)),
    }
}

#[pymethods]
impl LineBuilder {
    /// Takes whatever a subclass is made of; `__init__` begins the line.
    #[new]
    #[pyo3(signature = (*_args, **_options))]
    fn new(_args: &Bound<'_, PyTuple>, _options: Option<&Bound<'_, PyDict>>) -> Self {
        Self::default()
    }

    /// Begins a line of a table.
    fn __init__(&self, measurement: &Bound<'_, PyAny>) -> PyResult<()> {
        if measurement.contains(" ")? {
            return Err(InvalidMeasurementError::new_err("Measurement name cannot contain spaces"));
        }
        let measurement = measurement.cast::<PyString>()?.to_str()?.to_owned();
        *self.parts.lock() = Parts { measurement, ..Parts::default() };
        Ok(())
    }

    /// Name of the table.
    #[getter]
    fn measurement(&self) -> String {
        self.parts.lock().measurement.clone()
    }

    /// The tags so far.
    #[getter]
    fn tags<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        to_dict(py, &self.parts.lock().tags)
    }

    /// The fields so far, as they are written.
    #[getter]
    fn fields<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        to_dict(py, &self.parts.lock().fields)
    }

    /// Adds a tag.
    fn tag<'py>(
        slf: Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, Self>> {
        let key = checked("tag", key)?;
        let value = match value.cast_exact::<PyString>() {
            Ok(text) => text.to_str()?.to_owned(),
            Err(_) => value.str()?.to_str()?.to_owned(),
        };
        set(&mut slf.get().parts.lock().tags, key, value);
        Ok(slf)
    }

    /// Adds an unsigned integer field.
    fn uint64_field<'py>(
        slf: Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, Self>> {
        let key = checked("field", key)?;
        let text = match small_integer(value) {
            Some(number) if number >= 0 => format!("{number}u"),
            None if !value.lt(0)? => format!("{}u", formatted(value)?),
            _ => return Err(PyValueError::new_err(format!("uint64 field '{key}' cannot be negative"))),
        };
        set(&mut slf.get().parts.lock().fields, key, text);
        Ok(slf)
    }

    /// Adds an integer field.
    fn int64_field<'py>(
        slf: Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, Self>> {
        let key = checked("field", key)?;
        let text = match small_integer(value) {
            Some(number) => format!("{number}i"),
            None => format!("{}i", formatted(value)?),
        };
        set(&mut slf.get().parts.lock().fields, key, text);
        Ok(slf)
    }

    /// Adds a float field.
    fn float64_field<'py>(
        slf: Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, Self>> {
        let key = checked("field", key)?;
        let text = match value.cast_exact::<PyFloat>() {
            Ok(float) => float_text(float.value()),
            Err(_) => number_text(value)?,
        };
        set(&mut slf.get().parts.lock().fields, key, text);
        Ok(slf)
    }

    /// Adds a string field.
    fn string_field<'py>(
        slf: Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, Self>> {
        let key = checked("field", key)?;
        let Ok(value) = value.cast::<PyString>() else {
            // As Python words it for the method that InfluxDB 3 calls.
            value.getattr(pyo3::intern!(value.py(), "replace"))?;
            return Err(pyo3::exceptions::PyTypeError::new_err("a string field takes a str"));
        };
        let value = value.to_str()?;
        let mut text = String::with_capacity(value.len() + 2);
        text.push('"');
        escape(&mut text, value, |character| matches!(character, '\\' | '"'));
        text.push('"');
        set(&mut slf.get().parts.lock().fields, key, text);
        Ok(slf)
    }

    /// Adds a boolean field.
    fn bool_field<'py>(
        slf: Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, Self>> {
        let key = checked("field", key)?;
        let text = if value.is_truthy()? { "t" } else { "f" };
        set(&mut slf.get().parts.lock().fields, key, text.to_owned());
        Ok(slf)
    }

    /// Sets the time, in nanoseconds since the epoch.
    fn time_ns<'py>(slf: Bound<'py, Self>, timestamp_ns: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        let time = match small_integer(timestamp_ns) {
            Some(number) => Some(number.to_string()),
            None if timestamp_ns.is_none() => None,
            None => Some(formatted(timestamp_ns)?),
        };
        slf.get().parts.lock().time = time;
        Ok(slf)
    }

    /// The line.
    fn build(&self) -> PyResult<String> {
        let parts = self.parts.lock();
        let mut line =
            String::with_capacity(parts.measurement.len() + 32 * (1 + parts.tags.len() + parts.fields.len()));
        escape(&mut line, &parts.measurement, |character| matches!(character, ',' | ' '));
        for (key, value) in &parts.tags {
            line.push(',');
            escape(&mut line, key, |_| false);
            line.push('=');
            escape(&mut line, value, |character| matches!(character, '\\' | ',' | '=' | ' '));
        }
        if parts.fields.is_empty() {
            return Err(InvalidLineError::new_err(format!("At least one field is required: {line}")));
        }
        let mut separator = ' ';
        for (key, value) in &parts.fields {
            line.push(separator);
            escape(&mut line, key, |character| character == '\\');
            line.push('=');
            line.push_str(value);
            separator = ',';
        }
        if let Some(time) = &parts.time {
            line.push(' ');
            line.push_str(time);
        }
        Ok(line)
    }
}

/// The key, if line protocol can have it.
fn checked<'a>(kind: &str, key: &'a Bound<'_, PyAny>) -> PyResult<&'a str> {
    let text = match key.cast::<PyString>() {
        Ok(text) => text.to_str()?,
        Err(_) if !key.is_truthy()? => "",
        // As Python words it for the test that InfluxDB 3 makes.
        Err(error) => return Err(key.contains(" ").err().unwrap_or_else(|| error.into())),
    };
    if text.is_empty() {
        return Err(InvalidKeyError::new_err(format!("{kind} key cannot be empty")));
    }
    if text.bytes().any(|byte| matches!(byte, b' ' | b',' | b'=')) {
        for (character, plural) in FORBIDDEN_IN_KEYS {
            if text.contains(character) {
                return Err(InvalidKeyError::new_err(format!("{kind} key '{text}' cannot contain {plural}")));
            }
        }
    }
    Ok(text)
}

/// Appends text with a backslash before what has a meaning of its own. An end of line becomes two characters, as other writers
/// of line protocol do it: outside of string fields there is no way to have one in a line.
fn escape(line: &mut String, text: &str, is_special: fn(char) -> bool) {
    let is_string = is_special('"');
    if !text.contains(|character| is_special(character) || matches!(character, '\n' | '\r')) {
        line.push_str(text);
        return;
    }
    for character in text.chars() {
        match character {
            '\n' if !is_string => line.push_str("\\n"),
            '\r' if !is_string => line.push_str("\\r"),
            _ => {
                if is_special(character) {
                    line.push('\\');
                }
                line.push(character);
            }
        }
    }
}

/// An `int`, but no subclass of it, of at most 64 bits.
fn small_integer(value: &Bound<'_, PyAny>) -> Option<i64> {
    value.cast_exact::<PyInt>().ok()?.extract().ok()
}

/// What an f-string makes of a value.
fn formatted(value: &Bound<'_, PyAny>) -> PyResult<String> {
    static FORMAT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let text = FORMAT.import(value.py(), "builtins", "format")?.call1((value,))?;
    Ok(text.cast::<PyString>()?.to_str()?.to_owned())
}

/// A float as `repr` writes it, and whole ones in full.
fn float_text(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if value % 1.0 == 0.0 {
        // Python goes by way of `int`, which has no negative zero.
        return if value == 0.0 { "0.0".to_owned() } else { format!("{value:.0}.0") };
    }
    // The shortest digits that mean this number; `repr` writes small ones with an exponent of at least two digits.
    if value.abs() >= 1e-4 {
        return value.to_string();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once("e-").unwrap_or((&scientific, "0"));
    let mut text = String::with_capacity(scientific.len() + 1);
    // Writing to a string does not fail.
    let _ = write!(text, "{digits}e-{exponent:0>2}");
    text
}

/// Anything else that is given as a float: Python decides whether it is whole.
fn number_text(value: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Some(number) = small_integer(value) {
        return Ok(format!("{number}.0"));
    }
    let py = value.py();
    let is_whole = value.rem(1)?.eq(0)?;
    let text = if is_whole { py.get_type::<PyInt>().call1((value,))?.str()? } else { value.str()? };
    let text = text.to_str()?;
    Ok(if is_whole { format!("{text}.0") } else { text.to_owned() })
}

fn to_dict<'py>(py: Python<'py>, pairs: &[(String, String)]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (key, value) in pairs {
        dict.set_item(key, value)?;
    }
    Ok(dict)
}
