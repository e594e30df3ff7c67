//! One call of a worker, from the order to the result.

use bulkhead_proto::types::v1::{Failure, FailureKind, HttpResponse, outcome};
use bulkhead_proto::worker::v1::session_response::Order;
use bulkhead_proto::worker::v1::{Cancel, ResponseRead, SessionResponse, Usage};
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use super::alarm::Alarm;
use super::end::WorkerEnd;
use super::response_body::{BodyEvent, BodySink};
use super::start::Ended;
use super::worker::Worker;
use super::{Call, CallEnd, WorkerSpec};
use crate::cache::CacheChange;
use crate::limits;
use crate::session::Step;

/// What the worker said last about a call.
enum Finished {
    Returned { response: Option<HttpResponse>, writes: Vec<(String, bytes::Bytes)>, cache: Vec<CacheChange> },
    Failed(Failure, Vec<CacheChange>),
}

/// Whether a worker may be given another call.
pub(super) enum Trust {
    Kept,
    Lost,
}

impl Worker {
    /// One call, from the order to the result.
    pub(super) async fn call(
        &mut self,
        call: &Call,
        spec: &WorkerSpec,
        alarm: &mut Alarm,
    ) -> Result<(CallEnd, Trust, Option<Usage>), Ended> {
        let id = self.session.next_id(first_wire_id);
        self.session.begin(id, call.invocation, call.body.is_some());
        let orders = super::pool::orders(call, id, self.keeps_code);
        let sender = self.channel.as_ref().map(|channel| channel.orders.clone());
        let credit = sender.clone();
        let mut sending = std::pin::pin!(async move {
            for order in orders {
                if let Some(sender) = &sender
                    && sender.send(SessionResponse { order: Some(order) }).await.is_err()
                {
                    break;
                }
            }
        });
        let (mut sent, mut cancelled) = (false, None);
        let mut deadline = Instant::now() + call.timeout;
        let mut read = 0;
        loop {
            tokio::select! {
                biased;
                () = &mut sending, if !sent => sent = true,
                () = call.cancel.cancelled(), if cancelled.is_none() => {
                    deadline = self.cancel(id, &WorkerEnd::Cancelled);
                    cancelled = Some(WorkerEnd::Cancelled);
                }
                () = alarm.until(deadline) => match cancelled.take() {
                    None => {
                        let end = WorkerEnd::Deadline(call.timeout);
                        deadline = self.cancel(id, &end);
                        cancelled = Some(end);
                    }
                    // It did not end in time: the process goes.
                    Some(end) => return Err(Ended { end: Some(end), process: None }),
                },
                parts = tell_read(call.body.as_ref(), credit.as_ref(), id, read) => {
                    read = parts;
                    self.session.response_read(parts);
                }
                step = self.step(spec) => match step? {
                    Step::Finished { outcome, writes, cache, usage } => {
                        let (end, trust) = finished(outcome, writes, cache, cancelled.as_ref());
                        return Ok((settle_cache(call, spec, end), trust, usage));
                    }
                    Step::ResponseBegun { status_code, headers } => {
                        let head = HttpResponse { status_code, headers, body: bytes::Bytes::new() };
                        pass_on(call.body.as_ref(), BodyEvent::Begun(head));
                    }
                    Step::ResponsePart(part) => pass_on(call.body.as_ref(), BodyEvent::Part(part)),
                    Step::HoldChanged => {}
                    _ => return Err(Ended { end: Some(WorkerEnd::Disconnected("a fact without an order".to_owned())), process: None }),
                },
            }
        }
    }

    /// Asks the plugin to stop and returns the time at which it is made to.
    fn cancel(&mut self, invocation_id: u64, why: &WorkerEnd) -> Instant {
        let cancel = Cancel { invocation_id, reason: why.to_string(), kind: why.failure_kind().into() };
        self.order(SessionResponse { order: Some(Order::Cancel(cancel)) });
        Instant::now() + limits::CANCEL_GRACE
    }
}

/// Tells the worker how far its response was read, once that is further than `told`. Cancel safe.
async fn tell_read(
    body: Option<&BodySink>,
    orders: Option<&mpsc::Sender<SessionResponse>>,
    invocation_id: u64,
    told: u64,
) -> u64 {
    if let (Some(body), Some(orders)) = (body, orders) {
        let parts = body.read_beyond(told).await;
        if let Ok(place) = orders.reserve().await {
            place.send(SessionResponse { order: Some(Order::ResponseRead(ResponseRead { invocation_id, parts })) });
            return parts;
        }
    }
    std::future::pending().await
}

fn pass_on(body: Option<&BodySink>, event: BodyEvent) {
    if let Some(body) = body {
        body.send(event);
    }
}

/// As in InfluxDB 3, what a call that raised has put into the cache stays there. A call that was cancelled says nothing of its
/// cache: it was interrupted anywhere.
fn settle_cache(call: &Call, spec: &WorkerSpec, end: Finished) -> CallEnd {
    match end {
        Finished::Returned { response, writes, cache } => CallEnd::Returned { response, writes, cache },
        Finished::Failed(failure, changes) => {
            if let Some(cache) = &spec.cache {
                cache.keep(Some(call.invocation), changes);
            }
            CallEnd::Failed(failure)
        }
    }
}

/// The result of a call. A call that was cancelled has failed, however it ended.
fn finished(
    outcome: bulkhead_proto::types::v1::Outcome,
    writes: Vec<(String, bytes::Bytes)>,
    cache: Vec<CacheChange>,
    cancelled: Option<&WorkerEnd>,
) -> (Finished, Trust) {
    if let Some(why) = cancelled {
        return (Finished::Failed(why.failure(String::new()), Vec::new()), Trust::Lost);
    }
    let end = match outcome.kind {
        Some(outcome::Kind::Success(success)) => Finished::Returned { response: success.http_response, writes, cache },
        Some(outcome::Kind::Failure(mut failure)) => {
            // A live worker knows of its plugin's failures only; the runner names the others.
            if !matches!(failure.kind(), FailureKind::Load | FailureKind::Limit | FailureKind::Response) {
                failure.kind = FailureKind::Exception.into();
            }
            Finished::Failed(failure, cache)
        }
        None => {
            let end = WorkerEnd::Disconnected("a result without an outcome".to_owned());
            Finished::Failed(end.failure(String::new()), Vec::new())
        }
    };
    (end, Trust::Kept)
}

/// The id of a worker's first call: one that says nothing of other workers' calls.
fn first_wire_id() -> u64 {
    Uuid::new_v4().as_u64_pair().0
}
