//! One call as the Python side sees it: what it is called with, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_proto::types::v1::outcome::Kind;
use bulkhead_proto::types::v1::{Failure, FailureKind, HttpRequest, HttpResponse, KeyValue, Outcome, Success};
use bulkhead_proto::worker::v1::session_request::Fact;
use bulkhead_proto::worker::v1::{ResponseBegun, ResponsePart};
use bytes::Bytes;
use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

use crate::api::PluginApi;
use crate::arrow_rows::ArrowRows;
use crate::capture::cut_line;
use crate::errors::{Cancelled, limit_text};
use crate::gather::{CallEvent, Table};
use crate::invocation::Invocation;
use crate::limits::ROOM_POLL;
use crate::outbox::Effects;
use crate::rows::Nulls;
use crate::shared::Shared;

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
    shared: Arc<Shared>,
    /// Largest body that `respond` takes.
    #[pyo3(get)]
    response_bytes_max: u64,
}

impl Call {
    pub(crate) fn new(invocation: Arc<Invocation>, api: Py<PluginApi>, event: CallEvent, shared: Arc<Shared>) -> Self {
        let response_bytes_max = shared.limits.response_bytes_max;
        Self { invocation, api, event: Mutex::new(Some(event)), outcome: Mutex::new(None), shared, response_bytes_max }
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

    fn wait_for_client(&self, py: Python<'_>) -> PyResult<()> {
        let unread_max = u64::from(self.shared.limits.response_parts_unread_max.max(1));
        while !py.detach(|| self.invocation.reserve_part(unread_max, ROOM_POLL)) {
            py.check_signals()?;
            // A plugin that took no notice of the exception gets it again.
            if let Some(cancellation) = self.invocation.cancellation() {
                return Err(Cancelled::new_err(cancellation.reason.clone()));
            }
        }
        Ok(())
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

    /// Whether it is made with the code that was loaded before, whatever is in the file by now.
    #[getter]
    fn keeps_code(&self) -> bool {
        self.invocation.keeps_code()
    }

    /// The tables of a WAL batch: name and rows, still encoded.
    fn take_tables<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let CallEvent::Writes(tables) = self.take_event()? else { return Err(wrong_event("rows")) };
        let pairs = tables.into_iter().map(|Table { name, streams }| {
            let rows = ArrowRows::new(streams, Nulls::Omit).counted_by(Arc::clone(&self.invocation));
            Ok((name, Py::new(py, rows)?))
        });
        PyList::new(py, pairs.collect::<PyResult<Vec<_>>>()?)
    }

    /// The time of a schedule, in seconds since the epoch.
    fn take_schedule(&self) -> PyResult<i64> {
        let CallEvent::Schedule(seconds) = self.take_event()? else { return Err(wrong_event("a schedule")) };
        Ok(seconds)
    }

    /// Method, query parameters, headers and body of a request.
    fn take_request<'py>(&self, py: Python<'py>) -> PyResult<TakenRequest<'py>> {
        let CallEvent::Request(request) = self.take_event()? else { return Err(wrong_event("a request")) };
        let HttpRequest { method, query_parameters, headers, body } = request;
        Ok((method, to_pairs(py, query_parameters)?, to_pairs(py, headers)?, PyBytes::new(py, &body)))
    }

    /// Begins a response whose body comes in parts.
    fn begin_response(&self, status: u32, headers: Vec<(String, String)>) {
        let begun =
            ResponseBegun { invocation_id: self.invocation.id(), status_code: status, headers: to_wire(headers) };
        self.shared.outbox.post(Fact::ResponseBegun(begun));
    }

    /// Sends more of the body. It waits while the client is slower, and raises when the call is cancelled meanwhile.
    fn send_body(&self, py: Python<'_>, body: &[u8]) -> PyResult<()> {
        let part_bytes_max = (self.shared.limits.response_part_bytes_max as usize).max(1);
        for part in body.chunks(part_bytes_max) {
            self.wait_for_client(py)?;
            let part = ResponsePart { invocation_id: self.invocation.id(), body: Bytes::copy_from_slice(part) };
            self.shared.outbox.post(Fact::ResponsePart(part));
            self.shared.driver.need();
        }
        Ok(())
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
            let (headers, body) = (to_wire(headers), Bytes::copy_from_slice(body));
            let response = HttpResponse { status_code: status, headers, body };
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

/// Method, query parameters, headers and body.
type TakenRequest<'py> = (String, Bound<'py, PyList>, Bound<'py, PyList>, Bound<'py, PyBytes>);

fn to_pairs(py: Python<'_>, pairs: Vec<KeyValue>) -> PyResult<Bound<'_, PyList>> {
    PyList::new(py, pairs.into_iter().map(|KeyValue { key, value }| (key, value)))
}

fn to_wire(headers: Vec<(String, String)>) -> Vec<KeyValue> {
    headers.into_iter().map(|(key, value)| KeyValue { key, value }).collect()
}
