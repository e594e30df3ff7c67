//! Files of plugins, brought by clients.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use super::params::json_body;
use super::reply::{Refusal, done};
use super::{HttpApi, body};
use crate::dispatch::{EngineError, PluginCheck};
use crate::plugin_files::PluginFileError;

#[derive(Deserialize)]
struct PluginFile {
    /// A path for a new file, a trigger's name for a changed one.
    plugin_name: String,
    content: String,
    /// Which trigger, when several databases have one of this name; ours.
    db: Option<String>,
    /// Take the code even when it cannot be used as it is; ours.
    #[serde(default)]
    no_check: bool,
}

#[derive(Deserialize)]
struct PluginDirectory {
    plugin_name: String,
    files: Vec<DirectoryFile>,
    db: Option<String>,
    #[serde(default)]
    no_check: bool,
}

#[derive(Deserialize)]
struct DirectoryFile {
    relative_path: String,
    content: String,
}

/// `POST /api/v3/plugins/files {"plugin_name": PATH, "content"}`.
pub(super) async fn create_file(
    State(api): State<HttpApi>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let bytes = body::read(&headers, body, api.request_bytes_max).await?;
    let file: PluginFile = json_body(&headers, &bytes)?;
    let written = tokio::task::spawn_blocking(move || {
        api.engine.files().check_installable()?;
        Ok(api.engine.files().write(&file.plugin_name, &file.content)?)
    });
    match written.await {
        Ok(written) => changed(written),
        Err(error) => Err(Refusal(axum::http::StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

/// `PUT /api/v3/plugins/files {"plugin_name": TRIGGER, "content"}`.
pub(super) async fn update_file(
    State(api): State<HttpApi>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let bytes = body::read(&headers, body, api.request_bytes_max).await?;
    let file: PluginFile = json_body(&headers, &bytes)?;
    let check = PluginCheck::unless(file.no_check);
    changed(api.engine.update_file(&file.plugin_name, file.db.as_deref(), file.content, check).await)
}

/// `PUT /api/v3/plugins/directory {"plugin_name": TRIGGER, "files": [{"relative_path", "content"}]}`.
pub(super) async fn update_directory(
    State(api): State<HttpApi>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let bytes = body::read(&headers, body, api.request_bytes_max).await?;
    let directory: PluginDirectory = json_body(&headers, &bytes)?;
    let files: Vec<_> = directory.files.into_iter().map(|file| (file.relative_path, file.content)).collect();
    let check = PluginCheck::unless(directory.no_check);
    changed(api.engine.update_directory(&directory.plugin_name, directory.db.as_deref(), files, check).await)
}

/// The answer to a change.
fn changed(outcome: Result<(), EngineError>) -> Result<Response, Refusal> {
    match outcome {
        Ok(()) => Ok(done()),
        // These routes of InfluxDB 3 word a plugin's error in their own way.
        Err(EngineError::Plugin(error)) => {
            let Refusal(status, _) = EngineError::Plugin(error.clone()).into();
            Err(Refusal(status, worded(&error)))
        }
        Err(error) => Err(error.into()),
    }
}

fn worded(error: &PluginFileError) -> String {
    match error {
        PluginFileError::PluginDirOnly => error.to_string(),
        error => format!("Processing engine error: plugin error: {error}"),
    }
}
