//! The calls of `bulkhead.runner.v1`.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_proto::runner::v1 as wire;
use bulkhead_proto::runner::v1::runner_service_server::RunnerService;
use bulkhead_proto::types::v1::{Outcome, Success, outcome};
use futures_util::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use super::{convert, stream_wal, uploads};
use crate::clock::SharedClock;
use crate::dispatch::{Engine, RequestEnd};
use crate::host::MemoryFeed;
use crate::trigger::{PluginLocation, TriggerDefinition};

/// Triggers on a page of `ListTriggers` at the most.
const PAGE_SIZE_MAX: usize = 1_000;

/// What the calls share.
#[derive(Clone)]
pub struct GrpcApi {
    /// The triggers.
    pub engine: Arc<Engine>,
    /// Where a delegating host's commits go; `None` when the runner holds the data itself.
    pub feed: Option<Arc<MemoryFeed>>,
    /// The time.
    pub clock: SharedClock,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl RunnerService for GrpcApi {
    type StreamWalStream = BoxStream<'static, Result<wire::StreamWalResponse, Status>>;

    async fn get_runner(&self, _: Request<wire::GetRunnerRequest>) -> Answer<wire::GetRunnerResponse> {
        let layers = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Ok(Response::new(wire::GetRunnerResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            isolation: layers(&["process", "environment", "no_new_privs", "rlimits"]),
            isolation_missing: layers(&["namespaces", "landlock", "seccomp"]),
        }))
    }

    async fn create_trigger(
        &self,
        request: Request<wire::CreateTriggerRequest>,
    ) -> Answer<wire::CreateTriggerResponse> {
        let trigger = request.into_inner().trigger.ok_or_else(|| Status::invalid_argument("trigger is missing"))?;
        let definition = self.definition(&trigger).await?;
        let id = definition.id.clone();
        if let Some(registered) = self.engine.get(&id) {
            if !is_same(&registered.definition, &definition) {
                return Err(Status::already_exists(format!("trigger `{}` exists with another content", trigger.name)));
            }
        } else {
            self.engine.create(definition).await.map_err(|error| convert::status(&error))?;
        }
        let registered = self.engine.get(&id).ok_or_else(|| Status::not_found(trigger.name))?;
        Ok(Response::new(wire::CreateTriggerResponse { trigger: Some(convert::trigger(&registered)) }))
    }

    async fn get_trigger(&self, request: Request<wire::GetTriggerRequest>) -> Answer<wire::GetTriggerResponse> {
        let name = request.into_inner().name;
        let info = self
            .engine
            .get(&convert::trigger_id(&name)?)
            .ok_or_else(|| Status::not_found(format!("trigger `{name}` is unknown")))?;
        Ok(Response::new(wire::GetTriggerResponse { trigger: Some(convert::trigger(&info)) }))
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
        Ok(Response::new(wire::DeleteTriggerResponse {}))
    }

    async fn stream_wal(&self, request: Request<Streaming<wire::StreamWalRequest>>) -> Answer<Self::StreamWalStream> {
        let feed = self.feed.clone().ok_or_else(|| {
            Status::failed_precondition(
                "this runner has an embedded host; start it with `--host grpc` to stream another host's WAL",
            )
        })?;
        let batches = request.into_inner();
        Ok(Response::new(stream_wal::run(batches, feed, Arc::clone(&self.clock))))
    }

    async fn call_trigger(&self, request: Request<wire::CallTriggerRequest>) -> Answer<wire::CallTriggerResponse> {
        let request = request.into_inner();
        let http_request = request.request.ok_or_else(|| Status::invalid_argument("request is missing"))?;
        let kind = match self.engine.call_trigger(&convert::trigger_id(&request.name)?, http_request).await {
            RequestEnd::Response(response) => outcome::Kind::Success(Success { http_response: Some(response) }),
            RequestEnd::Failed { failure, .. } => outcome::Kind::Failure(failure),
            RequestEnd::NotFound => {
                return Err(Status::not_found(format!("no request trigger `{}` is enabled", request.name)));
            }
            RequestEnd::Busy(text) => return Err(Status::resource_exhausted(text)),
        };
        Ok(Response::new(wire::CallTriggerResponse { outcome: Some(Outcome { kind: Some(kind), elapsed: None }) }))
    }
}

impl GrpcApi {
    async fn definition(&self, trigger: &wire::Trigger) -> Result<TriggerDefinition, Status> {
        let source = trigger.source.as_ref().ok_or_else(|| Status::invalid_argument("trigger has no source"))?.clone();
        let plugin = if source.files.is_empty() {
            PluginLocation::PluginDir(source.entry_path)
        } else {
            let files = self.engine.files().clone();
            tokio::task::spawn_blocking(move || uploads::store(&files, &source.files, &source.entry_path))
                .await
                .map_err(|error| Status::internal(error.to_string()))??
        };
        convert::definition(trigger, plugin)
    }
}

/// Whether a repeated call asks for what is registered. What the runner changed by itself does not count.
fn is_same(registered: &TriggerDefinition, asked: &TriggerDefinition) -> bool {
    let mut registered = registered.clone();
    registered.disabled = asked.disabled;
    registered.disabled_reason = None;
    registered == *asked
}
