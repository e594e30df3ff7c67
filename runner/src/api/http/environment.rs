//! Packages for every plugin of the server.

use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::params::{Params, json_body};
use super::progress::answered;
use super::reply::{Refusal, json as reply};
use super::{HttpApi, body};
use crate::environment::{Asked, Environment, EnvironmentError, InstallError, Relock, Requirements, requirements_at};
use crate::trigger::TriggerId;

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
    install(&api, &headers, Requirements::from_packages(&packages).map_err(InstallError::from)).await
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
    install(&api, &headers, requirements).await
}

async fn install(
    api: &HttpApi,
    headers: &HeaderMap,
    requirements: Result<Requirements, InstallError>,
) -> Result<Response, Refusal> {
    let engine = Arc::clone(&api.engine);
    answered(headers, async move { Ok(shown(&*engine.install(requirements).await?)) }).await
}

/// An environment as clients see it.
pub(super) fn shown(environment: &Environment) -> Value {
    json!({ "environment": environment.id, "packages": environment.packages })
}

#[derive(Deserialize)]
struct OfTrigger {
    db: String,
    trigger_name: String,
}

/// `POST /api/v3/configure/plugin_environment/diff {"db": DB, "trigger_name": NAME}`: what a lock made now would change.
pub(super) async fn diff(State(api): State<HttpApi>, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    relock(&api, &headers, body, false).await
}

/// `POST /api/v3/configure/plugin_environment/lock`: the same, and the lock is kept for `sync`.
pub(super) async fn lock(State(api): State<HttpApi>, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    relock(&api, &headers, body, true).await
}

async fn relock(api: &HttpApi, headers: &HeaderMap, body: Body, keep: bool) -> Result<Response, Refusal> {
    let bytes = body::read(headers, body, api.request_bytes_max).await?;
    let OfTrigger { db, trigger_name } = json_body(headers, &bytes)?;
    let engine = Arc::clone(&api.engine);
    let work = async move {
        let Relock { before, after, text } = engine.relock(&TriggerId::new(db, trigger_name), keep).await?;
        Ok(json!({ "before": before, "after": after, "lock": text }))
    };
    answered(headers, work).await
}

/// `POST /api/v3/configure/plugin_environment/sync`: the environment of the new lock is built and taken into use.
pub(super) async fn sync(State(api): State<HttpApi>, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let bytes = body::read(&headers, body, api.request_bytes_max).await?;
    let OfTrigger { db, trigger_name } = json_body(&headers, &bytes)?;
    let engine = Arc::clone(&api.engine);
    let work = async move { Ok(shown(&*engine.sync(&TriggerId::new(db, trigger_name)).await?)) };
    answered(&headers, work).await
}

/// What the answer is where an environment could not be had.
pub(super) fn status(error: &EnvironmentError) -> StatusCode {
    match error {
        EnvironmentError::Timeout { .. } | EnvironmentError::Locked { .. } => StatusCode::GATEWAY_TIMEOUT,
        EnvironmentError::PackagesDisabled { .. } | EnvironmentError::NotAllowed { .. } => StatusCode::FORBIDDEN,
        EnvironmentError::Io { .. }
        | EnvironmentError::NoUv
        | EnvironmentError::ServerWide(_)
        | EnvironmentError::Lock { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        // What was asked for is not there, or does not go together.
        EnvironmentError::Interpreter(_) | EnvironmentError::Tool { .. } | EnvironmentError::Source { .. } => {
            StatusCode::BAD_REQUEST
        }
    }
}

/// `GET /api/v3/configure/plugin_environment?db=&trigger_name=`: what a trigger asks for, and what it comes to.
pub(super) async fn show(State(api): State<HttpApi>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let params = Params::parse(query.as_deref());
    let id = TriggerId::new(params.require("db")?, params.require("trigger_name")?);
    let plan = api.engine.plan(&id).await?;
    let warnings = api.engine.missing_prerequisites(&id).await;
    let plugins = plan.prerequisites.plugins.iter().map(|plugin| {
        let source = plugin.by.to_string();
        json!({ "name": plugin.name, "version": plugin.version, "index_url": plugin.index_url, "source": source })
    });
    let asked = |asked: &[Asked]| -> Vec<_> {
        asked.iter().map(|asked| json!({ "requirement": asked.what, "source": asked.by.to_string() })).collect()
    };
    Ok(reply(
        StatusCode::OK,
        &json!({
            "requirements": asked(&plan.asked),
            "requires_python": asked(&plan.python_asked),
            "database_version": asked(&plan.prerequisites.database),
            "plugins": plugins.collect::<Vec<_>>(),
            "warnings": warnings,
            "python": plan.python_version,
            "environment": plan.environment.as_ref().map(|environment| &environment.id),
            "packages": plan.environment.as_ref().map(|environment| &environment.packages),
            "is_built": plan.is_built,
            "lock": plan.lock,
        }),
    ))
}

impl From<InstallError> for Refusal {
    fn from(error: InstallError) -> Self {
        let status = match &error {
            InstallError::Disabled => StatusCode::FORBIDDEN,
            InstallError::Environment(error) => status(error),
            InstallError::Requirements(_) | InstallError::NoFile(_) => StatusCode::BAD_REQUEST,
        };
        Self(status, error.to_string())
    }
}
