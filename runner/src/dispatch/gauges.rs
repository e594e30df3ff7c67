//! What `/metrics` tells of triggers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::engine::Engine;
use super::status::TriggerState;
use crate::clock::nanos;
use crate::limits;
use crate::metrics::{Exposition, Family, STAGES};
use crate::supervisor::process_usage;
use crate::trigger::{TriggerId, TriggerKind};

/// All states, so that each trigger has a sample for each.
const STATES: [TriggerState; 7] = [
    TriggerState::Active,
    TriggerState::Building,
    TriggerState::Backoff,
    TriggerState::Open,
    TriggerState::HalfOpen,
    TriggerState::Failed,
    TriggerState::Disabled,
];

/// One trigger at this moment.
struct Present {
    id: Arc<TriggerId>,
    state: TriggerState,
    /// Rows, bytes and seconds that it is behind, for triggers on writes.
    lag: Option<[f64; 4]>,
    /// Requests that wait or run, for request triggers.
    requests: Option<f64>,
    /// Dead letters and their bytes.
    letters: [f64; 2],
}

fn of(id: &TriggerId) -> Vec<(&str, &str)> {
    vec![("database", &id.database), ("trigger", &id.name)]
}

fn with<'a>(id: &'a TriggerId, name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut labels = of(id);
    labels.push((name, value));
    labels
}

impl Engine {
    /// Everything that is counted, in the text format of Prometheus.
    #[must_use]
    pub fn metrics(&self) -> String {
        let mut text = Exposition::default();
        let present = self.present();
        self.of_triggers(&mut text, &present);
        self.of_invocations(&mut text, &present);
        self.of_workers(&mut text);
        self.of_journal(&mut text);
        text.finish()
    }

    fn present(&self) -> Vec<Present> {
        let now = nanos(self.parts.clock.now());
        let present = |info: super::TriggerInfo| {
            let runner = self.runner_of(&info.definition.id);
            let kind = info.definition.spec.kind();
            let lag = runner.as_ref().filter(|_| kind == TriggerKind::Wal).map(|runner| {
                let backlog = runner.feed.backlog(runner.cursor.position());
                let seconds = backlog.since_ns.map_or(0.0, |since| now.saturating_sub(since) as f64 / 1e9);
                [backlog.commits as f64, backlog.rows as f64, backlog.bytes as f64, seconds.max(0.0)]
            });
            let requests = runner.filter(|_| kind == TriggerKind::Request).map(|runner| {
                let free = runner.requests.available_permits();
                limits::REQUEST_QUEUE_MAX.saturating_sub(free) as f64
            });
            let (letters, bytes) = self.letters().held(&info.definition.id);
            let letters = [letters as f64, bytes as f64];
            Present { id: Arc::new(info.definition.id), state: info.state, lag, requests, letters }
        };
        self.list().into_iter().map(present).collect()
    }

    fn of_triggers(&self, text: &mut Exposition, present: &[Present]) {
        let states = present.iter().flat_map(|it| {
            STATES.iter().map(|state| (with(&it.id, "state", state.word()), f64::from(u8::from(it.state == *state))))
        });
        text.family(("bulkhead_trigger_state", "Whether the trigger is in this state.", Family::Gauge), states);
        for (place, name, help) in [
            (0, "bulkhead_trigger_lag_commits", "Commits that the trigger is not past, also those of other tables."),
            (1, "bulkhead_trigger_lag_rows", "Rows of these commits."),
            (2, "bulkhead_trigger_lag_bytes", "Bytes of these commits in the journal."),
            (3, "bulkhead_trigger_lag_seconds", "Age of the oldest of these commits."),
        ] {
            let lags = present.iter().filter_map(|it| Some((of(&it.id), it.lag?[place])));
            text.family((name, help, Family::Gauge), lags);
        }
        let waiting = present.iter().filter_map(|it| Some((of(&it.id), it.requests?)));
        let help = "Requests that wait for the trigger or run in it.";
        text.family(("bulkhead_trigger_requests", help, Family::Gauge), waiting);
        for (place, name, help) in [
            (0, "bulkhead_dead_letters", "Dead letters of the trigger."),
            (1, "bulkhead_dead_letter_bytes", "Bytes of rows in the trigger's dead letters."),
        ] {
            text.family((name, help, Family::Gauge), present.iter().map(|it| (of(&it.id), it.letters[place])));
        }
        let dropped = [(vec![], self.letters().dropped() as f64)];
        let help = "Dead letters that made room for later ones.";
        text.family(("bulkhead_dead_letters_dropped_total", help, Family::Counter), dropped);
    }

    fn of_invocations(&self, text: &mut Exposition, present: &[Present]) {
        let metrics = &self.parts.metrics;
        let there: BTreeSet<&TriggerId> = present.iter().map(|it| it.id.as_ref()).collect();
        let counts = metrics.invocations(|id| there.contains(id));
        let samples = counts.iter().flat_map(|(id, outcomes)| {
            outcomes.iter().map(move |(outcome, count)| (with(id, "outcome", outcome), *count as f64))
        });
        let help = "Attempts to call a plugin, by how they ended.";
        text.family(("bulkhead_invocations_total", help, Family::Counter), samples);
        let stages = STAGES.iter().zip(&metrics.stages).map(|(stage, histogram)| (vec![("stage", *stage)], histogram));
        let help = "Time of an attempt: waiting for a worker, starting one, running, and committing what it wrote.";
        text.histograms(("bulkhead_invocation_stage_seconds", help), stages);
    }

    fn of_workers(&self, text: &mut Exposition) {
        let registry = &self.parts.supervisor.registry;
        let lost = registry.lost_layers();
        // What a trigger was granted instead is not lost.
        let lost = lost.iter().filter(|layer| !layer.ends_with("was granted"));
        let lost: BTreeSet<&str> = lost.filter_map(|layer| layer.split([':', '=']).next()).collect();
        let help = "Layers of the sandbox that workers of this machine run without; `bulkhead doctor` says why.";
        let samples = lost.into_iter().map(|layer| (vec![("layer", layer)], 1.0));
        text.family(("bulkhead_sandbox_lost_layer", help, Family::Gauge), samples);
        let starts = [(vec![], registry.starts() as f64)];
        text.family(("bulkhead_worker_starts_total", "Workers that were started.", Family::Counter), starts);
        let ends = registry.ends();
        let samples = ends.iter().map(|(cause, count)| (vec![("cause", *cause)], *count as f64));
        let help = "Workers that ended or could not be started, by cause.";
        text.family(("bulkhead_worker_ends_total", help, Family::Counter), samples);
        let (mut memory, mut cpu) = (BTreeMap::new(), registry.ended_cpu_seconds());
        let (mut live, rows) = (0, registry.live());
        for row in rows {
            live += 1;
            let Some(usage) = row.pid.and_then(process_usage) else { continue };
            *memory.entry(Arc::clone(&row.trigger)).or_insert(0.0) += usage.resident_bytes as f64;
            *cpu.entry(row.trigger).or_insert(0.0) += usage.cpu.as_secs_f64();
        }
        text.family(("bulkhead_workers", "Workers that live.", Family::Gauge), [(vec![], f64::from(live))]);
        let help = "Resident memory of the trigger's workers.";
        let samples = memory.iter().map(|(id, bytes)| (of(id), *bytes));
        text.family(("bulkhead_worker_resident_bytes", help, Family::Gauge), samples);
        let help = "CPU time of the trigger's workers.";
        let samples = cpu.iter().map(|(id, seconds)| (of(id), *seconds));
        text.family(("bulkhead_worker_cpu_seconds_total", help, Family::Counter), samples);
    }

    fn of_journal(&self, text: &mut Exposition) {
        let metrics = &self.parts.metrics;
        let size: u64 = self.parts.journal_paths.iter().map(|path| bytes_in(path)).sum();
        let help = "Bytes of the journal on disk: the log and the file of records.";
        text.family(("bulkhead_journal_bytes", help, Family::Gauge), [(vec![], size as f64)]);
        let syncs = [(vec![], &self.parts.host.ledger().syncs)];
        text.histograms(("bulkhead_journal_sync_seconds", "Time to force the journal to disk."), syncs);
        for (name, help, counter) in [
            (
                "bulkhead_journal_dropped_commits_total",
                "Commits that were dropped because the journal had reached its limit.",
                &metrics.dropped_commits,
            ),
            ("bulkhead_journal_dropped_rows_total", "Rows of these commits.", &metrics.dropped_rows),
            (
                "bulkhead_undelivered_commits_total",
                "Commits that triggers were not given because they were dropped or could not be read, by trigger and commit.",
                &metrics.undelivered_commits,
            ),
        ] {
            text.family((name, help, Family::Counter), [(vec![], counter.load(Ordering::Relaxed) as f64)]);
        }
        let paused = self.paused.load(Ordering::Relaxed);
        let help = "Feeds that take in nothing because a trigger is too far behind.";
        text.family(("bulkhead_feeds_paused", help, Family::Gauge), [(vec![], paused as f64)]);
    }
}

/// The bytes of a file, or of the files in a directory.
fn bytes_in(path: &Path) -> u64 {
    let Ok(metadata) = fs::metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let files = fs::read_dir(path).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).filter(fs::Metadata::is_file).map(|file| file.len()).sum()
}
