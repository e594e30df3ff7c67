//! What is counted for operators. Where a number can be read off what is there, it is read when somebody asks; here stands what
//! has to be counted as it happens.

mod exposition;
mod histogram;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

pub use exposition::{Exposition, Family};
pub use histogram::Histogram;

use crate::host::Backlog;
use crate::invocations::InvocationRow;
use crate::trigger::TriggerId;

/// Stages of an invocation, by the words in `stage`.
pub const STAGES: [&str; 4] = ["queue", "start", "run", "commit"];

/// See the module.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Attempts by trigger and outcome. Outcomes are kinds of failures, so there are few.
    invocations: Mutex<BTreeMap<Arc<TriggerId>, BTreeMap<String, u64>>>,
    /// Durations of [`STAGES`].
    pub stages: [Histogram; STAGES.len()],
    /// Commits that were dropped because the journal had reached its limit, their rows, and those that could not be read.
    pub dropped_commits: AtomicU64,
    /// Their rows.
    pub dropped_rows: AtomicU64,
    /// Commits that a trigger could not be given, for any reason.
    pub undelivered_commits: AtomicU64,
}

impl Metrics {
    /// Counts an attempt.
    pub fn invocation(&self, row: &InvocationRow) {
        *self.invocations.lock().entry(Arc::clone(&row.trigger)).or_default().entry(row.outcome()).or_default() += 1;
        for (stage, took) in self.stages.iter().zip([row.queue, row.start, row.elapsed, row.commit]) {
            stage.observe(took);
        }
    }

    /// Counts what was dropped.
    pub fn dropped(&self, backlog: &Backlog) {
        self.dropped_commits.fetch_add(backlog.commits, Ordering::Relaxed);
        self.dropped_rows.fetch_add(backlog.rows, Ordering::Relaxed);
    }

    /// Attempts by trigger and outcome; those of triggers that are no more are forgotten.
    pub fn invocations(
        &self,
        is_there: impl Fn(&TriggerId) -> bool,
    ) -> BTreeMap<Arc<TriggerId>, BTreeMap<String, u64>> {
        let mut invocations = self.invocations.lock();
        invocations.retain(|trigger, _| is_there(trigger));
        invocations.clone()
    }
}
