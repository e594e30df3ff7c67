//! The host: the server whose data the plugins work on.
//!
//! [`Host`] is what the runner needs of any of them: questions, writes and the feed of committed rows.
//! [`DataApi`] is what the runner offers over HTTP when it holds the data itself.

mod backlog;
#[cfg(feature = "embedded-host")]
pub mod embedded;
mod feed;
pub mod grpc;
mod keeping;
mod readers;
mod spool;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

pub use backlog::{Backlog, CommitSize, Overflow, Retention, RetentionEvent, RetentionLimits, Totals};
pub use feed::{FeedCommit, FeedDatabase, FeedError, FeedTable, WalFeed};
pub use readers::ReaderId;

use crate::journal::{Ledger, Record};
use crate::trigger::TriggerId;

/// A server that owns the data.
pub trait Host: Send + Sync + 'static {
    /// Runs SQL.
    fn query(&self, query: Query) -> BoxFuture<'_, Result<Rows, HostError>>;
    /// Writes line protocol, to all the named databases or to none.
    fn write(&self, write: Write) -> BoxFuture<'_, Result<(), HostError>>;
    /// Commits what a call wrote together with records, durably: both are there afterwards, or neither, and what was committed
    /// under the write's key is committed no second time. A database whose lines cannot be written leaves out its own lines
    /// only; the answer says which and why.
    fn commit(&self, write: Option<Write>, records: Vec<Record>)
    -> BoxFuture<'_, Result<Vec<RefusedLines>, HostError>>;
    /// Whether a commit is one step, so that what a call wrote and the record of it are there together or not at all. Otherwise a
    /// commit that is repeated needs the key of the first one.
    fn commits_in_one_step(&self) -> bool;
    /// The records of this node.
    fn ledger(&self) -> &Arc<Ledger>;
    /// All triggers that a start brings back have joined their feeds, so what none of them needs may go.
    fn readers_joined(&self) {}
    /// The commits that can hold rows of this database, in order.
    fn feed(&self, database: &str) -> Arc<dyn WalFeed>;
    /// All feeds that hold something, each with the database whose commits alone it has, if it has no others.
    fn feeds(&self) -> Vec<(Option<String>, Arc<dyn WalFeed>)>;
    /// Whether triggers may be made in this database. A remote host is asked when a plugin uses it.
    fn database_exists(&self, database: &str) -> bool;
    /// Stops; what was acknowledged is durable.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A question in SQL.
#[derive(Debug, Clone)]
pub struct Query {
    /// On whose behalf; `None` for a person.
    pub trigger: Option<Arc<TriggerId>>,
    /// Database to query.
    pub database: String,
    /// The text.
    pub sql: String,
    /// Values of `$name` in the text.
    pub parameters: BTreeMap<String, Parameter>,
}

/// Value of a query parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Parameter {
    /// NULL.
    Null,
    /// A truth value.
    Boolean(bool),
    /// A signed integer.
    Integer(i64),
    /// An integer beyond the signed ones.
    Unsigned(u64),
    /// A float.
    Float(f64),
    /// Text.
    Text(String),
    /// A point in time, nanoseconds since the epoch.
    Timestamp(i64),
}

/// The answer to a [`Query`].
pub struct Rows {
    /// Names and types of the columns.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: BoxStream<'static, Result<RecordBatch, HostError>>,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// Lines to write on behalf of a plugin.
#[derive(Debug, Clone)]
pub struct Write {
    /// On whose behalf.
    pub trigger: Arc<TriggerId>,
    /// Identity of this write; a host that knows it already applies it no second time.
    pub idempotency_key: String,
    /// Line protocol by database.
    pub batches: Vec<(String, Bytes)>,
    /// Time of the lines without one.
    pub default_time: DateTime<Utc>,
    /// Answer before the write is durable.
    pub no_sync: bool,
}

/// A database whose lines were left out of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedLines {
    /// Its name.
    pub database: String,
    /// Why, for a plugin's author.
    pub reason: String,
}

/// A host that did not do what it was asked. The text is what a plugin's author reads.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HostError {
    /// No such database.
    #[error("database not found: {0}")]
    DatabaseNotFound(String),
    /// SQL that cannot be planned.
    #[error("error while planning query: {0}")]
    Planning(String),
    /// SQL that failed while it ran.
    #[error("{0}")]
    Execution(String),
    /// Lines that cannot be written.
    #[error("{0}")]
    InvalidWrite(String),
    /// A limit was reached.
    #[error("{0}")]
    Limit(String),
    /// The host cannot do it now; a later attempt can succeed.
    #[error("{0}")]
    Unavailable(String),
}

impl HostError {
    /// Whether the same call can succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// What the HTTP API offers beyond plugins when the runner holds the data itself.
pub trait DataApi: Send + Sync + 'static {
    /// Writes line protocol as a client sends it.
    fn write_lp(&self, write: ClientWrite) -> BoxFuture<'_, Result<(), ClientWriteError>>;
    /// Makes a database.
    fn create_database<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), DatabaseError>>;
    /// Deletes a database with its data.
    fn delete_database<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), DatabaseError>>;
    /// The names of the databases, in order.
    fn list_databases(&self) -> Vec<String>;
    /// What a write of these lines, with times in nanoseconds, would become. Nothing is written, and the database need not
    /// exist; bad lines are part of the answer.
    fn rehearse<'a>(
        &'a self,
        database: &'a str,
        line_protocol: Bytes,
    ) -> BoxFuture<'a, Result<Rehearsal, ClientWriteError>>;
}

/// What lines would become.
#[derive(Debug, Clone)]
pub struct Rehearsal {
    /// The lines, blank ones and comments left out.
    pub lines: Vec<String>,
    /// Their rows.
    pub tables: Vec<FeedTable>,
    /// The lines that are not part of `tables`.
    pub errors: Vec<LineError>,
}

/// Line protocol from a client.
#[derive(Debug, Clone)]
pub struct ClientWrite {
    /// Target; made when it does not exist.
    pub database: String,
    /// The lines.
    pub line_protocol: Bytes,
    /// Unit of the timestamps, as the client named it.
    pub precision: Option<String>,
    /// Whether good lines are kept when others are bad.
    pub accept_partial: bool,
    /// Answer before the write is durable.
    pub no_sync: bool,
}

/// A line that was not written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LineError {
    /// Why.
    pub error_message: String,
    /// Its number, from 1.
    pub line_number: usize,
    /// Its text.
    pub original_line: String,
}

/// A client's write that did not succeed as a whole.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientWriteError {
    /// Good lines were written, these were not.
    #[error("partial write of line protocol occurred")]
    Partial(Vec<LineError>),
    /// Nothing was written because of this line.
    #[error("line protocol parsing error")]
    Parse(LineError),
    /// The database, the precision or another part of the request cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// A limit was reached.
    #[error("{0}")]
    Limit(String),
    /// Writes are held back until triggers have caught up.
    #[error("{0}")]
    Paused(String),
    /// The lines could not be stored, such as on a full disk.
    #[error("{0}")]
    Storage(String),
}

/// A database that could not be made or deleted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DatabaseError {
    /// It is there already.
    #[error("attempted to create a resource that already exists")]
    AlreadyExists,
    /// It is not there.
    #[error("the requested resource was not found: {0}")]
    NotFound(String),
    /// Its name cannot be used.
    #[error("{0}")]
    InvalidName(String),
    /// A limit was reached.
    #[error("{0}")]
    Limit(String),
    /// The change could not be stored.
    #[error("{0}")]
    Storage(String),
}
