//! Questions of a plugin thread to the runner: the thread waits, the session thread asks.

use std::sync::Arc;

use bulkhead_proto::worker::v1::worker_service_client::WorkerServiceClient;
use bulkhead_proto::worker::v1::{CacheGetRequest, CacheGetResponse, QueryRequest, WriteSyncRequest};
use bytes::Bytes;
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::Mutex;
use tonic::Status;
use tonic::transport::Channel;

use crate::invocation::Invocation;

/// What is asked.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Rows of a query.
    Query(QueryRequest),
    /// A write that is answered when it is done.
    WriteSync(WriteSyncRequest),
    /// The runner's copy of a cache entry.
    Cache(CacheGetRequest),
}

/// What came back.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Arrow IPC streams whose rows follow each other.
    Rows(Vec<Bytes>),
    /// The write was done.
    Written,
    /// The cache entry.
    Cached(CacheGetResponse),
    /// The runner refused; the text is for the plugin's author.
    Refused(String),
    /// The call that asked was stopped.
    Cancelled,
}

/// A question under way.
#[derive(Debug)]
pub(crate) struct Question {
    /// The call that asks.
    pub(crate) invocation: Arc<Invocation>,
    /// What it asks.
    pub(crate) ask: Ask,
    /// Where the answer goes.
    pub(crate) slot: Arc<AnswerSlot>,
}

/// A place for one answer. It is waited for in a system call, so that a signal wakes the thread too.
#[derive(Debug)]
pub(crate) struct AnswerSlot {
    answer: Mutex<Option<Answer>>,
    wake: EventFd,
}

impl AnswerSlot {
    /// An empty slot.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub(crate) fn new() -> nix::Result<Self> {
        Ok(Self { answer: Mutex::new(None), wake: EventFd::from_flags(EfdFlags::EFD_CLOEXEC)? })
    }

    /// Waits for the answer; `None` when a signal came first.
    pub(crate) fn wait(&self) -> Option<Answer> {
        loop {
            if let Some(answer) = self.answer.lock().take() {
                return Some(answer);
            }
            if self.wake.read() == Err(Errno::EINTR) {
                return None;
            }
        }
    }

    fn put(&self, answer: Answer) {
        *self.answer.lock() = Some(answer);
        // It can only fail when the counter is full, and then the thread wakes anyway.
        let _ = self.wake.write(1);
    }
}

impl Question {
    /// Asks the runner and hands the answer to the thread that waits. A cancelled call is answered at once.
    pub(crate) async fn settle(self, client: WorkerServiceClient<Channel>) {
        let Self { invocation, ask, slot } = self;
        let answer = tokio::select! {
            biased;
            () = invocation.until_cancelled() => Answer::Cancelled,
            answer = perform(client, ask) => answer.unwrap_or_else(|status| Answer::Refused(status.message().to_owned())),
        };
        slot.put(answer);
    }
}

async fn perform(mut client: WorkerServiceClient<Channel>, ask: Ask) -> Result<Answer, Status> {
    match ask {
        Ask::Query(request) => {
            let mut responses = client.query(request).await?.into_inner();
            let mut streams = Vec::new();
            while let Some(response) = responses.message().await? {
                streams.push(response.arrow_ipc_stream);
            }
            Ok(Answer::Rows(streams))
        }
        Ask::WriteSync(request) => {
            client.write_sync(request).await?;
            Ok(Answer::Written)
        }
        Ask::Cache(request) => Ok(Answer::Cached(client.cache_get(request).await?.into_inner())),
    }
}
