//! A host in a temporary directory, and short ways to write to it and ask it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bulkhead_embedded_host::{
    Config, EmbeddedHost, OpenError, ParameterValue, Precision, QueryError, QueryRequest, WriteError, WriteReport,
    WriteRequest,
};
use bytes::Bytes;
use object_store::local::LocalFileSystem;
use tempfile::TempDir;

/// The first time that the world's clock shows.
pub(crate) const START: i64 = 1_000_000;

/// A directory that outlives the hosts that are opened in it.
pub(crate) struct World {
    pub(crate) directory: TempDir,
    clock: Arc<AtomicI64>,
}

impl World {
    pub(crate) fn new() -> Self {
        let directory = TempDir::new().unwrap();
        std::fs::create_dir(directory.path().join("store")).unwrap();
        Self { directory, clock: Arc::new(AtomicI64::new(START)) }
    }

    pub(crate) fn config(&self) -> Config {
        let root = self.directory.path().join("store");
        let store = Arc::new(LocalFileSystem::new_with_prefix(&root).unwrap());
        let clock = Arc::clone(&self.clock);
        let now = Arc::new(move || clock.fetch_add(1, Ordering::Relaxed));
        let mut config = Config::new(self.wal_dir(), store, "host".into(), now);
        config.wal_flush_interval = Duration::ZERO;
        config.local_store_root = Some(root);
        config
    }

    pub(crate) fn wal_dir(&self) -> PathBuf {
        self.directory.path().join("wal")
    }

    pub(crate) async fn open(&self) -> EmbeddedHost {
        EmbeddedHost::open(self.config()).await.unwrap()
    }

    pub(crate) async fn open_error(&self) -> OpenError {
        EmbeddedHost::open(self.config()).await.unwrap_err()
    }

    /// The segments of the log in their order.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        files(&self.wal_dir(), "wal")
    }

    /// The Parquet files in the store.
    pub(crate) fn parquet_files(&self) -> Vec<PathBuf> {
        files(&self.directory.path().join("store"), "parquet")
    }
}

fn files(directory: &std::path::Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|it| it == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A write of lines with nanosecond timestamps that refuses bad lines and waits until it is durable.
pub(crate) fn request(database: &str, lines: &str) -> WriteRequest {
    WriteRequest {
        database: database.to_owned(),
        line_protocol: Bytes::copy_from_slice(lines.as_bytes()),
        precision: Precision::Nanosecond,
        accept_partial: false,
        no_sync: false,
        default_time: None,
    }
}

pub(crate) async fn try_write(host: &EmbeddedHost, database: &str, lines: &str) -> Result<WriteReport, WriteError> {
    host.write(request(database, lines)).await
}

pub(crate) async fn write(host: &EmbeddedHost, database: &str, lines: &str) -> WriteReport {
    try_write(host, database, lines).await.unwrap()
}

pub(crate) async fn batches(
    host: &EmbeddedHost,
    database: &str,
    sql: &str,
    parameters: &[(&str, ParameterValue)],
) -> Result<Vec<RecordBatch>, QueryError> {
    let parameters: BTreeMap<String, ParameterValue> =
        parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    host.query(QueryRequest { database: database.to_owned(), sql: sql.to_owned(), parameters }).await?.collect().await
}

/// The rows of a query, each as its values divided by blanks, null as `-`.
pub(crate) async fn rows(host: &EmbeddedHost, database: &str, sql: &str) -> Vec<String> {
    formatted(&batches(host, database, sql, &[]).await.unwrap())
}

pub(crate) async fn query_error(host: &EmbeddedHost, database: &str, sql: &str) -> QueryError {
    batches(host, database, sql, &[]).await.unwrap_err()
}

pub(crate) fn formatted(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("-");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch.columns().iter().map(|it| ArrayFormatter::try_new(it, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join(" "));
        }
    }
    rows
}
