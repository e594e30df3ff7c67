//! Live workers and the ones that ended lately, for `system.workers`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::limits;
use crate::trigger::TriggerId;

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerState {
    /// Its process and plugin are being loaded.
    Starting,
    /// It waits for work.
    Idle,
    /// It runs an invocation.
    Running,
    /// It is gone.
    Ended,
}

impl WorkerState {
    /// The word in the table.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Ended => "ended",
        }
    }
}

/// One worker.
#[derive(Debug, Clone)]
pub struct WorkerRow {
    /// Identity.
    pub id: Uuid,
    /// The trigger it serves.
    pub trigger: Arc<TriggerId>,
    /// Its process id in the runner's view.
    pub pid: Option<i32>,
    /// What it is doing.
    pub state: WorkerState,
    /// Name of its environment.
    pub environment: String,
    /// Its interpreter, such as `CPython 3.12.4`.
    pub python: String,
    /// What confines it, such as `no_new_privs` or `open_files=256`.
    pub enforced: Vec<String>,
    /// Layers that this machine does not grant, each with the reason.
    pub missing: Vec<String>,
    /// When it was started.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Calls it was given.
    pub invocations: u64,
    /// Why it ended.
    pub end: Option<String>,
    /// CPU time that it used, known at its end, microseconds.
    pub cpu_us: Option<u64>,
    /// Largest resident size, known at its end, bytes.
    pub max_rss_bytes: Option<u64>,
}

/// All workers.
#[derive(Debug, Default)]
pub struct WorkerRegistry(Mutex<Rows>);

#[derive(Debug, Default)]
struct Rows {
    live: BTreeMap<Uuid, WorkerRow>,
    ended: VecDeque<WorkerRow>,
    /// Layers of the sandbox that some worker did not get.
    lost_layers: BTreeSet<String>,
}

impl WorkerRegistry {
    /// Adds a worker.
    pub fn insert(&self, row: WorkerRow) {
        self.0.lock().live.insert(row.id, row);
    }

    /// Changes a live worker.
    pub fn update(&self, id: Uuid, change: impl FnOnce(&mut WorkerRow)) {
        if let Some(row) = self.0.lock().live.get_mut(&id) {
            change(row);
        }
    }

    /// Moves a worker to the ended ones.
    pub fn end(&self, id: Uuid, change: impl FnOnce(&mut WorkerRow)) {
        let mut rows = self.0.lock();
        if let Some(mut row) = rows.live.remove(&id) {
            row.state = WorkerState::Ended;
            change(&mut row);
            if rows.ended.len() >= limits::ENDED_WORKERS_MAX {
                rows.ended.pop_front();
            }
            rows.ended.push_back(row);
        }
    }

    /// Remembers what a worker did not get; those layers of it that no worker before has lacked.
    pub fn lost(&self, missing: &[String]) -> Vec<String> {
        let mut rows = self.0.lock();
        if rows.lost_layers.len() >= limits::ENDED_WORKERS_MAX {
            return Vec::new();
        }
        missing.iter().filter(|layer| rows.lost_layers.insert((*layer).clone())).cloned().collect()
    }

    /// Ended workers, oldest first, then the live ones.
    #[must_use]
    pub fn rows(&self) -> Vec<WorkerRow> {
        let rows = self.0.lock();
        rows.ended.iter().chain(rows.live.values()).cloned().collect()
    }
}
