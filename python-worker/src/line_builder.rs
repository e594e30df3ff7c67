//! `LineBuilder`: line protocol, one part after the other. It gives the same text as InfluxDB 3's class, which is Python, for
//! values of every type: what is not plain text or a plain number takes Python's own way (`str`, `format`, `%`).

mod parts;
mod text;

use parking_lot::Mutex;
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyFloat, PyInt, PyString, PyTuple};

use self::parts::{Parts, Time};
use self::text::{BACKSLASH, COMMA, EQUALS, QUOTE, SPACE, bits, escape, push_float, push_integer};

create_exception!(__main__, InfluxDBError, PyException, "Base of the errors of line protocol.");
create_exception!(__main__, InvalidMeasurementError, InfluxDBError, "The measurement cannot be written.");
create_exception!(__main__, InvalidKeyError, InfluxDBError, "A tag or field has a key that cannot be written.");
create_exception!(__main__, InvalidLineError, InfluxDBError, "The line is not complete.");

/// What no key may contain, and its plural.
const FORBIDDEN_IN_KEYS: [(char, &str); 3] = [(' ', "spaces"), (',', "commas"), ('=', "equals signs")];

/// One line of line protocol. Methods that add something return the builder.
#[pyclass(frozen, subclass, dict, name = "LineBuilder", module = "builtins")]
pub(crate) struct LineBuilder {
    /// No Python code runs while the lock is held.
    parts: Mutex<Parts>,
}

impl Drop for LineBuilder {
    fn drop(&mut self) {
        std::mem::take(self.parts.get_mut()).give_back();
    }
}

#[pymethods]
impl LineBuilder {
    /// Takes whatever a subclass is made of; `__init__` begins the line.
    #[new]
    #[pyo3(signature = (*_args, **_options))]
    fn new(_args: &Bound<'_, PyTuple>, _options: Option<&Bound<'_, PyDict>>) -> Self {
        Self { parts: Mutex::new(Parts::take()) }
    }

    /// Begins a line of a table.
    fn __init__(&self, measurement: &Bound<'_, PyAny>) -> PyResult<()> {
        let has_space = match measurement.cast::<PyString>() {
            Ok(text) => bits(text.to_str()?) & SPACE != 0,
            Err(_) => measurement.contains(" ")?,
        };
        if has_space {
            return Err(InvalidMeasurementError::new_err("Measurement name cannot contain spaces"));
        }
        let measurement = measurement.cast::<PyString>()?.to_str()?;
        let mut parts = self.parts.lock();
        parts.clear();
        parts.measurement.push_str(measurement);
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
        let tags = self.parts.lock().tags.to_vec();
        to_dict(py, tags)
    }

    /// The fields so far, as they are written.
    #[getter]
    fn fields<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let fields = self.parts.lock().fields.to_vec();
        to_dict(py, fields)
    }

    /// Adds a tag.
    fn tag<'py>(
        slf: Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, Self>> {
        let key = checked("tag", key)?;
        let own;
        let value = match value.cast_exact::<PyString>() {
            Ok(text) => text.to_str()?,
            Err(_) => {
                own = value.str()?;
                own.to_str()?
            }
        };
        slf.get().parts.lock().tags.set(key, |text| text.push_str(value));
        Ok(slf)
    }

    /// Adds an unsigned integer field.
    fn uint64_field<'py>(
        slf: Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, Self>> {
        let key = checked("field", key)?;
        let number = match small_integer(value) {
            Some(number) if number >= 0 => Integer::Small(number),
            None if !value.lt(0)? => Integer::Text(formatted(value)?),
            _ => return Err(PyValueError::new_err(format!("uint64 field '{key}' cannot be negative"))),
        };
        slf.get().parts.lock().fields.set(key, |text| number.push(text, 'u'));
        Ok(slf)
    }

    /// Adds an integer field.
    fn int64_field<'py>(
        slf: Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, Self>> {
        let key = checked("field", key)?;
        let number = match small_integer(value) {
            Some(number) => Integer::Small(number),
            None => Integer::Text(formatted(value)?),
        };
        slf.get().parts.lock().fields.set(key, |text| number.push(text, 'i'));
        Ok(slf)
    }

    /// Adds a float field.
    fn float64_field<'py>(
        slf: Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, Self>> {
        let key = checked("field", key)?;
        match value.cast_exact::<PyFloat>() {
            Ok(float) => {
                let float = float.value();
                slf.get().parts.lock().fields.set(key, |text| push_float(text, float));
            }
            Err(_) => {
                let number = number_text(value)?;
                slf.get().parts.lock().fields.set(key, |text| text.push_str(&number));
            }
        }
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
        slf.get().parts.lock().fields.set(key, |text| {
            text.push('"');
            escape(text, value, BACKSLASH | QUOTE);
            text.push('"');
        });
        Ok(slf)
    }

    /// Adds a boolean field.
    fn bool_field<'py>(
        slf: Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, Self>> {
        let key = checked("field", key)?;
        let word = if value.is_truthy()? { "t" } else { "f" };
        slf.get().parts.lock().fields.set(key, |text| text.push_str(word));
        Ok(slf)
    }

    /// Sets the time, in nanoseconds since the epoch.
    fn time_ns<'py>(slf: Bound<'py, Self>, timestamp_ns: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        let time = match small_integer(timestamp_ns) {
            Some(number) => Time::Nanoseconds(number),
            None if timestamp_ns.is_none() => Time::None,
            None => Time::Text(formatted(timestamp_ns)?),
        };
        slf.get().parts.lock().time = time;
        Ok(slf)
    }

    /// The line.
    fn build<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        match self.parts.lock().build() {
            Ok(line) => Ok(PyString::new(py, line)),
            Err(line) => Err(InvalidLineError::new_err(format!("At least one field is required: {line}"))),
        }
    }
}

/// A number that is given as an integer.
enum Integer {
    Small(i64),
    /// What an f-string makes of anything else.
    Text(String),
}

impl Integer {
    fn push(&self, text: &mut String, suffix: char) {
        match self {
            Self::Small(number) => push_integer(text, *number),
            Self::Text(number) => text.push_str(number),
        }
        text.push(suffix);
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
    if bits(text) & (SPACE | COMMA | EQUALS) != 0 {
        for (character, plural) in FORBIDDEN_IN_KEYS {
            if text.contains(character) {
                return Err(InvalidKeyError::new_err(format!("{kind} key '{text}' cannot contain {plural}")));
            }
        }
    }
    Ok(text)
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

fn to_dict(py: Python<'_>, pairs: Vec<(String, String)>) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    for (key, value) in pairs {
        dict.set_item(key, value)?;
    }
    Ok(dict)
}
