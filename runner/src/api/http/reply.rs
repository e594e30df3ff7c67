//! Answers, and the errors that become one.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::environment;
use crate::catalog::CatalogError;
use crate::dispatch::EngineError;
use crate::host::{ClientWriteError, DatabaseError, HostError};
use crate::plugin_files::PluginFileError;

/// A JSON answer.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => {
            (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], bytes).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// `{"error": text}`.
pub(super) fn error_json(status: StatusCode, text: &str) -> Response {
    json(status, &serde_json::json!({ "error": text }))
}

/// Success without content, as InfluxDB 3 answers a change.
pub(super) fn done() -> Response {
    StatusCode::OK.into_response()
}

/// Success with what the client should know all the same: `{"warnings": [...]}`, and nothing where there is none.
pub(super) fn done_with(warnings: &[String]) -> Response {
    if warnings.is_empty() { done() } else { json(StatusCode::OK, &serde_json::json!({ "warnings": warnings })) }
}

/// An answer that ends the request early.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) StatusCode, pub(super) String);

impl Refusal {
    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, text.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        let status = match &error {
            EngineError::AlreadyExists | EngineError::PathTaken { .. } | EngineError::Running(_) => {
                StatusCode::CONFLICT
            }
            EngineError::NotFound(_) | EngineError::DatabaseNotFound(_) | EngineError::LetterNotFound(_) => {
                StatusCode::NOT_FOUND
            }
            EngineError::NotRunning(_) => StatusCode::CONFLICT,
            EngineError::Settings(_) | EngineError::CacheName | EngineError::Requirements(_) => StatusCode::BAD_REQUEST,
            EngineError::Environment(error) => environment::status(error),
            EngineError::Plugin(PluginFileError::NotFound(_)) | EngineError::NoPluginOf(_) => StatusCode::NOT_FOUND,
            EngineError::Plugin(PluginFileError::Unreadable { .. }) => StatusCode::INTERNAL_SERVER_ERROR,
            EngineError::Plugin(PluginFileError::PluginDirOnly) => StatusCode::FORBIDDEN,
            EngineError::Plugin(PluginFileError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            EngineError::Plugin(PluginFileError::Unfetched { .. }) => StatusCode::BAD_GATEWAY,
            EngineError::Ambiguous(_) | EngineError::NotUpdatable(_) | EngineError::NoDirectory(_) => {
                StatusCode::CONFLICT
            }
            EngineError::Restricted(_) => StatusCode::BAD_REQUEST,
            EngineError::Ceiling(_) => StatusCode::FORBIDDEN,
            EngineError::TooManyDryRuns => StatusCode::SERVICE_UNAVAILABLE,
            EngineError::Plugin(_) | EngineError::Unusable(_) | EngineError::Name(_) | EngineError::Permission(_) => {
                StatusCode::BAD_REQUEST
            }
            EngineError::TooMany => StatusCode::UNPROCESSABLE_ENTITY,
            EngineError::Catalog(CatalogError::Conflict) => StatusCode::CONFLICT,
            EngineError::Catalog(_)
            | EngineError::Journal(_)
            | EngineError::Store(_)
            | EngineError::LetterUnreadable { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            EngineError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, error.to_string())
    }
}

impl From<HostError> for Refusal {
    fn from(error: HostError) -> Self {
        match error {
            HostError::DatabaseNotFound(_) => Self(StatusCode::NOT_FOUND, error.to_string()),
            // A person is shown the planner's words alone, as by InfluxDB 3.
            HostError::Planning(text) | HostError::Execution(text) | HostError::InvalidWrite(text) => {
                Self(StatusCode::BAD_REQUEST, text)
            }
            HostError::Limit(text) => Self(StatusCode::UNPROCESSABLE_ENTITY, text),
            HostError::Unavailable(text) => Self(StatusCode::SERVICE_UNAVAILABLE, text),
        }
    }
}

/// The answer to a change of a database that was not made.
pub(super) fn database_error(error: &DatabaseError) -> Response {
    let text = error.to_string();
    match error {
        DatabaseError::AlreadyExists => (StatusCode::CONFLICT, text).into_response(),
        DatabaseError::NotFound(_) => (StatusCode::NOT_FOUND, text).into_response(),
        DatabaseError::InvalidName(_) => error_json(StatusCode::BAD_REQUEST, &text),
        DatabaseError::Limit(_) => error_json(StatusCode::UNPROCESSABLE_ENTITY, &text),
        DatabaseError::Storage(_) => error_json(StatusCode::INTERNAL_SERVER_ERROR, &text),
    }
}

/// The answer to a write that did not succeed as a whole.
pub(super) fn write_error(error: ClientWriteError) -> Response {
    let text = error.to_string();
    match error {
        ClientWriteError::Partial(lines) => {
            json(StatusCode::BAD_REQUEST, &serde_json::json!({ "error": text, "data": lines }))
        }
        ClientWriteError::Parse(line) => {
            json(StatusCode::BAD_REQUEST, &serde_json::json!({ "error": text, "data": line }))
        }
        ClientWriteError::Invalid(_) => error_json(StatusCode::BAD_REQUEST, &text),
        ClientWriteError::Limit(_) => error_json(StatusCode::UNPROCESSABLE_ENTITY, &text),
        ClientWriteError::Paused(_) => {
            ([(header::RETRY_AFTER, "1")], error_json(StatusCode::SERVICE_UNAVAILABLE, &text)).into_response()
        }
        ClientWriteError::Storage(_) => error_json(StatusCode::INTERNAL_SERVER_ERROR, &text),
    }
}
