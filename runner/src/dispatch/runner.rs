//! One trigger that runs: its pool, and what surrounds each of its invocations.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_proto::types::v1::{Failure, FailureKind, HttpResponse};
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::effects::{self, Effects};
use super::status::TriggerState;
use crate::catalog::Catalog;
use crate::clock::SharedClock;
use crate::host::{Host, WalFeed};
use crate::logs::{Level, LogWriter, Source};
use crate::supervisor::{BodySink, Call, CallEnd, CallEvent, Pool};
use crate::trigger::{AfterFailure, TriggerDefinition, TriggerId, TriggerKind, after_failure};

/// A trigger that runs.
pub(super) struct TriggerRunner {
    pub(super) id: Arc<TriggerId>,
    pub(super) definition: TriggerDefinition,
    pub(super) pool: Pool,
    pub(super) workers_max: usize,
    pub(super) log: LogWriter,
    pub(super) host: Arc<dyn Host>,
    pub(super) feed: Arc<dyn WalFeed>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) clock: SharedClock,
    pub(super) default_timeout: Duration,
    /// No new event is begun.
    pub(super) stop: CancellationToken,
    /// Invocations that run are cancelled.
    pub(super) cancel: CancellationToken,
    /// Places for requests, waiting ones included.
    pub(super) requests: Arc<Semaphore>,
    pub(super) trouble: Mutex<Option<Trouble>>,
}

/// What is wrong with a trigger at present.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub(super) state: TriggerState,
    pub(super) reason: String,
}

/// One thing to call the plugin with, over all its attempts.
#[derive(Clone)]
pub(super) struct Occasion {
    pub(super) invocation: Uuid,
    pub(super) event: CallEvent,
    /// Time of lines that are written without one.
    pub(super) default_time: DateTime<Utc>,
}

/// How an invocation ended.
pub(super) struct Invoked {
    pub(super) outcome: Result<Option<HttpResponse>, Failure>,
    /// Time that the call took.
    pub(super) elapsed: Duration,
}

/// What to do after an event of a fed trigger.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Continue,
    Disabled,
    Stopped,
}

impl TriggerRunner {
    /// A new occasion for `event`.
    pub(super) fn occasion(event: CallEvent, default_time: DateTime<Utc>) -> Occasion {
        Occasion { invocation: Uuid::now_v7(), event, default_time }
    }

    /// Calls the plugin once, commits what it wrote, and logs both. `caller` is the one who waits for a response.
    pub(super) async fn invoke(
        &self,
        occasion: &Occasion,
        caller: Option<BodySink>,
        cancel: CancellationToken,
    ) -> Invoked {
        let invocation = Some(occasion.invocation);
        self.log.runner(Level::Info, invocation, starting(&occasion.event));
        let call = Call {
            invocation: occasion.invocation,
            event: occasion.event.clone(),
            timeout: self.definition.timeout(self.default_timeout),
            cancel,
            patient: caller.is_none(),
            body: caller,
        };
        let result = self.pool.run(call).await;
        let outcome = match result.end {
            CallEnd::Returned { response, writes } => {
                let effects = Effects {
                    trigger: Arc::clone(&self.id),
                    invocation: occasion.invocation,
                    default_time: occasion.default_time,
                    writes,
                };
                match effects::commit(&self.host, effects, &self.log, &self.cancel).await {
                    Ok(()) => Ok(response),
                    Err(error) => Err(Failure {
                        kind: FailureKind::Unspecified.into(),
                        message: format!("its writes could not be committed: {error}"),
                        ..Failure::default()
                    }),
                }
            }
            CallEnd::Failed(failure) => Err(failure),
        };
        self.log.flush_dropped(invocation);
        match &outcome {
            Ok(_) => {
                *self.trouble.lock() = None;
                self.log.runner(
                    Level::Info,
                    invocation,
                    format!("finished execution in {}", humantime::format_duration(result.elapsed)),
                );
            }
            Err(failure) => self.report(failure, occasion),
        }
        Invoked { outcome, elapsed: result.elapsed }
    }

    fn report(&self, failure: &Failure, occasion: &Occasion) {
        let state = match failure.kind() {
            // The host did not take its writes.
            FailureKind::Unspecified => Some(TriggerState::Failed),
            FailureKind::Load | FailureKind::Environment | FailureKind::Start => Some(TriggerState::Failed),
            FailureKind::Signal | FailureKind::Exit | FailureKind::Protocol
                if self.pool.faults().is_some_and(|(count, _)| count > 1) =>
            {
                Some(TriggerState::Backoff)
            }
            _ => None,
        };
        *self.trouble.lock() = state.map(|state| Trouble { state, reason: failure.message.clone() });
        let text = match self.definition.spec.kind() {
            TriggerKind::Request => format!("error running request plugin: {}", request_error(failure)),
            kind => format!("error executing {} plugin: {}", kind.word(), failure.message),
        };
        self.log.runner(Level::Error, Some(occasion.invocation), text);
        if !failure.traceback.is_empty() {
            self.log.plugin(
                Level::Error,
                Source::Runner,
                Some(occasion.invocation),
                failure.traceback.trim_end().to_owned(),
            );
        }
    }

    /// Calls the plugin for an event, as often as its error behavior says.
    pub(super) async fn run(&self, occasion: Occasion) -> Next {
        let policy = self.definition.retry_policy();
        let mut attempt = 1;
        loop {
            let failure = match self.invoke(&occasion, None, self.cancel.clone()).await.outcome {
                Ok(_) => return Next::Continue,
                Err(failure) => failure,
            };
            if self.cancel.is_cancelled() {
                return Next::Stopped;
            }
            match after_failure(&policy, attempt, fastrand::f64()) {
                AfterFailure::Skip if attempt > 1 => {
                    self.log.runner(
                        Level::Error,
                        Some(occasion.invocation),
                        format!("gave up after {attempt} attempts"),
                    );
                    return Next::Continue;
                }
                AfterFailure::Skip => return Next::Continue,
                AfterFailure::Disable => {
                    self.disable(&failure.message).await;
                    return Next::Disabled;
                }
                AfterFailure::RetryAfter(wait) => {
                    attempt += 1;
                    let wait_text = humantime::format_duration(Duration::from_millis(
                        u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                    ));
                    let text = format!("attempt {attempt} of {} in {wait_text}", policy.attempts_max);
                    self.log.runner(Level::Warn, Some(occasion.invocation), text);
                    tokio::select! {
                        () = sleep(wait) => {}
                        () = self.stop.cancelled() => return Next::Stopped,
                    }
                }
            }
        }
    }

    /// Disables the trigger for good: also after a restart.
    async fn disable(&self, reason: &str) {
        let reason = format!("disabled by its error behavior: {reason}");
        let changed: Result<(), crate::catalog::CatalogError> = self
            .catalog
            .change(|triggers| {
                if let Some(definition) = triggers.get_mut(&self.id) {
                    definition.disabled = true;
                    definition.disabled_reason = Some(reason.clone());
                }
                Ok(())
            })
            .await;
        *self.trouble.lock() = Some(Trouble { state: TriggerState::Disabled, reason: reason.clone() });
        self.log.runner(Level::Warn, None, reason);
        if let Err(error) = changed {
            self.log.runner(
                Level::Error,
                None,
                format!("the trigger is stopped, but that could not be stored: {error}"),
            );
        }
    }

    /// Ends the trigger: no new event, and those that run are cancelled.
    pub(super) fn end(&self) {
        self.stop.cancel();
        self.cancel.cancel();
        self.pool.retire_idle();
    }
}

/// The text that the caller of a request plugin gets. What the plugin raised carries InfluxDB 3's prefix.
pub(super) fn request_error(failure: &Failure) -> String {
    match failure.kind() {
        FailureKind::Exception => {
            format!("Python function call failed: {}", failure.message)
        }
        _ => failure.message.clone(),
    }
}

fn starting(event: &CallEvent) -> String {
    match event {
        CallEvent::Wal { .. } => "starting execution of wal plugin.".to_owned(),
        CallEvent::Request(_) => "starting execution of request plugin.".to_owned(),
        CallEvent::Tick(time) => format!("starting execution with scheduled time {time}"),
    }
}
