//! `bulkhead.runner.v1`: the API through which a host server delegates its plugins.

mod convert;
mod delivery;
mod prepare;
mod service;
mod stream_wal;
mod uploads;

use std::future::Future;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use bulkhead_proto::runner::v1::runner_service_server::RunnerServiceServer;
use bulkhead_proto::transport;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::Server;

use crate::host::grpc::Address;

pub use service::GrpcApi;

/// Serves the API on `address` until `stop` resolves.
///
/// # Errors
/// When the address cannot be used.
pub async fn serve(api: GrpcApi, address: &Address, stop: impl Future<Output = ()> + Send) -> Result<(), String> {
    let service = RunnerServiceServer::new(api)
        .max_decoding_message_size(transport::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(transport::MESSAGE_BYTES_MAX);
    let server = Server::builder()
        .initial_stream_window_size(transport::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(transport::CONNECTION_WINDOW_BYTES)
        .add_service(service);
    match address {
        Address::Tcp(address) => {
            let listener =
                TcpListener::bind(address).await.map_err(|error| format!("gRPC address {address}: {error}"))?;
            server
                .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop)
                .await
                .map_err(|error| error.to_string())
        }
        Address::Unix(path) => {
            let listener =
                bind_socket(path).await.map_err(|error| format!("gRPC socket {}: {error}", path.display()))?;
            let served = server.serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop).await;
            if let Err(error) = std::fs::remove_file(path) {
                tracing::debug!("gRPC socket {} was not removed: {error}", path.display());
            }
            served.map_err(|error| error.to_string())
        }
    }
}

/// Listens on a socket that its owner alone can use. A socket that a killed runner left behind is replaced; one that answers is not.
async fn bind_socket(path: &Path) -> std::io::Result<UnixListener> {
    if std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
        if UnixStream::connect(path).await.is_ok() {
            return Err(std::io::Error::other("another process listens there"));
        }
        std::fs::remove_file(path)?;
    }
    // Made where nobody else can look, and moved into place when its mode is right.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let private = tempfile::Builder::new().prefix(".bulkhead-").tempdir_in(parent)?;
    let fresh = private.path().join("s");
    let listener = UnixListener::bind(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
    // Unlike a rename this never replaces what stands there.
    std::fs::hard_link(&fresh, path)?;
    Ok(listener)
}
