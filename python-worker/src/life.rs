//! The session thread: one loop over everything that can happen. It never needs the GIL, so orders
//! are read, lines are flushed and flow control works while the plugin computes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_proto::worker::v1::session_response;
use bulkhead_proto::worker::v1::{Cancel, Drain, SessionResponse};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::Status;

use crate::exit::{Exit, exit_now};
use crate::gather::{Gatherer, Order, PendingCall};
use crate::handshake::Session;
use crate::invocation::{Cancellation, Invocation};
use crate::limits::{DRAIN_TIMEOUT, FLUSH_AGE, INBOX_ORDERS_MAX, QUESTIONS_MAX, SIGNAL_REPEAT};
use crate::question::Question;
use crate::shared::Shared;

/// State of the loop.
struct Life {
    shared: Arc<Shared>,
    gatherer: Gatherer,
    /// Calls that have not ended, by id.
    calls: HashMap<u64, Arc<Invocation>>,
    /// The cancelled call whose plugin has not noticed yet.
    signalled: Option<Arc<Invocation>>,
    flush_at: Option<Instant>,
    drain_at: Option<Instant>,
    session_ended: bool,
}

/// Runs until the process ends.
pub(crate) async fn run(session: Session, shared: Arc<Shared>, mut questions: mpsc::Receiver<Question>) {
    let Session { client, mut orders, .. } = session;
    let mut asking = JoinSet::new();
    let mut life = Life {
        shared: Arc::clone(&shared),
        gatherer: Gatherer::default(),
        calls: HashMap::new(),
        signalled: None,
        flush_at: None,
        drain_at: None,
        session_ended: false,
    };
    loop {
        let reading = !life.session_ended && !shared.inbox.is_full();
        tokio::select! {
            biased;
            message = orders.message(), if reading => life.on_message(message),
            () = shared.inbox.until_space(), if !reading && !life.session_ended => {}
            Some(question) = questions.recv(), if asking.len() < QUESTIONS_MAX => {
                asking.spawn(question.settle(client.clone()));
            }
            Some(_) = asking.join_next(), if !asking.is_empty() => {}
            () = shared.outbox.until_collecting() => life.start_flush_timer(),
            () = at(life.flush_at), if life.flush_at.is_some() => life.on_flush_timer(),
            () = sleep(SIGNAL_REPEAT), if life.signalled.is_some() => life.repeat_signal(),
            () = at(life.drain_at), if life.drain_at.is_some() => life.on_drain_timeout(),
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

impl Life {
    fn on_message(&mut self, message: Result<Option<SessionResponse>, Status>) {
        match message {
            Ok(Some(response)) => self.on_order(response.order),
            Ok(None) => self.on_end("the runner closed it"),
            Err(status) => self.on_end(status.message()),
        }
    }

    fn on_order(&mut self, order: Option<session_response::Order>) {
        use session_response::Order as Wire;
        match order {
            Some(Wire::LoadTrigger(load)) => self.shared.inbox.push(Order::Load(load)),
            Some(Wire::Invoke(invoke)) => match self.gatherer.invoke(invoke) {
                Ok(call) => call.into_iter().for_each(|call| self.deliver(call)),
                Err(violation) => exit_now(Exit::Protocol, &violation.0),
            },
            Some(Wire::InvokeRows(rows)) => {
                if let Some(call) = self.gatherer.rows(rows) {
                    self.deliver(call);
                }
            }
            Some(Wire::Cancel(cancel)) => self.on_cancel(cancel),
            // The end of a call and what its client has read may cross.
            Some(Wire::ResponseRead(read)) => {
                if let Some(invocation) = self.calls.get(&read.invocation_id) {
                    invocation.response_read(read.parts);
                }
            }
            Some(Wire::Drain(drain)) => self.on_drain(&drain),
            Some(Wire::Welcome(_)) => exit_now(Exit::Protocol, "the runner said welcome twice"),
            // Both ends ship together, so an order without a name is not one of a newer runner.
            None => exit_now(Exit::Protocol, "an order without content"),
        }
        if self.gatherer.waiting() > INBOX_ORDERS_MAX {
            exit_now(Exit::Protocol, "too many calls wait for rows");
        }
    }

    fn deliver(&mut self, call: PendingCall) {
        self.calls.retain(|_, invocation| !invocation.has_ended());
        self.calls.insert(call.invocation.id(), Arc::clone(&call.invocation));
        if self.flush_at.is_none() {
            self.shared.outbox.set_timed(true);
            self.start_flush_timer();
        }
        self.shared.inbox.push(Order::Call(call));
    }

    fn on_cancel(&mut self, cancel: Cancel) {
        if let Some(call) = self.gatherer.cancel(&cancel) {
            self.deliver(call);
            return;
        }
        // A call that has ended is not there any more: its end and the order crossed.
        let Some(invocation) = self.calls.get(&cancel.invocation_id).cloned() else { return };
        invocation.cancel(Cancellation::from(cancel));
        self.signalled = self.shared.signal(&invocation).then_some(invocation);
    }

    fn repeat_signal(&mut self) {
        let needed = self.signalled.as_ref().is_some_and(|invocation| self.shared.signal(invocation));
        if !needed {
            self.signalled = None;
        }
    }

    fn on_drain(&mut self, drain: &Drain) {
        let timeout = drain.timeout.and_then(|timeout| Duration::try_from(timeout).ok()).unwrap_or(DRAIN_TIMEOUT);
        self.drain_at = Some(Instant::now() + timeout);
        self.shared.inbox.push(Order::Drain);
    }

    fn on_drain_timeout(&mut self) {
        if self.shared.is_closing() {
            exit_now(Exit::Done, "");
        }
        exit_now(Exit::DrainTimeout, "a call still ran when the time to drain was over");
    }

    fn on_end(&mut self, why: &str) {
        if !self.shared.is_closing() {
            exit_now(Exit::SessionLost, &format!("the session ended: {why}"));
        }
        self.session_ended = true;
        self.shared.set_ended();
        // What remains is Python's finalisation, which may hang.
        self.drain_at.get_or_insert_with(|| Instant::now() + DRAIN_TIMEOUT);
    }

    fn start_flush_timer(&mut self) {
        self.flush_at.get_or_insert_with(|| Instant::now() + FLUSH_AGE);
    }

    fn on_flush_timer(&mut self) {
        self.flush_at = None;
        let busy = self.shared.outbox.flush() || self.shared.inside().is_some();
        if self.shared.outbox.set_timed(busy) {
            self.start_flush_timer();
        }
    }
}
