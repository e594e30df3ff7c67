//! Writing line protocol.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::error::{LimitExceeded, LineError, WriteError};
use crate::host::EmbeddedHost;
use crate::limits;
use crate::line::{LineOptions, LineParser};
use crate::name::{INTERNAL_DATABASE, check_database_name};
use crate::precision::Precision;
use crate::shared::Shared;
use crate::wal::{Admission, Operation, ParsedWrite, Queued};

/// Lines for one database.
#[derive(Debug, Clone)]
pub struct WriteRequest {
    /// The database; it is created with the first row.
    pub database: String,
    /// The lines, in UTF-8.
    pub line_protocol: Bytes,
    /// The unit of their timestamps.
    pub precision: Precision,
    /// Whether good lines are committed when others are bad.
    pub accept_partial: bool,
    /// Whether to return as soon as the rows are queued, before they are durable.
    pub no_sync: bool,
    /// The time, in nanoseconds since the epoch, of lines without a timestamp; now, when it is `None`.
    pub default_time: Option<i64>,
}

/// What became of a write without errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteReport {
    /// How many rows were written.
    pub rows: usize,
    /// The commit that they are part of; `None` when there were none, or when the write did not wait for it.
    pub sequence: Option<u64>,
}

/// The bodies of one call, by database.
type Bodies = BTreeMap<String, Vec<Bytes>>;

/// What parsing a call's bodies gave.
struct Parsed {
    writes: Vec<ParsedWrite>,
    errors: Vec<LineError>,
    rows: usize,
}

impl EmbeddedHost {
    /// Writes lines to one database. It returns when they are durable and visible to queries, or, with `no_sync`, queued.
    ///
    /// # Errors
    /// See [`WriteError`]. After [`WriteError::Partial`] the good lines are as durable as if there had been no error; after any
    /// other nothing was written.
    pub async fn write(&self, request: WriteRequest) -> Result<WriteReport, WriteError> {
        let bodies = Bodies::from([(request.database, vec![request.line_protocol])]);
        let options = LineOptions {
            precision: request.precision,
            default_time: request.default_time.unwrap_or_else(|| (self.inner.shared.now)()),
            go_on: request.accept_partial,
        };
        let (report, errors) = self.commit(bodies, options, request.no_sync).await?;
        if errors.is_empty() { Ok(report) } else { Err(WriteError::Partial(errors)) }
    }

    /// Writes lines to several databases as one: all become durable together, in one commit, or none does. Timestamps are in
    /// nanoseconds. A database may come several times.
    ///
    /// # Errors
    /// See [`WriteError`]; nothing was written then. A bad line refuses everything ([`WriteError::Parse`], numbered in its body).
    pub async fn write_all(
        &self,
        writes: Vec<(String, Bytes)>,
        default_time: Option<i64>,
        no_sync: bool,
    ) -> Result<(), WriteError> {
        let mut bodies = Bodies::new();
        for (database, body) in writes {
            bodies.entry(database).or_default().push(body);
        }
        let default_time = default_time.unwrap_or_else(|| (self.inner.shared.now)());
        let options = LineOptions { precision: Precision::Nanosecond, default_time, go_on: false };
        self.commit(bodies, options, no_sync).await?;
        Ok(())
    }

    async fn commit(
        &self,
        bodies: Bodies,
        options: LineOptions,
        no_sync: bool,
    ) -> Result<(WriteReport, Vec<LineError>), WriteError> {
        let shared = &self.inner.shared;
        let bytes = check(shared, &bodies)?;
        let mut permit = Some(self.budget(bytes).await?);
        let bodies = Arc::new(bodies);
        loop {
            let settled = shared.queue.settled.notified();
            tokio::pin!(settled);
            // Counted from before the schema is read, so that no change after that is missed.
            settled.as_mut().enable();
            let Parsed { writes, mut errors, rows } = parse(shared, &bodies, bytes, options).await?;
            if !options.go_on && !errors.is_empty() {
                return Err(WriteError::Parse(errors.remove(0)));
            }
            if rows == 0 {
                return Ok((WriteReport { rows, sequence: None }, errors));
            }
            let (reply, outcome) = oneshot::channel();
            let reply = (!no_sync).then_some(reply);
            let queued = Queued { operation: Operation::Write(writes), bytes, reply, permit: permit.take() };
            let (admission, refused) = shared.queue.enter(&shared.state, queued);
            permit = refused.and_then(|queued| queued.permit);
            match admission {
                Admission::Entered if no_sync => {
                    return Ok((WriteReport { rows, sequence: None }, errors));
                }
                Admission::Entered => {
                    let outcome = outcome.await.map_err(|_| WriteError::Closed)?;
                    let sequence = Some(outcome.map_err(WriteError::Storage)?);
                    return Ok((WriteReport { rows, sequence }, errors));
                }
                Admission::Busy => settled.await,
                Admission::Stale => {}
                Admission::Refused(limit) => return Err(limit.into()),
                Admission::Closed => return Err(WriteError::Closed),
            }
        }
    }

    /// Waits until so many bytes may be parsed and queued.
    async fn budget(&self, bytes: usize) -> Result<OwnedSemaphorePermit, WriteError> {
        let shares = bytes.div_ceil(1024).clamp(1, limits::QUEUE_BYTES_MAX / 1024);
        let shares = u32::try_from(shares).unwrap_or(u32::MAX);
        let budget = Arc::clone(&self.inner.write_budget);
        budget.acquire_many_owned(shares).await.map_err(|_| WriteError::Closed)
    }
}

/// Checks what can be checked before parsing. Returns the bytes of all bodies.
fn check(shared: &Shared, bodies: &Bodies) -> Result<usize, WriteError> {
    for database in bodies.keys() {
        if database == INTERNAL_DATABASE {
            return Err(WriteError::ReadOnly(database.clone()));
        }
        check_database_name(database)?;
    }
    let bytes = bodies.values().flatten().map(Bytes::len).sum();
    if bytes > limits::WRITE_BYTES_MAX {
        return Err(
            LimitExceeded { name: "line protocol bytes", limit: limits::WRITE_BYTES_MAX, requested: bytes }.into()
        );
    }
    let unsaved = shared.unsaved_bytes.load(Ordering::Relaxed);
    let limit = shared.snapshot_bytes.saturating_mul(limits::UNSAVED_FACTOR_MAX);
    if unsaved > limit {
        let reason = format!("{unsaved} bytes wait for a snapshot, {limit} may; the log says why snapshots fail");
        return Err(WriteError::Storage(reason));
    }
    Ok(bytes)
}

/// Parses all bodies against the schemas of this moment, large ones on a thread for such work.
async fn parse(
    shared: &Arc<Shared>,
    bodies: &Arc<Bodies>,
    bytes: usize,
    options: LineOptions,
) -> Result<Parsed, WriteError> {
    if bytes <= limits::PARSE_INLINE_BYTES_MAX {
        return parse_now(shared, bodies, options);
    }
    let (shared, bodies) = (Arc::clone(shared), Arc::clone(bodies));
    let parsed = tokio::task::spawn_blocking(move || parse_now(&shared, &bodies, options)).await;
    parsed.map_err(|error| WriteError::Storage(format!("the parser failed: {error}")))?
}

fn parse_now(shared: &Shared, bodies: &Bodies, options: LineOptions) -> Result<Parsed, WriteError> {
    let mut parsed = Parsed { writes: Vec::with_capacity(bodies.len()), errors: Vec::new(), rows: 0 };
    for (database, bodies) in bodies {
        let (generation, schema) = {
            let state = shared.state.read();
            let known = state.databases.get(database);
            (known.map(|known| known.generation), known.map(|known| Arc::clone(&known.schema)))
        };
        let mut parser = LineParser::new(schema);
        for body in bodies {
            if !parser.feed(std::str::from_utf8(body)?, options) {
                break;
            }
        }
        let lines = parser.finish().map_err(|error| WriteError::Storage(error.to_string()))?;
        parsed.rows += lines.rows();
        parsed.errors.extend(lines.errors);
        if !lines.tables.is_empty() {
            parsed.writes.push(ParsedWrite { database: database.clone(), generation, tables: lines.tables });
        }
    }
    Ok(parsed)
}
