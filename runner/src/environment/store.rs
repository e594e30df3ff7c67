//! The environments of a runner.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Mutex, OnceCell, Semaphore};
use tokio::time::{Instant, sleep};

use super::builder;
use super::digest::{environment_id, request_id};
use super::error::EnvironmentError;
use super::files::{blocking, remove, remove_leftovers, rename_durably, try_lock, write_whole};
use super::index::IndexSettings;
use super::installations::installations;
use super::installer::Installer;
use super::interpreter::{Interpreter, Interpreters, find_program};
use super::inventory::{self, Hold};
use super::job::Job;
use super::limits::{HOLD_TRIES_MAX, LOCK_PAUSE, PARALLEL_BUILDS_MAX};
use super::lock::Lock;
use super::marker::{self, Marker};
use super::progress::News;
use super::redactor::Redactor;
use super::requirements::Requirements;
use super::resolver;
use super::sources::Sources;
use super::steps::{self, Steps};
use super::tool_environment::without_credentials;
use super::workbench::Workbench;
use super::{Environment, PackageManager};

/// Directory of the lock files, below the store's root.
pub(super) const LOCKS: &str = "locks";

/// What follows an environment's name while it is built.
pub(super) const BEING_BUILT: &str = ".new";

/// The lock that an environment was made of, in the environment.
const LOCK_FILE: &str = "lock.txt";

/// Directory of the locks that resolvers made, below the store's root.
pub(super) const RESOLVED: &str = "resolved";

/// Gives environments, and builds those that are not there. Several stores, also of several runners, may
/// share a root.
#[derive(Debug)]
pub struct EnvironmentStore {
    root: PathBuf,
    package_manager: PackageManager,
    index: IndexSettings,
    workbench: Option<Arc<dyn Workbench>>,
    build_timeout: Duration,
    interpreters: Interpreters,
    search_path: OsString,
    slots: SyncMutex<HashMap<String, Arc<Slot>>>,
    builds: Semaphore,
    leftovers_removed: OnceCell<()>,
    /// Held by whoever changes the packages of the whole server.
    installing: Mutex<()>,
    /// Counts those changes.
    generation: AtomicU64,
}

/// One environment in the making. Who holds the lock builds; who waited for it looks at what came out.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) state: Mutex<SlotState>,
    /// What its build says.
    pub(super) news: News,
    /// Failures so far, readable without the lock.
    failures: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct SlotState {
    pub(super) ready: Option<Arc<Environment>>,
    last_failure: Option<EnvironmentError>,
}

impl EnvironmentStore {
    /// A store below `root`, which is made when it is needed. `python` is a path, a name on `PATH` or a
    /// version such as `3.12`; without it `python3` and then the newest on `PATH` is taken. `build_timeout`
    /// bounds all steps of one build together, and the wait for another runner's.
    #[must_use]
    pub fn new(
        root: PathBuf,
        python: Option<OsString>,
        package_manager: PackageManager,
        build_timeout: Duration,
    ) -> Self {
        let search_path = std::env::var_os("PATH").unwrap_or_default();
        Self {
            // Tools run in another directory and scripts hold the path, so it must not depend on ours.
            root: std::path::absolute(&root).unwrap_or(root),
            package_manager,
            index: IndexSettings::default(),
            workbench: None,
            build_timeout,
            interpreters: Interpreters::new(python, search_path.clone(), installations()),
            search_path,
            slots: SyncMutex::default(),
            builds: Semaphore::new(PARALLEL_BUILDS_MAX),
            leftovers_removed: OnceCell::new(),
            installing: Mutex::default(),
            generation: AtomicU64::new(0),
        }
    }

    /// With the operator's settings of where packages come from.
    #[must_use]
    pub fn with_index(mut self, index: IndexSettings) -> Self {
        self.index = index;
        self
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn package_manager(&self) -> PackageManager {
        self.package_manager
    }

    pub(super) fn interpreters(&self) -> &Interpreters {
        &self.interpreters
    }

    pub(super) fn index(&self) -> &IndexSettings {
        &self.index
    }

    pub(super) fn build_timeout(&self) -> Duration {
        self.build_timeout
    }

    pub(super) fn installing(&self) -> &Mutex<()> {
        &self.installing
    }

    pub(super) fn generation_counter(&self) -> &AtomicU64 {
        &self.generation
    }

    /// The environment for a plugin that asks for `requirements`: with them, and what every plugin has. Concurrent calls for
    /// the same one build it once, and share its failure; a call after a failure tries again. Dropping the future stops the
    /// build.
    ///
    /// # Errors
    /// No interpreter fits, packages are asked for and disabled, or the build failed, in its tool's words.
    pub async fn ensure(&self, requirements: &Requirements) -> Result<Arc<Environment>, EnvironmentError> {
        self.ensure_exactly(&self.with_server_wide(requirements)?).await
    }

    /// With what every plugin has. Where nothing is installed, what was installed before is no reason to start no plugin at all.
    pub(super) fn with_server_wide(&self, requirements: &Requirements) -> Result<Requirements, EnvironmentError> {
        let server_wide = if self.is_disabled() { Requirements::default() } else { self.server_wide()? };
        Ok(requirements.clone().over(&server_wide))
    }

    /// The environment as [`Self::ensure_exactly`] gives it, and a hold that keeps it from being removed.
    ///
    /// # Errors
    /// As there, or the file system fails.
    pub async fn hold(
        &self,
        requirements: &Requirements,
        now: SystemTime,
    ) -> Result<(Arc<Environment>, Hold), EnvironmentError> {
        for _ in 0..HOLD_TRIES_MAX {
            let environment = self.ensure_exactly(requirements).await?;
            match self.hold_of(&environment, now)? {
                Some(hold) => return Ok((environment, hold)),
                None => sleep(LOCK_PAUSE).await,
            }
        }
        let reason = "it is being removed again and again".to_owned();
        Err(EnvironmentError::Io { what: "hold", path: self.root.clone(), reason })
    }

    /// A hold that keeps an environment from being removed; none when it was, or is at this moment.
    ///
    /// # Errors
    /// The file system fails.
    pub fn hold_of(&self, environment: &Environment, now: SystemTime) -> Result<Option<Hold>, EnvironmentError> {
        let hold =
            Hold::take(&self.root, &environment.id, now).map_err(EnvironmentError::io("hold", &environment.path))?;
        // It may have been removed before the hold was there.
        Ok(hold.filter(|_| marker::is_complete(&environment.path)))
    }

    /// Removes the environments that nobody has used for `grace`.
    pub async fn collect(&self, grace: Duration, now: SystemTime) {
        remove_leftovers(self.root.clone()).await;
        let root = self.root.clone();
        match blocking(move || inventory::collect(&root, grace, now)).await {
            Ok(removed) => removed.iter().for_each(|one| {
                tracing::info!("removed environment {}, which was not used for {} s", one.id, one.unused_for_s);
            }),
            Err(error) => tracing::warn!("unused environments cannot be removed: {error}"),
        }
    }

    /// As [`Self::ensure`], without what every plugin has.
    ///
    /// # Errors
    /// As there.
    pub async fn ensure_exactly(&self, requirements: &Requirements) -> Result<Arc<Environment>, EnvironmentError> {
        self.admit(requirements)?;
        let interpreter = self.interpreters.find(requirements.requires_python()).await?;
        let id = request_id(&interpreter, requirements, &self.index.places());
        let slot = self.slot(&id);
        slot.news.passed_on(self.ensure_in(&slot, &id, &interpreter, requirements)).await
    }

    /// Whether these may be installed, as far as can be told before they are resolved.
    pub(super) fn admit(&self, requirements: &Requirements) -> Result<(), EnvironmentError> {
        if self.package_manager == PackageManager::Disabled && !requirements.is_empty() {
            let packages = requirements.packages().iter().filter(|line| !line.starts_with('-'));
            return Err(EnvironmentError::PackagesDisabled {
                packages: packages.map(|line| without_credentials(line)).collect(),
            });
        }
        self.index.check_requirements(requirements)
    }

    async fn ensure_in(
        &self,
        slot: &Slot,
        id: &str,
        interpreter: &Interpreter,
        requirements: &Requirements,
    ) -> Result<Arc<Environment>, EnvironmentError> {
        let failures = || slot.failures.load(Ordering::Acquire);
        let failures_before = failures();
        let mut state = slot.state.lock().await;
        if let Some(ready) = state.ready.take().filter(|ready| marker::is_complete(&ready.path)) {
            state.ready = Some(Arc::clone(&ready));
            return Ok(ready);
        }
        // Whoever built while this call waited has done so on behalf of it, too.
        if let Some(failure) = state.last_failure.as_ref().filter(|_| failures() > failures_before) {
            return Err(failure.clone());
        }
        // Builds are deep: in boxes, they take nothing of the stack of those who only might have to build.
        match Box::pin(self.provide(id, interpreter, requirements, &slot.news)).await {
            Ok(environment) => {
                let environment = Arc::new(environment);
                state.ready = Some(Arc::clone(&environment));
                state.last_failure = None;
                Ok(environment)
            }
            Err(error) => {
                state.last_failure = Some(error.clone());
                slot.failures.fetch_add(1, Ordering::Release);
                Err(error)
            }
        }
    }

    pub(super) fn slot(&self, id: &str) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        // Plugins that are edited until their requirements work would leave a slot for each attempt.
        slots.retain(|_, slot| {
            Arc::strong_count(slot) > 1 || slot.state.try_lock().is_ok_and(|state| state.ready.is_some())
        });
        Arc::clone(slots.entry(id.to_owned()).or_default())
    }

    /// Takes the environment from the disk, or makes its lock and builds it. `request` names the requirements.
    async fn provide(
        &self,
        request: &str,
        interpreter: &Interpreter,
        requirements: &Requirements,
        news: &News,
    ) -> Result<Environment, EnvironmentError> {
        self.leftovers_removed.get_or_init(|| remove_leftovers(self.root.clone())).await;
        let job = Job { request, interpreter, requirements, uv: self.uv()?, news };
        if requirements.is_empty() {
            return self.environment(&job, &Lock::default(), None).await;
        }
        let kept = self.kept_lock(request)?;
        if let Some(lock) = &kept {
            self.index.check_lock(lock)?;
        }
        if let Some(lock) = &kept {
            let environment = self.describe(interpreter, requirements, lock);
            if marker::is_complete(&environment.path) {
                return Ok(environment);
            }
        }
        let held = self.lock(request, Instant::now() + self.build_timeout).await?;
        let work = self.root.join(request);
        remove(&work).await?;
        tokio::fs::create_dir(&work).await.map_err(EnvironmentError::io("create", &work))?;
        let result = Box::pin(self.resolve_and_build(&job, kept, &work, &held)).await;
        // What stays behind of a failure to remove it is a leftover, which the next start removes.
        drop(remove(&work).await);
        result
    }

    /// With a sandbox for the code of packages that have to be built.
    #[must_use]
    pub fn with_workbench(mut self, workbench: Arc<dyn Workbench>) -> Self {
        self.workbench = Some(workbench);
        self
    }

    /// What builds packages that have no wheel, for one environment; `work` is the working directory.
    pub(super) fn sources<'a>(&self, job: &'a Job<'a>, work: &Path) -> Sources<'a> {
        Sources::new(job, self.workbench.clone(), work)
    }

    async fn resolve_and_build(
        &self,
        job: &Job<'_>,
        kept: Option<Lock>,
        work: &Path,
        held: &File,
    ) -> Result<Environment, EnvironmentError> {
        let mut sources = self.sources(job, work);
        if let Some(lock) = kept {
            match self.environment(job, &lock, Some(&mut sources)).await {
                // Somebody has to look into that: it is what hashes are for.
                Err(EnvironmentError::Tool { output, .. }) if steps::is_other_file(&output) => {
                    let reason = format!("a file is not the one that was locked:\n{output}\n");
                    return Err(EnvironmentError::Lock { path: self.lock_path(job.request), reason });
                }
                // What was locked may have gone from its index; then there is no choice but to look again.
                Err(EnvironmentError::Tool { what, output, .. }) => {
                    tracing::warn!("{what} from the kept lock failed; resolving requirements anew:\n{output}");
                }
                result => return result,
            }
        }
        let lock = self.resolve(job, &mut sources, held).await?;
        let environment = self.environment(job, &lock, Some(&mut sources)).await?;
        // Kept only when it was of use.
        let path = self.lock_path(job.request);
        let text = lock.to_text(&job.head());
        let failed = EnvironmentError::io("write", path.clone());
        blocking(move || write_whole(&path, &text)).await.map_err(failed)?;
        Ok(environment)
    }

    /// Makes a lock of what is asked for; it is one that may be installed.
    pub(super) async fn resolve(
        &self,
        job: &Job<'_>,
        sources: &mut Sources<'_>,
        held: &File,
    ) -> Result<Lock, EnvironmentError> {
        let lock = {
            let _permit = self.builds.acquire().await;
            let redactor = Redactor::new(&self.index, Some(job.requirements));
            let steps = self.steps(held, &redactor, job.news);
            job.say(&format!("resolving requirements {}", job.request));
            let installer = Installer::find(&steps, job.uv.as_ref(), job.interpreter, sources.work()).await?;
            sources.build_addresses(&steps, &installer, None).await?;
            loop {
                let lines = sources.lines_to_resolve();
                match resolver::resolve(&steps, &installer, job.interpreter, &lines, sources.work()).await {
                    Ok(lock) => break sources.in_lock(lock),
                    // Each turn builds another package, and their number has a limit.
                    Err(error) => sources.make_up_for(error, &steps, &installer, None).await?,
                }
            }
        };
        self.index.check_lock(&lock)?;
        Ok(lock)
    }

    /// The environment of a lock, built if it is not there, under the lock file that runners share.
    pub(super) async fn environment(
        &self,
        job: &Job<'_>,
        lock: &Lock,
        sources: Option<&mut Sources<'_>>,
    ) -> Result<Environment, EnvironmentError> {
        let environment = self.describe(job.interpreter, job.requirements, lock);
        let path = &environment.path;
        if marker::is_complete(path) {
            return Ok(environment);
        }
        let held = self.lock(&environment.id, Instant::now() + self.build_timeout).await?;
        let place = self.root.join(format!("{}{BEING_BUILT}", environment.id));
        // Another runner may have finished it while this one waited.
        if marker::is_complete(path) {
            return Ok(environment);
        }
        let _permit = self.builds.acquire().await;
        let begin = Instant::now();
        job.say(&format!("building environment {}", environment.id));
        remove(&place).await?;
        let result = self.build((&environment, &place), job, lock, sources, &held).await;
        match &result {
            Ok(()) => {
                let text = format!("environment {} is ready after {:.1?}", environment.id, begin.elapsed());
                tracing::info!("{text}");
                job.news.say(&text);
            }
            // What stays behind of a failure to remove it is a leftover, which the next start removes.
            Err(_) => drop(remove(&place).await),
        }
        result.map(|()| environment)
    }

    /// The environment of a lock, whether it is there or not.
    pub(super) fn describe(&self, interpreter: &Interpreter, requirements: &Requirements, lock: &Lock) -> Environment {
        let id = environment_id(interpreter, lock);
        let path = self.root.join(&id);
        Environment {
            id,
            python: marker::python(&path),
            path,
            python_version: interpreter.version.clone(),
            requirements: requirements.packages().iter().map(|line| without_credentials(line)).collect(),
            packages: lock.packages(),
        }
    }

    async fn build(
        &self,
        (environment, place): (&Environment, &Path),
        job: &Job<'_>,
        lock: &Lock,
        sources: Option<&mut Sources<'_>>,
        held: &File,
    ) -> Result<(), EnvironmentError> {
        // The time spent waiting for a permit is not the build's.
        let redactor = Redactor::new(&self.index, Some(job.requirements));
        let steps = self.steps(held, &redactor, job.news);
        builder::create(&steps, job.uv.as_deref(), job.interpreter, place).await?;
        if let Some(sources) = sources {
            let installer = Installer::find(&steps, job.uv.as_ref(), job.interpreter, sources.work()).await?;
            sources.build_addresses(&steps, &installer, Some(lock)).await?;
            loop {
                match builder::install(&steps, &installer, &sources.lines_to_install(lock), place).await {
                    Ok(()) => break,
                    Err(error) => sources.make_up_for(error, &steps, &installer, Some(lock)).await?,
                }
                remove(place).await?;
                builder::create(&steps, job.uv.as_deref(), job.interpreter, place).await?;
            }
        }
        builder::finish(&steps, job.interpreter, place, &environment.path).await?;
        // For whoever looks into it: what is in there, and what every file of it has to be.
        let lock_file = place.join(LOCK_FILE);
        std::fs::write(&lock_file, lock.to_text(&job.head())).map_err(EnvironmentError::io("write", &lock_file))?;
        let marker = Marker {
            python_version: job.interpreter.version.clone(),
            base_executable: job.interpreter.base_executable.clone(),
            requirements: environment.requirements.clone(),
            packages: environment.packages.clone(),
        };
        let (from, to) = (place.to_owned(), environment.path.clone());
        let complete = EnvironmentError::io("complete", to.clone());
        // What has the name and is not complete is what an older version has left.
        remove(&to).await?;
        blocking(move || marker::write(&from, &marker).and_then(|()| rename_durably(&from, &to)))
            .await
            .map_err(complete)
    }

    fn steps<'a>(&'a self, held: &'a File, redactor: &'a Redactor, news: &'a News) -> Steps<'a> {
        let limit = self.build_timeout;
        Steps {
            index: &self.index,
            redactor,
            news,
            root: &self.root,
            lock: held,
            limit,
            deadline: Instant::now() + limit,
        }
    }

    pub(super) fn lock_path(&self, request: &str) -> PathBuf {
        self.root.join(RESOLVED).join(format!("{request}.txt"))
    }

    /// The lock that was made of these requirements before.
    pub(super) fn kept_lock(&self, request: &str) -> Result<Option<Lock>, EnvironmentError> {
        let path = self.lock_path(request);
        match fs::read_to_string(&path) {
            Ok(text) => Lock::parse(&text).map(Some).map_err(|reason| EnvironmentError::Lock { path, reason }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(EnvironmentError::io("read", path)(error)),
        }
    }

    pub(super) fn uv(&self) -> Result<Option<PathBuf>, EnvironmentError> {
        let found = || find_program("uv".as_ref(), &self.search_path);
        match self.package_manager {
            PackageManager::Discover => Ok(found()),
            PackageManager::Uv => found().map(Some).ok_or(EnvironmentError::NoUv),
            PackageManager::Pip | PackageManager::Disabled => Ok(None),
        }
    }

    /// Waits for the lock of an environment. The kernel has no event for it that a future could wait for.
    pub(super) async fn lock(&self, id: &str, deadline: Instant) -> Result<File, EnvironmentError> {
        let path = self.root.join(LOCKS).join(id);
        loop {
            match try_lock(&path) {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) if Instant::now() >= deadline => {
                    return Err(EnvironmentError::Locked { id: id.to_owned(), lock: path, limit: self.build_timeout });
                }
                Ok(None) => sleep(LOCK_PAUSE).await,
                Err(error) => return Err(EnvironmentError::io("lock", path)(error)),
            }
        }
    }
}
