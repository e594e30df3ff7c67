//! A trigger that runs, as the engine holds it: what has to end when it ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::runner::TriggerRunner;
use crate::limits;

/// Time beyond the cancel grace for a cancelled trigger to end.
pub(super) const END_MARGIN: Duration = Duration::from_secs(10);

/// A trigger with its task.
pub(super) struct Running {
    pub(super) runner: Arc<TriggerRunner>,
    /// What feeds it; requests come without a task.
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Running {
    pub(super) fn new(runner: Arc<TriggerRunner>, task: Option<JoinHandle<()>>) -> Self {
        Self { runner, task: Mutex::new(task) }
    }

    /// Whether its task has ended by itself.
    pub(super) fn has_ended(&self) -> bool {
        // Whoever holds the lock waits for the end, so it has not come yet.
        self.task.try_lock().is_ok_and(|task| task.as_ref().is_some_and(JoinHandle::is_finished))
    }

    /// Cancels what runs.
    pub(super) fn cancel(&self) {
        self.runner.end();
    }

    /// Ends it for good: what still runs after `drain` is cancelled, and the feed keeps nothing for it.
    pub(super) async fn end(self, drain: Duration) {
        let has_drained = !drain.is_zero() && timeout(drain, self.ended()).await.is_ok();
        self.cancel();
        if !has_drained && timeout(limits::CANCEL_GRACE + END_MARGIN, self.ended()).await.is_err() {
            tracing::error!("trigger {} did not end", self.runner.id);
        }
        self.runner.cursor.leave();
    }

    /// Waits for its task and for requests that run.
    pub(super) async fn ended(&self) {
        let mut task = self.task.lock().await;
        if let Some(running) = task.as_mut() {
            if let Err(error) = running.await {
                tracing::error!("the task of trigger {} failed: {error}", self.runner.id);
            }
            *task = None;
        }
        let places = u32::try_from(limits::REQUEST_QUEUE_MAX).unwrap_or(u32::MAX);
        // All places are free when no request runs.
        drop(self.runner.requests.acquire_many(places).await);
    }
}
