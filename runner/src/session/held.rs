//! How much of a worker's questions the runner holds at a time.
//!
//! Flow control bounds what is on its way; it does not bound what is taken out of it to be put together. A worker that opens
//! many questions and ends none would have the runner hold the largest message for each.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tonic::Status;
use tower::Service;

use crate::limits;

/// The path of the stream of facts, whose messages are taken in one at a time.
const SESSION_PATH: &str = "/bulkhead.worker.v1.WorkerService/Session";

/// Counts the bytes of all questions until they are answered.
#[derive(Debug, Clone)]
pub(super) struct Bounded<S> {
    inner: S,
    held: Arc<AtomicUsize>,
}

impl<S> Bounded<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, held: Arc::default() }
    }
}

impl<S, B> Service<Request<Incoming>> for Bounded<S>
where
    S: Service<Request<Question>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let is_counted = request.uri().path() != SESSION_PATH;
        let share = is_counted.then(|| Arc::new(Share { held: Arc::clone(&self.held), own: AtomicUsize::new(0) }));
        let answer = self.inner.call(request.map(|body| Question { body, share: share.clone() }));
        Box::pin(async move {
            let answer = answer.await;
            drop(share);
            answer
        })
    }
}

/// What one question holds; given back when it is answered.
#[derive(Debug)]
struct Share {
    held: Arc<AtomicUsize>,
    own: AtomicUsize,
}

impl Share {
    fn take(&self, bytes: usize) -> bool {
        self.own.fetch_add(bytes, Ordering::Relaxed);
        self.held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= limits::SESSION_QUESTIONS_BYTES_MAX
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.held.fetch_sub(self.own.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// The body of a question.
pub(super) struct Question {
    body: Incoming,
    share: Option<Arc<Share>>,
}

impl Body for Question {
    type Data = Bytes;
    type Error = tonic::codegen::StdError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        if let (Some(Ok(frame)), Some(share)) = (&frame, &this.share)
            && !share.take(frame.data_ref().map_or(0, Bytes::len))
        {
            let max = limits::SESSION_QUESTIONS_BYTES_MAX;
            let text = format!(
                "the questions that are open at a time hold more than {max} bytes (limit `session_questions_bytes_max`)"
            );
            return Poll::Ready(Some(Err(Status::resource_exhausted(text).into())));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
