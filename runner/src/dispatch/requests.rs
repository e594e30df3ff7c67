//! Carries a request to its trigger and the response back.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bulkhead_proto::types::v1::{Failure, FailureKind, HttpRequest, HttpResponse};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::DropGuard;
use tokio_util::task::TaskTracker;

use super::runner::{Invoked, TriggerRunner, request_error};
use crate::limits;
use crate::supervisor::{BodyEvent, BodyReceiver, response_body};

/// What came of a request.
#[derive(Debug)]
pub enum RequestEnd {
    /// The plugin's response.
    Response {
        /// What it returned.
        response: HttpResponse,
        /// Time that the call took.
        elapsed: Duration,
    },
    /// The plugin's response comes in parts; it still runs.
    Streaming {
        /// Status and headers.
        head: HttpResponse,
        /// The parts.
        body: ResponseBody,
    },
    /// The plugin failed.
    Failed(RequestFailure),
    /// No trigger answers on this path.
    NotFound,
    /// Too many requests wait for this trigger, or it is paused.
    Busy {
        /// Why.
        text: String,
        /// When it is worth another try.
        retry_after: Duration,
    },
}

/// A request whose plugin failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub struct RequestFailure {
    /// How.
    pub failure: Failure,
    /// The text for an HTTP caller.
    pub text: String,
    /// Time that the call took.
    pub elapsed: Duration,
}

impl RequestFailure {
    fn new(kind: FailureKind, text: String) -> Self {
        let failure = Failure { kind: kind.into(), message: text.clone(), ..Failure::default() };
        Self { failure, text, elapsed: Duration::ZERO }
    }
}

/// The end of a call: its response, when it came in one piece, and the time that it took.
type CallEnded = Result<(Option<HttpResponse>, Duration), RequestFailure>;

/// The parts of a response. It ends when the call has ended and its writes are committed; when either fails, the last
/// item is the failure. When it is dropped, the call is cancelled.
#[derive(Debug)]
pub struct ResponseBody {
    events: BodyReceiver,
    call: Option<JoinHandle<CallEnded>>,
    elapsed: Duration,
    _cancel: DropGuard,
}

impl Stream for ResponseBody {
    type Item = Result<Bytes, RequestFailure>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while let Some(event) = ready!(self.events.poll_next(context)) {
            if let BodyEvent::Part(bytes) = event {
                return Poll::Ready(Some(Ok(bytes)));
            }
        }
        let Some(call) = &mut self.call else { return Poll::Ready(None) };
        let ended = ready!(Pin::new(call).poll(context));
        self.call = None;
        match ended.unwrap_or_else(|error| Err(RequestFailure::new(FailureKind::Unspecified, error.to_string()))) {
            Ok((_, elapsed)) => {
                self.elapsed = elapsed;
                Poll::Ready(None)
            }
            Err(failure) => Poll::Ready(Some(Err(failure))),
        }
    }
}

impl RequestEnd {
    /// The same with the parts of a response joined, for callers who take it in one piece.
    pub async fn joined(self) -> Self {
        let Self::Streaming { mut head, mut body } = self else { return self };
        let mut joined = BytesMut::new();
        while let Some(part) = body.next().await {
            match part {
                Ok(part) => joined.extend_from_slice(&part),
                Err(failure) => return Self::Failed(failure),
            }
            let (size, max) = (joined.len() as u64, limits::RESPONSE_BYTES_MAX);
            if size > max {
                let text = format!("response_bytes_max of {max} bytes exceeded: {size} bytes asked for");
                return Self::Failed(RequestFailure::new(FailureKind::Limit, text));
            }
        }
        head.body = joined.freeze();
        Self::Response { response: head, elapsed: body.elapsed }
    }
}

/// Queues empty quickly.
fn busy(text: String) -> RequestEnd {
    RequestEnd::Busy { text, retry_after: Duration::from_secs(1) }
}

/// Calls the plugin. When the returned future or the body of its response is dropped, the call is cancelled; what follows
/// from it, such as the commit of a call that had returned, is still done on `tracker`.
pub(super) async fn call(
    runner: Arc<TriggerRunner>,
    request: HttpRequest,
    all: &Arc<Semaphore>,
    tracker: &TaskTracker,
) -> RequestEnd {
    let Ok(place_in_all) = Arc::clone(all).try_acquire_owned() else {
        let max = limits::REQUESTS_MAX;
        return busy(format!("the server has {max} requests for plugins under way, which is the limit `requests_max`"));
    };
    let Ok(place) = Arc::clone(&runner.requests).try_acquire_owned() else {
        let max = limits::REQUEST_QUEUE_MAX;
        return busy(format!(
            "trigger '{}' has {max} requests waiting, which is the limit `request_queue_max`",
            runner.id.name
        ));
    };
    if let Some(breaker) = runner.pool.breaker()
        && (breaker.is_probing || breaker.opens_in.is_some())
    {
        let wait = breaker.opens_in.unwrap_or(Duration::from_secs(1));
        let (name, faults, reason) = (&runner.id.name, breaker.faults, breaker.reason);
        let text = format!("trigger '{name}' is paused after {faults} faults in a row: {reason}");
        return RequestEnd::Busy { text, retry_after: wait };
    }
    let cancel = runner.cancel.child_token();
    let guard = cancel.clone().drop_guard();
    let (sink, mut events) = response_body();
    let mut call = tracker.spawn(async move {
        let _places = (place, place_in_all);
        let occasion = runner.request(Arc::new(request));
        let Invoked { outcome, elapsed, .. } = runner.invoke(&occasion, Some(sink), cancel).await;
        match outcome {
            Ok(response) => Ok((response, elapsed)),
            Err(failure) => Err(RequestFailure { text: request_error(&failure), failure, elapsed }),
        }
    });
    if let Some(BodyEvent::Begun(head)) = events.next().await {
        let body = ResponseBody { events, call: Some(call), elapsed: Duration::ZERO, _cancel: guard };
        return RequestEnd::Streaming { head, body };
    }
    match (&mut call).await {
        Ok(Ok((Some(response), elapsed))) => RequestEnd::Response { response, elapsed },
        Ok(Ok((None, _))) => {
            RequestEnd::Failed(RequestFailure::new(FailureKind::Protocol, "the worker returned no response".to_owned()))
        }
        Ok(Err(failure)) => RequestEnd::Failed(failure),
        Err(error) => RequestEnd::Failed(RequestFailure::new(FailureKind::Unspecified, error.to_string())),
    }
}
