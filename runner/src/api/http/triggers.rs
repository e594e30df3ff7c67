//! Making, changing and deleting triggers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Deserializer};

use super::environment::shown;
use super::params::{Params, json_body};
use super::progress::answered;
use super::reply::{Refusal, done, done_with};
use super::{HttpApi, body};
use crate::dispatch::PluginCheck;
use crate::trigger::{Delivery, ErrorBehavior, Permissions, PluginLocation, TriggerDefinition, TriggerId, TriggerSpec};

#[derive(Deserialize)]
struct CreateTrigger {
    db: String,
    plugin_filename: String,
    trigger_name: String,
    trigger_settings: Settings,
    trigger_specification: String,
    trigger_arguments: Option<BTreeMap<String, String>>,
    disabled: bool,
    /// Register the trigger even when its code cannot be used as it is; ours.
    #[serde(default)]
    no_check: bool,
}

#[derive(Deserialize)]
struct Settings {
    run_async: bool,
    #[serde(deserialize_with = "error_behavior")]
    error_behavior: ErrorBehavior,
    /// Longest run of one invocation, such as `30s`; ours.
    #[serde(default, deserialize_with = "duration")]
    timeout: Option<Duration>,
    /// Attempts in all when the error behavior is `retry`; ours.
    #[serde(default)]
    attempts_max: Option<u32>,
    /// Packages that it asks for besides its plugin; ours.
    #[serde(default)]
    requirements: Vec<String>,
    /// What it may do beyond computing; ours.
    #[serde(flatten)]
    permissions: Permissions,
    /// How events are delivered; ours.
    #[serde(flatten)]
    delivery: Delivery,
}

/// The documentation writes `"Log"`, the server understood `"log"` only.
fn error_behavior<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ErrorBehavior, D::Error> {
    let word = String::deserialize(deserializer)?;
    match word.to_ascii_lowercase().as_str() {
        "log" => Ok(ErrorBehavior::Log),
        "retry" => Ok(ErrorBehavior::Retry),
        "disable" => Ok(ErrorBehavior::Disable),
        _ => Err(serde::de::Error::unknown_variant(&word, &["log", "retry", "disable"])),
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    match humantime::parse_duration(&text) {
        Ok(timeout) if timeout >= Duration::from_millis(1) => Ok(Some(timeout)),
        Ok(_) => Err(serde::de::Error::custom(format!("timeout `{text}` is shorter than 1ms"))),
        Err(error) => Err(serde::de::Error::custom(format!("timeout `{text}`: {error}"))),
    }
}

/// `POST /api/v3/configure/processing_engine_trigger`.
pub(super) async fn create(State(api): State<HttpApi>, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let bytes = body::read(&headers, body, api.request_bytes_max).await?;
    let request: CreateTrigger = json_body(&headers, &bytes)?;
    let spec: TriggerSpec = request
        .trigger_specification
        .parse()
        .map_err(|error: crate::trigger::SpecError| Refusal::bad_request(error.to_string()))?;
    let timeout_ms =
        request.trigger_settings.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
    let definition = TriggerDefinition {
        id: TriggerId::new(request.db, request.trigger_name),
        plugin: PluginLocation::named(request.plugin_filename),
        spec,
        arguments: request.trigger_arguments,
        run_async: request.trigger_settings.run_async,
        error_behavior: request.trigger_settings.error_behavior,
        attempts_max: request.trigger_settings.attempts_max,
        timeout_ms,
        requirements: request.trigger_settings.requirements,
        permissions: request.trigger_settings.permissions,
        delivery: request.trigger_settings.delivery,
        disabled: request.disabled,
        disabled_reason: None,
        shares_path: false,
    };
    let check = PluginCheck::unless(request.no_check);
    let id = definition.id.clone();
    api.engine.create(definition, check).await?;
    Ok(done_with(&api.engine.warnings(&id).await))
}

#[derive(Deserialize)]
struct ChangeRequirements {
    db: String,
    trigger_name: String,
    requirements: Vec<String>,
}

/// `PUT /api/v3/configure/processing_engine_trigger/requirements`: in place of those that it had.
pub(super) async fn requirements(
    State(api): State<HttpApi>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let bytes = body::read(&headers, body, api.request_bytes_max).await?;
    let ChangeRequirements { db, trigger_name, requirements } = json_body(&headers, &bytes)?;
    let engine = Arc::clone(&api.engine);
    let work = async move {
        let environment = engine.set_requirements(&TriggerId::new(db, trigger_name), &requirements).await?;
        Ok(shown(&environment))
    };
    answered(&headers, work).await
}

#[derive(Deserialize)]
struct DeleteTrigger {
    db: String,
    trigger_name: String,
    #[serde(default)]
    force: bool,
}

/// `DELETE /api/v3/configure/processing_engine_trigger?db=&trigger_name=&force=`, or the same as JSON.
pub(super) async fn delete(
    State(api): State<HttpApi>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let bytes = body::read(&headers, body, api.request_bytes_max).await?;
    let params = Params::parse(query.as_deref());
    let request: DeleteTrigger = if params.0.is_empty() && !bytes.is_empty() {
        json_body(&headers, &bytes)?
    } else {
        DeleteTrigger {
            db: params.require("db")?.to_owned(),
            trigger_name: params.require("trigger_name")?.to_owned(),
            force: params.flag("force", false)?,
        }
    };
    api.engine.delete(&TriggerId::new(request.db, request.trigger_name), request.force, Duration::ZERO).await?;
    Ok(done())
}

/// `POST /api/v3/configure/processing_engine_trigger/enable?db=&trigger_name=`.
pub(super) async fn enable(State(api): State<HttpApi>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    set_enabled(&api, query.as_deref(), true).await
}

/// `POST /api/v3/configure/processing_engine_trigger/disable?db=&trigger_name=`.
pub(super) async fn disable(State(api): State<HttpApi>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    set_enabled(&api, query.as_deref(), false).await
}

async fn set_enabled(api: &HttpApi, query: Option<&str>, enabled: bool) -> Result<Response, Refusal> {
    let params = Params::parse(query);
    let id = TriggerId::new(params.require("db")?, params.require("trigger_name")?);
    api.engine.set_enabled(&id, enabled).await?;
    Ok(done())
}
