//! Every limit of this crate, with its unit in the name's last word and the reason for its value.

/// Bytes of one write's line protocol. A larger body belongs into several writes; an HTTP front end usually refuses earlier.
pub const WRITE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of line protocol that may be parsed or queued at once. Callers beyond it wait; it bounds the memory of writes in flight
/// and is never below one largest write.
pub const QUEUE_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Bytes of queued writes after which a commit stops gathering and goes to disk at once: more would add latency, hardly rate.
pub const GATHER_BYTES: usize = 1024 * 1024;

/// Bytes of queued writes that one commit takes. It bounds the entry that a reader of the feed has to hold in memory.
pub const COMMIT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes after which a WAL segment is closed and the next one begun. Small enough that space comes back soon after a snapshot.
pub const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes of one WAL entry's payload. Arrow needs a few times the bytes of short lines, so this is far above one write; a length
/// beyond it in a file is corruption.
pub const ENTRY_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Entries between two marks of a segment's sparse index: a reader skips at most this many headers to find its entry.
pub const ENTRIES_PER_MARK: u64 = 32;

/// How often `snapshot_bytes` the rows that no snapshot has taken may grow to. Beyond it writes wait for the snapshot that is
/// under way, or are refused when the last one failed, so that neither fast writers nor a broken store end in a machine without
/// memory.
pub const UNSAVED_FACTOR_MAX: usize = 8;

/// WAL bytes below which `close` leaves the rows to the WAL: replaying them is quicker than a round of Parquet files.
pub const CLOSE_SNAPSHOT_BYTES_MIN: usize = 1024 * 1024;

/// Manifests that are kept. Only the newest counts; the others are there for a person who has to look back.
pub const MANIFESTS_KEPT: usize = 3;

/// Databases of one host, the number that InfluxDB 3 Core has had.
pub const DATABASES_MAX: usize = 100;

/// Tables of one database, as in InfluxDB 3 Core.
pub const TABLES_PER_DATABASE_MAX: usize = 2_000;

/// Columns of one table, `time` included, as in InfluxDB 3 Core.
pub const COLUMNS_PER_TABLE_MAX: usize = 500;

/// Bytes of a database's name.
pub const DATABASE_NAME_BYTES_MAX: usize = 64;

/// Line errors that one rejected or partial write reports. A client that sends garbage needs the first ones.
pub const LINE_ERRORS_MAX: usize = 1_000;

/// Bytes of a bad line that its error repeats.
pub const ORIGINAL_LINE_BYTES_MAX: usize = 1_024;

/// Bytes of line protocol up to which a write is parsed on the caller's thread; a hand-over to another thread costs more.
pub const PARSE_INLINE_BYTES_MAX: usize = 8 * 1024;

/// Series of one table whose last time is remembered. Beyond it the table forgets them and takes its newest time for all, which
/// costs queries a needless merge, never a wrong row.
pub const TRACKED_SERIES_MAX: usize = 100_000;

/// Rows up to which neighbouring batches in memory are joined, so that many small writes do not become many small batches.
pub const JOINED_ROWS_MAX: usize = 65_536;

/// Bytes up to which neighbouring batches in memory are joined.
pub const JOINED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Rows of one Parquet row group: small enough that a query for a short time skips most of a file.
pub const ROW_GROUP_ROWS: usize = 128 * 1024;

/// Queries that plan or run at once; further ones wait for their turn.
pub const QUERIES_MAX: usize = 32;

/// Bytes that all queries together may hold while they sort, join, group and merge.
pub const QUERY_MEMORY_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Bytes of temporary files that all queries together may spill to.
pub const QUERY_SPILL_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Bytes of one SQL text. The time to plan a query grows with the square of its expressions, and planning cannot be interrupted.
pub const SQL_BYTES_MAX: usize = 128 * 1024;

/// Result batches that wait for a slow reader of a query.
pub const RESULT_BATCHES_BUFFERED_MAX: usize = 2;
