//! One call as the Python side sees it: what it is called with, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_proto::types::v1::outcome::Kind;
use bulkhead_proto::types::v1::{Failure, FailureKind, HttpRequest, HttpResponse, KeyValue, Outcome, Success};
use bytes::Bytes;
use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

use crate::api::PluginApi;
use crate::capture::cut_line;
use crate::errors::limit_text;
use crate::gather::{CallEvent, Table};
use crate::invocation::Invocation;
use crate::outbox::Effects;
use crate::rows::{Nulls, build_rows};

/// Longest traceback that is reported.
const TRACEBACK_BYTES_MAX: usize = 256 << 10;

/// Longest message of a failure that is reported.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// A call of the plugin.
#[pyclass(frozen, module = "bulkhead_worker._native")]
pub(crate) struct Call {
    pub(crate) invocation: Arc<Invocation>,
    api: Py<PluginApi>,
    event: Mutex<Option<CallEvent>>,
    outcome: Mutex<Option<Kind>>,
    /// Largest body that `respond` takes.
    #[pyo3(get)]
    response_bytes_max: u64,
}

impl Call {
    pub(crate) fn new(
        invocation: Arc<Invocation>,
        api: Py<PluginApi>,
        event: CallEvent,
        response_bytes_max: u64,
    ) -> Self {
        Self { invocation, api, event: Mutex::new(Some(event)), outcome: Mutex::new(None), response_bytes_max }
    }

    /// The outcome, given what the handler raised, if it did.
    pub(crate) fn outcome(&self, raised: Option<(String, String)>, elapsed: Duration) -> (Outcome, Effects) {
        // What the plugin was called with is not needed any more.
        drop(self.event.lock().take());
        let said = self.outcome.lock().take();
        let kind = match (self.invocation.cancellation(), raised, said) {
            (Some(cancellation), ..) => {
                Kind::Failure(failure(cancellation.kind, cancellation.reason.clone(), String::new()))
            }
            (None, Some((message, traceback)), _) => {
                Kind::Failure(failure(FailureKind::Exception.into(), message, traceback))
            }
            (None, None, Some(said)) => said,
            (None, None, None) => Kind::Success(Success { http_response: None }),
        };
        let effects = if matches!(kind, Kind::Success(_)) { Effects::Keep } else { Effects::Drop };
        // A clock that ran for more than 64 bits of seconds does not exist.
        let elapsed = prost_types::Duration::try_from(elapsed).ok();
        (Outcome { kind: Some(kind), elapsed }, effects)
    }

    fn take_event(&self) -> PyResult<CallEvent> {
        self.event.lock().take().ok_or_else(|| PyRuntimeError::new_err("the event was taken already"))
    }
}

/// A failure whose texts are bounded.
pub(crate) fn failure(kind: i32, message: String, traceback: String) -> Failure {
    Failure {
        kind,
        message: cut_line(message, MESSAGE_BYTES_MAX),
        traceback: cut_line(traceback, TRACEBACK_BYTES_MAX),
        stderr_tail: String::new(),
    }
}

#[pymethods]
impl Call {
    /// The `influxdb3_local` of this call.
    #[getter]
    fn api(&self, py: Python<'_>) -> Py<PluginApi> {
        self.api.clone_ref(py)
    }

    /// The tables of a WAL batch: name and rows, still encoded.
    fn take_tables<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let CallEvent::Writes(tables) = self.take_event()? else { return Err(wrong_event("rows")) };
        let pairs = tables.into_iter().map(|Table { name, streams }| Ok((name, Py::new(py, Payload { streams })?)));
        PyList::new(py, pairs.collect::<PyResult<Vec<_>>>()?)
    }

    /// The time of a schedule, in seconds since the epoch.
    fn take_schedule(&self) -> PyResult<i64> {
        let CallEvent::Schedule(seconds) = self.take_event()? else { return Err(wrong_event("a schedule")) };
        Ok(seconds)
    }

    /// Query parameters, headers and body of a request.
    fn take_request<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyDict>, Bound<'py, PyDict>, Bound<'py, PyBytes>)> {
        let CallEvent::Request(request) = self.take_event()? else { return Err(wrong_event("a request")) };
        let HttpRequest { query_parameters, headers, body, .. } = request;
        Ok((to_dict(py, &query_parameters)?, to_dict(py, &headers)?, PyBytes::new(py, &body)))
    }

    /// Ends the call with an HTTP response.
    fn respond(&self, status: u32, headers: Vec<(String, String)>, body: &[u8]) {
        let size = body.len() as u64;
        let max = self.response_bytes_max;
        let kind = if size > max {
            Kind::Failure(failure(
                FailureKind::Limit.into(),
                limit_text("response_bytes_max", max, size),
                String::new(),
            ))
        } else {
            let headers = headers.into_iter().map(|(key, value)| KeyValue { key, value }).collect();
            let response = HttpResponse { status_code: status, headers, body: Bytes::copy_from_slice(body) };
            Kind::Success(Success { http_response: Some(response) })
        };
        *self.outcome.lock() = Some(kind);
    }

    /// Ends the call with a failure.
    fn fail(&self, kind: i32, message: &Bound<'_, PyString>, traceback: &Bound<'_, PyString>) {
        let failure = failure(kind, message.to_string_lossy().into_owned(), traceback.to_string_lossy().into_owned());
        *self.outcome.lock() = Some(Kind::Failure(failure));
    }
}

fn wrong_event(expected: &str) -> PyErr {
    PyRuntimeError::new_err(format!("the runner sent an event that is not {expected}"))
}

/// Of repeated names the last stays.
fn to_dict<'py>(py: Python<'py>, pairs: &[KeyValue]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for KeyValue { key, value } in pairs {
        dict.set_item(key, value)?;
    }
    Ok(dict)
}

/// Rows of one table as they came, decoded when they are asked for.
#[pyclass(frozen, module = "bulkhead_worker._native")]
pub(crate) struct Payload {
    streams: Vec<Bytes>,
}

#[pymethods]
impl Payload {
    /// The rows, each a dictionary of the columns that have a value.
    fn rows<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        build_rows(py, &self.streams, Nulls::Omit)
    }
}
