//! A host that speaks `bulkhead.host.v1`: it pushes its commits with `StreamWal` and answers queries and writes.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_proto::host::v1 as wire;
use bulkhead_proto::host::v1::host_service_client::HostServiceClient;
use bulkhead_proto::transport;
use bulkhead_proto::types::v1::WriteBatch;
use chrono::{DateTime, SecondsFormat};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

pub use super::spool::{Spool, Spools};
use super::{Host, HostError, Parameter, Query, RefusedLines, Rows, WalFeed, Write};
use crate::journal::{Ledger, Record};
use crate::session::arrow_ipc;

/// Time to reach the host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for one write, which the host makes durable.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Where a gRPC peer listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP address on this machine, `host:port`.
    Tcp(String),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.trim_start_matches("//");
            return if path.is_empty() {
                Err("the socket path is empty".to_owned())
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        let address = text.trim_start_matches("http://").trim_end_matches('/');
        match address.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(Self::Tcp(address.to_owned())),
            _ => Err(format!("`{text}` is neither `unix:PATH` nor `HOST:PORT`")),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => f.write_str(address),
        }
    }
}

/// The client of a remote host.
pub struct GrpcHost {
    client: HostServiceClient<Channel>,
    address: Address,
    spools: Arc<Spools>,
    ledger: Arc<Ledger>,
}

impl GrpcHost {
    /// A client that connects when it is first used, and again after the host was away.
    ///
    /// # Errors
    /// When the address is no URI.
    pub fn new(address: Address, ledger: Arc<Ledger>) -> Result<Self, tonic::transport::Error> {
        let channel = match &address {
            Address::Tcp(address) => endpoint(format!("http://{address}"))?.connect_lazy(),
            Address::Unix(path) => {
                let path = path.clone();
                let connector = tower::service_fn(move |_| {
                    let path = path.clone();
                    async move { UnixStream::connect(path).await.map(TokioIo::new) }
                });
                // The authority is not used to connect, but HTTP/2 wants one.
                endpoint("http://localhost".to_owned())?.connect_with_connector_lazy(connector)
            }
        };
        let client = HostServiceClient::new(channel)
            .max_decoding_message_size(transport::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(transport::MESSAGE_BYTES_MAX);
        Ok(Self { client, address, spools: Arc::new(Spools::new(Arc::clone(&ledger))), ledger })
    }

    /// Where the host's commits go.
    #[must_use]
    pub fn spools(&self) -> Arc<Spools> {
        Arc::clone(&self.spools)
    }

    fn error(&self, status: &Status, refused: fn(String) -> HostError) -> HostError {
        let message = status.message().to_owned();
        match status.code() {
            Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition | Code::Unimplemented => refused(message),
            Code::ResourceExhausted => HostError::Limit(message),
            _ => HostError::Unavailable(format!("host {}: {message}", self.address)),
        }
    }
}

impl GrpcHost {
    /// All databases in one step, or, when the lines for one of them are bad, the others.
    async fn write_what_can_be(&self, write: Write) -> Result<Vec<RefusedLines>, HostError> {
        let refusal = |database: &str, error: &HostError| RefusedLines {
            database: database.to_owned(),
            reason: error.to_string(),
        };
        let error = match self.write(write.clone()).await {
            Ok(()) => return Ok(Vec::new()),
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => error,
        };
        if let [(database, _)] = write.batches.as_slice() {
            return Ok(vec![refusal(database, &error)]);
        }
        let mut refused = Vec::new();
        for (database, lines) in &write.batches {
            let one = Write {
                idempotency_key: format!("{}/{database}", write.idempotency_key),
                batches: vec![(database.clone(), lines.clone())],
                ..write.clone()
            };
            match self.write(one).await {
                Ok(()) => {}
                Err(error) if error.is_retryable() => return Err(error),
                Err(error) => refused.push(refusal(database, &error)),
            }
        }
        Ok(refused)
    }

    /// Makes records durable.
    async fn record(&self, records: Vec<Record>) -> Result<(), HostError> {
        if records.is_empty() {
            return Ok(());
        }
        self.ledger.apply(0, records);
        let ledger = Arc::clone(&self.ledger);
        let synced = tokio::task::spawn_blocking(move || ledger.sync()).await;
        let synced =
            synced.map_err(|error| error.to_string()).and_then(|synced| synced.map_err(|error| error.to_string()));
        synced.map_err(HostError::Unavailable)
    }
}

fn endpoint(uri: String) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(uri)?
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(transport::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(transport::CONNECTION_WINDOW_BYTES))
}

impl Host for GrpcHost {
    fn query(&self, query: Query) -> BoxFuture<'_, Result<Rows, HostError>> {
        let mut client = self.client.clone();
        let parameters = query.parameters.into_iter().filter_map(|(name, value)| Some((name, text(value)?))).collect();
        let request = wire::QueryRequest {
            trigger: query.trigger.map(|trigger| trigger.resource_name()).unwrap_or_default(),
            database: query.database,
            sql: query.sql,
            parameters,
        };
        Box::pin(async move {
            let refused = HostError::Execution;
            let mut responses =
                client.query(request).await.map_err(|status| self.error(&status, refused))?.into_inner();
            let first = responses.message().await.map_err(|status| self.error(&status, refused))?;
            let first = first.ok_or_else(|| HostError::Execution("the host sent no schema".to_owned()))?;
            let (schema, batches) = decode(&first)?;
            let address = self.address.clone();
            let rest = responses.flat_map(move |response| {
                let batches = match response {
                    Ok(response) => decode(&response).map(|(_, batches)| batches),
                    Err(status) => Err(HostError::Unavailable(format!("host {address}: {}", status.message()))),
                };
                stream::iter(match batches {
                    Ok(batches) => batches.into_iter().map(Ok).collect(),
                    Err(error) => vec![Err(error)],
                })
            });
            Ok(Rows { schema, batches: stream::iter(batches.into_iter().map(Ok)).chain(rest).boxed() })
        })
    }

    fn write(&self, write: Write) -> BoxFuture<'_, Result<(), HostError>> {
        let mut client = self.client.clone();
        let default_time = prost_types::Timestamp {
            seconds: write.default_time.timestamp(),
            nanos: i32::try_from(write.default_time.timestamp_subsec_nanos()).unwrap_or_default(),
        };
        let batches = write.batches.into_iter().map(|(database, line_protocol)| WriteBatch { database, line_protocol });
        let mut request = tonic::Request::new(wire::WriteRequest {
            trigger: write.trigger.resource_name(),
            idempotency_key: write.idempotency_key,
            batches: batches.collect(),
            default_time: Some(default_time),
            no_sync: write.no_sync,
        });
        request.set_timeout(WRITE_TIMEOUT);
        Box::pin(async move {
            client.write(request).await.map_err(|status| self.error(&status, HostError::InvalidWrite))?;
            Ok(())
        })
    }

    fn commit(
        &self,
        write: Option<Write>,
        records: Vec<Record>,
    ) -> BoxFuture<'_, Result<Vec<RefusedLines>, HostError>> {
        Box::pin(async move {
            let refused = match write {
                Some(write) => self.write_what_can_be(write).await?,
                None => Vec::new(),
            };
            // After a crash before this the call is made again, and the host knows the key of its write.
            self.record(records).await?;
            Ok(refused)
        })
    }

    fn commits_in_one_step(&self) -> bool {
        false
    }

    fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    fn readers_joined(&self) {
        self.spools.open_all();
    }

    fn feed(&self, database: &str) -> Arc<dyn WalFeed> {
        self.spools.of(database)
    }

    fn feeds(&self) -> Vec<(Option<String>, Arc<dyn WalFeed>)> {
        self.spools.all().into_iter().map(|(database, spool)| (Some(database), spool as _)).collect()
    }

    fn database_exists(&self, _database: &str) -> bool {
        true
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

fn decode(
    response: &wire::QueryResponse,
) -> Result<(arrow::datatypes::SchemaRef, Vec<arrow::array::RecordBatch>), HostError> {
    let bad = |error: arrow::error::ArrowError| {
        HostError::Execution(format!("the host sent rows that cannot be read: {error}"))
    };
    arrow_ipc::read(&response.arrow_ipc_stream).map_err(bad)
}

/// The wire carries text; the host casts it to the type that the query needs.
fn text(value: Parameter) -> Option<String> {
    match value {
        Parameter::Null => None,
        Parameter::Boolean(value) => Some(value.to_string()),
        Parameter::Integer(value) => Some(value.to_string()),
        Parameter::Unsigned(value) => Some(value.to_string()),
        Parameter::Float(value) => Some(value.to_string()),
        Parameter::Text(value) => Some(value),
        Parameter::Timestamp(nanoseconds) => {
            Some(DateTime::from_timestamp_nanos(nanoseconds).to_rfc3339_opts(SecondsFormat::Nanos, true))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_sockets_or_host_and_port() {
        assert_eq!("unix:/run/host.sock".parse(), Ok(Address::Unix("/run/host.sock".into())));
        assert_eq!("http://127.0.0.1:7000/".parse(), Ok(Address::Tcp("127.0.0.1:7000".into())));
        for text in ["", "unix:", "localhost", "localhost:x", ":80"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
