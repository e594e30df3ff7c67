//! Line protocol in.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::params::Params;
use super::reply::{Refusal, write_error};
use super::{HttpApi, body};
use crate::host::ClientWrite;

/// `POST /api/v3/write_lp?db=&precision=&accept_partial=&no_sync=`.
pub(super) async fn v3(
    State(api): State<HttpApi>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let params = Params::parse(query.as_deref());
    let options = Options {
        database: params.require("db")?.to_owned(),
        precision: params.get("precision").map(str::to_owned),
        accept_partial: params.flag("accept_partial", true)?,
        no_sync: params.flag("no_sync", false)?,
    };
    write(api, options, headers, body).await
}

/// `POST /api/v2/write?bucket=&precision=`, for clients of the older API.
pub(super) async fn v2(
    State(api): State<HttpApi>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    write(api, Options::older("bucket", query.as_deref())?, headers, body).await
}

/// `POST /write?db=&precision=`, for clients of the oldest API.
pub(super) async fn v1(
    State(api): State<HttpApi>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    write(api, Options::older("db", query.as_deref())?, headers, body).await
}

struct Options {
    database: String,
    precision: Option<String>,
    accept_partial: bool,
    no_sync: bool,
}

impl Options {
    /// The older APIs name the database differently and take timestamps for nanoseconds.
    fn older(database: &str, query: Option<&str>) -> Result<Self, Refusal> {
        let params = Params::parse(query);
        Ok(Self {
            database: params.require(database)?.to_owned(),
            precision: Some(params.get("precision").unwrap_or("ns").to_owned()),
            accept_partial: true,
            no_sync: false,
        })
    }
}

async fn write(api: HttpApi, options: Options, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let data = super::databases::data(&api)?;
    let line_protocol = body::read(&headers, body, api.request_bytes_max).await?;
    let Options { database, precision, accept_partial, no_sync } = options;
    match data.write_lp(ClientWrite { database, line_protocol, precision, accept_partial, no_sync }).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(error) => Ok(write_error(error)),
    }
}
