//! Delegation over gRPC: a host server drives a real runner with `bulkhead.runner.v1` and serves it `bulkhead.host.v1`.

mod calls;
mod chaos;
mod client;
mod damage;
mod effects;
mod example;
mod host;
mod outages;
mod questions;
mod rows;
mod serving;
mod streaming;
mod triggers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use self::client::Client;
use self::host::FakeHost;
use crate::world::{PATIENCE, Process, Setup, TestRunner, processes_of};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// A runner with the host that delegates to it.
struct Delegation {
    host: FakeHost,
    runner: TestRunner,
}

impl Delegation {
    fn start() -> Self {
        Self::start_with(&[])
    }

    /// With more arguments for `serve`.
    fn start_with(arguments: &[&str]) -> Self {
        let host = FakeHost::start();
        let setup = Setup::new();
        let socket = format!("unix:{}", socket_of(setup.root()).display());
        let address = host.address();
        let setup = setup.args(&["--grpc-bind", &socket, "--host", "grpc", "--host-address", &address]).args(arguments);
        Self { host, runner: setup.start() }
    }

    /// The socket on which the runner serves hosts.
    fn socket(&self) -> PathBuf {
        socket_of(self.runner.root())
    }

    /// A connection to the runner, which may still be on its way up.
    async fn client(&self) -> Client {
        connect(&self.socket()).await
    }

    /// A file in the directory of the test, by which tests and plugins tell each other things.
    fn file(&self, name: &str) -> PathBuf {
        self.runner.root().join(name)
    }

    /// The interpreters that run.
    fn workers(&self) -> Vec<Process> {
        let all = processes_of(self.runner.root()).into_iter();
        all.filter(|process| process.command().contains("bulkhead_worker") && !process.is_zygote()).collect()
    }
}

fn socket_of(root: &Path) -> PathBuf {
    root.join("runner.sock")
}

async fn connect(socket: &Path) -> Client {
    let connected = async {
        loop {
            match Client::connect(socket).await {
                Ok(client) => return client,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    };
    soon("a connection to the runner", connected).await
}

/// The result of something that has to happen soon.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}

/// Waits for a file, while other things go on.
async fn until_file(path: &Path) {
    let made = async {
        while !path.exists() {
            tokio::time::sleep(PAUSE).await;
        }
    };
    soon(&format!("file {}", path.display()), made).await;
}

/// Makes an empty file.
fn make_file(path: &Path) {
    std::fs::File::create(path).expect("file");
}

/// A path as text, for arguments.
fn text(path: &Path) -> &str {
    path.to_str().expect("temporary directories have plain names")
}
