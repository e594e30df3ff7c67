//! The first words of a session.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use bulkhead_proto::WORKER_PROTOCOL_VERSION;
use bulkhead_proto::worker::v1::session_request::Fact;
use bulkhead_proto::worker::v1::session_response::Order;
use bulkhead_proto::worker::v1::worker_service_client::WorkerServiceClient;
use bulkhead_proto::worker::v1::{Hello, SessionResponse, Welcome, WorkerLimits};
use tonic::Streaming;
use tonic::transport::Channel;

use crate::outbox::{FactStream, Outbox};
use crate::transport;

/// An open session.
#[derive(Debug)]
pub(crate) struct Session {
    /// For questions.
    pub(crate) client: WorkerServiceClient<Channel>,
    /// Orders from the runner.
    pub(crate) orders: Streaming<SessionResponse>,
    /// Limits that the runner told.
    pub(crate) limits: WorkerLimits,
}

/// Says hello and waits for the welcome. The error is a sentence for standard error.
pub(crate) async fn open(socket: UnixStream, outbox: Arc<Outbox>, python_version: String) -> Result<Session, String> {
    outbox.post(Fact::Hello(Hello {
        protocol_version: WORKER_PROTOCOL_VERSION,
        worker_version: env!("CARGO_PKG_VERSION").to_owned(),
        python_version,
        pid: std::process::id(),
    }));
    let mut client = transport::connect(socket).await.map_err(|error| format!("cannot connect to the runner: {error}"))?;
    let response = client.session(FactStream(outbox)).await;
    let mut orders = response.map_err(|status| format!("the runner refused the session: {}", status.message()))?.into_inner();
    let first = orders.message().await.map_err(|status| format!("the runner ended the session: {}", status.message()))?;
    match first.and_then(|response| response.order) {
        Some(Order::Welcome(welcome)) => Ok(Session { client, orders, limits: accept(welcome)? }),
        Some(_) => Err("the runner's first order is not a welcome".to_owned()),
        None => Err("the runner ended the session before its welcome".to_owned()),
    }
}

fn accept(welcome: Welcome) -> Result<WorkerLimits, String> {
    let theirs = welcome.protocol_version;
    if theirs != WORKER_PROTOCOL_VERSION {
        return Err(format!("protocol version mismatch: the worker speaks {WORKER_PROTOCOL_VERSION}, the runner {theirs}"));
    }
    let mut limits = welcome.limits.unwrap_or_default();
    // A limit that is not set does not limit.
    for limit in [&mut limits.message_bytes_max, &mut limits.log_line_bytes_max] {
        if *limit == 0 {
            *limit = u32::MAX;
        }
    }
    for limit in [&mut limits.write_buffer_bytes_max, &mut limits.response_bytes_max] {
        if *limit == 0 {
            *limit = u64::MAX;
        }
    }
    Ok(limits)
}
