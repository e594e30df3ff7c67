//! Requests for request plugins.

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bulkhead_proto::types::v1::{FailureKind, HttpRequest, HttpResponse, KeyValue};

use super::params::Params;
use super::reply::{Refusal, error_json, json};
use super::{HttpApi, body};
use crate::dispatch::RequestEnd;

/// `/api/v3/engine/<path>`.
pub(super) async fn call(
    State(api): State<HttpApi>,
    Path(path): Path<String>,
    method: Method,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let request = request(&api, method, query.as_deref(), &headers, body).await?;
    Ok(answer(api.engine.call_path(&path, request).await))
}

/// `/api/v3/databases/<database>/engine/<path>`; ours, for a path that triggers of several databases have.
pub(super) async fn call_in(
    State(api): State<HttpApi>,
    Path((database, path)): Path<(String, String)>,
    method: Method,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let request = request(&api, method, query.as_deref(), &headers, body).await?;
    Ok(answer(api.engine.call_path_in(&database, &path, request).await))
}

/// The request as a plugin gets it.
async fn request(
    api: &HttpApi,
    method: Method,
    query: Option<&str>,
    headers: &HeaderMap,
    body: Body,
) -> Result<HttpRequest, Refusal> {
    let body = body::read(headers, body, api.request_bytes_max).await?;
    let query_parameters = Params::parse(query).0.into_iter().map(|(key, value)| KeyValue { key, value });
    Ok(HttpRequest {
        method: method.as_str().to_owned(),
        query_parameters: query_parameters.collect(),
        headers: plugin_headers(headers),
        body,
    })
}

fn answer(end: RequestEnd) -> Response {
    match end {
        RequestEnd::Response { mut response, .. } => {
            let body = Body::from(std::mem::take(&mut response.body));
            plugin_response(response, body)
        }
        // A failure in the middle breaks the connection off, so that nobody takes what came for the whole.
        RequestEnd::Streaming { head, body } => plugin_response(head, Body::from_stream(body)),
        RequestEnd::Failed(failed) => match failed.failure.kind() {
            FailureKind::Deadline => error_json(StatusCode::GATEWAY_TIMEOUT, &failed.text),
            FailureKind::Cancelled => error_json(StatusCode::SERVICE_UNAVAILABLE, &failed.text),
            _ => raised(&failed.text, failed.failure.traceback.trim_end()),
        },
        RequestEnd::NotFound => error_json(StatusCode::NOT_FOUND, "not found"),
        RequestEnd::Busy { text, retry_after } => {
            let seconds = retry_after.as_secs_f64().ceil().max(1.0).to_string();
            ([(header::RETRY_AFTER, seconds)], error_json(StatusCode::SERVICE_UNAVAILABLE, &text)).into_response()
        }
    }
}

/// The answer of a plugin that failed; its traceback has its own lines only.
fn raised(text: &str, traceback: &str) -> Response {
    if traceback.is_empty() {
        return error_json(StatusCode::INTERNAL_SERVER_ERROR, text);
    }
    let body = serde_json::json!({ "error": text, "traceback": traceback });
    json(StatusCode::INTERNAL_SERVER_ERROR, &body)
}

/// `/api/v3/engine/` without a path.
pub(super) async fn call_root() -> Response {
    error_json(StatusCode::NOT_FOUND, "not found")
}

/// The headers that a plugin sees. Credentials are for the server.
fn plugin_headers(headers: &HeaderMap) -> Vec<KeyValue> {
    let visible = headers.iter().filter(|(name, _)| **name != header::AUTHORIZATION);
    visible
        .map(|(name, value)| KeyValue {
            key: name.as_str().to_owned(),
            value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
        })
        .collect()
}

fn plugin_response(response: HttpResponse, body: Body) -> Response {
    let status = u16::try_from(response.status_code).ok().and_then(|code| StatusCode::from_u16(code).ok());
    let mut reply = Response::new(body);
    *reply.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for KeyValue { key, value } in response.headers {
        match (HeaderName::try_from(key.as_str()), HeaderValue::try_from(value.as_str())) {
            // The length of the body is the server's to say.
            (Ok(name), _) if name == header::CONTENT_LENGTH || name == header::TRANSFER_ENCODING => {}
            (Ok(name), Ok(value)) => {
                reply.headers_mut().append(name, value);
            }
            _ => {
                return error_json(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    &format!("the plugin returned the invalid header {key:?}: {value:?}"),
                );
            }
        }
    }
    reply
}
