//! The incumbent's way of calling a plugin, reproduced: the interpreter lives in the server's process.
//!
//! A call hops to a thread that may block, takes the GIL, runs the source of `LineBuilder` again and makes it a builtin, builds
//! the arguments (a dictionary for each row, with a new key string for each cell), runs the source of the plugin in fresh
//! globals, looks the function up, calls it, and reads what it returned. Everything it made is freed before the GIL is given
//! back. Left out, in the incumbent's favour: its queue of events, its HTTP handling, its tables of log lines.

use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use super::Work;
use super::arrival::Arrival;
use crate::Error;
use crate::contest::Contestant;
use crate::python::{self, Plugin};
use crate::rows::{Cell, TABLE, WalRows};

/// What the plugin is called with.
#[derive(Clone)]
pub(crate) enum Input {
    /// An empty request.
    Request,
    /// Rows.
    Rows(Arc<WalRows>),
}

/// Calls of one plugin.
pub(crate) struct EmbeddedCalls {
    plugin: Plugin,
    input: Input,
    work: Work,
}

impl EmbeddedCalls {
    /// Calls of `plugin` that have to do `work`.
    pub(crate) fn new(plugin: Plugin, input: Input, work: Work) -> Self {
        Python::initialize();
        Self { plugin, input, work }
    }
}

impl Contestant for EmbeddedCalls {
    fn batch(&mut self, calls: usize) -> BoxFuture<'_, Result<Vec<Duration>, Error>> {
        Box::pin(async move {
            let mut times = Vec::with_capacity(calls);
            let mut arrival = Arrival::new()?;
            for _ in 0..calls {
                let (source, input) = (self.plugin.source, self.input.clone());
                arrival.next().await?;
                let begun = Instant::now();
                let result = tokio::task::spawn_blocking(move || execute(source, &input)).await??;
                times.push(begun.elapsed());
                self.work.check(result.body.as_deref().map(str::as_bytes), result.lines.concat().as_bytes())?;
            }
            Ok(times)
        })
    }
}

/// What a call leaves behind.
struct Returned {
    body: Option<String>,
    lines: Vec<String>,
}

/// The `influxdb3_local` of a call.
#[pyclass(frozen)]
struct PluginCallApi {
    lines: Arc<Mutex<Vec<String>>>,
    logs: Arc<Mutex<Vec<String>>>,
}

#[pymethods]
impl PluginCallApi {
    #[pyo3(signature = (*arguments))]
    fn info(&self, arguments: &Bound<'_, PyTuple>) -> PyResult<()> {
        let words: Vec<String> = arguments.iter().map(|word| word.str()?.extract()).collect::<PyResult<_>>()?;
        push(&self.logs, words.join(" "));
        Ok(())
    }

    fn write(&self, line: &Bound<'_, PyAny>) -> PyResult<()> {
        push(&self.lines, line.call_method0("build")?.extract()?);
        Ok(())
    }
}

fn push(list: &Mutex<Vec<String>>, text: String) {
    list.lock().unwrap_or_else(PoisonError::into_inner).push(text);
}

fn take(list: &Mutex<Vec<String>>) -> Vec<String> {
    std::mem::take(&mut list.lock().unwrap_or_else(PoisonError::into_inner))
}

fn execute(source: &str, input: &Input) -> Result<Returned, Error> {
    let (lines, logs) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<Vec<String>>>::default());
    push(&logs, "starting execution".to_owned());
    let begun = Instant::now();
    let body = Python::attach(|py| {
        set_up_line_builder(py)?;
        let api = || PluginCallApi { lines: Arc::clone(&lines), logs: Arc::clone(&logs) }.into_pyobject(py);
        match input {
            Input::Request => {
                let (api, none) = (api()?, py.None());
                let (parameters, headers) = (PyDict::new(py), PyDict::new(py));
                let function = load(py, source, "process_request")?;
                let returned = function.call1((api, parameters, headers, PyBytes::new(py, b""), none))?;
                body_of(&returned).map(Some)
            }
            Input::Rows(rows) => {
                let batches = table_batches(py, rows)?;
                let (api, none) = (api()?, py.None());
                let function = load(py, source, "process_writes")?;
                function.call1((api, batches.unbind(), none))?;
                Ok::<_, Error>(None)
            }
        }
    })?;
    push(&logs, format!("finished execution in {:?}", begun.elapsed()));
    Ok(Returned { body, lines: take(&lines) })
}

/// Runs in `__main__`, at every call.
fn set_up_line_builder(py: Python<'_>) -> Result<(), Error> {
    py.run(&CString::new(python::LINE_BUILDER)?, None, None)?;
    let line_builder = py.import("__main__")?.getattr("LineBuilder")?;
    py.import("builtins")?.setattr("LineBuilder", line_builder)?;
    Ok(())
}

fn load<'py>(py: Python<'py>, source: &str, function: &str) -> Result<Bound<'py, PyAny>, Error> {
    let globals = PyDict::new(py);
    py.run(&CString::new(source)?, Some(&globals), None)?;
    Ok(py.eval(&CString::new(function)?, Some(&globals), None)?)
}

/// Reads a response as the incumbent does, as far as text goes: it asks for a Flask response and a tuple first.
fn body_of(returned: &Bound<'_, PyAny>) -> Result<String, Error> {
    let is_flask = returned.call_method0("__flask_response__").and_then(|answer| answer.extract::<bool>());
    if is_flask.unwrap_or(false) || returned.cast::<PyTuple>().is_ok() {
        return Err("the benches' plugins return text".into());
    }
    Ok(returned.extract()?)
}

fn table_batches<'py>(py: Python<'py>, wal: &WalRows) -> PyResult<Bound<'py, PyList>> {
    let mut rows: Vec<Py<PyAny>> = Vec::new();
    for row in &wal.rows {
        let dict = PyDict::new(py);
        for (column, cell) in &row.cells {
            let name = wal.name(*column);
            match cell {
                Cell::Tag(text) => dict.set_item(name.as_ref(), text.as_str())?,
                Cell::Float(value) => dict.set_item(name.as_ref(), value)?,
                Cell::Time(nanoseconds) => dict.set_item(name.as_ref(), nanoseconds)?,
            }
        }
        rows.push(dict.into());
    }
    let batch = PyDict::new(py);
    batch.set_item("table_name", TABLE)?;
    batch.set_item("rows", PyList::new(py, rows)?.unbind())?;
    PyList::new(py, [batch])
}
