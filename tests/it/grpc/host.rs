//! A host server in the test: `bulkhead.host.v1` on a Unix socket, with everything that was asked of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::record_batch::RecordBatch;
use bulkhead_proto::host::v1 as wire;
use bulkhead_proto::host::v1::host_service_server::{HostService, HostServiceServer};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

use super::rows;
use crate::world::until;

/// What the host does with a call.
pub(super) enum Reply<T> {
    /// It does what it was asked.
    Done(T),
    /// It refuses.
    Refuse(Status),
    /// It does what it was asked, and its answer is lost.
    Unheard,
    /// It never answers.
    Hang,
}

/// The answer to a query: messages with rows, then perhaps a failure in the middle of the result.
pub(super) type Answer = Vec<Result<wire::QueryResponse, Status>>;

type OnWrite = Arc<dyn Fn(usize, &wire::WriteRequest) -> Reply<()> + Send + Sync>;
type OnQuery = Arc<dyn Fn(&wire::QueryRequest) -> Reply<Answer> + Send + Sync>;

/// A host server. Dropping it takes it off the air.
pub(super) struct FakeHost {
    state: Arc<State>,
    socket: PathBuf,
    /// A runtime of its own: taking it away cuts all connections, as the death of a server does.
    running: Option<Runtime>,
    _directory: TempDir,
}

struct State {
    /// Writes that were applied, in order.
    applied: Mutex<Vec<wire::WriteRequest>>,
    /// Writes that came, in order, whatever became of them.
    attempted: Mutex<Vec<wire::WriteRequest>>,
    queries: Mutex<Vec<wire::QueryRequest>>,
    on_write: Mutex<OnWrite>,
    on_query: Mutex<OnQuery>,
    hanging: AtomicUsize,
}

impl FakeHost {
    /// A host that takes every write and answers every query with no rows.
    pub(super) fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("bulkhead-it-host-").tempdir().expect("temporary directory");
        let state = State {
            applied: Mutex::default(),
            attempted: Mutex::default(),
            queries: Mutex::default(),
            on_write: Mutex::new(Arc::new(|_, _| Reply::Done(()))),
            on_query: Mutex::new(Arc::new(|_| Reply::Done(Vec::new()))),
            hanging: AtomicUsize::new(0),
        };
        let socket = directory.path().join("host.sock");
        let mut host = Self { state: Arc::new(state), socket, running: None, _directory: directory };
        host.come_back();
        host
    }

    /// The flag value that leads a runner here.
    pub(super) fn address(&self) -> String {
        format!("unix:{}", self.socket.display())
    }

    /// Goes off the air: connections break and the socket is gone.
    pub(super) fn stop(&mut self) {
        if let Some(runtime) = self.running.take() {
            runtime.shutdown_background();
            let _ = std::fs::remove_file(&self.socket);
        }
    }

    /// Comes back on the air with all that it knew.
    pub(super) fn come_back(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("fake-host")
            .enable_all()
            .build()
            .expect("runtime");
        let listener = {
            let _inside = runtime.enter();
            bind(&self.socket)
        };
        let service = HostServiceServer::from_arc(Arc::clone(&self.state))
            .max_decoding_message_size(bulkhead_proto::transport::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(bulkhead_proto::transport::MESSAGE_BYTES_MAX);
        let server = tonic::transport::Server::builder().add_service(service);
        // The task ends with the runtime, which this host owns.
        runtime.spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
        self.running = Some(runtime);
    }

    /// What to do with writes from now on; the function gets the number of writes that came before, and the write.
    pub(super) fn on_write(&self, reply: impl Fn(usize, &wire::WriteRequest) -> Reply<()> + Send + Sync + 'static) {
        *self.state.on_write.lock() = Arc::new(reply);
    }

    /// What to do with queries from now on.
    pub(super) fn on_query(&self, reply: impl Fn(&wire::QueryRequest) -> Reply<Answer> + Send + Sync + 'static) {
        *self.state.on_query.lock() = Arc::new(reply);
    }

    /// Writes that were applied.
    pub(super) fn applied(&self) -> Vec<wire::WriteRequest> {
        self.state.applied.lock().clone()
    }

    /// Writes that came.
    pub(super) fn attempted(&self) -> Vec<wire::WriteRequest> {
        self.state.attempted.lock().clone()
    }

    /// Queries that came.
    pub(super) fn queries(&self) -> Vec<wire::QueryRequest> {
        self.state.queries.lock().clone()
    }

    /// Calls that hang and whose caller has not gone away.
    pub(super) fn hanging(&self) -> usize {
        self.state.hanging.load(Ordering::SeqCst)
    }

    /// All lines that were applied, in order.
    pub(super) fn lines(&self) -> Vec<String> {
        self.applied().iter().flat_map(lines).collect()
    }

    /// Waits until so many writes are applied.
    pub(super) fn until_applied(&self, count: usize) {
        until(&format!("{count} writes are applied"), || match self.applied().len() {
            applied if applied >= count => Ok(()),
            _ => Err(format!("{:?}", self.lines())),
        });
    }

    /// Waits for an applied write that has a line which `wanted` accepts.
    pub(super) fn until_written(&self, wanted: impl Fn(&str) -> bool) -> wire::WriteRequest {
        until("the line is written", || {
            let found = self.applied().into_iter().find(|write| lines(write).iter().any(|line| wanted(line)));
            found.ok_or_else(|| format!("{:?}", self.lines()))
        })
    }
}

impl Drop for FakeHost {
    fn drop(&mut self) {
        self.stop();
    }
}

fn bind(socket: &Path) -> UnixListener {
    UnixListener::bind(socket).expect("host socket")
}

/// The lines of a write, of all its databases.
pub(super) fn lines(write: &wire::WriteRequest) -> Vec<String> {
    let texts = write.batches.iter().map(|batch| String::from_utf8(batch.line_protocol.to_vec()).expect("text"));
    texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// Messages with these rows, one for each batch.
pub(super) fn answer(batches: &[RecordBatch]) -> Answer {
    batches.iter().map(|batch| Ok(wire::QueryResponse { arrow_ipc_stream: rows::ipc(batch) })).collect()
}

/// Counts a call that hangs for as long as its caller waits.
struct Hanging<'a>(&'a AtomicUsize);

impl<'a> Hanging<'a> {
    async fn forever<T>(count: &'a AtomicUsize) -> T {
        count.fetch_add(1, Ordering::SeqCst);
        let _hanging = Hanging(count);
        std::future::pending().await
    }
}

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl State {
    /// As the contract says: at most once.
    fn apply(&self, request: wire::WriteRequest) {
        let mut applied = self.applied.lock();
        if applied.iter().all(|known| known.idempotency_key != request.idempotency_key) {
            applied.push(request);
        }
    }
}

#[tonic::async_trait]
impl HostService for State {
    type QueryStream = BoxStream<'static, Result<wire::QueryResponse, Status>>;

    async fn query(&self, request: Request<wire::QueryRequest>) -> Result<Response<Self::QueryStream>, Status> {
        let request = request.into_inner();
        self.queries.lock().push(request.clone());
        let on_query = Arc::clone(&self.on_query.lock());
        match on_query(&request) {
            Reply::Done(answer) => Ok(Response::new(stream::iter(answer).boxed())),
            Reply::Unheard => Err(Status::unavailable("the answer is lost")),
            Reply::Refuse(status) => Err(status),
            Reply::Hang => Hanging::forever(&self.hanging).await,
        }
    }

    async fn write(&self, request: Request<wire::WriteRequest>) -> Result<Response<wire::WriteResponse>, Status> {
        let request = request.into_inner();
        let before = {
            let mut attempted = self.attempted.lock();
            attempted.push(request.clone());
            attempted.len() - 1
        };
        let on_write = Arc::clone(&self.on_write.lock());
        match on_write(before, &request) {
            Reply::Done(()) => {
                self.apply(request);
                Ok(Response::new(wire::WriteResponse {}))
            }
            Reply::Unheard => {
                self.apply(request);
                Err(Status::unavailable("the answer is lost"))
            }
            Reply::Refuse(status) => Err(status),
            Reply::Hang => Hanging::forever(&self.hanging).await,
        }
    }
}
