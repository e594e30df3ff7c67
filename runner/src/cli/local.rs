//! A whole server for one command: in this process, on a temporary directory, gone afterwards.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::client::{Client, with_query};
use super::output::CliError;
use super::packages::PackageArgs;
use super::serve::{LogFormat, Signals, log_to_stderr};
use crate::config::Config;
use crate::server::Server;

/// What is logged to standard error when `LOG_FILTER` says nothing; the command shows the rest itself.
const LOG_FILTER: &str = "error,bulkhead::plugin=off";

/// The server.
pub(super) struct LocalServer {
    server: Server,
    client: Client,
    signals: Mutex<Signals>,
    _directory: TempDir,
}

impl LocalServer {
    /// Starts one with an empty database and the plugins of `plugin_dir`.
    pub(super) async fn start(plugin_dir: &Path, packages: Option<PackageArgs>) -> Result<Self, CliError> {
        log_to_stderr(&std::env::var("LOG_FILTER").unwrap_or_else(|_| LOG_FILTER.to_owned()), LogFormat::Text)?;
        let signals = Mutex::new(Signals::new()?);
        let directory = tempfile::Builder::new().prefix("bulkhead-test-").tempdir();
        let directory = directory.map_err(|error| CliError::new(format!("temporary directory: {error}")))?;
        let mut config = Config::new(directory.path().to_owned(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        config.plugin_dir = Some(plugin_dir.to_owned());
        config.environments_dir = cache_directory().map(|cache| cache.join("environments"));
        if let Some(packages) = packages {
            packages.apply(&mut config);
        }
        let server = Server::start(config).await?;
        let client = Client::new(&format!("http://{}", server.http_address()))?;
        Ok(Self { server, client, signals, _directory: directory })
    }

    /// Talks to it.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Makes a database.
    pub(super) async fn create_database(&self, name: &str) -> Result<(), CliError> {
        let body = json!({ "db": name });
        self.client.post_json("/api/v3/configure/database", &body).await?.success("Failed to create database")?;
        Ok(())
    }

    /// Writes line protocol.
    pub(super) async fn write(&self, database: &str, lines: String) -> Result<(), CliError> {
        let path = with_query("/api/v3/write_lp", &[("db", database), ("accept_partial", "false")]);
        self.client.post(&path, lines).await?.success("Failed to write the data")?;
        Ok(())
    }

    /// Resolves when somebody wants the command to end.
    pub(super) async fn interrupted(&self) {
        self.signals.lock().await.next().await;
    }

    /// Stops it; nothing is left but environments, which further tests use again.
    pub(super) async fn stop(self) {
        self.server.stop().await;
    }
}

/// Where environments are kept between commands: building one takes seconds.
fn cache_directory() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("bulkhead"))
}
