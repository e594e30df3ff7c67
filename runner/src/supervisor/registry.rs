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
    /// The same in one word.
    pub cause: Option<&'static str>,
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
    /// Layers of the sandbox that a process had that was started to see which there are.
    layers: Vec<String>,
    /// Layers of the sandbox that some worker did not get.
    lost_layers: BTreeSet<String>,
    starts: u64,
    /// Ends by their cause, also of workers that did not get as far as having a row.
    ends: BTreeMap<&'static str, u64>,
    /// CPU time of the workers that ended, by trigger, seconds.
    ended_cpu: BTreeMap<Arc<TriggerId>, f64>,
}

impl WorkerRegistry {
    /// Adds a worker.
    pub fn insert(&self, row: WorkerRow) {
        let mut rows = self.0.lock();
        rows.starts += 1;
        rows.live.insert(row.id, row);
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
            *rows.ends.entry(row.cause.unwrap_or("stopped")).or_default() += 1;
            if let Some(cpu_us) = row.cpu_us {
                *rows.ended_cpu.entry(Arc::clone(&row.trigger)).or_default() += cpu_us as f64 / 1e6;
            }
            if rows.ended.len() >= limits::ENDED_WORKERS_MAX {
                rows.ended.pop_front();
            }
            rows.ended.push_back(row);
        }
    }

    /// Counts an end.
    pub fn count_end(&self, cause: &'static str) {
        *self.0.lock().ends.entry(cause).or_default() += 1;
    }

    /// How many workers were started.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.0.lock().starts
    }

    /// How many ended, by cause.
    #[must_use]
    pub fn ends(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().ends.clone()
    }

    /// The CPU time of the workers that ended, by trigger, seconds.
    #[must_use]
    pub fn ended_cpu_seconds(&self) -> BTreeMap<Arc<TriggerId>, f64> {
        self.0.lock().ended_cpu.clone()
    }

    /// A trigger is no more.
    pub fn forget(&self, trigger: &TriggerId) {
        self.0.lock().ended_cpu.remove(trigger);
    }

    /// The live workers.
    #[must_use]
    pub fn live(&self) -> Vec<WorkerRow> {
        self.0.lock().live.values().cloned().collect()
    }

    /// Remembers what a worker did not get, and says each lost layer aloud once.
    pub fn warn_of_lost(&self, missing: &[String]) {
        let mut rows = self.0.lock();
        if rows.lost_layers.len() >= limits::ENDED_WORKERS_MAX {
            return;
        }
        for layer in missing {
            if rows.lost_layers.insert(layer.clone()) {
                tracing::warn!("sandbox: workers run without a layer on this machine: {layer}");
            }
        }
    }

    /// Remembers what this machine gives a worker without grants, and says aloud what it does not.
    pub fn note_layers(&self, enforced: Vec<String>, missing: &[String]) {
        self.0.lock().layers = enforced;
        self.warn_of_lost(missing);
    }

    /// Layers of the sandbox that this machine gives a worker without grants, as the kernel has confirmed them.
    #[must_use]
    pub fn layers(&self) -> Vec<String> {
        self.0.lock().layers.clone()
    }

    /// Layers of the sandbox that some worker did not get, each with the reason.
    #[must_use]
    pub fn lost_layers(&self) -> Vec<String> {
        self.0.lock().lost_layers.iter().cloned().collect()
    }

    /// Ended workers, oldest first, then the live ones.
    #[must_use]
    pub fn rows(&self) -> Vec<WorkerRow> {
        let rows = self.0.lock();
        rows.ended.iter().chain(rows.live.values()).cloned().collect()
    }
}
