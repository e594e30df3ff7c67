//! A response on its way from a worker to a client, part by part, at the client's pace.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bulkhead_proto::types::v1::HttpResponse;
use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use crate::limits;

/// What arrives of a response in parts.
#[derive(Debug)]
pub enum BodyEvent {
    /// Its head; the body of this value is empty.
    Begun(HttpResponse),
    /// The next bytes.
    Part(Bytes),
}

/// The worker's end.
#[derive(Debug, Clone)]
pub struct BodySink {
    events: mpsc::Sender<BodyEvent>,
    progress: Arc<Progress>,
}

/// The client's end.
#[derive(Debug)]
pub struct BodyReceiver {
    events: mpsc::Receiver<BodyEvent>,
    progress: Arc<Progress>,
}

/// Parts that were read.
#[derive(Debug, Default)]
struct Progress {
    read: AtomicU64,
    changed: Notify,
}

/// The two ends of a response in parts. There is room for as many parts as a worker may send unread.
#[must_use]
pub fn response_body() -> (BodySink, BodyReceiver) {
    let (sender, receiver) = mpsc::channel(limits::RESPONSE_PARTS_UNREAD_MAX as usize + 1);
    let progress = Arc::<Progress>::default();
    (BodySink { events: sender, progress: Arc::clone(&progress) }, BodyReceiver { events: receiver, progress })
}

impl BodySink {
    /// Hands on what arrived. The session holds the worker to the room that there is; a client that went away has
    /// cancelled the call.
    pub(super) fn send(&self, event: BodyEvent) {
        let _ = self.events.try_send(event);
    }

    /// Resolves with the number of parts that were read in all, once it is above `told`. Cancel safe.
    pub(super) async fn read_beyond(&self, told: u64) -> u64 {
        loop {
            // A notification that comes before the wait is kept for it.
            let read = self.progress.read.load(Ordering::Acquire);
            if read > told {
                return read;
            }
            self.progress.changed.notified().await;
        }
    }
}

impl BodyReceiver {
    /// The next event; `None` when the call has ended.
    pub fn poll_next(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Option<BodyEvent>> {
        let polled = self.events.poll_recv(context);
        if matches!(polled, std::task::Poll::Ready(Some(BodyEvent::Part(_)))) {
            self.progress.read.fetch_add(1, Ordering::AcqRel);
            self.progress.changed.notify_one();
        }
        polled
    }

    /// The next event; `None` when the call has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<BodyEvent> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }
}
