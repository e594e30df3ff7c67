//! The embedded host behind the traits of this crate.

mod feed;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bulkhead_embedded_host as embedded;
use bulkhead_embedded_host::{EmbeddedHost, ParameterValue, Precision};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use object_store::ObjectStore;
use parking_lot::Mutex;

use self::feed::{Feed, feed_table};
use super::{
    ClientWrite, ClientWriteError, CommitSize, DataApi, DatabaseError, Host, HostError, LineError, Parameter, Query,
    RefusedLines, Rehearsal, Rows, Totals, WalFeed, Write,
};
use crate::clock::{SharedClock, nanos};
use crate::journal::{Ledger, Record};
use crate::limits;
use crate::system_tables::SystemTables;

/// Settings of the embedded host.
#[derive(Debug, Clone)]
pub struct EmbeddedSettings {
    /// How long a commit gathers writes.
    pub wal_flush_interval: Duration,
    /// WAL bytes after which a snapshot to Parquet is taken.
    pub snapshot_bytes: usize,
}

/// Opens the embedded host. `directory` is where `store` keeps its objects when it is the local disk.
///
/// # Errors
/// The reason, for a person.
pub async fn open(
    wal_dir: &Path,
    (store, directory): (Arc<dyn ObjectStore>, Option<&Path>),
    settings: &EmbeddedSettings,
    clock: SharedClock,
    (tables, ledger): (Arc<SystemTables>, Arc<Ledger>),
) -> Result<Arc<Embedded>, String> {
    let now = Arc::new(move || nanos(clock.now()));
    let mut config = embedded::Config::new(wal_dir.to_owned(), store, object_store::path::Path::from("data"), now);
    config.local_store_root = directory.map(Path::to_owned);
    config.wal_flush_interval = settings.wal_flush_interval;
    config.snapshot_bytes = settings.snapshot_bytes;
    config.recent_bytes_max = limits::RECENT_COMMITS_BYTES_MAX;
    config.system_tables = Arc::new(Tables(tables));
    // Nothing goes before the triggers have said where they are.
    config.released = 0;
    config.records = Arc::new(Records(Arc::clone(&ledger)));
    let totals = Arc::new(Mutex::new(Totals::default()));
    config.observer = Arc::new(Observer { totals: Arc::clone(&totals), ledger: Arc::clone(&ledger) });
    let host = EmbeddedHost::open(config).await.map_err(|error| error.to_string())?;
    let recovery = host.recovery();
    if recovery.entries_replayed > 0 {
        tracing::info!(
            "replayed {} entries with {} rows from the write-ahead log",
            recovery.entries_replayed,
            recovery.rows_replayed
        );
    }
    Ok(Arc::new(Embedded { feed: Arc::new(Feed::new(host.clone(), totals)), host, ledger }))
}

/// The embedded host.
#[derive(Debug)]
pub struct Embedded {
    host: EmbeddedHost,
    feed: Arc<Feed>,
    ledger: Arc<Ledger>,
}

impl Host for Embedded {
    fn query(&self, query: Query) -> BoxFuture<'_, Result<Rows, HostError>> {
        let parameters: BTreeMap<_, _> =
            query.parameters.into_iter().map(|(name, value)| (name, parameter(value))).collect();
        Box::pin(async move {
            let request = embedded::QueryRequest { database: query.database, sql: query.sql, parameters };
            let result = self.host.query(request).await.map_err(query_error)?;
            Ok(Rows { schema: result.schema, batches: result.stream.map(|batch| batch.map_err(query_error)).boxed() })
        })
    }

    fn write(&self, write: Write) -> BoxFuture<'_, Result<(), HostError>> {
        Box::pin(async move {
            let default_time = Some(nanos(write.default_time));
            let refused_name = write.batches.iter().find_map(|(database, _)| refused_name(database));
            let written = self.host.write_all(write.batches, default_time, write.no_sync).await;
            written.map_err(|error| write_error(error, refused_name))
        })
    }

    fn commit(
        &self,
        write: Option<Write>,
        records: Vec<Record>,
    ) -> BoxFuture<'_, Result<Vec<RefusedLines>, HostError>> {
        Box::pin(async move {
            let (batches, default_time) =
                write.map_or((Vec::new(), 0), |write| (write.batches, nanos(write.default_time)));
            let records = records.into_iter().map(|Record { key, value }| embedded::Record { key, value }).collect();
            let refused =
                self.host.commit_all(batches, default_time, records).await.map_err(|error| write_error(error, None))?;
            let refusal = |refused: embedded::Refused| RefusedLines {
                reason: write_error(refused.error, refused_name(&refused.database)).to_string(),
                database: refused.database,
            };
            Ok(refused.into_iter().map(refusal).collect())
        })
    }

    fn commits_in_one_step(&self) -> bool {
        true
    }

    fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    fn readers_joined(&self) {
        self.feed.open();
    }

    fn feed(&self, _database: &str) -> Arc<dyn WalFeed> {
        Arc::clone(&self.feed) as _
    }

    fn feeds(&self) -> Vec<(Option<String>, Arc<dyn WalFeed>)> {
        vec![(None, Arc::clone(&self.feed) as _)]
    }

    fn database_exists(&self, database: &str) -> bool {
        self.host.database_exists(database)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.host.close())
    }
}

impl DataApi for Embedded {
    fn write_lp(&self, write: ClientWrite) -> BoxFuture<'_, Result<(), ClientWriteError>> {
        Box::pin(async move {
            if let Some(reason) = self.feed.paused() {
                let text =
                    format!("writes are paused: {reason}; they are taken again when the triggers have caught up");
                return Err(ClientWriteError::Paused(text));
            }
            let precision: Precision = match write.precision.as_deref() {
                None => Precision::Auto,
                Some(name) => name
                    .parse()
                    .map_err(|error: embedded::UnknownPrecision| ClientWriteError::Invalid(error.to_string()))?,
            };
            let request = embedded::WriteRequest {
                database: write.database,
                line_protocol: write.line_protocol,
                precision,
                accept_partial: write.accept_partial,
                no_sync: write.no_sync,
                default_time: None,
            };
            self.host.write(request).await.map(drop).map_err(client_write_error)
        })
    }

    fn create_database<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), DatabaseError>> {
        Box::pin(async move { self.host.create_database(name).await.map_err(database_error) })
    }

    fn delete_database<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), DatabaseError>> {
        Box::pin(async move { self.host.delete_database(name).await.map_err(database_error) })
    }

    fn list_databases(&self) -> Vec<String> {
        self.host.list_databases()
    }

    fn rehearse<'a>(
        &'a self,
        database: &'a str,
        line_protocol: Bytes,
    ) -> BoxFuture<'a, Result<Rehearsal, ClientWriteError>> {
        Box::pin(async move {
            let rehearsal = self.host.rehearse(database, line_protocol, None).await.map_err(client_write_error)?;
            Ok(Rehearsal {
                lines: rehearsal.lines,
                tables: rehearsal.tables.iter().map(feed_table).collect(),
                errors: rehearsal.errors.into_iter().map(line_error).collect(),
            })
        })
    }
}

/// Our journal in the embedded host's terms.
#[derive(Debug)]
struct Records(Arc<Ledger>);

impl embedded::RecordStore for Records {
    fn durable(&self) -> Option<u64> {
        self.0.durable()
    }

    fn apply(&self, sequence: u64, records: Vec<embedded::Record>) {
        self.0.apply(sequence, records.into_iter().map(|embedded::Record { key, value }| Record { key, value }));
    }

    fn wants_sync(&self) -> bool {
        self.0.wants_sync()
    }

    fn sync(&self) -> Result<(), String> {
        self.0.sync().map_err(|error| error.to_string())
    }
}

/// Sums up what is in the log.
#[derive(Debug)]
struct Observer {
    totals: Arc<Mutex<Totals>>,
    ledger: Arc<Ledger>,
}

impl embedded::Observer for Observer {
    fn committed(&self, size: embedded::CommitSize) {
        let embedded::CommitSize { sequence, rows, bytes, recorded_at_ns } = size;
        self.totals.lock().push(CommitSize { sequence, rows, bytes, at_ns: recorded_at_ns });
    }

    fn synced(&self, took: Duration) {
        self.ledger.syncs.observe(took);
    }
}

/// Our system tables in the embedded host's terms.
#[derive(Debug)]
struct Tables(Arc<SystemTables>);

impl embedded::SystemTables for Tables {
    fn tables(&self, _database: &str) -> Vec<(String, SchemaRef)> {
        self.0.tables()
    }

    fn scan(&self, database: &str, table: &str) -> Option<RecordBatch> {
        self.0.scan(database, table)
    }
}

fn parameter(value: Parameter) -> ParameterValue {
    match value {
        Parameter::Null => ParameterValue::Null,
        Parameter::Boolean(value) => ParameterValue::Bool(value),
        Parameter::Integer(value) => ParameterValue::I64(value),
        Parameter::Unsigned(value) => ParameterValue::U64(value),
        Parameter::Float(value) => ParameterValue::F64(value),
        Parameter::Text(value) => ParameterValue::String(value),
        Parameter::Timestamp(nanoseconds) => ParameterValue::Timestamp(nanoseconds),
    }
}

fn query_error(error: embedded::QueryError) -> HostError {
    match error {
        embedded::QueryError::Planning(text) => HostError::Planning(text),
        embedded::QueryError::Execution(text) => HostError::Execution(text),
        embedded::QueryError::DatabaseNotFound(name) => HostError::DatabaseNotFound(name),
        embedded::QueryError::Limit(text) => HostError::Limit(text),
        embedded::QueryError::Closed => HostError::Unavailable(error.to_string()),
    }
}

/// Where a plugin's name of a database breaks the rules, worded as InfluxDB 3 tells plugins; clients read other words.
fn refused_name(database: &str) -> Option<String> {
    let (at, _) = database.chars().enumerate().find(|(_, c)| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-'))?;
    Some(format!("database name '{database}' contains invalid character, character number {at} is not allowed"))
}

/// What a plugin reads, worded as by InfluxDB 3.
fn write_error(error: embedded::WriteError, refused_name: Option<String>) -> HostError {
    match error {
        embedded::WriteError::Name(name) => {
            let reason = refused_name.unwrap_or_else(|| name.to_string());
            HostError::InvalidWrite(format!("invalid database name: {reason}"))
        }
        embedded::WriteError::Storage(_) | embedded::WriteError::Closed => HostError::Unavailable(error.to_string()),
        embedded::WriteError::Limit(limit) => HostError::Limit(limit.to_string()),
        error => HostError::InvalidWrite(format!("Cannot write: {error}")),
    }
}

fn line_error(line: embedded::LineError) -> LineError {
    LineError { error_message: line.error_message, line_number: line.line_number, original_line: line.original_line }
}

fn client_write_error(error: embedded::WriteError) -> ClientWriteError {
    match error {
        embedded::WriteError::Partial(lines) => ClientWriteError::Partial(lines.into_iter().map(line_error).collect()),
        embedded::WriteError::Parse(bad) => ClientWriteError::Parse(line_error(bad)),
        embedded::WriteError::Limit(limit) => ClientWriteError::Limit(limit.to_string()),
        embedded::WriteError::Storage(_) | embedded::WriteError::Closed => ClientWriteError::Storage(error.to_string()),
        error => ClientWriteError::Invalid(error.to_string()),
    }
}

fn database_error(error: embedded::DatabaseError) -> DatabaseError {
    match error {
        embedded::DatabaseError::AlreadyExists => DatabaseError::AlreadyExists,
        embedded::DatabaseError::NotFound(name) => DatabaseError::NotFound(name),
        embedded::DatabaseError::Limit(limit) => DatabaseError::Limit(limit.to_string()),
        embedded::DatabaseError::Storage(_) | embedded::DatabaseError::Closed => {
            DatabaseError::Storage(error.to_string())
        }
        error => DatabaseError::InvalidName(error.to_string()),
    }
}
