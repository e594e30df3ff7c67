//! The connection to the runner: gRPC over the inherited socket.

use std::future::ready;
use std::io;
use std::os::unix::net::UnixStream;

use bulkhead_proto::transport::{
    CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, MESSAGE_BYTES_MAX, STREAM_WINDOW_BYTES, SessionSocket,
};
use bulkhead_proto::worker::v1::worker_service_client::WorkerServiceClient;
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// A name has to stand in HTTP/2's `:authority`; nobody resolves it.
const AUTHORITY: &str = "http://runner.invalid";

/// Speaks gRPC on the socket. There is one socket: a lost connection is not made anew.
///
/// # Errors
/// When the socket cannot be used or the peer does not speak HTTP/2.
pub(crate) async fn connect(
    socket: UnixStream,
) -> Result<WorkerServiceClient<Channel>, Box<dyn std::error::Error + Send + Sync>> {
    let mut only = Some(TokioIo::new(SessionSocket::new(socket)?));
    let connector = service_fn(move |_| ready(only.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))));
    let channel = Endpoint::from_static(AUTHORITY)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .connect_with_connector(connector)
        .await?;
    Ok(WorkerServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX))
}
