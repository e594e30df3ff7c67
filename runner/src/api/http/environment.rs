//! Packages for every plugin of the server.

use std::path::Path;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;

use super::params::json_body;
use super::reply::{Refusal, json};
use super::{HttpApi, body};
use crate::environment::{EnvironmentError, InstallError, Requirements, requirements_at};

#[derive(Deserialize)]
struct Packages {
    packages: Vec<String>,
}

#[derive(Deserialize)]
struct RequirementsLocation {
    /// A path on the server; a relative one is below the plugin directory.
    requirements_location: String,
}

/// `POST /api/v3/configure/plugin_environment/install_packages {"packages": [REQUIREMENT, ...]}`.
pub(super) async fn install_packages(
    State(api): State<HttpApi>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let bytes = body::read(&headers, body, api.request_bytes_max).await?;
    let Packages { packages } = json_body(&headers, &bytes)?;
    install(&api, Requirements::from_packages(&packages).map_err(InstallError::from)).await
}

/// `POST /api/v3/configure/plugin_environment/install_requirements {"requirements_location": PATH}`.
pub(super) async fn install_requirements(
    State(api): State<HttpApi>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let bytes = body::read(&headers, body, api.request_bytes_max).await?;
    let RequirementsLocation { requirements_location } = json_body(&headers, &bytes)?;
    let directory = api.engine.files().plugin_dir().unwrap_or(Path::new("/")).to_owned();
    let read = move || requirements_at(&directory.join(requirements_location));
    let requirements = tokio::task::spawn_blocking(read).await;
    let requirements = requirements.map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    install(&api, requirements).await
}

async fn install(api: &HttpApi, requirements: Result<Requirements, InstallError>) -> Result<Response, Refusal> {
    let environment = api.engine.install(requirements).await?;
    Ok(json(StatusCode::OK, &serde_json::json!({ "environment": environment.id, "packages": environment.packages })))
}

impl From<InstallError> for Refusal {
    fn from(error: InstallError) -> Self {
        let status = match &error {
            InstallError::Disabled => StatusCode::FORBIDDEN,
            InstallError::Environment(EnvironmentError::Timeout { .. } | EnvironmentError::Locked { .. }) => {
                StatusCode::GATEWAY_TIMEOUT
            }
            InstallError::Environment(
                EnvironmentError::Io { .. }
                | EnvironmentError::NoUv
                | EnvironmentError::ServerWide(_)
                | EnvironmentError::Lock { .. },
            ) => StatusCode::INTERNAL_SERVER_ERROR,
            // What was asked for is not there, or does not go together.
            _ => StatusCode::BAD_REQUEST,
        };
        Self(status, error.to_string())
    }
}
