//! The embedded host: a database for one machine, at the edge or for development.
//!
//! Line protocol comes in ([`EmbeddedHost::write`]) and is durable in a write-ahead log before it is acknowledged; commits gather
//! what arrives at the same time. Tables are Arrow in memory; snapshots move them to Parquet files behind an
//! [`object_store::ObjectStore`]. Queries are SQL by DataFusion with InfluxDB 3's types and rules
//! ([`EmbeddedHost::query`]). Every commit can be read in order ([`EmbeddedHost::read_commit`]), which is what drives triggers; the
//! log keeps what a reader has not released. A commit can carry records ([`EmbeddedHost::commit_all`]), such as how far a reader
//! has come.
//!
//! A commit's way: `line` parses a write against the schema, `wal::Queue` admits it, `wal::Writer` (one thread) writes the entry,
//! applies it to `table::State` and publishes it. `snapshot` works beside that way, `query` reads `table::State`.

mod batches;
mod commit;
mod config;
mod databases;
mod error;
mod feed;
mod host;
pub mod limits;
mod line;
mod merge;
mod name;
mod opening;
mod precision;
mod query;
mod records;
mod rehearsal;
mod schema;
mod series;
mod shared;
mod snapshot;
mod table;
mod unsaved;
mod wal;
mod write;

pub use commit::{Commit, DatabaseBatch, TableRows};
pub use config::{CommitSize, Config, NoObserver, NoSystemTables, Now, Observer, SystemTables};
pub use error::{
    DatabaseError, LimitExceeded, LineError, NameError, OpenError, QueryError, ReadError, SnapshotError, WriteError,
};
pub use host::{EmbeddedHost, QueryRequest, RecoveryReport};
pub use line::read_lines;
pub use name::{INTERNAL_DATABASE, check_database_name};
pub use precision::{Precision, UnknownPrecision};
pub use query::{BatchStream, ParameterValue, QueryResult};
pub use records::{NoRecords, Record, RecordStore};
pub use rehearsal::Rehearsal;
pub use write::{Refused, WriteReport, WriteRequest};
