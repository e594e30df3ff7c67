//! One trigger that runs: its pool, and what surrounds each of its invocations.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_proto::types::v1::{Failure, FailureKind, HttpRequest, HttpResponse};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::effects::{self, Effects, Patience};
use super::hint::{Granted, Packages, hint, hint_of_complaint, hint_of_variable};
use super::letters::DeadLetters;
use super::positions::Cursor;
use super::status::TriggerState;
use crate::cache::{CacheChange, TriggerCache};
use crate::catalog::Catalog;
use crate::clock::{SharedClock, nanos};
use crate::environment::OwnRequirements;
use crate::failure;
use crate::host::{FeedTable, Host, HostError, WalFeed};
use crate::invocations::{InvocationRow, Invocations, failure_of};
use crate::journal::{Letter, Record};
use crate::logs::{Complaints, Level, LogWriter, Source};
use crate::metrics::Metrics;
use crate::supervisor::{BodySink, Call, CallEnd, CallEvent, Pool};
use crate::trigger::{AfterFailure, Cause, TriggerDefinition, TriggerId, TriggerKind, after_failure};

/// A trigger that runs.
pub(super) struct TriggerRunner {
    pub(super) id: Arc<TriggerId>,
    pub(super) definition: TriggerDefinition,
    /// The directory that relative paths of its permissions are below.
    pub(super) plugin_dir: Option<PathBuf>,
    pub(super) pool: Pool,
    pub(super) workers_max: usize,
    /// What its settings ask for.
    pub(super) requirements: Arc<OwnRequirements>,
    pub(super) log: LogWriter,
    pub(super) cache: Arc<TriggerCache>,
    pub(super) host: Arc<dyn Host>,
    pub(super) feed: Arc<dyn WalFeed>,
    /// How far it has come.
    pub(super) cursor: Arc<Cursor>,
    /// What it gave up.
    pub(super) letters: Arc<DeadLetters>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) clock: SharedClock,
    pub(super) default_timeout: Duration,
    /// Longest wait of a request for its turn.
    pub(super) queue_timeout: Duration,
    /// No new event is begun.
    pub(super) stop: CancellationToken,
    /// Invocations that run are cancelled.
    pub(super) cancel: CancellationToken,
    /// Places for requests, waiting ones included.
    pub(super) requests: Arc<Semaphore>,
    pub(super) trouble: Mutex<Option<Trouble>>,
    /// The last hint about what it was not granted, of a call that went on.
    pub(super) told: Mutex<Option<String>>,
    /// Where each attempt is recorded.
    pub(super) invocations: Arc<Invocations>,
    pub(super) metrics: Arc<Metrics>,
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
    pub(super) settles: Settles,
}

/// What is done with when an invocation has succeeded, which is committed with its effects.
#[derive(Clone)]
pub(super) enum Settles {
    /// Nothing: somebody waits for the response.
    Request,
    /// An event, by its number, by which the trigger's position is counted.
    Event(u64),
    /// A part of a batch that is being cut; the key of its record.
    Part(Arc<str>),
    /// A dead letter, by its id.
    Letter(Arc<str>),
}

/// How an invocation ended.
pub(super) struct Invoked {
    pub(super) outcome: Result<Option<HttpResponse>, Failure>,
    /// Time that the call took.
    pub(super) elapsed: Duration,
    /// Whether it was recorded, together with its effects, that the event is done.
    pub(super) is_recorded: bool,
}

/// What to do after an event of a fed trigger.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Continue,
    Disabled,
    Stopped,
}

impl TriggerRunner {
    /// The occasion of a request.
    pub(super) fn request(&self, request: Arc<HttpRequest>) -> Occasion {
        let (invocation, event) = (Uuid::now_v7(), CallEvent::Request(request));
        Occasion { invocation, event, default_time: self.clock.now(), settles: Settles::Request }
    }

    /// The occasion of a tick. Lines without a time get that of the tick, so that a repeated call writes the same points.
    pub(super) fn tick(&self, time: DateTime<Utc>) -> Occasion {
        // Numbers are times, and only grow.
        let number = self.cursor.number(u64::try_from(nanos(time)).unwrap_or_default());
        self.occasion(CallEvent::Tick(time), time, number)
    }

    /// By how much later than their times the ticks of this trigger run.
    pub(super) fn tick_delay(&self) -> TimeDelta {
        let most = self.definition.delivery.tick_jitter.map_or(Duration::ZERO, |jitter| jitter.0);
        let share = self.invocation_id(&[], DateTime::UNIX_EPOCH).as_u64_pair().1 % 1_000_003;
        let delay = most.mul_f64(share as f64 / 1_000_003.0);
        TimeDelta::from_std(delay).unwrap_or_default()
    }

    /// The occasion of an event of the feed.
    pub(super) fn rows(&self, event: CallEvent, recorded_at: DateTime<Utc>, sequence: u64) -> Occasion {
        self.occasion(event, recorded_at, sequence)
    }

    /// The occasion of the events from `first` to `last` of the feed, given together.
    pub(super) fn together(&self, event: CallEvent, recorded_at: DateTime<Utc>, (first, last): (u64, u64)) -> Occasion {
        let invocation = self.invocation_id(&[first, last], recorded_at);
        Occasion { invocation, event, default_time: recorded_at, settles: Settles::Event(last) }
    }

    fn occasion(&self, event: CallEvent, default_time: DateTime<Utc>, number: u64) -> Occasion {
        let invocation = self.invocation_id(&[number], default_time);
        Occasion { invocation, event, default_time, settles: Settles::Event(number) }
    }

    /// The occasion of some rows of a batch. `key` is where it is recorded that they are done.
    pub(super) fn part(
        &self,
        whole: &Occasion,
        number: u64,
        part: &Range<usize>,
        tables: Vec<FeedTable>,
        key: String,
    ) -> Occasion {
        let numbers = [number, part.start as u64, part.end as u64];
        let event = match &whole.event {
            CallEvent::Wal { database, sequence, .. } => {
                CallEvent::Wal { database: database.clone(), sequence: *sequence, tables }
            }
            other => other.clone(),
        };
        Occasion {
            invocation: self.invocation_id(&numbers, whole.default_time),
            event,
            default_time: whole.default_time,
            settles: Settles::Part(key.into()),
        }
    }

    /// The id of the invocation for an event: the same for every attempt, also after a restart, and another one for every other
    /// event. It is a UUID of version 7 whose time is the event's and whose chance is decided by whose event it is.
    fn invocation_id(&self, numbers: &[u64], time: DateTime<Utc>) -> Uuid {
        let mut hasher = Sha256::new();
        for name in [&self.id.database, &self.id.name] {
            hasher.update((name.len() as u64).to_le_bytes());
            hasher.update(name);
        }
        hasher.update(self.cursor.origin.to_le_bytes());
        numbers.iter().for_each(|number| hasher.update(number.to_le_bytes()));
        let mut chance = [0; 10];
        chance.copy_from_slice(&hasher.finalize()[..10]);
        let millis = u64::try_from(time.timestamp_millis()).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &chance).into_uuid()
    }

    /// Calls the plugin once, commits what it wrote, and logs both. `caller` is the one who waits for a response.
    pub(super) async fn invoke(
        &self,
        occasion: &Occasion,
        caller: Option<BodySink>,
        cancel: CancellationToken,
    ) -> Invoked {
        let invocation = Some(occasion.invocation);
        let asked_at = self.clock.now();
        self.log.runner(Level::Info, invocation, starting(&occasion.event));
        let call = Call {
            invocation: occasion.invocation,
            event: occasion.event.clone(),
            timeout: self.definition.timeout(self.default_timeout),
            cancel,
            patient: caller.is_none(),
            queue_timeout: caller.is_some().then_some(self.queue_timeout),
            body: caller,
        };
        let result = self.pool.run(call).await;
        let mut is_recorded = false;
        let returned = Instant::now();
        let outcome = match result.end {
            CallEnd::Returned { response, writes, cache } => {
                let has_effects = !writes.is_empty() || !cache.is_empty();
                is_recorded = matches!(occasion.settles, Settles::Event(_)) && has_effects;
                match self.commit(occasion, writes, cache).await {
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
        let commit = returned.elapsed();
        let log = self.log.of_worker(result.worker);
        log.flush_dropped(invocation);
        let failure = outcome.as_ref().err().map(failure_of);
        let (rows, bytes) = occasion.event.size();
        let row = InvocationRow {
            time: asked_at,
            invocation: occasion.invocation,
            trigger: Arc::clone(&self.id),
            kind: self.definition.spec.kind(),
            worker: result.worker,
            failure,
            queue: result.costs.queue,
            start: result.costs.start,
            elapsed: result.elapsed,
            commit,
            usage: result.costs.usage,
            rows,
            bytes,
        };
        self.metrics.invocation(&row);
        self.invocations.push(row);
        match &outcome {
            Ok(_) => {
                *self.trouble.lock() = None;
                log.runner(Level::Info, invocation, finished(result.elapsed));
                self.look_into_complaints(invocation);
            }
            Err(failure) => self.report(failure, occasion, &log),
        }
        Invoked { outcome, elapsed: result.elapsed, is_recorded }
    }

    /// Commits what a call wrote and changed in its cache, and that its event is done.
    async fn commit(
        &self,
        occasion: &Occasion,
        writes: Vec<(String, Bytes)>,
        changes: Vec<CacheChange>,
    ) -> Result<(), HostError> {
        let invocation = Some(occasion.invocation);
        if matches!(occasion.settles, Settles::Request) && writes.is_empty() {
            // There is nothing that must not be without it, and the caller does not wait for a disk.
            self.cache.keep(invocation, changes);
            return Ok(());
        }
        let has_effects = !writes.is_empty() || !changes.is_empty();
        let mut cached = self.cache.prepare(invocation, changes);
        let mut records = cached.take_records();
        let waiting =
            |error: &HostError| self.trouble(TriggerState::Failed, format!("its writes wait for the host: {error}"));
        let until_stopped = Patience::UntilStopped { stop: &self.stop, waiting: &waiting };
        let patience = match &occasion.settles {
            Settles::Request => Patience::Bounded,
            Settles::Event(number) => {
                // Without effects there is nothing that must not be without the other.
                if has_effects {
                    records.push(self.cursor.record(*number));
                }
                until_stopped
            }
            Settles::Part(key) => {
                records.push(Record::set(key.to_string(), Bytes::new()));
                until_stopped
            }
            Settles::Letter(id) => {
                records.extend(Letter::removal(id));
                Patience::Bounded
            }
        };
        let effects = Effects {
            trigger: Arc::clone(&self.id),
            invocation: occasion.invocation,
            default_time: occasion.default_time,
            writes,
            records,
        };
        effects::commit(&self.host, effects, &self.log, patience, &self.cancel).await?;
        cached.committed();
        Ok(())
    }

    fn report(&self, failure: &Failure, occasion: &Occasion, log: &LogWriter) {
        let state = match failure.kind() {
            // The host did not take its writes.
            FailureKind::Unspecified => Some(TriggerState::Failed),
            FailureKind::Load | FailureKind::Environment | FailureKind::Start => Some(TriggerState::Failed),
            FailureKind::Signal | FailureKind::Exit | FailureKind::Memory | FailureKind::Protocol
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
        log.runner(Level::Error, Some(occasion.invocation), text);
        if !failure.traceback.is_empty() {
            log.plugin(
                Level::Error,
                Source::Runner,
                Some(occasion.invocation),
                failure.traceback.trim_end().to_owned(),
            );
        }
        let invocation = Some(occasion.invocation);
        let hint = self.granted(|granted| hint(failure, granted));
        if let Some(hint) = &hint {
            self.log.runner(Level::Warn, invocation, hint.clone());
        }
        // What else the plugin complained of on the way to its failure needs no second line.
        let variables = self.log.take_complaints().variables;
        self.tell_of_variables(invocation, &variables, hint.as_deref());
    }

    fn granted<T>(&self, look: impl FnOnce(Granted<'_>) -> T) -> T {
        let plugin = self.plugin_dir.as_ref().map(|directory| directory.join(&*self.definition.plugin.filename()));
        let (environment, own) = (self.pool.environment_id(), self.requirements.get());
        let packages = Packages { trigger: &self.id, environment: environment.as_deref(), own: own.packages() };
        look(Granted {
            permissions: &self.definition.permissions,
            plugin_dir: self.plugin_dir.as_deref(),
            plugin: plugin.as_deref(),
            packages: Some(packages),
        })
    }

    /// Tells the author of a plugin that goes on what it was not granted; once, not at every call.
    fn look_into_complaints(&self, invocation: Option<Uuid>) {
        let Complaints { lines, variables } = self.log.take_complaints();
        self.tell_of_variables(invocation, &variables, None);
        if lines.is_empty() {
            return;
        }
        let look = |granted: Granted<'_>| lines.iter().find_map(|text| hint_of_complaint(text, granted));
        let Some(hint) = self.granted(look) else { return };
        let mut told = self.told.lock();
        if told.as_ref() != Some(&hint) {
            self.log.runner(Level::Warn, invocation, hint.clone());
            *told = Some(hint);
        }
    }

    /// Tells the author which variables were looked for in vain, unless that is what the call failed for.
    fn tell_of_variables(&self, invocation: Option<Uuid>, names: &[String], already: Option<&str>) {
        for name in names {
            let hint = self.granted(|granted| hint_of_variable(name, granted));
            if let Some(hint) = hint.filter(|hint| already != Some(hint)) {
                self.log.runner(Level::Info, invocation, hint);
            }
        }
    }

    /// Calls the plugin for an event, as often as its error behavior says.
    pub(super) async fn run(&self, occasion: Occasion) -> Next {
        let policy = self.definition.retry_policy();
        let mut attempt = 1;
        loop {
            let invoked = self.invoke(&occasion, None, self.cancel.clone()).await;
            let failure = match invoked.outcome {
                Ok(_) => {
                    self.done(&occasion, invoked.is_recorded);
                    return Next::Continue;
                }
                Err(failure) => failure,
            };
            // Its effects wait for the host, or it was cut off: whoever reads on begins with it.
            if self.cancel.is_cancelled() || (self.stop.is_cancelled() && failure.kind() == FailureKind::Unspecified) {
                return Next::Stopped;
            }
            let cause = Cause { kind: failure::word(failure.kind()), exception: failure::exception(&failure) };
            match after_failure(&policy, attempt, cause, fastrand::f64()) {
                AfterFailure::GiveUp => {
                    if attempt > 1 {
                        let text = format!("gave up after {attempt} attempts");
                        self.log.runner(Level::Error, Some(occasion.invocation), text);
                    }
                    return self.give_up(occasion, attempt, failure).await;
                }
                AfterFailure::Disable => {
                    let reason = failure.message.clone();
                    if self.give_up(occasion, attempt, failure).await == Next::Stopped {
                        return Next::Stopped;
                    }
                    self.disable(&reason).await;
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

    fn done(&self, occasion: &Occasion, is_recorded: bool) {
        if let Settles::Event(number) = occasion.settles {
            self.cursor.finish(number, is_recorded);
        }
    }

    /// Has the environment built before there is anything to do, unless the trigger ends.
    pub(super) async fn prepare(&self) {
        tokio::select! {
            () = self.pool.prepare() => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Shows what is wrong.
    pub(super) fn trouble(&self, state: TriggerState, reason: String) {
        *self.trouble.lock() = Some(Trouble { state, reason });
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

pub(super) fn finished(elapsed: Duration) -> String {
    format!("finished execution in {}", humantime::format_duration(elapsed))
}

pub(super) fn starting(event: &CallEvent) -> String {
    match event {
        CallEvent::Wal { .. } => "starting execution of wal plugin.".to_owned(),
        CallEvent::Request(_) => "starting execution of request plugin.".to_owned(),
        CallEvent::Tick(time) => format!("starting execution with scheduled time {time}"),
    }
}
