//! The delegating side: what a host server calls on a runner.

use std::path::{Path, PathBuf};

use bulkhead_proto::runner::v1 as wire;
use bulkhead_proto::runner::v1::runner_service_client::RunnerServiceClient;
use bulkhead_proto::runner::v1::trigger_spec::Kind;
use bulkhead_proto::types::v1::{Failure, HttpRequest, HttpResponse, KeyValue, Outcome, WalBatch, outcome};
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

use super::soon;

/// Batches that a stream of the tests takes without waiting.
const STREAM_QUEUE: usize = 64;

/// A plugin file of the tests, as files that are sent along.
pub(super) fn sent(entry: &str, source: &'static str) -> wire::PluginSource {
    files(entry, &[(entry, source)])
}

/// Files that are sent along.
pub(super) fn files(entry: &str, files: &[(&str, &str)]) -> wire::PluginSource {
    wire::PluginSource {
        files: files.iter().map(|(path, text)| ((*path).to_owned(), Bytes::copy_from_slice(text.as_bytes()))).collect(),
        entry_path: entry.to_owned(),
    }
}

pub(super) fn derive() -> wire::PluginSource {
    sent("derive.py", include_str!("../../plugins/grpc_derive.py"))
}

pub(super) fn tick() -> wire::PluginSource {
    sent("tick.py", include_str!("../../plugins/grpc_tick.py"))
}

pub(super) fn request() -> wire::PluginSource {
    sent("request.py", include_str!("../../plugins/grpc_request.py"))
}

pub(super) fn all_tables() -> Kind {
    Kind::Wal(wire::WalTrigger::default())
}

pub(super) fn one_table(table: &str) -> Kind {
    Kind::Wal(wire::WalTrigger { table: Some(table.to_owned()), ..Default::default() })
}

pub(super) fn every(period: prost_types::Duration) -> Kind {
    Kind::Every(wire::EveryTrigger { period: Some(period), ..Default::default() })
}

pub(super) fn cron(expression: &str) -> Kind {
    Kind::Cron(wire::CronTrigger { expression: expression.to_owned(), ..Default::default() })
}

pub(super) fn path(path: &str) -> Kind {
    Kind::Request(wire::RequestTrigger { path: path.to_owned() })
}

pub(super) const fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

/// The name of a trigger in database `db`.
pub(super) fn name(trigger: &str) -> String {
    format!("databases/db/triggers/{trigger}")
}

/// A trigger of database `db`.
pub(super) fn trigger(trigger: &str, source: wire::PluginSource, kind: Kind) -> wire::Trigger {
    wire::Trigger {
        name: name(trigger),
        source: Some(source),
        spec: Some(wire::TriggerSpec { kind: Some(kind) }),
        ..wire::Trigger::default()
    }
}

/// A trigger with arguments.
pub(super) fn with_arguments(mut trigger: wire::Trigger, arguments: &[(&str, &str)]) -> wire::Trigger {
    trigger.arguments = arguments.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    // The files through which test and plugin meet lie in one directory.
    match arguments.iter().filter_map(|(_, value)| Path::new(value).parent()).find(|parent| parent.is_absolute()) {
        Some(directory) => writing_to(trigger, directory),
        None => trigger,
    }
}

/// A trigger that may write to a directory.
pub(super) fn writing_to(trigger: wire::Trigger, directory: &Path) -> wire::Trigger {
    let write_paths = vec![directory.to_str().expect("temporary directories have plain names").to_owned()];
    wire::Trigger { permissions: Some(wire::Permissions { write_paths, ..Default::default() }), ..trigger }
}

/// A call of a request trigger.
pub(super) fn call(trigger: &str, query: &[(&str, &str)], body: &[u8]) -> wire::CallTriggerRequest {
    let pairs = query.iter().map(|(key, value)| KeyValue { key: (*key).to_owned(), value: (*value).to_owned() });
    wire::CallTriggerRequest {
        name: name(trigger),
        request: Some(HttpRequest {
            method: "POST".to_owned(),
            query_parameters: pairs.collect(),
            headers: Vec::new(),
            body: Bytes::copy_from_slice(body),
        }),
    }
}

/// The response in the answer to a call.
pub(super) fn response(answer: wire::CallTriggerResponse) -> HttpResponse {
    match kind(answer) {
        outcome::Kind::Success(success) => success.http_response.expect("a response"),
        outcome::Kind::Failure(failure) => panic!("the plugin failed: {failure:?}"),
    }
}

/// The failure in the answer to a call.
pub(super) fn failure(answer: wire::CallTriggerResponse) -> Failure {
    match kind(answer) {
        outcome::Kind::Failure(failure) => failure,
        outcome::Kind::Success(success) => panic!("the plugin returned {success:?}"),
    }
}

fn kind(answer: wire::CallTriggerResponse) -> outcome::Kind {
    let Outcome { kind, .. } = answer.outcome.expect("an outcome");
    kind.expect("success or failure")
}

/// The body of a response, as JSON.
pub(super) fn json(response: &HttpResponse) -> serde_json::Value {
    serde_json::from_slice(&response.body).expect("JSON")
}

/// A host's connection to a runner.
#[derive(Clone)]
pub(super) struct Client {
    calls: RunnerServiceClient<Channel>,
}

impl Client {
    /// What is said while the environment of a trigger is made ready, and the environment.
    pub(super) async fn prepare(&mut self, trigger: &str) -> Result<(Vec<String>, wire::Environment), Status> {
        use wire::prepare_environment_response::Step;
        let request = wire::PrepareEnvironmentRequest { name: name(trigger) };
        let mut messages = self.calls.prepare_environment(request).await?.into_inner();
        let mut lines = Vec::new();
        while let Some(message) = messages.message().await? {
            match message.step {
                Some(Step::Progress(line)) => lines.push(line),
                Some(Step::Environment(environment)) => return Ok((lines, environment)),
                None => panic!("an empty message"),
            }
        }
        panic!("no environment after {lines:?}")
    }

    /// Connects to the socket of a runner.
    pub(super) async fn connect(socket: &Path) -> Result<Self, tonic::transport::Error> {
        let socket: PathBuf = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector(connector).await?;
        let calls = RunnerServiceClient::new(channel)
            .max_decoding_message_size(bulkhead_proto::transport::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(usize::MAX);
        Ok(Self { calls })
    }

    pub(super) async fn runner(&mut self) -> wire::GetRunnerResponse {
        soon("GetRunner", self.calls.get_runner(wire::GetRunnerRequest {})).await.expect("GetRunner").into_inner()
    }

    pub(super) async fn try_create(&mut self, trigger: wire::Trigger) -> Result<wire::Trigger, Status> {
        Ok(self.registered(trigger).await?.trigger.expect("a trigger"))
    }

    /// What the runner has to say about a trigger that it takes.
    pub(super) async fn warnings(&mut self, trigger: wire::Trigger) -> Vec<String> {
        self.registered(trigger).await.expect("CreateTrigger").warnings
    }

    async fn registered(&mut self, trigger: wire::Trigger) -> Result<wire::CreateTriggerResponse, Status> {
        let request = wire::CreateTriggerRequest { trigger: Some(trigger) };
        Ok(soon("CreateTrigger", self.calls.create_trigger(request)).await?.into_inner())
    }

    pub(super) async fn create(&mut self, trigger: wire::Trigger) -> wire::Trigger {
        self.try_create(trigger).await.expect("CreateTrigger")
    }

    /// The code and the text with which a trigger is refused.
    pub(super) async fn refusal(&mut self, trigger: wire::Trigger) -> (Code, String) {
        let name = trigger.name.clone();
        match self.try_create(trigger).await {
            Ok(created) => panic!("trigger {name} was taken: {created:?}"),
            Err(status) => (status.code(), status.message().to_owned()),
        }
    }

    pub(super) async fn try_get(&mut self, name: &str) -> Result<wire::Trigger, Status> {
        let request = wire::GetTriggerRequest { name: name.to_owned() };
        Ok(self.calls.get_trigger(request).await?.into_inner().trigger.expect("a trigger"))
    }

    /// A trigger of database `db`.
    pub(super) async fn get(&mut self, trigger: &str) -> wire::Trigger {
        self.try_get(&name(trigger)).await.expect("GetTrigger")
    }

    pub(super) async fn list(&mut self, page_size: u32, page_token: &str) -> (Vec<String>, String) {
        let request = wire::ListTriggersRequest { page_size, page_token: page_token.to_owned() };
        let answer = self.calls.list_triggers(request).await.expect("ListTriggers").into_inner();
        (answer.triggers.into_iter().map(|trigger| trigger.name).collect(), answer.next_page_token)
    }

    pub(super) async fn try_delete(
        &mut self,
        name: &str,
        force: bool,
        drain_timeout: Option<prost_types::Duration>,
    ) -> Result<(), Status> {
        let request = wire::DeleteTriggerRequest { name: name.to_owned(), drain_timeout, force };
        soon("DeleteTrigger", self.calls.delete_trigger(request)).await.map(|_| ())
    }

    pub(super) async fn try_call(
        &mut self,
        request: wire::CallTriggerRequest,
    ) -> Result<wire::CallTriggerResponse, Status> {
        Ok(soon("CallTrigger", self.calls.call_trigger(request)).await?.into_inner())
    }

    /// Calls a request trigger of database `db`.
    pub(super) async fn call(
        &mut self,
        trigger: &str,
        query: &[(&str, &str)],
        body: &[u8],
    ) -> wire::CallTriggerResponse {
        self.try_call(call(trigger, query, body)).await.expect("CallTrigger")
    }

    /// Opens a WAL stream, or returns the refusal.
    pub(super) async fn try_stream(&mut self) -> Result<WalStream, Status> {
        let (batches, queue) = mpsc::channel(STREAM_QUEUE);
        let acks = soon("StreamWal", self.calls.stream_wal(ReceiverStream::new(queue))).await?.into_inner();
        Ok(WalStream { batches: Some(batches), acks })
    }

    pub(super) async fn stream(&mut self) -> WalStream {
        self.try_stream().await.expect("StreamWal")
    }
}

/// An open WAL stream.
pub(super) struct WalStream {
    batches: Option<mpsc::Sender<wire::StreamWalRequest>>,
    acks: Streaming<wire::StreamWalResponse>,
}

impl WalStream {
    /// Sends a commit.
    pub(super) async fn send(&self, batch: WalBatch) {
        let batches = self.batches.as_ref().expect("the stream is open");
        let request = wire::StreamWalRequest { batch: Some(batch) };
        soon("room in the WAL stream", batches.send(request)).await.expect("an open stream");
    }

    /// The next acknowledgement, the end, or what broke the stream.
    pub(super) async fn next(&mut self) -> Result<Option<wire::StreamWalResponse>, Status> {
        soon("an acknowledgement", self.acks.message()).await
    }

    /// The next acknowledgement: database and sequence.
    pub(super) async fn ack(&mut self) -> (String, u64) {
        let ack = self.next().await.expect("an acknowledgement").expect("the stream goes on");
        (ack.database, ack.acked_wal_sequence)
    }

    /// Reads acknowledgements of one database until `sequence` is reached, and returns them.
    pub(super) async fn acks_up_to(&mut self, database: &str, sequence: u64) -> Vec<u64> {
        let mut acks: Vec<u64> = Vec::new();
        while acks.last().is_none_or(|last| *last < sequence) {
            let (of, acked) = self.ack().await;
            assert_eq!(of, database);
            assert!(acks.last().is_none_or(|last| *last < acked), "{acked} comes after {acks:?}");
            acks.push(acked);
        }
        assert_eq!(acks.last(), Some(&sequence));
        acks
    }

    /// Says that no more batches come.
    pub(super) fn end(&mut self) {
        self.batches = None;
    }
}
