//! Keeps the journal within its limits when triggers are behind.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::engine::Engine;
use crate::clock::nanos;
use crate::host::{Retention, RetentionEvent, RetentionLimits, WalFeed};
use crate::limits;
use crate::trigger::TriggerKind;

/// Triggers that a log line names.
const NAMED_MAX: usize = 5;

/// Looks again and again until `stop`.
pub(super) async fn run(engine: Arc<Engine>, retention: Retention, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = sleep(limits::RETENTION_LOOK) => {}
            () = stop.cancelled() => return,
        }
        for (database, feed) in engine.host().feeds() {
            let now = nanos(engine.parts.clock.now());
            if retention.limits.are_exceeded(&feed.kept(), now) {
                // Positions that moved without effects are recorded only now and then; here they count.
                if let Err(error) = engine.positions.flush(true).await {
                    tracing::warn!("positions of triggers could not be recorded: {error}");
                }
            }
            let behind = engine.too_far_behind(database.as_deref(), feed.as_ref(), &retention.limits, now);
            if let Some(event) = feed.retain(&retention, now) {
                engine.report_retention(&event, database.as_deref(), &behind);
            }
        }
    }
}

impl Engine {
    fn report_retention(&self, event: &RetentionEvent, database: Option<&str>, behind: &str) {
        let of = database.map(|name| format!(" of database {name}")).unwrap_or_default();
        match event {
            RetentionEvent::Paused(reason) => {
                self.paused.fetch_add(1, Ordering::Relaxed);
                tracing::error!("writes{of} are paused until {behind} has caught up: {reason}");
            }
            RetentionEvent::Resumed => {
                self.paused.fetch_sub(1, Ordering::Relaxed);
                tracing::warn!("writes{of} are taken in again");
            }
            RetentionEvent::Dropped(backlog) => {
                self.parts.metrics.dropped(backlog);
                tracing::error!(
                    "dropped {} commits{of} with {} rows and {} bytes that {behind} had not worked on: the journal has reached its limit",
                    backlog.commits,
                    backlog.rows,
                    backlog.bytes
                );
            }
        }
    }

    /// Who is farther behind than may be, for people.
    fn too_far_behind(
        &self,
        database: Option<&str>,
        feed: &dyn WalFeed,
        limits: &RetentionLimits,
        now_ns: i64,
    ) -> String {
        let running = self.running.read();
        let readers = running.values().map(|running| &running.runner).filter(|runner| {
            let is_reader = runner.definition.spec.kind() == TriggerKind::Wal;
            is_reader && database.is_none_or(|name| runner.id.database == name)
        });
        let behind = readers.filter(|it| limits.are_exceeded(&feed.backlog(it.cursor.position()), now_ns));
        let names: Vec<String> = behind.take(NAMED_MAX).map(|runner| format!("trigger {}", runner.id)).collect();
        if names.is_empty() { "a trigger".to_owned() } else { names.join(", ") }
    }
}
