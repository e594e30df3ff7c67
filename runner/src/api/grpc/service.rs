//! The calls of `bulkhead.runner.v1`.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_proto::runner::v1 as wire;
use bulkhead_proto::runner::v1::runner_service_server::RunnerService;
use bulkhead_proto::types::v1::{Outcome, Success, outcome};
use futures_util::stream::BoxStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::stream_wal;
use super::{convert, prepare, uploads};
use crate::clock::SharedClock;
use crate::dispatch::{Engine, PluginCheck, RequestEnd};
use crate::host::grpc::Spools;
use crate::trigger::{PluginLocation, TriggerDefinition, TriggerId};

/// Triggers on a page of `ListTriggers` at the most.
const PAGE_SIZE_MAX: usize = 1_000;

/// What the calls share.
#[derive(Clone)]
pub struct GrpcApi {
    /// The triggers.
    pub engine: Arc<Engine>,
    /// Where a delegating host's commits go; `None` when the runner holds the data itself.
    pub spools: Option<Arc<Spools>>,
    /// The time.
    pub clock: SharedClock,
    /// The runner is stopping: streams take in no more.
    pub intake: CancellationToken,
    /// Held while plugin files are stored for a trigger or removed after one.
    pub storing: Arc<tokio::sync::Mutex<()>>,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl RunnerService for GrpcApi {
    type PrepareEnvironmentStream = BoxStream<'static, Result<wire::PrepareEnvironmentResponse, Status>>;
    type StreamWalStream = BoxStream<'static, Result<wire::StreamWalResponse, Status>>;

    async fn get_runner(&self, _: Request<wire::GetRunnerRequest>) -> Answer<wire::GetRunnerResponse> {
        let registry = self.engine.workers();
        Ok(Response::new(wire::GetRunnerResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            isolation: registry.layers(),
            isolation_missing: registry.lost_layers(),
        }))
    }

    async fn create_trigger(
        &self,
        request: Request<wire::CreateTriggerRequest>,
    ) -> Answer<wire::CreateTriggerResponse> {
        let trigger = request.into_inner().trigger.ok_or_else(|| Status::invalid_argument("trigger is missing"))?;
        let _storing = self.storing.lock().await;
        let created = self.create(&trigger).await;
        if created.is_err() {
            uploads::remove_unused(&self.engine).await;
        }
        let created = created?;
        let warnings = self.engine.warnings(&convert::trigger_id(&created.name)?).await;
        Ok(Response::new(wire::CreateTriggerResponse { trigger: Some(created), warnings }))
    }

    async fn get_trigger(&self, request: Request<wire::GetTriggerRequest>) -> Answer<wire::GetTriggerResponse> {
        let trigger = self.registered(&convert::trigger_id(&request.into_inner().name)?)?;
        Ok(Response::new(wire::GetTriggerResponse { trigger: Some(trigger) }))
    }

    async fn list_triggers(&self, request: Request<wire::ListTriggersRequest>) -> Answer<wire::ListTriggersResponse> {
        let request = request.into_inner();
        let size = match request.page_size {
            0 => PAGE_SIZE_MAX,
            size => PAGE_SIZE_MAX.min(size as usize),
        };
        let mut triggers: Vec<wire::Trigger> = self.engine.list().iter().map(convert::trigger).collect();
        triggers.sort_by(|a, b| a.name.cmp(&b.name));
        // The token is the last name that was sent, so that triggers made meanwhile shift nothing.
        let start = triggers.partition_point(|trigger| trigger.name <= request.page_token);
        let mut page = triggers.split_off(start);
        let has_more = page.len() > size;
        page.truncate(size);
        let next_page_token = page.last().filter(|_| has_more).map(|trigger| trigger.name.clone()).unwrap_or_default();
        Ok(Response::new(wire::ListTriggersResponse { triggers: page, next_page_token }))
    }

    async fn delete_trigger(
        &self,
        request: Request<wire::DeleteTriggerRequest>,
    ) -> Answer<wire::DeleteTriggerResponse> {
        let request = request.into_inner();
        let drain = request.drain_timeout.and_then(|timeout| Duration::try_from(timeout).ok()).unwrap_or_default();
        let id = convert::trigger_id(&request.name)?;
        self.engine.delete(&id, request.force, drain).await.map_err(|error| convert::status(&error))?;
        let _storing = self.storing.lock().await;
        uploads::remove_unused(&self.engine).await;
        Ok(Response::new(wire::DeleteTriggerResponse {}))
    }

    async fn enable_trigger(
        &self,
        request: Request<wire::EnableTriggerRequest>,
    ) -> Answer<wire::EnableTriggerResponse> {
        let trigger = self.set_enabled(&request.into_inner().name, true).await?;
        Ok(Response::new(wire::EnableTriggerResponse { trigger: Some(trigger) }))
    }

    async fn disable_trigger(
        &self,
        request: Request<wire::DisableTriggerRequest>,
    ) -> Answer<wire::DisableTriggerResponse> {
        let trigger = self.set_enabled(&request.into_inner().name, false).await?;
        Ok(Response::new(wire::DisableTriggerResponse { trigger: Some(trigger) }))
    }

    async fn prepare_environment(
        &self,
        request: Request<wire::PrepareEnvironmentRequest>,
    ) -> Answer<Self::PrepareEnvironmentStream> {
        let id = convert::trigger_id(&request.into_inner().name)?;
        Ok(Response::new(prepare::run(Arc::clone(&self.engine), id)))
    }

    async fn stream_wal(&self, request: Request<Streaming<wire::StreamWalRequest>>) -> Answer<Self::StreamWalStream> {
        let spools = self.spools.clone().ok_or_else(|| {
            Status::failed_precondition(
                "this runner has an embedded host; start it with `--host grpc` to stream another host's WAL",
            )
        })?;
        let batches = request.into_inner();
        Ok(Response::new(stream_wal::run(batches, spools, Arc::clone(&self.clock), self.intake.clone())))
    }

    async fn call_trigger(&self, request: Request<wire::CallTriggerRequest>) -> Answer<wire::CallTriggerResponse> {
        let request = request.into_inner();
        let http_request = request.request.ok_or_else(|| Status::invalid_argument("request is missing"))?;
        let (kind, elapsed) =
            match self.engine.call_trigger(&convert::trigger_id(&request.name)?, http_request).await.joined().await {
                RequestEnd::Response { response, elapsed } => {
                    (outcome::Kind::Success(Success { http_response: Some(response) }), elapsed)
                }
                RequestEnd::Failed(failed) => (outcome::Kind::Failure(failed.failure), failed.elapsed),
                RequestEnd::Streaming { .. } => return Err(Status::internal("a joined response has no parts")),
                RequestEnd::NotFound => {
                    return Err(Status::not_found(format!("no request trigger `{}` is enabled", request.name)));
                }
                RequestEnd::Busy { text, .. } => return Err(Status::resource_exhausted(text)),
            };
        let elapsed = prost_types::Duration::try_from(elapsed).ok();
        Ok(Response::new(wire::CallTriggerResponse { outcome: Some(Outcome { kind: Some(kind), elapsed }) }))
    }
}

impl GrpcApi {
    /// Registers a trigger, unless the same one is registered.
    async fn create(&self, trigger: &wire::Trigger) -> Result<wire::Trigger, Status> {
        let source = trigger.source.as_ref().ok_or_else(|| Status::invalid_argument("trigger has no source"))?.clone();
        let mut definition = convert::definition(trigger, PluginLocation::PluginDir(source.entry_path.clone()))?;
        if !source.files.is_empty() {
            let files = self.engine.files().clone();
            definition.plugin =
                tokio::task::spawn_blocking(move || uploads::store(&files, &source.files, &source.entry_path))
                    .await
                    .map_err(|error| Status::internal(error.to_string()))??;
        }
        let id = definition.id.clone();
        match self.engine.get(&id) {
            Some(registered) if is_same(&registered.definition, &definition) => {}
            Some(_) => {
                return Err(Status::already_exists(format!("trigger `{}` exists with another content", trigger.name)));
            }
            None => {
                self.engine.create(definition, PluginCheck::Exists).await.map_err(|error| convert::status(&error))?
            }
        }
        self.registered(&id)
    }

    async fn set_enabled(&self, name: &str, enabled: bool) -> Result<wire::Trigger, Status> {
        let id = convert::trigger_id(name)?;
        self.engine.set_enabled(&id, enabled).await.map_err(|error| convert::status(&error))?;
        self.registered(&id)
    }

    fn registered(&self, id: &TriggerId) -> Result<wire::Trigger, Status> {
        let info = self.engine.get(id);
        let info = info.ok_or_else(|| Status::not_found(format!("trigger `{}` is unknown", id.resource_name())))?;
        Ok(convert::trigger(&info))
    }
}

/// Whether a repeated call asks for what is registered. Whether it is enabled does not count: that changes over its life.
fn is_same(registered: &TriggerDefinition, asked: &TriggerDefinition) -> bool {
    let mut registered = registered.clone();
    registered.disabled = asked.disabled;
    registered.disabled_reason = None;
    registered == *asked
}
