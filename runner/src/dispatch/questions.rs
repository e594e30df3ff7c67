//! Answers to what a plugin asks while it runs.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bulkhead_proto::worker::v1 as wire;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use tonic::Status;
use uuid::Uuid;

use super::table_parameters::name_tables;
use crate::cache::{Looked, TriggerCache};
use crate::clock::SharedClock;
use crate::host::{Host, HostError, Parameter, Query, Rows, Write};
use crate::limits;
use crate::logs::{Level, LogWriter};
use crate::session::{self, Questions, ResponseStream, arrow_ipc};
use crate::supervisor::LateWrites;
use crate::trigger::TriggerId;

/// Longest text of an error that travels to a worker, bytes. It is a header there, and headers are small.
const STATUS_BYTES_MAX: usize = 4 * 1024;

/// Database that no plugin writes to.
const INTERNAL_DATABASE: &str = "_internal";

/// Asks the host on behalf of one trigger.
pub(super) struct HostQuestions {
    pub(super) host: Arc<dyn Host>,
    pub(super) trigger: Arc<TriggerId>,
    pub(super) clock: SharedClock,
    pub(super) log: LogWriter,
    pub(super) cache: Arc<TriggerCache>,
}

impl HostQuestions {
    pub(super) fn database(&self, named: String) -> String {
        if named.is_empty() { self.trigger.database.clone() } else { named }
    }
}

impl Questions for HostQuestions {
    fn query(
        &self,
        request: wire::QueryRequest,
    ) -> BoxFuture<'static, Result<ResponseStream<wire::QueryResponse>, Status>> {
        let host = Arc::clone(&self.host);
        let database = self.database(request.database);
        let parameters = request.parameters.into_iter().map(|(name, value)| (name, parameter(value))).collect();
        // Errors name the text as the plugin has it.
        let sql = request.sql.clone();
        let query = Query {
            trigger: Some(Arc::clone(&self.trigger)),
            database: database.clone(),
            sql: name_tables(request.sql, &parameters),
            parameters,
        };
        Box::pin(async move {
            let describe =
                move |error: HostError| status(&format!("error: {error} executing query on {database}: {sql}"), &error);
            let rows = host.query(query).await.map_err(&describe)?;
            Ok(responses(rows, describe))
        })
    }

    fn write_sync(&self, request: wire::WriteSyncRequest) -> BoxFuture<'static, Result<(), Status>> {
        let host = Arc::clone(&self.host);
        let trigger = Arc::clone(&self.trigger);
        let default_time = self.clock.now();
        let batch = request.batch.unwrap_or_default();
        let database = self.database(batch.database);
        Box::pin(async move {
            let describe = |error: HostError| write_status(&database, &error);
            check_target(&database).map_err(describe)?;
            let write = Write {
                trigger,
                // Each call stands for itself: it is outside of the invocation's commit.
                idempotency_key: Uuid::now_v7().to_string(),
                batches: vec![(database.clone(), batch.line_protocol)],
                default_time,
                no_sync: request.no_sync,
            };
            host.write(write).await.map_err(describe)
        })
    }

    fn cache_get(&self, request: wire::CacheGetRequest) -> wire::CacheGetResponse {
        let namespace = session::namespace(request.namespace());
        let looked = namespace
            .map_or(Looked::Absent, |namespace| self.cache.look(namespace, &request.key, request.known_version));
        cache_response(looked)
    }
}

fn cache_response(looked: Looked) -> wire::CacheGetResponse {
    use wire::cache_get_response::State;
    let state = |state: State| wire::CacheGetResponse { state: state.into(), ..wire::CacheGetResponse::default() };
    match looked {
        Looked::Absent => state(State::Absent),
        Looked::Unchanged => state(State::Unchanged),
        Looked::Found { version, value, expires_in } => {
            let expires_in = expires_in.and_then(|time| prost_types::Duration::try_from(time).ok());
            wire::CacheGetResponse { state: State::Found.into(), version, value, expires_in }
        }
    }
}

impl LateWrites for HostQuestions {
    fn write(&self, invocation: Option<Uuid>, database: String, lines: Bytes) -> BoxFuture<'static, ()> {
        let host = Arc::clone(&self.host);
        let database = self.database(database);
        let log = self.log.clone();
        let write = Write {
            trigger: Arc::clone(&self.trigger),
            idempotency_key: Uuid::now_v7().to_string(),
            batches: vec![(database.clone(), lines)],
            default_time: self.clock.now(),
            no_sync: false,
        };
        Box::pin(async move {
            let result = match check_target(&database) {
                Ok(()) => host.write(write).await,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                log.runner(Level::Error, invocation, format!("error writing back lines to {database}: {error}"));
            }
        })
    }
}

/// Refuses writes to the database that belongs to the server.
pub(super) fn check_target(database: &str) -> Result<(), HostError> {
    if database == INTERNAL_DATABASE {
        return Err(HostError::InvalidWrite(format!("writing to the {INTERNAL_DATABASE} database is not allowed")));
    }
    Ok(())
}

fn parameter(value: wire::ParameterValue) -> Parameter {
    use wire::parameter_value::Kind;
    match value.kind {
        None => Parameter::Null,
        Some(Kind::Boolean(value)) => Parameter::Boolean(value),
        Some(Kind::Integer(value)) => Parameter::Integer(value),
        Some(Kind::Unsigned(value)) => Parameter::Unsigned(value),
        Some(Kind::Float(value)) => Parameter::Float(value),
        Some(Kind::Text(value)) => Parameter::Text(value),
        Some(Kind::TimestampNs(value)) => Parameter::Timestamp(value),
    }
}

/// What a plugin gets to know of a synchronous write that failed.
pub(super) fn write_status(database: &str, error: &HostError) -> Status {
    status(&format!("error writing line protocol to {database}: {error}"), error)
}

fn status(text: &str, error: &HostError) -> Status {
    let mut text = text.to_owned();
    if text.len() > STATUS_BYTES_MAX {
        let mut end = STATUS_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    match error {
        HostError::DatabaseNotFound(_) => Status::not_found(text),
        HostError::Unavailable(_) => Status::unavailable(text),
        HostError::Limit(_) => Status::resource_exhausted(text),
        HostError::Planning(_) | HostError::Execution(_) | HostError::InvalidWrite(_) => Status::invalid_argument(text),
    }
}

/// The rows as messages of bounded size. The first one comes even when there is no row, because it carries the schema.
fn responses(
    rows: Rows,
    describe: impl Fn(HostError) -> Status + Send + 'static,
) -> ResponseStream<wire::QueryResponse> {
    let state = Sending {
        schema: rows.schema,
        batches: rows.batches,
        parts: Vec::new().into_iter(),
        sent_any: false,
        bytes: 0,
    };
    stream::try_unfold((state, describe), |(mut state, describe)| async move {
        let message = state.next().await.map_err(&describe)?;
        Ok(message.map(|message| (message, (state, describe))))
    })
    .boxed()
}

struct Sending {
    schema: SchemaRef,
    batches: BoxStream<'static, Result<RecordBatch, HostError>>,
    parts: std::vec::IntoIter<RecordBatch>,
    sent_any: bool,
    bytes: usize,
}

impl Sending {
    async fn next(&mut self) -> Result<Option<wire::QueryResponse>, HostError> {
        loop {
            if let Some(part) = self.parts.next() {
                return self.message(std::slice::from_ref(&part)).map(Some);
            }
            match self.batches.next().await {
                Some(batch) => self.parts = arrow_ipc::split(&batch?, limits::QUERY_PART_ROWS).into_iter(),
                None if !self.sent_any => return self.message(&[]).map(Some),
                None => return Ok(None),
            }
        }
    }

    fn message(&mut self, batches: &[RecordBatch]) -> Result<wire::QueryResponse, HostError> {
        self.sent_any = true;
        let stream =
            arrow_ipc::encode(&self.schema, batches).map_err(|error| HostError::Execution(error.to_string()))?;
        self.bytes += stream.len();
        if self.bytes > limits::QUERY_RESULT_BYTES_MAX {
            let max = limits::QUERY_RESULT_BYTES_MAX;
            return Err(HostError::Limit(format!(
                "the result has more than {max} bytes, which is the limit `query_result_bytes_max`"
            )));
        }
        Ok(wire::QueryResponse { arrow_ipc_stream: stream })
    }
}
