//! The last invocations of all triggers, for `system.invocations`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_proto::types::v1::{Failure, FailureKind};
use bulkhead_proto::worker::v1::Usage;
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::limits;
use crate::trigger::{TriggerId, TriggerKind};

/// One attempt to call a plugin for one event.
#[derive(Debug, Clone)]
pub struct InvocationRow {
    /// When it was asked for.
    pub time: DateTime<Utc>,
    /// Identity, the same for every attempt of the same event.
    pub invocation: Uuid,
    /// The trigger.
    pub trigger: Arc<TriggerId>,
    /// What the trigger is for.
    pub kind: TriggerKind,
    /// The worker that did it, when one was found.
    pub worker: Option<Uuid>,
    /// Why it failed, when it did.
    pub failure: Option<(FailureKind, String)>,
    /// Wait for a worker to be free, restart delays included.
    pub queue: Duration,
    /// Start of a worker, when it needed one: environment, process, code.
    pub start: Duration,
    /// From the order to the result.
    pub elapsed: Duration,
    /// Handing its writes to the host.
    pub commit: Duration,
    /// What the worker counted.
    pub usage: Option<Usage>,
    /// Rows that it was called with.
    pub rows: u64,
    /// Bytes that it was called with, encoded.
    pub bytes: u64,
}

impl InvocationRow {
    /// One word for how it ended.
    #[must_use]
    pub fn outcome(&self) -> String {
        match &self.failure {
            None => "success".to_owned(),
            // Its writes could not be handed to the host; every other failure has a kind.
            Some((FailureKind::Unspecified, _)) => "commit".to_owned(),
            Some((kind, _)) => kind.as_str_name().trim_start_matches("FAILURE_KIND_").to_ascii_lowercase(),
        }
    }
}

/// How a failure stands in a row: its kind and the first line of its text, which may be long.
#[must_use]
pub fn failure_of(failure: &Failure) -> (FailureKind, String) {
    let line = failure.message.lines().next().unwrap_or_default();
    (failure.kind(), line.chars().take(limits::INVOCATION_ERROR_CHARS_MAX).collect())
}

/// The last invocations; the oldest make room for new ones.
#[derive(Debug, Default)]
pub struct Invocations(Mutex<VecDeque<InvocationRow>>);

impl Invocations {
    /// Adds one that has ended.
    pub fn push(&self, row: InvocationRow) {
        let mut rows = self.0.lock();
        if rows.len() >= limits::INVOCATION_ROWS_MAX {
            rows.pop_front();
        }
        rows.push_back(row);
    }

    /// Those of one database's triggers, or of all, oldest first.
    #[must_use]
    pub fn rows(&self, database: Option<&str>) -> Vec<InvocationRow> {
        let rows = self.0.lock();
        rows.iter().filter(|row| database.is_none_or(|name| row.trigger.database == name)).cloned().collect()
    }
}
