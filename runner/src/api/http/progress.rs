//! Answers that take long: who asks for it hears meanwhile how it goes, a JSON object a line.

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream, stream};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::reply::{Refusal, json as reply};
use crate::environment::listened_to;

/// The format of such answers: `{"progress": TEXT}` any number of times, and at the end `{"status": 200, "answer": {...}}` or
/// `{"status": CODE, "error": TEXT}`.
const LINES: &str = "application/x-ndjson";
/// Lines that wait for a slow client; further ones are left out.
const LINES_WAITING_MAX: usize = 64;

/// Answers with what `work` comes to; in lines where the client accepts them. A client that goes away ends the work.
pub(super) async fn answered(
    headers: &HeaderMap,
    work: impl Future<Output = Result<Value, Refusal>> + Send + 'static,
) -> Result<Response, Refusal> {
    let accepted = headers.get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok()).unwrap_or_default();
    if !accepted.contains(LINES) {
        return Ok(reply(StatusCode::OK, &work.await?));
    }
    let (listener, heard) = mpsc::channel(LINES_WAITING_MAX);
    let work = listened_to(listener, work).boxed();
    let body = Body::from_stream(lines(work, heard));
    Ok(([(header::CONTENT_TYPE, LINES)], body).into_response())
}

fn lines(
    work: BoxFuture<'static, Result<Value, Refusal>>,
    heard: mpsc::Receiver<String>,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
    let line = |value: &Value| Some(Ok(Bytes::from(format!("{value}\n"))));
    stream::unfold((Some(work), heard), move |(work, mut heard)| async move {
        let mut work = work?;
        let next = tokio::select! {
            biased;
            Some(text) = heard.recv() => line(&json!({ "progress": text })).zip(Some((Some(work), heard))),
            done = &mut work => {
                let last = match done {
                    Ok(answer) => json!({ "status": 200, "answer": answer }),
                    Err(Refusal(status, error)) => json!({ "status": status.as_u16(), "error": error }),
                };
                line(&last).zip(Some((None, heard)))
            }
        };
        next
    })
}
