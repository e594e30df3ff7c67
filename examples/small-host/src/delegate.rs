//! `bulkhead.runner.v1`: what this server asks of the runner.

use std::error::Error;
use std::path::Path;

use bulkhead_proto::runner::v1::runner_service_client::RunnerServiceClient;
use bulkhead_proto::runner::v1::trigger_spec::Kind;
use bulkhead_proto::runner::v1::{
    CallTriggerRequest, CreateTriggerRequest, DeleteTriggerRequest, EveryTrigger, GetRunnerRequest, PluginSource,
    RequestTrigger, Trigger, TriggerSpec, WalTrigger,
};
use bulkhead_proto::types::v1::outcome::Kind as Ended;
use bulkhead_proto::types::v1::{HttpRequest, KeyValue};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::sleep;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::PAUSE;
use super::store::DATABASE;

/// The runner, as this server sees it.
pub(crate) type Runner = RunnerServiceClient<Channel>;

/// Connects to the runner, which may still be on its way up. The channel connects again by itself when it breaks.
pub(crate) async fn connect(socket: &Path) -> Result<Runner, Box<dyn Error>> {
    while UnixStream::connect(socket).await.is_err() {
        sleep(PAUSE).await;
    }
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The authority is not used to connect, but HTTP/2 wants one.
    let channel = Endpoint::from_static("http://localhost").connect_with_connector(connector).await?;
    Ok(RunnerServiceClient::new(channel))
}

/// The runner's version.
pub(crate) async fn version(runner: &mut Runner) -> Result<String, Status> {
    Ok(runner.get_runner(GetRunnerRequest {}).await?.into_inner().version)
}

/// The triggers of this server, each with the file that it runs.
pub(crate) fn triggers() -> [Trigger; 3] {
    let trigger = |name: &str, file: &str, source: &'static str, kind| Trigger {
        name: format!("databases/{DATABASE}/triggers/{name}"),
        source: Some(PluginSource {
            files: [(file.to_owned(), source.as_bytes().into())].into(),
            entry_path: file.to_owned(),
        }),
        spec: Some(TriggerSpec { kind: Some(kind) }),
        ..Trigger::default()
    };
    let every_second = prost_types::Duration { seconds: 1, nanos: 0 };
    [
        trigger(
            "fahrenheit",
            "fahrenheit.py",
            include_str!("../plugins/fahrenheit.py"),
            Kind::Wal(WalTrigger { table: Some("weather".to_owned()), ..Default::default() }),
        ),
        trigger(
            "count",
            "count.py",
            include_str!("../plugins/count.py"),
            Kind::Every(EveryTrigger { period: Some(every_second), ..Default::default() }),
        ),
        trigger(
            "warmest",
            "warmest.py",
            include_str!("../plugins/warmest.py"),
            Kind::Request(RequestTrigger { path: "warmest".to_owned() }),
        ),
    ]
}

/// Registers a trigger. Doing so again, as at every start of a server, changes nothing.
pub(crate) async fn create(runner: &mut Runner, trigger: Trigger) -> Result<String, Status> {
    let created = runner.create_trigger(CreateTriggerRequest { trigger: Some(trigger) }).await?.into_inner();
    let created = created.trigger.unwrap_or_default();
    Ok(format!("{}: {}", created.name, created.state().as_str_name()))
}

/// Deletes a trigger, although it is enabled.
pub(crate) async fn delete(runner: &mut Runner, name: &str) -> Result<(), Status> {
    let request = DeleteTriggerRequest { name: name.to_owned(), drain_timeout: None, force: true };
    runner.delete_trigger(request).await.map(|_| ())
}

/// Calls the request plugin, as this server does for a client of its own.
pub(crate) async fn ask(runner: &mut Runner, table: &str) -> Result<String, Status> {
    let parameter = KeyValue { key: "table".to_owned(), value: table.to_owned() };
    let request = HttpRequest { method: "GET".to_owned(), query_parameters: vec![parameter], ..HttpRequest::default() };
    let name = format!("databases/{DATABASE}/triggers/warmest");
    let called = runner.call_trigger(CallTriggerRequest { name, request: Some(request) }).await?.into_inner();
    // A plugin that failed is an answer; only a fault of the call is an error.
    Ok(match called.outcome.and_then(|outcome| outcome.kind) {
        Some(Ended::Success(success)) => {
            let response = success.http_response.unwrap_or_default();
            format!("{} {}", response.status_code, String::from_utf8_lossy(&response.body))
        }
        Some(Ended::Failure(failure)) => format!("{}: {}", failure.kind().as_str_name(), failure.message),
        None => "nothing".to_owned(),
    })
}
