//! Putting a trigger together and taking it apart.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_proto::worker::v1::EntryPoint;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::Engine;
use crate::cache::{Owner, TriggerCache};
use crate::dispatch::environments::own_requirements;
use crate::dispatch::positions::Beginning;
use crate::dispatch::questions::HostQuestions;
use crate::dispatch::runner::{TriggerRunner, Trouble};
use crate::dispatch::running::Running;
use crate::dispatch::status::TriggerState;
use crate::dispatch::{beginnings, schedule, wal};
use crate::environment::OwnRequirements;
use crate::limits;
use crate::logs::Level;
use crate::supervisor::{Pool, WorkerSpec};
use crate::trigger::{TriggerDefinition, TriggerId, TriggerKind};

impl Engine {
    /// Starts a trigger. One whose plugin cannot be found is shown as failed, and tried with the next event.
    pub(super) fn start_trigger(&self, definition: TriggerDefinition, beginning: Beginning) {
        let runner = Arc::new(self.runner(definition, beginning));
        if let Err(error) = self.parts.files.resolve(&runner.definition.plugin) {
            let reason = error.to_string();
            runner.log.runner(Level::Error, None, format!("failed to start trigger: {reason}"));
            *runner.trouble.lock() = Some(Trouble { state: TriggerState::Failed, reason });
        }
        let tracker = &self.parts.supervisor.tracker;
        let preparing = Arc::clone(&runner);
        tracker.spawn(async move { preparing.prepare().await });
        let running = match runner.definition.spec.kind() {
            TriggerKind::Wal => {
                let task = tracker.spawn(wal::run(Arc::clone(&runner)));
                Running::new(Arc::clone(&runner), Some(task))
            }
            TriggerKind::Schedule => {
                let schedule = runner.definition.schedule();
                let task = schedule.map(|schedule| tracker.spawn(schedule::run(Arc::clone(&runner), schedule)));
                Running::new(Arc::clone(&runner), task)
            }
            TriggerKind::Request => {
                let path = runner.definition.spec.request_path().unwrap_or_default();
                self.routes.write().entry(path.to_owned()).or_default().push(Arc::clone(&runner));
                Running::new(Arc::clone(&runner), None)
            }
        };
        self.running.write().insert(runner.id.as_ref().clone(), running);
    }

    /// Takes a trigger out of what runs; no new event reaches it.
    pub(super) fn take(&self, id: &TriggerId) -> Option<Running> {
        let running = self.running.write().remove(id)?;
        if let Some(path) = running.runner.definition.spec.request_path() {
            let mut routes = self.routes.write();
            if let Some(runners) = routes.get_mut(path) {
                runners.retain(|runner| !Arc::ptr_eq(runner, &running.runner));
            }
            routes.retain(|_, runners| !runners.is_empty());
        }
        running.runner.stop.cancel();
        running.runner.cache.close();
        Some(running)
    }

    /// A trigger with everything that surrounds its calls.
    fn runner(&self, definition: TriggerDefinition, beginning: Beginning) -> TriggerRunner {
        let parts = &self.parts;
        let id = Arc::new(definition.id.clone());
        let log = parts.logs.writer(Arc::clone(&id));
        let workers_max = if definition.run_async { parts.settings.async_workers_max.max(1) } else { 1 };
        let owner = owner(&id, &beginning);
        let cache = TriggerCache::new(Arc::clone(&parts.cache), owner, log.clone(), workers_max > 1);
        let cache = Arc::new(cache);
        if definition.permissions.allow_all {
            tracing::warn!(
                "trigger {id} runs with --allow-all: no wall of the sandbox keeps its plugin from files, network, programs and the server's environment"
            );
        }
        let questions = Arc::new(HostQuestions {
            host: Arc::clone(&parts.host),
            trigger: Arc::clone(&id),
            clock: Arc::clone(&parts.clock),
            log: log.clone(),
            cache: Arc::clone(&cache),
        });
        // They were looked at when the trigger was made.
        let requirements = own_requirements(&definition.requirements).unwrap_or_default();
        let requirements = Arc::new(OwnRequirements::new(requirements));
        let (files, plugin) = (parts.files.clone(), definition.plugin.clone());
        let spec = WorkerSpec {
            trigger: Arc::clone(&id),
            plugin_named: files.named(&plugin),
            plugin: Box::new(move || files.resolve(&plugin).map_err(|error| error.to_string())),
            entry_point: entry_point(definition.spec.kind()),
            arguments: definition.arguments.clone(),
            permissions: parts.supervisor.settings.permission_policy.complete(definition.permissions.clone()),
            requirements: Arc::clone(&requirements),
            plugin_dir: parts.files.plugin_dir().map(std::path::Path::to_owned),
            log: log.clone(),
            questions: Arc::clone(&questions) as _,
            late_writes: questions,
            cache: Some(Arc::clone(&cache)),
            check_only: false,
        };
        let feed = parts.host.feed(&definition.id.database);
        let cursor = self.positions.begin(&id, &feed, definition.run_async, beginning);
        TriggerRunner {
            id,
            pool: Pool::new(parts.supervisor.clone(), spec, workers_max),
            workers_max,
            requirements,
            plugin_dir: parts.files.plugin_dir().map(std::path::Path::to_owned),
            definition,
            log,
            cache,
            host: Arc::clone(&parts.host),
            feed,
            cursor,
            letters: Arc::clone(&self.letters),
            catalog: Arc::clone(&parts.catalog),
            clock: Arc::clone(&parts.clock),
            default_timeout: parts.settings.invocation_timeout,
            queue_timeout: parts.settings.request_queue_timeout,
            stop: CancellationToken::new(),
            cancel: CancellationToken::new(),
            requests: Arc::new(Semaphore::new(limits::REQUEST_QUEUE_MAX)),
            trouble: Mutex::default(),
            told: Mutex::default(),
            invocations: Arc::clone(&parts.invocations),
            metrics: Arc::clone(&parts.metrics),
        }
    }

    /// Waits for the end of a trigger that was taken out, and forgets what it had cached.
    pub(super) async fn end(&self, running: Option<Running>, drain: Duration) {
        if let Some(running) = running {
            let cursor = Arc::clone(&running.runner.cursor);
            let cache = Arc::clone(&running.runner.cache);
            running.end(drain).await;
            self.positions.end(&cursor);
            // What cannot be removed now is an orphan at the next start.
            if let Err(error) = beginnings::commit(&self.parts.host, cache.forget()).await {
                tracing::warn!("the cache of a trigger that ended stays recorded until the next start: {error}");
            }
        }
    }
}

/// The function that a trigger of this kind calls.
pub(in crate::dispatch) fn entry_point(kind: TriggerKind) -> EntryPoint {
    match kind {
        TriggerKind::Wal => EntryPoint::Writes,
        TriggerKind::Schedule => EntryPoint::ScheduledCall,
        TriggerKind::Request => EntryPoint::Request,
    }
}

/// Whom the cache entries of a trigger belong to.
pub(super) fn owner(id: &TriggerId, beginning: &Beginning) -> Owner {
    Owner { trigger: Arc::new(id.clone()), origin: beginning.origin }
}
