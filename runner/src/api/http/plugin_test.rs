//! Dry runs of plugins: nothing that they write is kept.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_proto::types::v1::{HttpRequest, KeyValue};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use super::databases::data;
use super::params::json_body;
use super::reply::{Refusal, json};
use super::{HttpApi, body};
use crate::dispatch::{DryEvent, DryRun, DryRunReport, EngineError};
use crate::host::ClientWriteError;
use crate::trigger::{Permissions, PluginLocation, Schedule, normalised_cron};

/// The schedule of a test that names none: every second.
const DEFAULT_SCHEDULE: &str = "* * * * * *";

/// What a plugin has besides what it is called with.
#[derive(Deserialize)]
struct Surroundings {
    database: String,
    input_arguments: Option<BTreeMap<String, String>>,
    cache_name: Option<String>,
    /// What it may do beyond computing, as in the settings of a trigger; ours.
    #[serde(default)]
    trigger_settings: TestSettings,
}

#[derive(Default, Deserialize)]
struct TestSettings {
    #[serde(default)]
    requirements: Vec<String>,
    #[serde(flatten)]
    permissions: Permissions,
}

impl Surroundings {
    fn dry_run(self, plugin: PluginLocation, event: DryEvent) -> DryRun {
        DryRun {
            plugin,
            database: self.database,
            event,
            arguments: self.input_arguments,
            cache_name: self.cache_name,
            requirements: self.trigger_settings.requirements,
            permissions: self.trigger_settings.permissions,
        }
    }
}

#[derive(Deserialize)]
struct TestWal {
    filename: String,
    input_lp: String,
    #[serde(flatten)]
    surroundings: Surroundings,
}

#[derive(Deserialize)]
struct TestSchedule {
    filename: String,
    schedule: Option<String>,
    #[serde(flatten)]
    surroundings: Surroundings,
}

#[derive(Deserialize)]
struct TestRequest {
    filename: String,
    #[serde(default = "get")]
    method: String,
    /// Names and values, or pairs of them where names repeat.
    #[serde(default)]
    query_parameters: Pairs,
    #[serde(default)]
    headers: Pairs,
    /// Text; or bytes in `body_base64`.
    #[serde(default)]
    body: String,
    body_base64: Option<String>,
    #[serde(flatten)]
    surroundings: Surroundings,
}

fn get() -> String {
    "GET".to_owned()
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Pairs {
    Names(BTreeMap<String, String>),
    Pairs(Vec<(String, String)>),
}

impl Default for Pairs {
    fn default() -> Self {
        Self::Pairs(Vec::new())
    }
}

impl Pairs {
    fn into_wire(self, name: fn(String) -> String) -> Vec<KeyValue> {
        let pairs = match self {
            Self::Names(names) => names.into_iter().collect(),
            Self::Pairs(pairs) => pairs,
        };
        pairs.into_iter().map(|(key, value)| KeyValue { key: name(key), value }).collect()
    }
}

/// The answer; the first four fields are InfluxDB 3's, in its order.
#[derive(Serialize)]
struct Report {
    /// Only for schedules, where it may be `null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger_time: Option<Option<String>>,
    log_lines: Vec<String>,
    database_writes: BTreeMap<String, Vec<String>>,
    errors: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<TestResponse>,
    /// Of the plugin's exception.
    #[serde(skip_serializing_if = "String::is_empty")]
    traceback: String,
}

#[derive(Serialize)]
struct TestResponse {
    status: u32,
    headers: Vec<(String, String)>,
    /// The body when it is text, otherwise `body_base64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// `POST /api/v3/plugin_test/wal`.
pub(super) async fn wal(State(api): State<HttpApi>, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let bytes = body::read(&headers, body, api.request_bytes_max).await?;
    let test: TestWal = json_body(&headers, &bytes)?;
    let plugin = PluginLocation::named(test.filename);
    present(&api, &plugin).await?;
    let rehearsed = data(&api)?.rehearse(&test.surroundings.database, test.input_lp.into()).await;
    let tables = match rehearsed {
        Ok(mut rehearsal) if !rehearsal.errors.is_empty() => {
            let error = rehearsal.errors.swap_remove(0);
            return Ok(refused(None, format!("line protocol parse failed: {}", error.error_message)));
        }
        Ok(rehearsal) => rehearsal.tables,
        Err(error) => return Ok(refused(None, error.to_string())),
    };
    let dry_run = test.surroundings.dry_run(plugin, DryEvent::Wal(tables));
    let report = api.engine.dry_run(dry_run).await?;
    Ok(json(StatusCode::OK, &told(&api, report, None).await))
}

/// `POST /api/v3/plugin_test/schedule`.
pub(super) async fn schedule(State(api): State<HttpApi>, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let bytes = body::read(&headers, body, api.request_bytes_max).await?;
    let test: TestSchedule = json_body(&headers, &bytes)?;
    let plugin = PluginLocation::named(test.filename);
    present(&api, &plugin).await?;
    let time = match next_time(test.schedule.as_deref().unwrap_or(DEFAULT_SCHEDULE), api.clock.now()) {
        Ok(time) => time,
        Err(error) => return Ok(refused(Some(None), error)),
    };
    if !api.engine.host().database_exists(&test.surroundings.database) {
        return Ok(refused(Some(None), "couldn't find db".to_owned()));
    }
    let dry_run = test.surroundings.dry_run(plugin, DryEvent::Schedule(time));
    let report = api.engine.dry_run(dry_run).await?;
    let time = report.failure.is_none().then(|| time.to_rfc3339_opts(SecondsFormat::AutoSi, true));
    Ok(json(StatusCode::OK, &told(&api, report, Some(time)).await))
}

/// `POST /api/v3/plugin_test/request`; ours.
pub(super) async fn request(State(api): State<HttpApi>, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let bytes = body::read(&headers, body, api.request_bytes_max).await?;
    let test: TestRequest = json_body(&headers, &bytes)?;
    let body = match test.body_base64 {
        None => Bytes::from(test.body),
        Some(text) => STANDARD
            .decode(text)
            .map_err(|error| Refusal::bad_request(format!("serde json error: body_base64: {error}")))?
            .into(),
    };
    let request = HttpRequest {
        method: test.method.to_ascii_uppercase(),
        query_parameters: test.query_parameters.into_wire(|name| name),
        headers: test.headers.into_wire(|name| name.to_ascii_lowercase()),
        body,
    };
    let plugin = PluginLocation::named(test.filename);
    present(&api, &plugin).await?;
    let dry_run = test.surroundings.dry_run(plugin, DryEvent::Request(request));
    let report = api.engine.dry_run(dry_run).await?;
    Ok(json(StatusCode::OK, &told(&api, report, None).await))
}

/// A plugin that is not there is told before anything else.
async fn present(api: &HttpApi, plugin: &PluginLocation) -> Result<(), Refusal> {
    let files = api.engine.files();
    files.fetch(plugin).await.map_err(EngineError::from)?;
    files.resolve(plugin).map_err(EngineError::from)?;
    Ok(())
}

/// The first time of a cron expression, or why there is none.
fn next_time(schedule: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    let expression = normalised_cron(schedule);
    let parsed: cron::Schedule =
        expression.parse().map_err(|error: cron::error::Error| format!("invalid cron syntax: {error}"))?;
    let next = Schedule::Cron(Box::new(parsed), chrono_tz::Tz::UTC).next_after(now);
    next.ok_or_else(|| format!("cron schedule never triggers: {schedule}"))
}

fn refused(trigger_time: Option<Option<String>>, error: String) -> Response {
    let report = Report {
        trigger_time,
        log_lines: Vec::new(),
        database_writes: BTreeMap::new(),
        errors: vec![error],
        response: None,
        traceback: String::new(),
    };
    json(StatusCode::OK, &report)
}

/// The report for a person: what was written is checked as the commit would have done.
async fn told(api: &HttpApi, report: DryRunReport, trigger_time: Option<Option<String>>) -> Report {
    let mut errors = Vec::new();
    let mut traceback = String::new();
    if let Some(failure) = report.failure {
        errors.push(format!("error executing plugin: {}", failure.message));
        traceback = failure.traceback;
    }
    let mut database_writes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (database, lines) in joined(report.writes) {
        let text = String::from_utf8_lossy(&lines).into_owned();
        let plain = || text.lines().map(str::to_owned).collect();
        let lines = match &api.data {
            None => plain(),
            Some(data) => match data.rehearse(&database, lines).await {
                Ok(rehearsal) => {
                    errors.extend(rehearsal.errors.into_iter().map(|error| {
                        format!(
                            "line protocol parse error on write to db {database}: WriteLineError {{ original_line: {:?}, \
                             line_number: {}, error_message: {:?} }}",
                            error.original_line, error.line_number, error.error_message
                        )
                    }));
                    rehearsal.lines
                }
                Err(ClientWriteError::Invalid(reason)) => {
                    errors.push(format!("database name {database} is invalid: {reason}"));
                    plain()
                }
                Err(error) => {
                    errors.push(format!("error on write to db {database}: {error}"));
                    plain()
                }
            },
        };
        database_writes.insert(database, lines);
    }
    let response = report.response.map(|response| {
        let (body, body_base64) = match std::str::from_utf8(&response.body) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(STANDARD.encode(&response.body))),
        };
        let headers = response.headers.into_iter().map(|header| (header.key, header.value)).collect();
        TestResponse { status: response.status_code, headers, body, body_base64 }
    });
    Report { trigger_time, log_lines: report.log_lines, database_writes, errors, response, traceback }
}

/// One body of lines for each database.
fn joined(writes: Vec<(String, Bytes)>) -> BTreeMap<String, Bytes> {
    let mut bodies: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (database, lines) in writes {
        let body = bodies.entry(database).or_default();
        if body.last().is_some_and(|byte| *byte != b'\n') {
            body.push(b'\n');
        }
        body.extend_from_slice(&lines);
    }
    bodies.into_iter().map(|(database, lines)| (database, lines.into())).collect()
}
