//! The embedded host behind the traits of this crate.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bulkhead_embedded_host as embedded;
use bulkhead_embedded_host::{EmbeddedHost, ParameterValue, Precision};
use chrono::DateTime;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use object_store::ObjectStore;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::readers::{ReaderId, Readers};
use super::{
    ClientWrite, ClientWriteError, DataApi, DatabaseError, FeedCommit, FeedDatabase, FeedError, FeedTable, Host,
    HostError, LineError, Parameter, Query, Rows, WalFeed, Write,
};
use crate::clock::{SharedClock, nanos};
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
    tables: Arc<SystemTables>,
) -> Result<Arc<Embedded>, String> {
    let now = Arc::new(move || nanos(clock.now()));
    let mut config = embedded::Config::new(wal_dir.to_owned(), store, object_store::path::Path::from("data"), now);
    config.local_store_root = directory.map(Path::to_owned);
    config.wal_flush_interval = settings.wal_flush_interval;
    config.snapshot_bytes = settings.snapshot_bytes;
    config.recent_bytes_max = limits::RECENT_COMMITS_BYTES_MAX;
    config.system_tables = Arc::new(Tables(tables));
    let host = EmbeddedHost::open(config).await.map_err(|error| error.to_string())?;
    let recovery = host.recovery();
    if recovery.entries_replayed > 0 {
        tracing::info!(
            "replayed {} entries with {} rows from the write-ahead log",
            recovery.entries_replayed,
            recovery.rows_replayed
        );
    }
    Ok(Arc::new(Embedded { feed: Arc::new(Feed { host: host.clone(), readers: Mutex::default() }), host }))
}

/// The embedded host.
#[derive(Debug)]
pub struct Embedded {
    host: EmbeddedHost,
    feed: Arc<Feed>,
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

    fn feed(&self, _database: &str) -> Arc<dyn WalFeed> {
        Arc::clone(&self.feed) as _
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
}

/// The embedded host's commits.
#[derive(Debug)]
struct Feed {
    host: EmbeddedHost,
    readers: Mutex<Readers>,
}

impl Feed {
    /// The log keeps what a reader has not done; told under the lock, so that floors arrive in order.
    fn release(&self, readers: &Readers) {
        self.host.release_up_to(readers.floor().unwrap_or(u64::MAX));
    }
}

impl WalFeed for Feed {
    fn head(&self) -> watch::Receiver<u64> {
        self.host.head()
    }

    fn next_after(&self, after: u64) -> BoxFuture<'_, Result<Option<Arc<FeedCommit>>, FeedError>> {
        Box::pin(async move {
            let commit = self.host.read_commit(after).await.map_err(|error| {
                let oldest = match &error {
                    embedded::ReadError::Gone { oldest, .. } => Some(*oldest),
                    _ => None,
                };
                FeedError { reason: error.to_string(), oldest }
            })?;
            Ok(commit.map(|commit| Arc::new(feed_commit(&commit))))
        })
    }

    fn join(&self) -> (ReaderId, u64) {
        let mut readers = self.readers.lock();
        let head = *self.host.head().borrow();
        let reader = readers.join(head);
        self.release(&readers);
        (reader, head)
    }

    fn advance(&self, reader: ReaderId, position: u64) {
        let mut readers = self.readers.lock();
        let before = readers.floor();
        readers.advance(reader, position);
        if readers.floor() != before {
            self.release(&readers);
        }
    }

    fn leave(&self, reader: ReaderId) {
        let mut readers = self.readers.lock();
        readers.leave(reader);
        self.release(&readers);
    }
}

/// Names and reference counts are copied, rows are not.
fn feed_commit(commit: &embedded::Commit) -> FeedCommit {
    let table = |table: &embedded::TableRows| FeedTable {
        table: table.table.clone(),
        rows: table.rows,
        ipc: table.ipc.clone(),
    };
    let database = |batch: &embedded::DatabaseBatch| FeedDatabase {
        database: batch.database.clone(),
        tables: batch.tables.iter().map(table).collect(),
    };
    FeedCommit {
        sequence: commit.sequence,
        recorded_at: DateTime::from_timestamp_nanos(commit.recorded_at_ns),
        databases: commit.databases.iter().map(database).collect(),
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

fn client_write_error(error: embedded::WriteError) -> ClientWriteError {
    let line = |line: embedded::LineError| LineError {
        error_message: line.error_message,
        line_number: line.line_number,
        original_line: line.original_line,
    };
    match error {
        embedded::WriteError::Partial(lines) => ClientWriteError::Partial(lines.into_iter().map(line).collect()),
        embedded::WriteError::Parse(bad) => ClientWriteError::Parse(line(bad)),
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
