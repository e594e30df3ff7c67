//! SQL in, rows out.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;

use super::format::{self, Format};
use super::params::{Params, json_body};
use super::reply::Refusal;
use super::{HttpApi, body};
use crate::host::{Parameter, Query};

#[derive(Deserialize)]
struct QueryRequest {
    #[serde(alias = "database")]
    db: String,
    #[serde(alias = "query_str")]
    q: String,
    format: Option<String>,
    params: Option<BTreeMap<String, Value>>,
}

/// `GET /api/v3/query_sql?db=&q=&format=&params=`.
pub(super) async fn get(
    State(api): State<HttpApi>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let params = Params::parse(query.as_deref());
    let parameters = params.get("params").map(serde_json::from_str).transpose();
    let request = QueryRequest {
        db: params.require("db")?.to_owned(),
        q: params.require("q")?.to_owned(),
        format: params.get("format").map(str::to_owned),
        params: parameters.map_err(|error| Refusal::bad_request(format!("serde json error: params: {error}")))?,
    };
    run(api, request, &headers).await
}

/// `POST /api/v3/query_sql {"db", "q", "format", "params"}`.
pub(super) async fn post(State(api): State<HttpApi>, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let bytes = body::read(&headers, body, api.request_bytes_max).await?;
    let request = json_body(&headers, &bytes)?;
    run(api, request, &headers).await
}

async fn run(api: HttpApi, request: QueryRequest, headers: &HeaderMap) -> Result<Response, Refusal> {
    let format = match &request.format {
        Some(name) => name.parse()?,
        None => Format::accepted(headers.get(header::ACCEPT).and_then(|value| value.to_str().ok())),
    };
    let parameters = request.params.unwrap_or_default().into_iter().map(parameter).collect::<Result<_, _>>()?;
    let query = Query { trigger: None, database: request.db, sql: request.q, parameters };
    let rows = api.engine.host().query(query).await?;
    format::rows(format, rows).await
}

pub(super) fn parameter((name, value): (String, Value)) -> Result<(String, Parameter), Refusal> {
    let parameter = match value {
        Value::Null => Parameter::Null,
        Value::Bool(value) => Parameter::Boolean(value),
        Value::String(value) => Parameter::Text(value),
        Value::Number(value) => match (value.as_i64(), value.as_f64()) {
            (Some(integer), _) => Parameter::Integer(integer),
            (None, Some(float)) => Parameter::Float(float),
            (None, None) => return Err(Refusal::bad_request(format!("parameter `{name}`: {value} is out of range"))),
        },
        Value::Array(_) | Value::Object(_) => {
            return Err(Refusal::bad_request(format!(
                "parameter `{name}` must be a string, a number, a boolean or null"
            )));
        }
    };
    Ok((name, parameter))
}
