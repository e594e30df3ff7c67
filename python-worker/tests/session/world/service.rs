//! The runner's end of the session.

use std::pin::Pin;
use std::sync::Mutex;

use bulkhead_proto::transport::{CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, MESSAGE_BYTES_MAX, STREAM_WINDOW_BYTES};
use bulkhead_proto::worker::v1::session_request::Fact;
use bulkhead_proto::worker::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use bulkhead_proto::worker::v1::{
    CacheGetRequest, CacheGetResponse, QueryRequest, QueryResponse, SessionRequest, SessionResponse, WriteSyncRequest,
    WriteSyncResponse,
};
use bytes::Bytes;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

const QUEUE: usize = 1024;

pub(crate) struct AskedQuery {
    pub(crate) request: QueryRequest,
    pub(crate) answer: oneshot::Sender<Result<Vec<Bytes>, Status>>,
}

pub(crate) struct AskedWrite {
    pub(crate) request: WriteSyncRequest,
    pub(crate) answer: oneshot::Sender<Result<(), Status>>,
}

pub(crate) struct AskedCache {
    pub(crate) request: CacheGetRequest,
    pub(crate) answer: oneshot::Sender<CacheGetResponse>,
}

/// The runner's ends of everything.
pub(crate) struct Peer {
    pub(crate) orders: mpsc::Sender<Result<SessionResponse, Status>>,
    pub(crate) facts: mpsc::Receiver<Fact>,
    pub(crate) queries: mpsc::Receiver<AskedQuery>,
    pub(crate) writes: mpsc::Receiver<AskedWrite>,
    pub(crate) cache: mpsc::Receiver<AskedCache>,
    pub(crate) server: tokio::task::JoinHandle<()>,
}

struct Service {
    orders: Mutex<Option<mpsc::Receiver<Result<SessionResponse, Status>>>>,
    /// Taken by the session, so that its end is the end of the facts.
    facts: Mutex<Option<mpsc::Sender<Fact>>>,
    queries: mpsc::Sender<AskedQuery>,
    writes: mpsc::Sender<AskedWrite>,
    cache: mpsc::Sender<AskedCache>,
}

/// Serves one worker on a socket.
pub(crate) fn serve(socket: std::os::unix::net::UnixStream) -> Peer {
    socket.set_nonblocking(true).unwrap();
    let socket = UnixStream::from_std(socket).unwrap();
    let (orders, orders_out) = mpsc::channel(QUEUE);
    let (facts_in, facts) = mpsc::channel(QUEUE);
    let (queries_in, queries) = mpsc::channel(QUEUE);
    let (writes_in, writes) = mpsc::channel(QUEUE);
    let (cache_in, cache) = mpsc::channel(QUEUE);
    let service = Service {
        orders: Mutex::new(Some(orders_out)),
        facts: Mutex::new(Some(facts_in)),
        queries: queries_in,
        writes: writes_in,
        cache: cache_in,
    };
    let service = WorkerServiceServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let incoming = tokio_stream::once(Ok::<_, std::io::Error>(socket)).chain(tokio_stream::pending());
    let server = detach(async move {
        let _ = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            .add_service(service)
            .serve_with_incoming(incoming)
            .await;
    });
    Peer { orders, facts, queries, writes, cache, server }
}

#[tonic::async_trait]
impl WorkerService for Service {
    type SessionStream = ReceiverStream<Result<SessionResponse, Status>>;
    type QueryStream = Pin<Box<dyn Stream<Item = Result<QueryResponse, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut said = request.into_inner();
        let facts = self.facts.lock().unwrap().take().expect("a second session");
        detach(async move {
            while let Ok(Some(SessionRequest { fact: Some(fact) })) = said.message().await {
                if facts.send(fact).await.is_err() {
                    return;
                }
            }
        });
        let orders = self.orders.lock().unwrap().take().expect("a second session");
        Ok(Response::new(ReceiverStream::new(orders)))
    }

    async fn query(&self, request: Request<QueryRequest>) -> Result<Response<Self::QueryStream>, Status> {
        let (answer, answered) = oneshot::channel();
        let _ = self.queries.send(AskedQuery { request: request.into_inner(), answer }).await;
        let streams = answered.await.unwrap_or_else(|_| Err(Status::unavailable("nobody answers")))?;
        let responses = streams.into_iter().map(|arrow_ipc_stream| Ok(QueryResponse { arrow_ipc_stream }));
        Ok(Response::new(Box::pin(tokio_stream::iter(responses))))
    }

    async fn cache_get(&self, request: Request<CacheGetRequest>) -> Result<Response<CacheGetResponse>, Status> {
        let (answer, answered) = oneshot::channel();
        let _ = self.cache.send(AskedCache { request: request.into_inner(), answer }).await;
        Ok(Response::new(answered.await.map_err(|_| Status::unavailable("nobody answers"))?))
    }

    async fn write_sync(&self, request: Request<WriteSyncRequest>) -> Result<Response<WriteSyncResponse>, Status> {
        let (answer, answered) = oneshot::channel();
        let _ = self.writes.send(AskedWrite { request: request.into_inner(), answer }).await;
        answered.await.unwrap_or_else(|_| Err(Status::unavailable("nobody answers")))?;
        Ok(Response::new(WriteSyncResponse {}))
    }
}

#[expect(clippy::disallowed_methods, reason = "the test's runtime ends with the test, and so do its tasks")]
fn detach(future: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
    tokio::spawn(future)
}
