//! Carries a request to its trigger and the response back.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_proto::types::v1::{Failure, FailureKind, HttpRequest, HttpResponse};
use tokio_util::task::TaskTracker;

use super::runner::{Invoked, TriggerRunner, request_error};
use crate::limits;
use crate::supervisor::CallEvent;

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
    /// The plugin failed; the text is for the caller.
    Failed {
        /// How.
        failure: Failure,
        /// The text for an HTTP caller.
        text: String,
        /// Time that the call took.
        elapsed: Duration,
    },
    /// No trigger answers on this path.
    NotFound,
    /// Too many requests wait for this trigger.
    Busy(String),
}

/// Calls the plugin. When the returned future is dropped, the call is cancelled; what follows from it, such as the commit
/// of a call that had returned, is still done on `tracker`.
pub(super) async fn call(runner: Arc<TriggerRunner>, request: HttpRequest, tracker: &TaskTracker) -> RequestEnd {
    let Ok(place) = Arc::clone(&runner.requests).try_acquire_owned() else {
        let max = limits::REQUEST_QUEUE_MAX;
        return RequestEnd::Busy(format!(
            "trigger '{}' has {max} requests waiting, which is the limit `request_queue_max`",
            runner.id.name
        ));
    };
    let cancel = runner.cancel.child_token();
    let _guard = cancel.clone().drop_guard();
    let task = tracker.spawn(async move {
        let _place = place;
        let occasion = TriggerRunner::occasion(CallEvent::Request(Arc::new(request)), runner.clock.now());
        let Invoked { outcome, elapsed } = runner.invoke(&occasion, false, cancel).await;
        match outcome {
            Ok(Some(response)) => RequestEnd::Response { response, elapsed },
            Ok(None) => failed(FailureKind::Protocol, "the worker returned no response".to_owned()),
            Err(failure) => RequestEnd::Failed { text: request_error(&failure), failure, elapsed },
        }
    });
    task.await.unwrap_or_else(|error| failed(FailureKind::Unspecified, error.to_string()))
}

fn failed(kind: FailureKind, text: String) -> RequestEnd {
    let failure = Failure { kind: kind.into(), message: text.clone(), ..Failure::default() };
    RequestEnd::Failed { failure, text, elapsed: Duration::ZERO }
}
