//! Carries a request to its trigger and the response back.

use std::sync::Arc;

use bulkhead_proto::types::v1::{Failure, FailureKind, HttpRequest, HttpResponse};
use tokio_util::task::TaskTracker;

use super::runner::{TriggerRunner, request_error};
use crate::limits;
use crate::supervisor::CallEvent;

/// What came of a request.
#[derive(Debug)]
pub enum RequestEnd {
    /// The plugin's response.
    Response(HttpResponse),
    /// The plugin failed; the text is for the caller.
    Failed {
        /// How.
        failure: Failure,
        /// The text for an HTTP caller.
        text: String,
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
        match runner.invoke(&occasion, false, cancel).await {
            Ok(Some(response)) => RequestEnd::Response(response),
            Ok(None) => failed(Failure {
                kind: FailureKind::Protocol.into(),
                message: "the worker returned no response".to_owned(),
                ..Failure::default()
            }),
            Err(failure) => failed(failure),
        }
    });
    task.await.unwrap_or_else(|error| {
        failed(Failure { kind: FailureKind::Unspecified.into(), message: error.to_string(), ..Failure::default() })
    })
}

fn failed(failure: Failure) -> RequestEnd {
    let text = request_error(&failure);
    RequestEnd::Failed { failure, text }
}
