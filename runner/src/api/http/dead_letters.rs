//! Dead letters: listing, showing, taking out, trying again and discarding them.

use arrow::error::ArrowError;
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::HttpApi;
use super::params::Params;
use super::reply::{Refusal, done, error_json, json as answer};
use crate::dispatch::Replayed;
use crate::host::FeedTable;
use crate::journal::Letter;
use crate::line_protocol;
use crate::session::arrow_ipc;

fn view(letter: &Letter) -> Value {
    let time = |nanos: i64| chrono::DateTime::from_timestamp_nanos(nanos).to_rfc3339();
    json!({
        "id": letter.id,
        "db": letter.trigger.database,
        "trigger_name": letter.trigger.name,
        "wal_sequence": letter.sequence,
        "recorded_at": time(letter.recorded_at_ns),
        "dead_at": time(letter.dead_at_ns),
        "cause": letter.cause,
        "message": letter.message,
        "traceback": letter.traceback,
        "stderr_tail": letter.stderr_tail,
        "attempts": letter.attempts,
        "rows": letter.rows(),
        "bytes": letter.bytes,
        "tables": letter.tables.iter().map(|(table, rows)| json!({ "table": table, "rows": rows })).collect::<Vec<_>>(),
        "isolated": letter.isolated,
    })
}

/// `GET /api/v3/configure/dead_letter?db=&trigger_name=`.
pub(super) async fn list(State(api): State<HttpApi>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let params = Params::parse(query.as_deref());
    let (database, trigger) = (params.get("db"), params.get("trigger_name"));
    let mut letters = api.engine.letters().list().map_err(crate::dispatch::EngineError::from)?;
    letters.retain(|letter| {
        database.is_none_or(|name| letter.trigger.database == name)
            && trigger.is_none_or(|name| letter.trigger.name == name)
    });
    Ok(answer(StatusCode::OK, &letters.iter().map(view).collect::<Vec<_>>()))
}

/// `GET /api/v3/configure/dead_letter/{id}?format=json|lp|arrow&table=`: what is known of it, or its rows as line protocol or, for one
/// table, as an Arrow IPC stream.
pub(super) async fn get(
    State(api): State<HttpApi>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let params = Params::parse(query.as_deref());
    let letter = api.engine.letters().get(&id)?;
    match params.get("format").unwrap_or("json") {
        "json" => Ok(answer(StatusCode::OK, &view(&letter))),
        "lp" => {
            let text = as_lines(&api.engine.letters().rows(&id)?)
                .map_err(|error| Refusal(StatusCode::UNPROCESSABLE_ENTITY, format!("{error}; take it out as arrow")))?;
            Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
        }
        "arrow" => {
            let stream = as_stream(&api.engine.letters().rows(&id)?, params.get("table"))?;
            Ok(([(header::CONTENT_TYPE, "application/vnd.apache.arrow.stream")], stream).into_response())
        }
        other => Err(Refusal::bad_request(format!("unknown format `{other}`, expected one of `json`, `lp`, `arrow`"))),
    }
}

fn as_lines(tables: &[FeedTable]) -> Result<String, ArrowError> {
    let mut text = String::new();
    for table in tables {
        for batch in arrow_ipc::decode(&table.ipc)? {
            text.push_str(&line_protocol::lines(&table.table, &batch)?);
        }
    }
    Ok(text)
}

fn as_stream(tables: &[FeedTable], wanted: Option<&str>) -> Result<bytes::Bytes, Refusal> {
    let mut names: Vec<&str> = tables.iter().map(|table| table.table.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if wanted.is_none() && names.len() > 1 {
        let names = names.join("`, `");
        return Err(Refusal::bad_request(format!(
            "an Arrow stream holds one table; name one of `{names}` with `table`"
        )));
    }
    let table = wanted.or(names.first().copied()).unwrap_or_default().to_owned();
    let streams = tables.iter().filter(|letter| letter.table == table).map(|letter| arrow_ipc::decode(&letter.ipc));
    let unreadable = |error: ArrowError| Refusal(StatusCode::UNPROCESSABLE_ENTITY, error.to_string());
    let batches = streams.collect::<Result<Vec<_>, _>>().map_err(unreadable)?.concat();
    if batches.is_empty() {
        return Err(Refusal(StatusCode::NOT_FOUND, format!("the dead letter has no table `{table}`")));
    }
    arrow_ipc::join(&table, &batches).map_err(unreadable)
}

/// `POST /api/v3/configure/dead_letter/{id}/replay`: calls the trigger with the rows again. When it succeeds, the letter is gone.
pub(super) async fn replay(State(api): State<HttpApi>, Path(id): Path<String>) -> Result<Response, Refusal> {
    match api.engine.replay(&id).await? {
        Replayed::Done => Ok(done()),
        Replayed::Failed(failure) => Ok(error_json(StatusCode::UNPROCESSABLE_ENTITY, &failure.message)),
    }
}

/// `DELETE /api/v3/configure/dead_letter/{id}`.
pub(super) async fn discard(State(api): State<HttpApi>, Path(id): Path<String>) -> Result<Response, Refusal> {
    api.engine.letters().discard(&id).await?;
    Ok(done())
}
