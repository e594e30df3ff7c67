//! Writing line protocol.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::error::{LimitExceeded, LineError, WriteError};
use crate::host::EmbeddedHost;
use crate::limits;
use crate::line::{LineOptions, LineParser};
use crate::name::{INTERNAL_DATABASE, check_database_name};
use crate::precision::Precision;
use crate::records::Record;
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

/// A database of a commit whose lines were left out, and why.
#[derive(Debug)]
pub struct Refused {
    /// Its name.
    pub database: String,
    /// What is wrong with its lines or its name.
    pub error: WriteError,
}

/// The bodies of one call, by database.
type Bodies = BTreeMap<String, Vec<Bytes>>;

/// What is committed in one entry.
struct Call {
    bodies: Arc<Bodies>,
    records: Vec<Record>,
    options: LineOptions,
    no_sync: bool,
    /// See [`Queued`].
    is_urgent: bool,
    /// What a database that cannot be written to refuses.
    refuses: Refuses,
}

/// See [`Call::refuses`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refuses {
    /// The whole call.
    Call,
    /// Its own lines.
    Itself,
}

/// What parsing a call's bodies gave.
struct Parsed {
    writes: Vec<ParsedWrite>,
    errors: Vec<LineError>,
    refused: Vec<Refused>,
    rows: usize,
}

/// What a call came to.
struct Committed {
    report: WriteReport,
    errors: Vec<LineError>,
    refused: Vec<Refused>,
}

impl EmbeddedHost {
    /// Writes lines to one database. It returns when they are durable and visible to queries, or, with `no_sync`, queued.
    ///
    /// # Errors
    /// See [`WriteError`]. After [`WriteError::Partial`] the good lines are as durable as if there had been no error; after any
    /// other nothing was written.
    pub async fn write(&self, request: WriteRequest) -> Result<WriteReport, WriteError> {
        let bodies = Arc::new(Bodies::from([(request.database, vec![request.line_protocol])]));
        let options = LineOptions {
            precision: request.precision,
            default_time: request.default_time.unwrap_or_else(|| (self.inner.shared.now)()),
            go_on: request.accept_partial,
        };
        let (records, no_sync, refuses) = (Vec::new(), request.no_sync, Refuses::Call);
        let Committed { report, errors, .. } =
            self.commit(Call { bodies, records, options, no_sync, is_urgent: false, refuses }).await?;
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
        let refuses = Refuses::Call;
        let (bodies, options) = self.nanoseconds(writes, default_time);
        self.commit(Call { bodies, records: Vec::new(), options, no_sync, is_urgent: false, refuses }).await?;
        Ok(())
    }

    /// Commits lines and records in one entry of the log, durably. Lines are as with [`EmbeddedHost::write_all`], but a database
    /// that cannot be written to, because of its name, a bad line or the number of databases, leaves out its own lines only; the
    /// answer says which and why. More is not gathered before it: a trigger waits for its commit and does nothing meanwhile.
    ///
    /// # Errors
    /// See [`WriteError`]; nothing was committed then.
    pub async fn commit_all(
        &self,
        writes: Vec<(String, Bytes)>,
        default_time: i64,
        records: Vec<Record>,
    ) -> Result<Vec<Refused>, WriteError> {
        let (bodies, options) = self.nanoseconds(writes, Some(default_time));
        let refuses = Refuses::Itself;
        Ok(self.commit(Call { bodies, records, options, no_sync: false, is_urgent: true, refuses }).await?.refused)
    }

    fn nanoseconds(&self, writes: Vec<(String, Bytes)>, default_time: Option<i64>) -> (Arc<Bodies>, LineOptions) {
        let mut bodies = Bodies::new();
        for (database, body) in writes {
            bodies.entry(database).or_default().push(body);
        }
        let default_time = default_time.unwrap_or_else(|| (self.inner.shared.now)());
        (Arc::new(bodies), LineOptions { precision: Precision::Nanosecond, default_time, go_on: false })
    }

    async fn commit(&self, call: Call) -> Result<Committed, WriteError> {
        let shared = &self.inner.shared;
        let bytes = check(&call)?;
        if call.bodies.values().flatten().any(|body| !body.is_empty()) {
            shared.unsaved.room(|| shared.queue.is_closed()).await?;
        }
        let mut permit = Some(self.budget(bytes).await?);
        let mut over_limit: Vec<Refused> = Vec::new();
        loop {
            let settled = shared.queue.settled.notified();
            tokio::pin!(settled);
            // Counted from before the schema is read, so that no change after that is missed.
            settled.as_mut().enable();
            let Parsed { mut writes, errors, mut refused, mut rows } = parse(shared, &call, bytes).await?;
            if !over_limit.is_empty() {
                writes.retain(|write| !over_limit.iter().any(|it| it.database == write.database));
                rows = writes.iter().flat_map(|write| &write.tables).map(|table| table.batch.num_rows()).sum();
                refused.append(&mut over_limit);
            }
            if rows == 0 && call.records.is_empty() {
                return Ok(Committed { report: WriteReport { rows, sequence: None }, errors, refused });
            }
            let created: Vec<String> =
                writes.iter().filter(|it| it.generation.is_none()).map(|it| it.database.clone()).collect();
            let (reply, outcome) = oneshot::channel();
            let (records, reply) = (call.records.clone(), (!call.no_sync).then_some(reply));
            let is_urgent = call.is_urgent;
            let (operation, permit_now) = (Operation::Write(writes), permit.take());
            let queued = Queued { operation, records, bytes, is_urgent, reply, permit: permit_now };
            let (admission, returned) = shared.queue.enter(&shared.state, queued);
            permit = returned.and_then(|queued| queued.permit);
            match admission {
                Admission::Entered if call.no_sync => {
                    return Ok(Committed { report: WriteReport { rows, sequence: None }, errors, refused });
                }
                Admission::Entered => {
                    let outcome = outcome.await.map_err(|_| WriteError::Closed)?;
                    let sequence = Some(outcome.map_err(WriteError::Storage)?);
                    return Ok(Committed { report: WriteReport { rows, sequence }, errors, refused });
                }
                Admission::Busy => settled.await,
                Admission::Stale => {}
                // The limit is that of databases, so those that would be new are left out.
                Admission::Refused(limit) if call.refuses == Refuses::Itself && !created.is_empty() => {
                    let refusal = |database| Refused { database, error: limit.clone().into() };
                    over_limit = created.into_iter().map(refusal).collect();
                }
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

/// Whether a database of this name can be written to.
fn check_name(database: &str) -> Result<(), WriteError> {
    if database == INTERNAL_DATABASE {
        return Err(WriteError::ReadOnly(database.to_owned()));
    }
    Ok(check_database_name(database)?)
}

/// Checks what can be checked before parsing. Returns the bytes of all bodies and records.
fn check(call: &Call) -> Result<usize, WriteError> {
    if call.refuses == Refuses::Call {
        call.bodies.keys().try_for_each(|database| check_name(database))?;
    }
    let bytes = call.bodies.values().flatten().map(Bytes::len).sum();
    if bytes > limits::WRITE_BYTES_MAX {
        return Err(
            LimitExceeded { name: "line protocol bytes", limit: limits::WRITE_BYTES_MAX, requested: bytes }.into()
        );
    }
    let value_bytes = |record: &Record| record.key.len() + record.value.as_ref().map_or(0, Bytes::len);
    Ok(bytes + call.records.iter().map(value_bytes).sum::<usize>())
}

/// Parses all bodies against the schemas of this moment, large ones on a thread for such work.
async fn parse(shared: &Arc<Shared>, call: &Call, bytes: usize) -> Result<Parsed, WriteError> {
    let (options, refuses) = (call.options, call.refuses);
    if bytes <= limits::PARSE_INLINE_BYTES_MAX || call.bodies.is_empty() {
        return parse_now(shared, &call.bodies, options, refuses);
    }
    let (shared, bodies) = (Arc::clone(shared), Arc::clone(&call.bodies));
    let parsed = tokio::task::spawn_blocking(move || parse_now(&shared, &bodies, options, refuses)).await;
    parsed.map_err(|error| WriteError::Storage(format!("the parser failed: {error}")))?
}

fn parse_now(shared: &Shared, bodies: &Bodies, options: LineOptions, refuses: Refuses) -> Result<Parsed, WriteError> {
    let (writes, errors, refused) = (Vec::with_capacity(bodies.len()), Vec::new(), Vec::new());
    let mut parsed = Parsed { writes, errors, refused, rows: 0 };
    for (database, bodies) in bodies {
        match parse_database(shared, database, bodies, options) {
            Ok((write, errors)) => {
                parsed.rows += write.tables.iter().map(|table| table.batch.num_rows()).sum::<usize>();
                parsed.errors.extend(errors);
                if !write.tables.is_empty() {
                    parsed.writes.push(write);
                }
            }
            Err(error) if refuses == Refuses::Call || matches!(error, WriteError::Storage(_)) => return Err(error),
            Err(error) => parsed.refused.push(Refused { database: database.clone(), error }),
        }
    }
    Ok(parsed)
}

/// Parses the bodies of one database.
pub(crate) fn parse_database(
    shared: &Shared,
    database: &str,
    bodies: &[Bytes],
    options: LineOptions,
) -> Result<(ParsedWrite, Vec<LineError>), WriteError> {
    check_name(database)?;
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
    let mut lines = parser.finish().map_err(|error| WriteError::Storage(error.to_string()))?;
    if !options.go_on && !lines.errors.is_empty() {
        return Err(WriteError::Parse(lines.errors.remove(0)));
    }
    Ok((ParsedWrite { database: database.to_owned(), generation, tables: lines.tables }, lines.errors))
}
