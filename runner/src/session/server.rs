//! The gRPC server of one worker, on one end of a socketpair.

use std::sync::Arc;

use bulkhead_proto::transport::{self, SessionSocket};
use bulkhead_proto::worker::v1 as wire;
use bulkhead_proto::worker::v1::session_request::Fact;
use bulkhead_proto::worker::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tonic::{Request, Response, Status, Streaming};

use super::held::Bounded;
use super::metered::{Metered, Verdict};
use super::nursery::Spawner;
use crate::limits;

/// Answers as they become ready.
pub type ResponseStream<T> = BoxStream<'static, Result<T, Status>>;

/// Answers the questions of a worker.
pub trait Questions: Send + Sync + 'static {
    /// Runs a query.
    fn query(
        &self,
        request: wire::QueryRequest,
    ) -> BoxFuture<'static, Result<ResponseStream<wire::QueryResponse>, Status>>;
    /// Writes.
    fn write_sync(&self, request: wire::WriteSyncRequest) -> BoxFuture<'static, Result<(), Status>>;
    /// Looks at the copy of a cache entry; without a cache there is none.
    fn cache_get(&self, _request: wire::CacheGetRequest) -> wire::CacheGetResponse {
        wire::CacheGetResponse::default()
    }
}

/// The two directions of an open session.
#[derive(Debug)]
pub struct SessionChannel {
    /// What the worker says.
    pub facts: Streaming<wire::SessionRequest>,
    /// What the worker is told.
    pub orders: mpsc::Sender<wire::SessionResponse>,
    verdict: Verdict,
}

impl SessionChannel {
    /// The next fact; none of a message that is empty. Cancel safe.
    ///
    /// # Errors
    /// How the session ended, in words.
    pub async fn next_fact(&mut self) -> Result<Option<Fact>, String> {
        let ended = match self.facts.message().await {
            Ok(Some(said)) => return Ok(said.fact),
            Ok(None) => "it closed its session and went on".to_owned(),
            Err(status) => format!("its session failed: {}", words(&status)),
        };
        Err(self.verdict.violation().map_or(ended, ToString::to_string))
    }
}

/// A status with its cause, of which its own message often says little.
fn words(status: &Status) -> String {
    let mut words = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let more = error.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = error.source();
    }
    words
}

/// A served socket.
#[derive(Debug)]
pub struct Endpoint {
    /// Resolves when the worker opens its session; fails when the connection ends before.
    pub opened: oneshot::Receiver<SessionChannel>,
    /// Resolves when the connection has ended.
    pub closed: oneshot::Receiver<()>,
    /// What was wrong with the connection, once something was.
    pub verdict: Verdict,
}

/// Serves one worker on `socket`. The connection lives in `nursery` and ends with the socket; queries, which may take their
/// time, are tasks of `tracker` and end with their stream.
pub fn open(
    socket: SessionSocket,
    questions: Arc<dyn Questions>,
    nursery: &Spawner,
    tracker: &TaskTracker,
) -> Endpoint {
    let (opened_tx, opened) = oneshot::channel();
    let (closed_tx, closed) = oneshot::channel();
    let (socket, verdict) = Metered::new(socket);
    let opened_tx = Mutex::new(Some(opened_tx));
    let service = Service { opened: opened_tx, questions, tracker: tracker.clone(), verdict: verdict.clone() };
    let service = WorkerServiceServer::new(service)
        .max_decoding_message_size(transport::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(transport::MESSAGE_BYTES_MAX);
    let connection = hyper::server::conn::http2::Builder::new(nursery.clone())
        .timer(TokioTimer::new())
        .initial_stream_window_size(transport::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(transport::CONNECTION_WINDOW_BYTES)
        .max_frame_size(transport::FRAME_BYTES_MAX)
        .max_send_buf_size(transport::FRAME_BYTES_MAX as usize)
        .max_concurrent_streams(limits::SESSION_STREAMS_MAX)
        .max_header_list_size(limits::SESSION_HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(Bounded::new(service)));
    nursery.spawn(async move {
        if let Err(error) = connection.await {
            // The supervisor names the worker's end; this says what the wire saw of it.
            tracing::debug!("worker connection ended: {error}");
        }
        // Nobody may be waiting any more.
        let _ = closed_tx.send(());
    });
    Endpoint { opened, closed, verdict }
}

struct Service {
    opened: Mutex<Option<oneshot::Sender<SessionChannel>>>,
    questions: Arc<dyn Questions>,
    tracker: TaskTracker,
    verdict: Verdict,
}

#[tonic::async_trait]
impl WorkerService for Service {
    type SessionStream = ResponseStream<wire::SessionResponse>;
    type QueryStream = ResponseStream<wire::QueryResponse>;

    async fn session(
        &self,
        request: Request<Streaming<wire::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let opened =
            self.opened.lock().take().ok_or_else(|| Status::failed_precondition("a worker has one session"))?;
        let (orders, receiver) = mpsc::channel(limits::SESSION_ORDERS_QUEUED_MAX);
        let channel = SessionChannel { facts: request.into_inner(), orders, verdict: self.verdict.clone() };
        opened.send(channel).map_err(|_| Status::unavailable("the runner has given this worker up"))?;
        Ok(Response::new(ReceiverStream::new(receiver).map(Ok).boxed()))
    }

    async fn query(&self, request: Request<wire::QueryRequest>) -> Result<Response<Self::QueryStream>, Status> {
        Ok(Response::new(on_its_own(self.questions.query(request.into_inner()), &self.tracker).await?))
    }

    async fn cache_get(
        &self,
        request: Request<wire::CacheGetRequest>,
    ) -> Result<Response<wire::CacheGetResponse>, Status> {
        Ok(Response::new(self.questions.cache_get(request.into_inner())))
    }

    async fn write_sync(
        &self,
        request: Request<wire::WriteSyncRequest>,
    ) -> Result<Response<wire::WriteSyncResponse>, Status> {
        self.questions.write_sync(request.into_inner()).await?;
        Ok(Response::new(wire::WriteSyncResponse {}))
    }
}

/// Lets a query run beside the session, so that neither waits for the other's work. It ends when the stream is dropped.
async fn on_its_own<T: Send + 'static>(
    question: BoxFuture<'static, Result<ResponseStream<T>, Status>>,
    tracker: &TaskTracker,
) -> Result<ResponseStream<T>, Status> {
    let (begun_tx, begun) = oneshot::channel();
    let running = AbortOnDropHandle::new(tracker.spawn(async move {
        let mut answers = match question.await {
            Ok(answers) => answers,
            Err(status) => return drop(begun_tx.send(Err(status))),
        };
        let (sender, receiver) = mpsc::channel(limits::QUERY_ANSWERS_QUEUED_MAX);
        if begun_tx.send(Ok(receiver)).is_err() {
            return;
        }
        while let Some(answer) = answers.next().await {
            if sender.send(answer).await.is_err() {
                return;
            }
        }
    }));
    let answers = begun.await.map_err(|_| Status::internal("the query was given up"))??;
    Ok(ReceiverStream::new(answers)
        .inspect(move |_| {
            // The stream owns the task.
            let _ = &running;
        })
        .boxed())
}
