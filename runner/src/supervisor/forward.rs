//! Connections of a worker to the hosts that it was granted: it connects to listeners in its own, otherwise empty
//! network, and the runner, which holds the listeners, connects to the host by name. Nothing else is reachable, whatever
//! the plugin does.

use std::net::TcpListener as StdListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bulkhead_launcher::Endpoint;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::limits::{FORWARD_CONNECT_TIMEOUT, FORWARDED_CONNECTIONS_MAX};
use crate::logs::{Level, LogWriter};

/// The listeners of one worker. Dropping it ends them and every connection.
#[derive(Debug, Default)]
pub(super) struct Forwards(JoinSet<()>);

impl Forwards {
    /// Serves `listeners`, which belong to `endpoints` one by one.
    pub(super) fn serve(&mut self, endpoints: &[Endpoint], listeners: Vec<OwnedFd>, log: &LogWriter) {
        let connections = Arc::new(Semaphore::new(FORWARDED_CONNECTIONS_MAX));
        for (endpoint, listener) in endpoints.iter().zip(listeners) {
            let listener = StdListener::from(listener);
            let listener = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
            match listener {
                Ok(listener) => {
                    self.0.spawn(accept(listener, endpoint.clone(), Arc::clone(&connections), log.clone()));
                }
                Err(error) => {
                    log.runner(Level::Error, None, format!("no way to {}:{}: {error}", endpoint.host, endpoint.port));
                }
            }
        }
    }
}

async fn accept(listener: TcpListener, endpoint: Endpoint, connections: Arc<Semaphore>, log: LogWriter) {
    let mut open = JoinSet::new();
    // A connection beyond the limit waits in the listener's queue.
    while let Ok(permit) = Arc::clone(&connections).acquire_owned().await {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = open.join_next() => continue,
        };
        let Ok((inside, _)) = accepted else { return };
        let (endpoint, log) = (endpoint.clone(), log.clone());
        open.spawn(async move {
            let _permit = permit;
            forward(inside, &endpoint, &log).await;
        });
    }
}

async fn forward(mut inside: TcpStream, endpoint: &Endpoint, log: &LogWriter) {
    let Endpoint { host, port } = endpoint;
    let failed = |why: &str| log.runner(Level::Warn, None, format!("cannot connect to {host}:{port}: {why}"));
    let mut outside = match timeout(FORWARD_CONNECT_TIMEOUT, TcpStream::connect((host.as_str(), *port))).await {
        Ok(Ok(outside)) => outside,
        Ok(Err(error)) => return failed(&error.to_string()),
        Err(_) => return failed(&format!("no answer within {}", humantime::format_duration(FORWARD_CONNECT_TIMEOUT))),
    };
    // Either end may break off at any time; the other then sees the end of the connection.
    let _ = copy_bidirectional(&mut inside, &mut outside).await;
}
