//! What plugins say: the ring behind `system.processing_engine_logs`, and the runner's own log.

use std::collections::VecDeque;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tracing::field::display;
use uuid::Uuid;

use crate::clock::SharedClock;
use crate::limits;
use crate::trigger::TriggerId;

/// Severity, by InfluxDB 3's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Details.
    Debug,
    /// Normal.
    Info,
    /// Noteworthy.
    Warn,
    /// A failure.
    Error,
}

impl Level {
    /// The word in `log_level`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }
}

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `influxdb3_local.info` and its siblings.
    Api,
    /// Standard output: `print`, C code, subprocesses.
    Stdout,
    /// Standard error.
    Stderr,
    /// Python's `logging`.
    Logging,
    /// The runner, about the trigger.
    Runner,
}

impl Source {
    /// The word in the column `source`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Logging => "logging",
            Self::Runner => "runner",
        }
    }
}

/// One line.
#[derive(Debug, Clone)]
pub struct LogRow {
    /// When it was said.
    pub time: DateTime<Utc>,
    /// Which trigger said it.
    pub trigger: Arc<TriggerId>,
    /// Severity.
    pub level: Level,
    /// Origin.
    pub source: Source,
    /// The invocation during which it was said.
    pub invocation: Option<Uuid>,
    /// The worker that it is from or about.
    pub worker: Option<Uuid>,
    /// The text, at most [`limits::LOG_LINE_BYTES_MAX`] bytes.
    pub text: String,
}

/// The last lines of all triggers.
pub struct LogStore {
    rows: Mutex<VecDeque<LogRow>>,
    clock: SharedClock,
    /// Whether the lines are repeated in the runner's own log.
    repeats: bool,
}

impl std::fmt::Debug for LogStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogStore").field("rows", &self.rows.lock().len()).finish()
    }
}

impl LogStore {
    /// An empty store.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self { rows: Mutex::new(VecDeque::new()), clock, repeats: true }
    }

    /// An empty store for lines that concern one caller only; they stand nowhere else.
    #[must_use]
    pub fn private(clock: SharedClock) -> Self {
        Self { repeats: false, ..Self::new(clock) }
    }

    /// Keeps a line and repeats it in the runner's own log.
    pub fn push(&self, mut row: LogRow) {
        cut(&mut row.text, limits::LOG_LINE_BYTES_MAX as usize);
        let (trigger, text) = (&row.trigger, &row.text);
        let (invocation, worker) = (row.invocation.map(display), row.worker.map(display));
        match row.level {
            _ if !self.repeats => {}
            Level::Debug => tracing::debug!(target: "bulkhead::plugin", %trigger, invocation, worker, "{text}"),
            Level::Info => tracing::info!(target: "bulkhead::plugin", %trigger, invocation, worker, "{text}"),
            Level::Warn => tracing::warn!(target: "bulkhead::plugin", %trigger, invocation, worker, "{text}"),
            Level::Error => tracing::error!(target: "bulkhead::plugin", %trigger, invocation, worker, "{text}"),
        }
        let mut rows = self.rows.lock();
        if rows.len() >= limits::LOG_ROWS_MAX {
            rows.pop_front();
        }
        rows.push_back(row);
    }

    /// The lines of one database's triggers, or of all, oldest first.
    #[must_use]
    pub fn rows(&self, database: Option<&str>) -> Vec<LogRow> {
        let rows = self.rows.lock();
        rows.iter().filter(|row| database.is_none_or(|name| row.trigger.database == name)).cloned().collect()
    }

    /// A writer for one trigger, with a line budget of its own.
    #[must_use]
    pub fn writer(self: &Arc<Self>, trigger: Arc<TriggerId>) -> LogWriter {
        let budget = LineBudget::new(self.clock.now());
        let (budget, complaints) = (Arc::new(Mutex::new(budget)), Arc::default());
        LogWriter { store: Arc::clone(self), trigger, worker: None, budget, complaints }
    }
}

/// Cuts `text` to `bytes_max` at a character border and says how much is missing.
fn cut(text: &mut String, bytes_max: usize) {
    if text.len() <= bytes_max {
        return;
    }
    let missing = text.len() - bytes_max;
    let mut end = bytes_max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str(&format!(" … [{missing} bytes cut]"));
}

/// What may tell of something that a plugin was not granted.
#[derive(Debug, Default)]
pub struct Complaints {
    /// The first warnings and errors that it logged.
    pub lines: Vec<String>,
    /// Variables that it looked for in its environment and did not find.
    pub variables: Vec<String>,
}

/// Writes lines on behalf of one trigger.
#[derive(Debug, Clone)]
pub struct LogWriter {
    store: Arc<LogStore>,
    trigger: Arc<TriggerId>,
    worker: Option<Uuid>,
    budget: Arc<Mutex<LineBudget>>,
    /// What the plugin complained of since somebody asked.
    complaints: Arc<Mutex<Complaints>>,
}

impl LogWriter {
    /// A writer for lines that are from or about this worker, with the same budget.
    #[must_use]
    pub fn of_worker(&self, worker: impl Into<Option<Uuid>>) -> Self {
        Self { worker: worker.into(), ..self.clone() }
    }

    /// A line by the runner. It does not count against the plugin's budget.
    pub fn runner(&self, level: Level, invocation: Option<Uuid>, text: impl Into<String>) {
        let time = self.store.clock.now();
        self.store.push(LogRow {
            time,
            trigger: Arc::clone(&self.trigger),
            level,
            source: Source::Runner,
            invocation,
            worker: self.worker,
            text: text.into(),
        });
    }

    /// A line by the plugin or its process; dropped and counted when the budget is spent.
    pub fn plugin(&self, level: Level, source: Source, invocation: Option<Uuid>, text: String) {
        let now = self.store.clock.now();
        let admission = self.budget.lock().admit(now);
        match admission {
            Admission::Dropped => return,
            Admission::Admitted { dropped_before: 0 } => {}
            Admission::Admitted { dropped_before } => self.runner(
                Level::Warn,
                invocation,
                format!(
                    "{dropped_before} log lines dropped: the limit `log_lines_per_second` is {}",
                    limits::LOG_LINES_PER_SECOND
                ),
            ),
        }
        if matches!(level, Level::Warn | Level::Error) && source != Source::Runner {
            let lines = &mut self.complaints.lock().lines;
            if lines.len() < limits::COMPLAINTS_MAX {
                lines.push(text.chars().take(limits::COMPLAINT_BYTES_MAX).collect());
            }
        }
        let (trigger, worker) = (Arc::clone(&self.trigger), self.worker);
        self.store.push(LogRow { time: now, trigger, level, source, invocation, worker, text });
    }

    /// The plugin has looked for a variable that its environment does not have.
    pub fn missing_variable(&self, name: String) {
        let variables = &mut self.complaints.lock().variables;
        if variables.len() < limits::COMPLAINTS_MAX {
            variables.push(name);
        }
    }

    /// What the plugin has complained of since the last call of this.
    #[must_use]
    pub fn take_complaints(&self) -> Complaints {
        std::mem::take(&mut *self.complaints.lock())
    }

    /// Reports lines that were dropped and that no later line has reported yet.
    pub fn flush_dropped(&self, invocation: Option<Uuid>) {
        let dropped = self.budget.lock().take_dropped();
        if dropped > 0 {
            let limit = limits::LOG_LINES_PER_SECOND;
            self.runner(
                Level::Warn,
                invocation,
                format!("{dropped} log lines dropped: the limit `log_lines_per_second` is {limit}"),
            );
        }
    }
}

/// A token bucket: [`limits::LOG_LINES_BURST`] at once, [`limits::LOG_LINES_PER_SECOND`] after that.
#[derive(Debug)]
struct LineBudget {
    tokens: f64,
    refilled: DateTime<Utc>,
    dropped: u64,
}

#[derive(Debug, PartialEq)]
enum Admission {
    Admitted { dropped_before: u64 },
    Dropped,
}

impl LineBudget {
    fn new(now: DateTime<Utc>) -> Self {
        Self { tokens: f64::from(limits::LOG_LINES_BURST), refilled: now, dropped: 0 }
    }

    fn admit(&mut self, now: DateTime<Utc>) -> Admission {
        let elapsed = (now - self.refilled).to_std().unwrap_or_default().as_secs_f64();
        self.refilled = now;
        let earned = elapsed * f64::from(limits::LOG_LINES_PER_SECOND);
        self.tokens = (self.tokens + earned).min(f64::from(limits::LOG_LINES_BURST));
        if self.tokens < 1.0 {
            self.dropped += 1;
            return Admission::Dropped;
        }
        self.tokens -= 1.0;
        Admission::Admitted { dropped_before: self.take_dropped() }
    }

    fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let start = DateTime::UNIX_EPOCH;
        let mut budget = LineBudget::new(start);
        let admitted = (0..20_000).filter(|_| budget.admit(start) != Admission::Dropped).count();
        assert_eq!(admitted, limits::LOG_LINES_BURST as usize);
        assert_eq!(budget.admit(start + TimeDelta::seconds(1)), Admission::Admitted { dropped_before: 15_000 });
    }

    #[test]
    fn long_lines_are_cut_at_a_character() {
        let mut text = "é".repeat(10);
        cut(&mut text, 5);
        assert_eq!(text, "éé … [15 bytes cut]");
    }
}
