//! In which environment the workers of a trigger run, and when that becomes another one.
//!
//! What is asked for is looked at again when somebody says that it has changed, and at calls, once a second. The environment
//! that was had last serves until the next one is complete; one that cannot be had changes nothing. Lanes see by `wanted` that
//! there is another one, and begin to start workers in it (`succession.rs`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::end::WorkerEnd;
use super::pool::Shared;
use super::{Supervisor, WorkerSpec};
use crate::environment::inventory::Hold;
use crate::environment::{self, Environment, Requirements, requirement_files};
use crate::limits;
use crate::logs::Level;

/// Shortest time between two looks at the files that say what a plugin asks for: a call is not to pay for them.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// Time after which an environment that could not be had is tried again, although nothing has changed here: an index may be
/// reachable again.
const RETRY_PERIOD: Duration = Duration::from_secs(60);
/// Tries to take hold of an environment that somebody is removing at that moment, and the pause between them.
const HOLD_TRIES_MAX: usize = 100;
const HOLD_PAUSE: Duration = Duration::from_millis(20);

/// What a pool knows of its environment.
pub(super) struct Packages {
    state: Mutex<State>,
    /// Held by whoever finds out which environment it is.
    turn: tokio::sync::Mutex<()>,
    /// Counts how often that was found out.
    turns: AtomicU64,
    /// The environment that workers start in.
    wanted: watch::Sender<Option<Arc<Environment>>>,
    /// In which environment the next call of each lane runs.
    lanes: watch::Sender<BTreeMap<u64, String>>,
    lanes_made: AtomicU64,
    /// Ends what goes on by itself.
    closed: CancellationToken,
}

#[derive(Default)]
struct State {
    seen: Option<Seen>,
    looked_at: Option<Instant>,
    last: Option<Result<Arc<Environment>, WorkerEnd>>,
    failed_at: Option<Instant>,
    is_building: bool,
    /// What was told of that the plugin wants beside packages.
    warned: Vec<String>,
}

/// What decides which environment it is, as far as it can be seen without reading.
#[derive(PartialEq, Eq)]
struct Seen {
    generation: u64,
    files: Vec<Option<(SystemTime, u64)>>,
}

impl Seen {
    fn now(supervisor: &Supervisor, spec: &WorkerSpec) -> Self {
        let plugin = &spec.plugin_named;
        let code = if plugin.is_dir() { plugin.join("__init__.py") } else { plugin.clone() };
        let look = |path: &Path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        let files = std::iter::once(code).chain(requirement_files(plugin)).map(|path| look(&path)).collect();
        Self { generation: supervisor.environments.generation() + spec.requirements.changes(), files }
    }
}

/// What has changed since the environment was found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing that is known.
    Same,
    /// Something that is asked for beside the code.
    Changed,
    /// The plugin's code, which may ask for something itself.
    CodeChanged,
}

/// How it is with the environment of a trigger, when there is something to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvironmentState {
    /// It is being built; whether calls run in an older one meanwhile.
    Building(bool),
    /// It could not be had, and why; whether calls run in an older one.
    Unavailable(String, bool),
}

impl Default for Packages {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            turns: AtomicU64::new(0),
            wanted: watch::Sender::new(None),
            lanes: watch::Sender::default(),
            lanes_made: AtomicU64::new(0),
            closed: CancellationToken::new(),
        }
    }
}

/// The place of a lane among those that have to come to another environment.
pub(super) struct Seat {
    shared: Arc<Shared>,
    id: u64,
}

impl Seat {
    pub(super) fn new(shared: &Arc<Shared>, environment: &str) -> Self {
        let id = shared.packages.lanes_made.fetch_add(1, Ordering::Relaxed);
        let seat = Self { shared: Arc::clone(shared), id };
        seat.set(environment);
        seat
    }

    /// The next call runs in this one.
    pub(super) fn set(&self, environment: &str) {
        self.shared.packages.lanes.send_modify(|lanes| drop(lanes.insert(self.id, environment.to_owned())));
    }

    /// Waits until the next call runs in this one, or as near as it can come.
    async fn is_at(&self, environment: &str) {
        let mut lanes = self.shared.packages.lanes.subscribe();
        // It fails when the pool is gone, and then nobody waits.
        drop(lanes.wait_for(|lanes| lanes.get(&self.id).is_none_or(|at| at == environment)).await);
    }

    /// Waits until the lane has a worker in the environment that is wanted, if one can be started there.
    pub(super) async fn is_where_it_is_wanted(&self) {
        let wanted = self.shared.packages.wanted.borrow().clone();
        if let Some(wanted) = wanted {
            self.is_at(&wanted.id).await;
        }
    }

    /// Whether the lane is to have a worker in another environment and has none yet.
    pub(super) fn is_moving(&self) -> bool {
        let wanted = self.shared.packages.wanted.borrow().as_ref().map(|wanted| wanted.id.clone());
        wanted.is_some() && wanted != self.environment()
    }

    pub(super) fn environment(&self) -> Option<String> {
        self.shared.packages.lanes.borrow().get(&self.id).cloned()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.packages.lanes.send_modify(|lanes| drop(lanes.remove(&self.id)));
    }
}

impl Packages {
    /// Ends what goes on by itself.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }

    /// Ends what waits for an environment when there is nobody left to use it.
    pub(super) fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }

    /// The environment that workers start in, and its changes.
    pub(super) fn wanted(&self) -> watch::Receiver<Option<Arc<Environment>>> {
        self.wanted.subscribe()
    }

    /// Whether somebody is finding out which environment it is.
    pub(super) fn is_being_found(&self) -> bool {
        self.turn.try_lock().is_err()
    }

    /// Counts how often it was found out.
    pub(super) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Acquire)
    }

    /// How it is, when there is something to say.
    pub(super) fn state(&self) -> Option<EnvironmentState> {
        let has_older = self.wanted.borrow().is_some();
        let state = self.state.lock();
        if state.is_building {
            return Some(EnvironmentState::Building(has_older));
        }
        match &state.last {
            Some(Err(end)) => Some(EnvironmentState::Unavailable(end.to_string(), has_older)),
            _ => None,
        }
    }

    /// Says why workers cannot run in the environment that there is.
    pub(super) fn refuse(&self, end: WorkerEnd) {
        self.state.lock().last = Some(Err(end));
    }

    /// Whether it may be another one by now. Files are looked at once a second, unless it is known that one has changed.
    pub(super) fn look(&self, shared: &Shared, has_changed: bool) -> Look {
        let mut state = self.state.lock();
        let generation = shared.supervisor.environments.generation() + shared.spec.requirements.changes();
        let Some(seen) = &state.seen else { return Look::Changed };
        let now = Instant::now();
        if !has_changed && seen.generation == generation && state.looked_at.is_some_and(|at| now < at + LOOK_PERIOD) {
            return Look::Same;
        }
        let current = Seen::now(&shared.supervisor, &shared.spec);
        let look = if current.files.first() != seen.files.first() {
            Look::CodeChanged
        } else if current != *seen || state.failed_at.is_some_and(|at| now >= at + RETRY_PERIOD) {
            Look::Changed
        } else {
            Look::Same
        };
        state.looked_at = Some(now);
        look
    }

    /// Waits until the next call of every lane runs in the environment that is wanted, or time is up.
    async fn settled(&self, limit: Duration) {
        let Some(wanted) = self.wanted.borrow().as_ref().map(|environment| environment.id.clone()) else { return };
        let mut lanes = self.lanes.subscribe();
        let all = lanes.wait_for(|lanes| lanes.values().all(|environment| *environment == wanted));
        // Whoever is late is so for a reason that its own log tells.
        drop(timeout(limit, all).await);
    }
}

impl Shared {
    /// Finds out which environment it is, and builds it if need be. Several callers at a time share one try.
    pub(super) async fn find_environment(&self) -> Result<Arc<Environment>, WorkerEnd> {
        let packages = &self.packages;
        let before = packages.turns.load(Ordering::Acquire);
        let _turn = packages.turn.lock().await;
        if packages.turns.load(Ordering::Acquire) > before
            && let Some(last) = packages.state.lock().last.clone()
        {
            return last;
        }
        let seen = Seen::now(&self.supervisor, &self.spec);
        let found = self.look_for_environment().await;
        let mut state = packages.state.lock();
        (state.is_building, state.looked_at) = (false, Some(Instant::now()));
        (state.seen, state.last) = (Some(seen), Some(found.clone()));
        state.failed_at = found.is_err().then(Instant::now);
        drop(state);
        if let Ok(environment) = &found {
            self.environment_is_there();
            packages.wanted.send_if_modified(|wanted| {
                let is_other = wanted.as_ref().is_none_or(|wanted| wanted.id != environment.id);
                *wanted = Some(Arc::clone(environment));
                is_other
            });
        }
        packages.turns.fetch_add(1, Ordering::Release);
        found
    }

    async fn look_for_environment(&self) -> Result<Arc<Environment>, WorkerEnd> {
        let unusable = |error: &dyn std::fmt::Display| WorkerEnd::Environment(error.to_string());
        let requirements = self.asked()?;
        self.warn_of_prerequisites(&requirements).await;
        let environments = &self.supervisor.environments;
        let is_there = environments.find(&requirements).await.is_some();
        let _building = (!is_there).then(|| Building::new(self));
        environments.ensure(&requirements).await.map_err(|error| unusable(&error))
    }

    /// Tells the trigger's log what its plugin wants beside packages and has not, once.
    async fn warn_of_prerequisites(&self, requirements: &Requirements) {
        let (prerequisites, directory) = (requirements.prerequisites().clone(), self.spec.plugin_dir.clone());
        let look = move || prerequisites.warnings(directory.as_deref());
        let warnings = tokio::task::spawn_blocking(look).await.unwrap_or_default();
        let told = std::mem::replace(&mut self.packages.state.lock().warned, warnings.clone());
        for warning in warnings.into_iter().filter(|warning| !told.contains(warning)) {
            self.spec.log.runner(Level::Warn, None, warning);
        }
    }

    fn asked(&self) -> Result<Requirements, WorkerEnd> {
        let plugin = (self.spec.plugin)().map_err(WorkerEnd::Load)?;
        let found = environment::requirements_of(&plugin);
        Ok(found.map_err(|error| WorkerEnd::Environment(error.to_string()))?.and(&self.spec.requirements.get()))
    }

    /// Whether the environment that is asked for now is complete.
    pub(super) async fn is_environment_there(&self) -> bool {
        match self.asked() {
            Ok(requirements) => self.supervisor.environments.find(&requirements).await.is_some(),
            Err(_) => false,
        }
    }

    /// Begins to find out which environment it is, unless somebody does; the lanes see what comes of it.
    pub(super) fn find_environment_meanwhile(self: &Arc<Self>) {
        if self.packages.is_being_found() {
            return;
        }
        let (shared, closed) = (Arc::clone(self), self.packages.closed.clone());
        let finding = async move {
            let Err(end) = shared.find_environment().await else { return };
            if shared.packages.wanted.borrow().is_some() {
                let text = format!("its new environment cannot be had, and calls go on in the old one: {end}");
                shared.spec.log.runner(Level::Error, None, text);
            }
        };
        self.supervisor.tracker.spawn(closed.run_until_cancelled_owned(finding));
    }

    /// An environment to start a worker in, and a hold on it.
    pub(super) async fn ground(self: &Arc<Self>) -> Result<(Arc<Environment>, Hold), WorkerEnd> {
        for _ in 0..HOLD_TRIES_MAX {
            let environment = self.usable_environment().await?;
            let now = SystemTime::from(self.supervisor.clock.now());
            let hold = self.supervisor.environments.hold_of(&environment, now);
            match hold.map_err(|error| WorkerEnd::Environment(error.to_string()))? {
                Some(hold) => return Ok((environment, hold)),
                // Somebody has removed it; it is built again.
                None => drop(self.find_environment().await?),
            }
            sleep(HOLD_PAUSE).await;
        }
        Err(WorkerEnd::Environment("the environment is being removed again and again".to_owned()))
    }

    async fn usable_environment(self: &Arc<Self>) -> Result<Arc<Environment>, WorkerEnd> {
        let Some(current) = self.packages.wanted.borrow().clone() else { return self.find_environment().await };
        match self.packages.look(self, true) {
            Look::Same => Ok(current),
            Look::Changed if !self.is_environment_there().await => {
                self.find_environment_meanwhile();
                Ok(current)
            }
            // New code may need what is being built. One that cannot be had changes nothing.
            Look::Changed | Look::CodeChanged => Ok(self.find_environment().await.unwrap_or(current)),
        }
    }

    /// Brings the trigger to the environment that is asked for now: where that is complete it has come to it when this returns,
    /// and otherwise it is being built.
    pub(super) async fn renew_environment(self: &Arc<Self>) {
        if self.is_environment_there().await && self.find_environment().await.is_ok() {
            self.packages.settled(limits::WORKER_START_TIMEOUT + limits::PLUGIN_LOAD_TIMEOUT).await;
        } else {
            self.find_environment_meanwhile();
        }
    }
}

/// Says that an environment is being built, as long as it lives.
struct Building<'a>(&'a Shared);

impl<'a> Building<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.packages.state.lock().is_building = true;
        Self(shared)
    }
}

impl Drop for Building<'_> {
    fn drop(&mut self) {
        self.0.packages.state.lock().is_building = false;
    }
}
