//! Making, listing and deleting databases.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::format::Format;
use super::params::{Params, json_body};
use super::reply::{Refusal, database_error, done};
use super::{HttpApi, body, format};
use crate::host::DataApi;

/// The data of a runner that holds it itself.
pub(super) fn data(api: &HttpApi) -> Result<&Arc<dyn DataApi>, Refusal> {
    api.data.as_ref().ok_or_else(|| {
        let text =
            "this runner holds no data: it serves a host over gRPC; write and administer databases there".to_owned();
        Refusal(StatusCode::NOT_IMPLEMENTED, text)
    })
}

#[derive(Deserialize)]
struct CreateDatabase {
    db: String,
}

/// `POST /api/v3/configure/database {"db"}`.
pub(super) async fn create(State(api): State<HttpApi>, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let bytes = body::read(&headers, body, api.request_bytes_max).await?;
    let request: CreateDatabase = json_body(&headers, &bytes)?;
    match data(&api)?.create_database(&request.db).await {
        Ok(()) => Ok(done()),
        Err(error) => Ok(database_error(&error)),
    }
}

/// `DELETE /api/v3/configure/database?db=`. The triggers of the database go with it.
pub(super) async fn delete(State(api): State<HttpApi>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let params = Params::parse(query.as_deref());
    let database = params.require("db")?;
    let data = data(&api)?;
    if !data.list_databases().iter().any(|name| name == database) {
        return Err(Refusal(StatusCode::NOT_FOUND, format!("the requested resource was not found: {database}")));
    }
    api.engine.drop_database(database).await?;
    match data.delete_database(database).await {
        Ok(()) => Ok(done()),
        Err(error) => Ok(database_error(&error)),
    }
}

/// `GET /api/v3/configure/database?format=`.
pub(super) async fn list(State(api): State<HttpApi>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let params = Params::parse(query.as_deref());
    let format: Format = params.get("format").unwrap_or("json").parse()?;
    let names = data(&api)?.list_databases();
    if format == Format::Json {
        // The column has a name with colons, which no SQL result can have.
        let rows: Vec<_> = names.iter().map(|name| json!({ "iox::database": name })).collect();
        return Ok(super::reply::json(StatusCode::OK, &rows));
    }
    let column: arrow::array::ArrayRef = Arc::new(arrow::array::StringArray::from(names));
    let batch = arrow::array::RecordBatch::try_from_iter([("iox::database", column)])
        .map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    format::batches(format, batch.schema(), vec![batch])
}
