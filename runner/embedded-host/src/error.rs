//! The errors of this crate. A line that does not parse is data ([`LineError`]); the enums say what became of a call.

use std::path::PathBuf;

/// One line of line protocol that was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineError {
    /// What is wrong with it, in InfluxDB 3's words.
    pub error_message: String,
    /// Its number in the body, counted from 1; blank lines and comments count.
    pub line_number: usize,
    /// The line, cut at [`crate::limits::ORIGINAL_LINE_BYTES_MAX`].
    pub original_line: String,
}

/// A limit that was reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("limit `{name}` reached: {requested} asked for, {limit} allowed")]
pub struct LimitExceeded {
    /// What is limited, for example `databases`.
    pub name: &'static str,
    /// The value of the limit.
    pub limit: usize,
    /// What the call would have needed.
    pub requested: usize,
}

/// Why a database name is not valid; the texts are InfluxDB 3's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is the empty string.
    #[error("db name cannot be empty")]
    Empty,
    /// The first character is not an ASCII letter or digit.
    #[error("db name did not start with a number or letter")]
    InvalidStart,
    /// Another character is not allowed.
    #[error(
        "invalid character in database or rp name: must be ASCII, containing only letters, numbers, underscores, or hyphens"
    )]
    InvalidCharacter,
    /// The name has more than [`crate::limits::DATABASE_NAME_BYTES_MAX`] bytes.
    #[error("db name cannot be longer than {limit} bytes, it has {requested}")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
        /// The name's length in bytes.
        requested: usize,
    },
}

/// Why a write was not, or not wholly, accepted.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The database's name is not valid.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The database is the server's own and takes no writes.
    #[error("database `{0}` is read-only")]
    ReadOnly(String),
    /// The body is not UTF-8.
    #[error("body content is not valid utf8: {0}")]
    NotUtf8(#[from] std::str::Utf8Error),
    /// A line is bad and the whole write was refused.
    #[error("line protocol parse failed: {}", .0.error_message)]
    Parse(LineError),
    /// Some lines are bad. The others, if there are any, are committed and durable (queued, if the write asked for no more).
    #[error("partial write of line protocol occurred")]
    Partial(Vec<LineError>),
    /// A limit was reached; nothing was committed.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// The disk or the object store did not take the data; nothing was committed and the same write may succeed later.
    #[error("cannot store the write: {0}")]
    Storage(String),
    /// The host is closed.
    #[error("the embedded host is closed")]
    Closed,
}

/// Why a database was not created or deleted.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The name is not valid.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There is a database of this name already.
    #[error("attempted to create a resource that already exists")]
    AlreadyExists,
    /// There is no database of this name.
    #[error("database not found: {0}")]
    NotFound(String),
    /// The database is the server's own.
    #[error("database `{0}` is read-only")]
    ReadOnly(String),
    /// There are as many databases as there may be.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// The disk did not take the change; nothing changed.
    #[error("cannot store the change: {0}")]
    Storage(String),
    /// The host is closed.
    #[error("the embedded host is closed")]
    Closed,
}

/// Why a query failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The text is no query over the tables that exist; the field is DataFusion's message, which InfluxDB 3's HTTP API shows alone.
    #[error("error while planning query: {0}")]
    Planning(String),
    /// The query failed while it ran; the field is DataFusion's message.
    #[error("{0}")]
    Execution(String),
    /// There is no such database.
    #[error("database not found: {0}")]
    DatabaseNotFound(String),
    /// The query needs more than it may have.
    #[error("{0}")]
    Limit(String),
    /// The host is closed.
    #[error("the embedded host is closed")]
    Closed,
}

/// Why the host did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file operation failed.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried, for example `read`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process has this WAL directory open.
    #[error("`{}` is in use by another process", .0.display())]
    InUse(PathBuf),
    /// A WAL segment was written by a newer version of this program, or is no WAL segment.
    #[error("WAL segment `{}` has format version {found}, this program reads up to {supported}", path.display())]
    UnsupportedVersion {
        /// The segment.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that is understood.
        supported: u32,
    },
    /// A WAL segment is damaged where no crash explains it.
    #[error("WAL segment `{}` is corrupt at byte {offset}: {reason}", path.display())]
    Corrupt {
        /// The segment.
        path: PathBuf,
        /// Where the first bad byte lies.
        offset: u64,
        /// What does not hold.
        reason: String,
    },
    /// Entries are missing between the newest snapshot and the WAL, or between two segments.
    #[error("the WAL continues at sequence {found}, but sequence {expected} is missing")]
    Gap {
        /// The sequence that should come next.
        expected: u64,
        /// The sequence that does.
        found: u64,
    },
    /// The object store failed.
    #[error("cannot read the snapshots: {0}")]
    Store(#[from] object_store::Error),
    /// No manifest could be read although there are some.
    #[error("no valid manifest among {count}, the newest is `{newest}`: {reason}")]
    Manifest {
        /// How many there are.
        count: usize,
        /// The path of the newest.
        newest: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The threads for queries, commits or snapshots did not start.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// The store of the records cannot be written.
    #[error("cannot store records: {0}")]
    Records(String),
    /// The query engine refused its settings.
    #[error("cannot set up the query engine: {0}")]
    Engine(String),
}

/// Why a commit could not be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The commit lies before everything that is kept; see `release_up_to`.
    #[error("commit {wanted} is gone, the oldest kept is {oldest}")]
    Gone {
        /// The sequence that was asked for.
        wanted: u64,
        /// The oldest sequence that can be read.
        oldest: u64,
    },
    /// The segment could not be read.
    #[error("cannot read WAL segment `{}`: {source}", path.display())]
    Io {
        /// The segment.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The segment holds something else than was written.
    #[error("WAL segment `{}` is corrupt at byte {offset}: {reason}", path.display())]
    Corrupt {
        /// The segment.
        path: PathBuf,
        /// Where the entry lies.
        offset: u64,
        /// What does not hold.
        reason: String,
    },
}

/// Why a snapshot was not taken. The rows stay in memory and in the WAL, so nothing is lost and the next one tries again.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The object store failed.
    #[error("cannot store the snapshot: {0}")]
    Store(#[from] object_store::Error),
    /// The rows could not be written as Parquet.
    #[error("cannot write Parquet: {0}")]
    Parquet(String),
    /// The manifest could not be written as JSON.
    #[error("cannot write the manifest: {0}")]
    Manifest(#[from] serde_json::Error),
    /// The files could not be forced to disk.
    #[error("cannot sync `{}`: {source}", path.display())]
    Sync {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
