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

use super::proxy;
use crate::limits::{FORWARD_CONNECT_TIMEOUT, FORWARDED_CONNECTIONS_MAX};
use crate::logs::{Level, LogWriter};
use crate::trigger::HostPattern;

/// The name of the proxy in a worker's own network.
pub(super) const PROXY_HOST: &str = "bulkhead-proxy";
/// Its port, which is usual for such.
pub(super) const PROXY_PORT: u16 = 3128;

/// The listeners of one worker. Dropping it ends them and every connection.
#[derive(Debug, Default)]
pub(super) struct Forwards(JoinSet<()>);

impl Forwards {
    /// Serves `listeners`, which belong to `endpoints` one by one.
    pub(super) fn serve(
        &mut self,
        (endpoints, granted): (&[Endpoint], &Arc<[HostPattern]>),
        listeners: Vec<OwnedFd>,
        log: &LogWriter,
    ) {
        let connections = Arc::new(Semaphore::new(FORWARDED_CONNECTIONS_MAX));
        for (endpoint, listener) in endpoints.iter().zip(listeners) {
            let listener = StdListener::from(listener);
            let listener = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
            match listener {
                Ok(listener) => {
                    let way = match endpoint.host.as_str() {
                        PROXY_HOST => Way::Proxy(Arc::clone(granted)),
                        _ => Way::Straight(endpoint.clone()),
                    };
                    self.0.spawn(accept(listener, way, Arc::clone(&connections), log.clone()));
                }
                Err(error) => {
                    log.runner(Level::Error, None, format!("no way to {}:{}: {error}", endpoint.host, endpoint.port));
                }
            }
        }
    }
}

/// Where a listener leads.
#[derive(Debug, Clone)]
enum Way {
    /// To one host.
    Straight(Endpoint),
    /// To any that is asked for and granted.
    Proxy(Arc<[HostPattern]>),
}

async fn accept(listener: TcpListener, way: Way, connections: Arc<Semaphore>, log: LogWriter) {
    let mut open = JoinSet::new();
    // A connection beyond the limit waits in the listener's queue.
    while let Ok(permit) = Arc::clone(&connections).acquire_owned().await {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = open.join_next() => continue,
        };
        let Ok((inside, _)) = accepted else { return };
        let (way, log) = (way.clone(), log.clone());
        open.spawn(async move {
            let _permit = permit;
            match way {
                Way::Straight(endpoint) => forward(inside, &endpoint, &log).await,
                Way::Proxy(granted) => proxy::serve(inside, &granted, &log).await,
            }
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
