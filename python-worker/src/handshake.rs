//! The first words of a session.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use bulkhead_proto::WORKER_PROTOCOL_VERSION;
use bulkhead_proto::transport::MESSAGE_BYTES_MAX;
use bulkhead_proto::worker::v1::session_request::Fact;
use bulkhead_proto::worker::v1::session_response::Order;
use bulkhead_proto::worker::v1::worker_service_client::WorkerServiceClient;
use bulkhead_proto::worker::v1::{Hello, SessionResponse, Welcome, WorkerLimits};
use tonic::Streaming;
use tonic::transport::Channel;

use crate::limits::{LOG_LINE_BYTES_CEILING, MESSAGE_OVERHEAD_BYTES};
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
    let mut client =
        transport::connect(socket).await.map_err(|error| format!("cannot connect to the runner: {error}"))?;
    let response = client.session(FactStream(outbox)).await;
    let mut orders =
        response.map_err(|status| format!("the runner refused the session: {}", status.message()))?.into_inner();
    let first =
        orders.message().await.map_err(|status| format!("the runner ended the session: {}", status.message()))?;
    match first.and_then(|response| response.order) {
        Some(Order::Welcome(welcome)) => Ok(Session { client, orders, limits: accept(welcome)? }),
        Some(_) => Err("the runner's first order is not a welcome".to_owned()),
        None => Err("the runner ended the session before its welcome".to_owned()),
    }
}

fn accept(welcome: Welcome) -> Result<WorkerLimits, String> {
    let theirs = welcome.protocol_version;
    if theirs != WORKER_PROTOCOL_VERSION {
        return Err(format!(
            "protocol version mismatch: the worker speaks {WORKER_PROTOCOL_VERSION}, the runner {theirs}"
        ));
    }
    Ok(bounded(welcome.limits.unwrap_or_default()))
}

/// The limits as they are enforced: one that is not set does not limit, and none goes beyond what a
/// message can carry.
fn bounded(told: WorkerLimits) -> WorkerLimits {
    let message_bytes_max = or_unlimited(told.message_bytes_max.into()).min(MESSAGE_BYTES_MAX as u64);
    let payload_bytes_max = message_bytes_max.saturating_sub(MESSAGE_OVERHEAD_BYTES as u64);
    let log_line_bytes_max = or_unlimited(told.log_line_bytes_max.into()).min(LOG_LINE_BYTES_CEILING);
    WorkerLimits {
        message_bytes_max: u32::try_from(message_bytes_max).unwrap_or(u32::MAX),
        write_buffer_bytes_max: or_unlimited(told.write_buffer_bytes_max),
        log_line_bytes_max: u32::try_from(log_line_bytes_max).unwrap_or(u32::MAX),
        response_bytes_max: or_unlimited(told.response_bytes_max).min(payload_bytes_max),
        response_parts_unread_max: told.response_parts_unread_max.max(1),
        // A value that is not copied only lives shorter, so a limit that is not set is none.
        cache_entry_bytes_max: told.cache_entry_bytes_max.min(payload_bytes_max),
        cache_key_bytes_max: told.cache_key_bytes_max,
        response_part_bytes_max: u32::try_from(
            or_unlimited(told.response_part_bytes_max.into()).min(payload_bytes_max),
        )
        .unwrap_or(u32::MAX),
    }
}

fn or_unlimited(limit: u64) -> u64 {
    if limit == 0 { u64::MAX } else { limit }
}
