//! The registered triggers: making, changing, running and ending them.

mod assembly;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bulkhead_proto::types::v1::HttpRequest;
use bulkhead_proto::worker::v1::EntryPoint;
use parking_lot::RwLock;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(super) use self::assembly::entry_point;
use self::assembly::owner;
use super::beginnings::{self, Recorded};
use super::cache_saver;
use super::dry_run::{self, DryRun, DryRunReport};
use super::environments::own_requirements;
use super::error::EngineError;
use super::letters::DeadLetters;
use super::positions::{Beginning, Positions};
use super::requests::{self, RequestEnd};
use super::retention;
use super::runner::TriggerRunner;
use super::running::{END_MARGIN, Running};
use super::status::{TriggerInfo, TriggerState};
use crate::cache::Cache;
use crate::catalog::Catalog;
use crate::clock::SharedClock;
use crate::failure;
use crate::host::{Host, ReaderId, Retention};
use crate::invocations::Invocations;
use crate::journal::StoreError;
use crate::limits;
use crate::logs::LogStore;
use crate::metrics::Metrics;
use crate::plugin_files::PluginFiles;
use crate::supervisor::{EnvironmentState, Supervisor, WorkerRegistry, check_ceiling, hosts_cannot_be_granted};
use crate::trigger::{PluginLocation, TriggerDefinition, TriggerId, TriggerKind};

/// What an engine is made of.
pub struct EngineParts {
    /// The registered triggers.
    pub catalog: Arc<Catalog>,
    /// The server that owns the data.
    pub host: Arc<dyn Host>,
    /// Runs the workers.
    pub supervisor: Supervisor,
    /// What plugins say.
    pub logs: Arc<LogStore>,
    /// The last invocations.
    pub invocations: Arc<Invocations>,
    /// What is counted for operators.
    pub metrics: Arc<Metrics>,
    /// Files and directories whose size is that of the journal.
    pub journal_paths: Vec<PathBuf>,
    /// What plugins keep between their calls.
    pub cache: Arc<Cache>,
    /// Where plugins lie.
    pub files: PluginFiles,
    /// The time.
    pub clock: SharedClock,
    /// Settings of the operator.
    pub settings: EngineSettings,
}

/// What is looked at before a trigger is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PluginCheck {
    /// That its plugin is there.
    Exists,
    /// Also that its code parses and has the entry point; nothing of it runs.
    Load,
}

impl PluginCheck {
    /// What a client wants who may say that the code is not to be looked at.
    #[must_use]
    pub fn unless(no_check: bool) -> Self {
        if no_check { Self::Exists } else { Self::Load }
    }
}

/// Settings of the operator for all triggers.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// Longest run of one invocation of a trigger that has no timeout of its own.
    pub invocation_timeout: Duration,
    /// Longest wait of a request for its turn.
    pub request_queue_timeout: Duration,
    /// Workers of one asynchronous trigger.
    pub async_workers_max: usize,
    /// Time for running invocations to end when the runner stops.
    pub shutdown_timeout: Duration,
    /// Kinds of triggers that may be created; all when it is empty.
    pub allowed_kinds: Vec<TriggerKind>,
    /// How much is kept for triggers that are behind; everything when it is absent.
    pub retention: Option<Retention>,
}

impl EngineSettings {
    fn check_allowed(&self, kind: TriggerKind) -> Result<(), EngineError> {
        if self.allowed_kinds.is_empty() || self.allowed_kinds.contains(&kind) {
            Ok(())
        } else {
            Err(EngineError::Restricted(kind))
        }
    }
}

/// The registered triggers and the tasks that run them.
pub struct Engine {
    pub(super) parts: EngineParts,
    /// Held while the set of running triggers changes, so that changes come one after another.
    changing: tokio::sync::Mutex<()>,
    pub(super) running: RwLock<BTreeMap<TriggerId, Running>>,
    /// Request triggers that run, by path.
    routes: RwLock<HashMap<String, Vec<Arc<TriggerRunner>>>>,
    pub(super) positions: Arc<Positions>,
    letters: Arc<DeadLetters>,
    /// Feeds that take in nothing because a trigger is too far behind.
    pub(super) paused: AtomicU64,
    /// Places for requests of all triggers.
    requests: Arc<Semaphore>,
    /// Ends the recording of positions.
    closing: CancellationToken,
    stopping: AtomicBool,
    /// Places for dry runs.
    dry_runs: Semaphore,
    /// What plugins cached in dry runs.
    test_caches: Arc<Cache>,
    /// Places for looks at plugins before their triggers are created.
    checks: Semaphore,
}

impl Engine {
    /// Starts all enabled triggers of the catalog where they were. One that cannot run is marked with the reason and stops nothing
    /// else.
    ///
    /// # Errors
    /// When the journal cannot be read, which says where they were.
    pub async fn start(parts: EngineParts) -> Result<Arc<Self>, StoreError> {
        let ledger = Arc::clone(parts.host.ledger());
        let mut recorded = Recorded::read(&ledger)?;
        let engine = Arc::new(Self {
            changing: tokio::sync::Mutex::default(),
            running: RwLock::default(),
            routes: RwLock::default(),
            positions: Arc::new(Positions::new(Arc::clone(&parts.host))),
            requests: Arc::new(Semaphore::new(limits::REQUESTS_MAX)),
            letters: Arc::new(DeadLetters::open(Arc::clone(&parts.host))?),
            paused: AtomicU64::new(0),
            closing: CancellationToken::new(),
            stopping: AtomicBool::new(false),
            dry_runs: Semaphore::new(limits::DRY_RUNS_MAX),
            test_caches: Arc::new(Cache::of_tests(Arc::clone(&parts.clock))),
            checks: Semaphore::new(limits::PLUGIN_CHECKS_MAX),
            parts,
        });
        let mut records = Vec::new();
        let mut starting = Vec::new();
        for definition in engine.parts.catalog.list() {
            if definition.disabled {
                continue;
            }
            engine.keep_fetched(&definition);
            let beginning = recorded.take(engine.parts.host.as_ref(), &definition).unwrap_or_else(|| {
                let (beginning, mut marks) =
                    beginnings::at_present(engine.parts.host.as_ref(), &engine.parts.clock, &definition);
                records.append(&mut marks);
                beginning
            });
            starting.push((definition, beginning));
        }
        records.extend(recorded.orphans());
        let owners = starting.iter().map(|(definition, beginning)| owner(&definition.id, beginning));
        records.extend(engine.parts.cache.load(&ledger, owners)?);
        if let Err(error) = beginnings::commit(&engine.parts.host, records).await {
            tracing::warn!("what begins at this start could not be recorded: {error}");
        }
        engine.parts.host.readers_joined();
        for (definition, beginning) in starting {
            engine.start_trigger(definition, beginning);
        }
        let positions = Arc::clone(&engine.positions);
        engine.parts.supervisor.tracker.spawn(positions.run(engine.closing.clone()));
        let saver = cache_saver::run(Arc::clone(&engine.parts.cache), Arc::clone(&engine.parts.host));
        engine.parts.supervisor.tracker.spawn(engine.closing.clone().run_until_cancelled_owned(saver));
        if let Some(retention) = engine.parts.settings.retention {
            let looking = retention::run(Arc::clone(&engine), retention, engine.closing.clone());
            engine.parts.supervisor.tracker.spawn(looking);
        }
        Ok(engine)
    }

    /// Fetches a plugin of the repository of which no copy is kept here, as when another node made the trigger. Until it
    /// is there the trigger's starts fail with that reason.
    fn keep_fetched(&self, definition: &TriggerDefinition) {
        let is_missing = matches!(definition.plugin, PluginLocation::Repository(_))
            && self.parts.files.resolve(&definition.plugin).is_err();
        if is_missing {
            let (files, plugin) = (self.parts.files.clone(), definition.plugin.clone());
            self.parts.supervisor.tracker.spawn(async move {
                if let Err(error) = files.fetch(&plugin).await {
                    tracing::warn!("{}: {error}", plugin.filename());
                }
            });
        }
    }

    /// Calls a plugin without keeping anything of it.
    ///
    /// # Errors
    /// When the plugin is not there, or too many dry runs are under way.
    pub async fn dry_run(&self, dry_run: DryRun) -> Result<DryRunReport, EngineError> {
        if self.stopping.load(Ordering::SeqCst) {
            return Err(EngineError::Stopping);
        }
        let Ok(_place) = self.dry_runs.try_acquire() else { return Err(EngineError::TooManyDryRuns) };
        dry_run::run(&self.parts, &self.test_caches, dry_run).await
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Arc<dyn Host> {
        &self.parts.host
    }

    /// The batches that triggers gave up.
    #[must_use]
    pub fn letters(&self) -> &DeadLetters {
        &self.letters
    }

    /// A trigger that runs.
    pub(super) fn runner_of(&self, id: &TriggerId) -> Option<Arc<TriggerRunner>> {
        self.running.read().get(id).map(|running| Arc::clone(&running.runner))
    }

    /// Where plugins lie.
    #[must_use]
    pub fn files(&self) -> &PluginFiles {
        &self.parts.files
    }

    /// What is known of the workers.
    #[must_use]
    pub fn workers(&self) -> &WorkerRegistry {
        &self.parts.supervisor.registry
    }

    /// Registers a trigger and, unless it is disabled, starts it.
    ///
    /// # Errors
    /// When the trigger cannot be registered; nothing has changed then.
    pub async fn create(&self, mut definition: TriggerDefinition, check: PluginCheck) -> Result<(), EngineError> {
        definition.check_name()?;
        definition.permissions.check()?;
        check_ceiling(&self.parts.supervisor, &definition.permissions, self.parts.files.plugin_dir())?;
        if let Some(reason) = hosts_cannot_be_granted(&self.parts.supervisor, &definition.permissions) {
            return Err(EngineError::Settings(reason));
        }
        own_requirements(&definition.requirements)?;
        definition.delivery.check(&definition.spec, failure::is_word).map_err(EngineError::Settings)?;
        self.check_database(&definition.id)?;
        if self.parts.catalog.get(&definition.id).is_some() {
            return Err(EngineError::AlreadyExists);
        }
        self.parts.settings.check_allowed(definition.spec.kind())?;
        self.parts.files.fetch(&definition.plugin).await?;
        let plugin = self.parts.files.resolve(&definition.plugin)?;
        if check == PluginCheck::Load {
            self.check_plugin(plugin, entry_point(definition.spec.kind())).await?;
        }
        let _changing = self.change_lock().await?;
        self.check_database(&definition.id)?;
        if self.parts.catalog.get(&definition.id).is_some() {
            return Err(EngineError::AlreadyExists);
        }
        let beginning = self.begin(&definition).await?;
        let changed = self
            .parts
            .catalog
            .change(|triggers| {
                if triggers.contains_key(&definition.id) {
                    return Err(EngineError::AlreadyExists);
                }
                if triggers.len() >= limits::TRIGGERS_MAX {
                    return Err(EngineError::TooMany);
                }
                definition.shares_path = check_path(triggers, &definition)?;
                triggers.insert(definition.id.clone(), definition.clone());
                Ok(())
            })
            .await;
        if changed.is_err() || definition.disabled {
            self.leave(&definition, beginning.reader);
            return changed;
        }
        self.start_trigger(definition, beginning);
        Ok(())
    }

    /// Looks whether a plugin's code can be used.
    pub(super) async fn check_plugin(&self, plugin: PathBuf, entry_point: EntryPoint) -> Result<(), EngineError> {
        // Other changes do not wait for this; other checks do, because each is a process.
        let _place = self.checks.acquire().await;
        self.parts.supervisor.check(plugin, entry_point).await.map_err(EngineError::Unusable)
    }

    /// Forgets triggers that were removed, and their dead letters.
    async fn forget(&self, ids: &[TriggerId]) {
        let (letters, records) = self.letters.of(ids);
        if !letters.is_empty() {
            tracing::warn!("{} dead letters of removed triggers go with them", letters.len());
        }
        beginnings::forget(&self.parts.host, ids, records).await;
        letters.iter().for_each(|letter| self.letters.removed(letter));
    }

    /// Records that the trigger's first event is the next one.
    async fn begin(&self, definition: &TriggerDefinition) -> Result<Beginning, EngineError> {
        let (beginning, records) = beginnings::at_present(self.parts.host.as_ref(), &self.parts.clock, definition);
        match beginnings::commit(&self.parts.host, records).await {
            Ok(()) => Ok(beginning),
            Err(error) => {
                self.leave(definition, beginning.reader);
                Err(EngineError::Journal(error))
            }
        }
    }

    fn leave(&self, definition: &TriggerDefinition, reader: Option<ReaderId>) {
        if let Some(reader) = reader {
            self.parts.host.feed(&definition.id.database).leave(reader);
        }
    }

    /// Removes a trigger, also an enabled one when `force` is set. An invocation that still runs after `drain` is cancelled.
    ///
    /// # Errors
    /// When it is unknown, or enabled and not forced.
    pub async fn delete(&self, id: &TriggerId, force: bool, drain: Duration) -> Result<(), EngineError> {
        let changing = self.change_lock().await?;
        self.check_database(id)?;
        self.parts
            .catalog
            .change(|triggers| {
                let definition = triggers.get(id).ok_or_else(|| EngineError::NotFound(id.name.clone()))?;
                if !definition.disabled && !force {
                    return Err(EngineError::Running(id.name.clone()));
                }
                triggers.remove(id);
                Ok(())
            })
            .await?;
        let running = self.take(id);
        // Other changes do not wait until this trigger has ended.
        drop(changing);
        self.end(running, drain).await;
        self.forget(std::slice::from_ref(id)).await;
        Ok(())
    }

    /// Enables or disables a trigger; repeating it changes nothing, except that a trigger which ended by itself is started again.
    ///
    /// # Errors
    /// When it is unknown.
    pub async fn set_enabled(&self, id: &TriggerId, enabled: bool) -> Result<(), EngineError> {
        let changing = self.change_lock().await?;
        self.check_database(id)?;
        let known = self.parts.catalog.get(id).ok_or_else(|| EngineError::NotFound(id.name.clone()))?;
        let runs = self.running.read().get(id).is_some_and(|running| !running.has_ended());
        if enabled && !known.disabled && runs {
            return Ok(());
        }
        // What came while it was off is not for it.
        let beginning = if enabled { Some(self.begin(&known).await?) } else { None };
        let changed = self
            .parts
            .catalog
            .change(|triggers| {
                let definition = triggers.get_mut(id).ok_or_else(|| EngineError::NotFound(id.name.clone()))?;
                if definition.disabled == enabled {
                    definition.disabled = !enabled;
                    definition.disabled_reason = None;
                }
                Ok::<_, EngineError>(definition.clone())
            })
            .await;
        let definition = match changed {
            Ok(definition) => definition,
            Err(error) => {
                self.leave(&known, beginning.and_then(|beginning| beginning.reader));
                return Err(error);
            }
        };
        let before = self.take(id);
        if let Some(beginning) = beginning {
            self.start_trigger(definition, beginning);
        }
        drop(changing);
        self.end(before, Duration::ZERO).await;
        Ok(())
    }

    /// Removes all triggers of a database that is being deleted.
    ///
    /// # Errors
    /// When the catalog cannot be changed.
    pub async fn drop_database(&self, database: &str) -> Result<(), EngineError> {
        let changing = self.change_lock().await?;
        let ids = self
            .parts
            .catalog
            .change(|triggers| {
                let ids: Vec<TriggerId> = triggers.keys().filter(|id| id.database == database).cloned().collect();
                triggers.retain(|id, _| id.database != database);
                Ok::<_, EngineError>(ids)
            })
            .await?;
        let running: Vec<_> = ids.iter().map(|id| self.take(id)).collect();
        drop(changing);
        // All are told to end before any of them is waited for.
        running.iter().flatten().for_each(Running::cancel);
        for running in running {
            self.end(running, Duration::ZERO).await;
        }
        self.forget(&ids).await;
        Ok(())
    }

    /// All triggers with their states, by database and name.
    #[must_use]
    pub fn list(&self) -> Vec<TriggerInfo> {
        self.parts.catalog.list().into_iter().map(|definition| self.info(definition)).collect()
    }

    /// One trigger with its state.
    #[must_use]
    pub fn get(&self, id: &TriggerId) -> Option<TriggerInfo> {
        self.parts.catalog.get(id).map(|definition| self.info(definition))
    }

    /// Answers a request on a path below `/api/v3/engine/`. Where triggers of several databases have it, it is the first one's.
    pub async fn call_path(&self, path: &str, request: HttpRequest) -> RequestEnd {
        self.call(self.route(path, |runner| !runner.definition.shares_path), request).await
    }

    /// Answers a request on a path of a database's trigger.
    pub async fn call_path_in(&self, database: &str, path: &str, request: HttpRequest) -> RequestEnd {
        self.call(self.route(path, |runner| runner.id.database == database), request).await
    }

    fn route(&self, path: &str, is_meant: impl Fn(&TriggerRunner) -> bool) -> Option<Arc<TriggerRunner>> {
        let routes = self.routes.read();
        routes.get(path.trim_start_matches('/'))?.iter().find(|runner| is_meant(runner)).cloned()
    }

    /// Calls a request trigger by its name.
    pub async fn call_trigger(&self, id: &TriggerId, request: HttpRequest) -> RequestEnd {
        let runner = self.running.read().get(id).map(|running| Arc::clone(&running.runner));
        self.call(runner.filter(|runner| runner.definition.spec.kind() == TriggerKind::Request), request).await
    }

    async fn call(&self, runner: Option<Arc<TriggerRunner>>, request: HttpRequest) -> RequestEnd {
        match runner {
            Some(runner) => requests::call(runner, request, &self.requests, &self.parts.supervisor.tracker).await,
            None => RequestEnd::NotFound,
        }
    }

    /// Stops intake, lets running invocations end within the shutdown timeout, cancels the rest, and ends all workers.
    pub async fn shutdown(&self) {
        let _changing = self.changing.lock().await;
        self.stopping.store(true, Ordering::SeqCst);
        self.routes.write().clear();
        let running: Vec<Running> = std::mem::take(&mut *self.running.write()).into_values().collect();
        for trigger in &running {
            trigger.runner.stop.cancel();
            trigger.runner.pool.retire_idle();
        }
        let tracker = &self.parts.supervisor.tracker;
        self.closing.cancel();
        tracker.close();
        let drained = async {
            for trigger in &running {
                trigger.ended().await;
            }
        };
        if timeout(self.parts.settings.shutdown_timeout, drained).await.is_err() {
            tracing::warn!(
                "invocations still run after {:?}; they are cancelled",
                self.parts.settings.shutdown_timeout
            );
        }
        for trigger in &running {
            trigger.runner.end();
        }
        if let Err(error) = self.positions.flush(true).await {
            tracing::warn!(
                "positions of triggers could not be recorded; some calls without effects are made again: {error}"
            );
        }
        if let Err(error) = cache_saver::save(&self.parts.cache, &self.parts.host).await {
            tracing::warn!("the last changes of the cache could not be recorded: {error}");
        }
        drop(running);
        if timeout(limits::CANCEL_GRACE + END_MARGIN, tracker.wait()).await.is_err() {
            tracing::error!("{} worker tasks did not end", tracker.len());
        }
    }

    pub(super) async fn change_lock(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, EngineError> {
        let guard = self.changing.lock().await;
        if self.stopping.load(Ordering::SeqCst) {
            return Err(EngineError::Stopping);
        }
        Ok(guard)
    }

    pub(super) fn check_database(&self, id: &TriggerId) -> Result<(), EngineError> {
        if self.parts.host.database_exists(&id.database) {
            Ok(())
        } else {
            Err(EngineError::DatabaseNotFound(id.database.clone()))
        }
    }

    fn info(&self, definition: TriggerDefinition) -> TriggerInfo {
        if definition.disabled {
            let reason = definition.disabled_reason.clone();
            return TriggerInfo { definition, state: TriggerState::Disabled, reason };
        }
        let runner = self.runner_of(&definition.id);
        if let Some(breaker) = runner.as_ref().and_then(|runner| runner.pool.breaker()) {
            let (state, next) = match breaker.opens_in {
                Some(wait) => (TriggerState::Open, format!("the next attempt in {}", rounded(wait))),
                None => (TriggerState::HalfOpen, "the next attempt decides".to_owned()),
            };
            let reason = Some(format!("{} faults in a row, {next}: {}", breaker.faults, breaker.reason));
            return TriggerInfo { definition, state, reason };
        }
        let trouble = runner.as_ref().and_then(|runner| runner.trouble.lock().clone());
        let environment = runner.and_then(|runner| runner.pool.environment());
        let (state, reason) = match (environment, trouble) {
            (Some(EnvironmentState::Building(false)), _) => {
                (TriggerState::Building, Some("its environment is being built".to_owned()))
            }
            (_, Some(trouble)) => (trouble.state, Some(trouble.reason)),
            (Some(EnvironmentState::Unavailable(reason, false)), None) => (TriggerState::Failed, Some(reason)),
            (Some(EnvironmentState::Building(true)), None) => {
                let reason = "its new environment is being built, and calls run in the old one";
                (TriggerState::Active, Some(reason.to_owned()))
            }
            (Some(EnvironmentState::Unavailable(reason, true)), None) => {
                let reason = format!("its new environment cannot be had, and calls run in the old one: {reason}");
                (TriggerState::Active, Some(reason))
            }
            (None, None) => (TriggerState::Active, None),
        };
        TriggerInfo { definition, state, reason }
    }
}

/// A wait for people: whole milliseconds.
fn rounded(wait: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1)))
}

/// Whether a trigger of another database has the request path already.
fn check_path(
    triggers: &BTreeMap<TriggerId, TriggerDefinition>,
    definition: &TriggerDefinition,
) -> Result<bool, EngineError> {
    let Some(path) = definition.spec.request_path() else { return Ok(false) };
    let mut others = triggers.values().filter(|other| other.spec.request_path() == Some(path)).peekable();
    let is_shared = others.peek().is_some();
    match others.find(|other| other.id.database == definition.id.database) {
        Some(other) => Err(EngineError::PathTaken { path: path.to_owned(), by: other.id.name.clone() }),
        None => Ok(is_shared),
    }
}
