//! Looks whether a plugin can be used, in a worker that runs nothing of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use bulkhead_proto::worker::v1 as wire;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use uuid::Uuid;

use super::end::WorkerEnd;
use super::start::{self, StartFailure};
use super::{LateWrites, Supervisor, WorkerSpec};
use crate::environment::Requirements;
use crate::logs::LogStore;
use crate::session::{Questions, ResponseStream, nursery};
use crate::trigger::{Permissions, TriggerId};

impl Supervisor {
    /// Parses the plugin and looks for its entry point, without running anything of it and without its requirements.
    /// A check that cannot be made, for instance where no interpreter is found, says nothing against the plugin.
    ///
    /// # Errors
    /// What is wrong with the plugin, as its author reads it.
    pub async fn check(&self, plugin: PathBuf, entry_point: wire::EntryPoint) -> Result<(), String> {
        let logs = Arc::new(LogStore::private(Arc::clone(&self.clock)));
        let trigger = Arc::new(TriggerId::new("_internal", "plugin check"));
        let spec = WorkerSpec {
            trigger: Arc::clone(&trigger),
            plugin_named: plugin.clone(),
            plugin: Box::new(move || Ok(plugin.clone())),
            entry_point,
            arguments: None,
            permissions: Permissions::default(),
            requirements: Arc::default(),
            plugin_dir: None,
            log: logs.writer(trigger),
            questions: Arc::new(Nobody),
            late_writes: Arc::new(Nobody),
            cache: None,
            check_only: true,
        };
        let (tell, told) = oneshot::channel();
        let supervisor = self.clone();
        self.tracker.spawn(nursery::run(move |nursery| async move {
            let now = SystemTime::from(supervisor.clock.now());
            let ground = supervisor.environments.hold(&Requirements::default(), now).await;
            let started = match ground {
                Ok(ground) => {
                    start::start(&supervisor, &spec, (&nursery, None), (ground, false), &CancellationToken::new()).await
                }
                Err(error) => Err(WorkerEnd::Environment(error.to_string()).into()),
            };
            match started {
                Ok(worker) => {
                    // Its end is nothing to wait for. Nor is there anybody to tell when the client has left.
                    let _ = tell.send(Ok(()));
                    worker.bury(Some(WorkerEnd::Stopped), None, &spec).await;
                }
                Err(failure) => drop(tell.send(Err(failure))),
            }
        }));
        match told.await {
            Ok(Err(StartFailure { end: WorkerEnd::Load(problem), .. })) => Err(problem),
            Ok(Err(StartFailure { end, stderr_tail })) => {
                tracing::warn!("a plugin could not be checked: {end}; {stderr_tail}");
                Ok(())
            }
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }
}

/// Answers nothing: there is no plugin that could ask.
struct Nobody;

impl Questions for Nobody {
    fn query(&self, _: wire::QueryRequest) -> BoxFuture<'static, Result<ResponseStream<wire::QueryResponse>, Status>> {
        std::future::ready(Err(Status::permission_denied("no plugin runs here"))).boxed()
    }

    fn write_sync(&self, _: wire::WriteSyncRequest) -> BoxFuture<'static, Result<(), Status>> {
        std::future::ready(Err(Status::permission_denied("no plugin runs here"))).boxed()
    }
}

impl LateWrites for Nobody {
    fn write(&self, _: Option<Uuid>, _: String, _: Bytes) -> BoxFuture<'static, ()> {
        std::future::ready(()).boxed()
    }
}
