//! `bulkhead.host.v1`: what the runner asks of this server.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use bulkhead_proto::host::v1::host_service_server::{HostService, HostServiceServer};
use bulkhead_proto::host::v1::{QueryRequest, QueryResponse, WriteRequest, WriteResponse};
use bulkhead_proto::transport::MESSAGE_BYTES_MAX;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::store::{self, DATABASE, Store};

/// Serves the data on a Unix socket.
pub(crate) async fn host(store: Arc<Store>, socket: PathBuf) -> Result<(), Box<dyn Error + Send + Sync>> {
    let service = HostServiceServer::new(Host { store })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let listener = UnixListener::bind(&socket).map_err(|error| format!("socket {}: {error}", socket.display()))?;
    Ok(Server::builder().add_service(service).serve_with_incoming(UnixListenerStream::new(listener)).await?)
}

struct Host {
    store: Arc<Store>,
}

#[tonic::async_trait]
impl HostService for Host {
    /// The rows of a result, each message a part of them. The first has to come even when there is no row.
    type QueryStream = tokio_stream::Once<Result<QueryResponse, Status>>;

    async fn query(&self, request: Request<QueryRequest>) -> Result<Response<Self::QueryStream>, Status> {
        let request = request.into_inner();
        check_database(&request.database)?;
        // The text of a refusal is what the plugin's author reads.
        let table = request
            .sql
            .strip_prefix("SELECT * FROM ")
            .ok_or_else(|| Status::invalid_argument("this server understands `SELECT * FROM table` only"))?;
        let rows = self
            .store
            .rows(table.trim())
            .ok_or_else(|| Status::invalid_argument(format!("table '{table}' not found")))?
            .and_then(|rows| store::ipc(&rows))
            .map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(tokio_stream::once(Ok(QueryResponse { arrow_ipc_stream: rows.into() }))))
    }

    async fn write(&self, request: Request<WriteRequest>) -> Result<Response<WriteResponse>, Status> {
        let request = request.into_inner();
        let time = request.default_time.unwrap_or_default();
        let nanos = time.seconds * 1_000_000_000 + i64::from(time.nanos);
        for batch in &request.batches {
            check_database(&batch.database)?;
        }
        // All databases of the request in one step, or none: here that is easy, as there is one.
        let lines: Vec<_> = request.batches.iter().map(|batch| String::from_utf8_lossy(&batch.line_protocol)).collect();
        self.store
            .write(&lines.join("\n"), Some((&request.idempotency_key, nanos)))
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Response::new(WriteResponse {}))
    }
}

fn check_database(name: &str) -> Result<(), Status> {
    if name == DATABASE { Ok(()) } else { Err(Status::not_found(format!("database not found: {name}"))) }
}
