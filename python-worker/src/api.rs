//! `influxdb3_local`: what a plugin asks for and says.

use std::sync::Arc;

use bulkhead_proto::types::v1::{LogLevel, LogSource, WriteBatch};
use bulkhead_proto::worker::v1::{QueryRequest, WriteSyncRequest};
use bytes::Bytes;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::argument::{argument, optional};
use crate::arrow_rows::ArrowRows;
use crate::asker::Asker;
use crate::cache::{CacheStore, PyCache};
use crate::errors::{QueryError, limit_exceeded};
use crate::invocation::Invocation;
use crate::limits::{MESSAGE_OVERHEAD_BYTES, ROOM_POLL};
use crate::outbox::Room;
use crate::parameters::query_parameters;
use crate::question::{Answer, Ask};
use crate::rows::{Nulls, build_rows};
use crate::shared::Shared;

/// The API of one call. It may be used from any thread, and after the call.
#[pyclass(frozen, name = "PyPluginCallApi", module = "builtins")]
pub(crate) struct PluginApi {
    asker: Asker,
    cache: Arc<CacheStore>,
    database: Arc<str>,
}

#[pymethods]
impl PluginApi {
    /// The cache of this trigger.
    #[getter]
    fn cache(&self) -> PyCache {
        PyCache::new(Arc::clone(&self.cache), self.asker.clone())
    }

    /// Logs the objects, joined by blanks.
    #[pyo3(signature = (*args))]
    fn info(&self, args: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.log(LogLevel::Info, args)
    }

    /// Logs the objects as a warning.
    #[pyo3(signature = (*args))]
    fn warn(&self, args: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.log(LogLevel::Warn, args)
    }

    /// Logs the objects as an error.
    #[pyo3(signature = (*args))]
    fn error(&self, args: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.log(LogLevel::Error, args)
    }

    /// Rows of a query, as a list of dictionaries; with `arrow=True` as Arrow data, which nothing is copied of.
    #[pyo3(signature = (query, args=None, database=None, *, arrow=false))]
    fn query<'py>(
        &self,
        py: Python<'py>,
        query: &Bound<'py, PyAny>,
        args: Option<&Bound<'py, PyAny>>,
        database: Option<&Bound<'py, PyAny>>,
        arrow: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let request = QueryRequest {
            invocation_id: self.asker.invocation.id(),
            database: optional("database", database)?.unwrap_or_default(),
            sql: argument("query", query)?,
            parameters: args.map(query_parameters).transpose()?.unwrap_or_default(),
        };
        match self.asker.ask(py, Ask::Query(request))? {
            Answer::Rows(streams) if arrow => Ok(Bound::new(py, ArrowRows::new(streams, Nulls::None))?.into_any()),
            Answer::Rows(streams) => Ok(build_rows(py, &streams, Nulls::None)?.into_any()),
            Answer::Refused(message) => Err(QueryError::new_err(message)),
            Answer::Written | Answer::Cached(_) | Answer::Cancelled => Err(self.asker.cancelled()),
        }
    }

    /// Writes to the trigger's database when the call has returned.
    fn write(&self, line_builder: &Bound<'_, PyAny>) -> PyResult<()> {
        self.buffer(&self.database, line_builder)
    }

    /// Writes to a database when the call has returned.
    fn write_to_db(&self, db_name: &Bound<'_, PyAny>, line_builder: &Bound<'_, PyAny>) -> PyResult<()> {
        let db_name: &str = argument("db_name", db_name)?;
        self.buffer(&Arc::from(db_name), line_builder)
    }

    /// Writes to the trigger's database at once. It stands outside of what is committed when the call returns: it stays when the
    /// call fails, and a call that is made again writes again.
    fn write_sync(&self, line_builder: &Bound<'_, PyAny>, no_sync: &Bound<'_, PyAny>) -> PyResult<()> {
        self.write_now(&self.database, line_builder, argument("no_sync", no_sync)?)
    }

    /// Writes to a database at once; see `write_sync`.
    fn write_sync_to_db(
        &self,
        db_name: &Bound<'_, PyAny>,
        line_builder: &Bound<'_, PyAny>,
        no_sync: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.write_now(argument("db_name", db_name)?, line_builder, argument("no_sync", no_sync)?)
    }
}

impl PluginApi {
    pub(crate) fn new(shared: Arc<Shared>, invocation: Arc<Invocation>, cache: Arc<CacheStore>) -> Self {
        let database = Arc::clone(&shared.database.lock());
        Self { asker: Asker { shared, invocation }, cache, database }
    }

    fn log(&self, level: LogLevel, args: &Bound<'_, PyTuple>) -> PyResult<()> {
        // A plugin that is being cancelled may still say so while it cleans up.
        self.asker.check_own_process()?;
        let mut line = String::new();
        for (index, arg) in args.iter_borrowed().enumerate() {
            if index > 0 {
                line.push(' ');
            }
            line.push_str(&arg.str()?.to_string_lossy());
        }
        let room = self.asker.shared.log(Some(self.asker.invocation.id()), level, LogSource::Api, line);
        wait_for_room(args.py(), &self.asker.shared, room)
    }

    fn buffer(&self, database: &Arc<str>, line_builder: &Bound<'_, PyAny>) -> PyResult<()> {
        self.asker.check_usable()?;
        let built = build(line_builder)?;
        let lines = built.to_str()?;
        self.check_line_lengths(lines)?;
        let max = self.asker.shared.limits.write_buffer_bytes_max;
        let reserved = self.asker.invocation.reserve_write(lines.len() as u64, max);
        reserved.map_err(|asked| limit_exceeded("write_buffer_bytes_max", max, asked))?;
        let room = self.asker.shared.outbox.write(self.asker.invocation.id(), database, lines);
        wait_for_room(line_builder.py(), &self.asker.shared, room)
    }

    fn write_now(&self, database: &str, line_builder: &Bound<'_, PyAny>, no_sync: bool) -> PyResult<()> {
        self.asker.check_usable()?;
        let built = build(line_builder)?;
        let lines = built.to_str()?;
        let max = self.asker.shared.limits.message_bytes_max;
        if lines.len() > self.payload_bytes_max() {
            return Err(limit_exceeded("message_bytes_max", max.into(), lines.len() as u64));
        }
        let batch =
            WriteBatch { database: database.to_owned(), line_protocol: Bytes::copy_from_slice(lines.as_bytes()) };
        let request = WriteSyncRequest { invocation_id: self.asker.invocation.id(), batch: Some(batch), no_sync };
        match self.asker.ask(line_builder.py(), Ask::WriteSync(request))? {
            Answer::Written => Ok(()),
            Answer::Refused(message) => Err(PyException::new_err(message)),
            Answer::Rows(_) | Answer::Cached(_) | Answer::Cancelled => Err(self.asker.cancelled()),
        }
    }

    fn payload_bytes_max(&self) -> usize {
        (self.asker.shared.limits.message_bytes_max as usize).saturating_sub(MESSAGE_OVERHEAD_BYTES)
    }

    /// Lines are sent in parts, but a single line has to fit a message.
    fn check_line_lengths(&self, lines: &str) -> PyResult<()> {
        let max = self.payload_bytes_max();
        if lines.len() <= max {
            return Ok(());
        }
        let longest = lines.split('\n').map(str::len).max().unwrap_or_default();
        if longest <= max {
            return Ok(());
        }
        Err(limit_exceeded("message_bytes_max", self.asker.shared.limits.message_bytes_max.into(), longest as u64))
    }
}

/// What `build()` of a line builder, or of anything else that has it, returns.
fn build<'py>(line_builder: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    let built = line_builder.call_method0(pyo3::intern!(line_builder.py(), "build"))?;
    Ok(built.cast_into::<PyString>()?)
}

/// Holds a thread that is faster than the runner reads. Signal handlers run meanwhile.
pub(crate) fn wait_for_room(py: Python<'_>, shared: &Shared, room: Room) -> PyResult<()> {
    let mut room = room;
    while room == Room::Full {
        shared.driver.need();
        room = py.detach(|| shared.outbox.wait_for_room(ROOM_POLL));
        py.check_signals()?;
    }
    Ok(())
}
