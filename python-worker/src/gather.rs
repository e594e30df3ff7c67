//! Turns orders of the wire into work for the main thread: the parts of a large event are put
//! together here, without touching their bytes.

use std::collections::HashMap;
use std::sync::Arc;

use bulkhead_proto::types::v1::{HttpRequest, TableBatch, event};
use bulkhead_proto::worker::v1::{Cancel, Invoke, InvokeRows, LoadTrigger};
use bytes::Bytes;

use crate::invocation::{Cancellation, Invocation};

/// Work for the main thread, in the order received.
#[derive(Debug)]
pub enum Order {
    /// Load the plugin.
    Load(LoadTrigger),
    /// Call the plugin.
    Call(PendingCall),
    /// Finish.
    Drain,
}

/// A call whose event is complete.
#[derive(Debug)]
pub struct PendingCall {
    /// The call.
    pub invocation: Arc<Invocation>,
    /// What it is called with.
    pub event: CallEvent,
}

/// The event of a call.
#[derive(Debug)]
pub enum CallEvent {
    /// Rows, grouped by table in the order in which the tables first came.
    Writes(Vec<Table>),
    /// A schedule came due, in whole seconds since the epoch.
    Schedule(i64),
    /// An HTTP request.
    Request(HttpRequest),
}

/// Rows of one table, still encoded.
#[derive(Debug)]
pub struct Table {
    /// Table name.
    pub name: String,
    /// Arrow IPC streams whose rows follow each other.
    pub streams: Vec<Bytes>,
}

/// An order that the protocol does not allow.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation(pub String);

/// The calls that the runner announced and that have not ended.
#[derive(Debug, Default)]
pub struct Gatherer {
    partial: HashMap<u64, PendingCall>,
}

impl Gatherer {
    /// Takes an `Invoke`; the call comes back when nothing more follows.
    ///
    /// # Errors
    /// When the event is missing, or says `more` without being rows.
    pub fn invoke(&mut self, invoke: Invoke) -> Result<Option<PendingCall>, Violation> {
        let id = invoke.invocation_id;
        let kind = invoke.event.and_then(|event| event.kind);
        let event = match kind.ok_or_else(|| Violation(format!("invocation {id} has no event")))? {
            event::Kind::WalBatch(batch) => {
                let mut tables = Vec::with_capacity(batch.tables.len());
                append(&mut tables, batch.tables);
                CallEvent::Writes(tables)
            }
            event::Kind::ScheduleTick(tick) => CallEvent::Schedule(tick.scheduled_at.map_or(0, |time| time.seconds)),
            event::Kind::HttpRequest(request) => CallEvent::Request(request),
        };
        if invoke.more && !matches!(event, CallEvent::Writes(_)) {
            return Err(Violation(format!("invocation {id} announces rows but is not a WAL batch")));
        }
        let call = PendingCall { invocation: Arc::new(Invocation::new(id).keeping_code(invoke.keep_code)), event };
        if !invoke.more {
            return Ok(Some(call));
        }
        if self.partial.insert(id, call).is_some() {
            return Err(Violation(format!("invocation {id} came twice")));
        }
        Ok(None)
    }

    /// Takes further rows; the call comes back when it is complete. Rows of a call that is not known,
    /// because it was cancelled meanwhile, are dropped.
    pub fn rows(&mut self, rows: InvokeRows) -> Option<PendingCall> {
        let call = self.partial.get_mut(&rows.invocation_id)?;
        if let CallEvent::Writes(tables) = &mut call.event {
            append(tables, rows.tables);
        }
        if rows.more { None } else { self.partial.remove(&rows.invocation_id) }
    }

    /// Stops a call that is not complete yet; it comes back without its rows, to be answered.
    pub fn cancel(&mut self, cancel: &Cancel) -> Option<PendingCall> {
        let mut call = self.partial.remove(&cancel.invocation_id)?;
        call.event = CallEvent::Writes(Vec::new());
        call.invocation.cancel(Cancellation::from(cancel.clone()));
        Some(call)
    }

    /// Calls that wait for more rows.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.partial.len()
    }
}

fn append(tables: &mut Vec<Table>, batches: Vec<TableBatch>) {
    for batch in batches {
        match tables.iter_mut().find(|table| table.name == batch.table) {
            Some(table) => table.streams.push(batch.arrow_ipc_stream),
            None => tables.push(Table { name: batch.table, streams: vec![batch.arrow_ipc_stream] }),
        }
    }
}
