//! A disk that fails.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use object_store::memory::InMemory;
use tempfile::TempDir;

use super::*;
use crate::wal::WalFile;
use crate::{Precision, WriteError, WriteRequest};

/// How the next operations fail, shared with the test.
#[derive(Debug, Default)]
struct Faults {
    /// Bytes that still fit onto the disk.
    room: AtomicI64,
    sync_fails: AtomicBool,
    truncate_fails: AtomicBool,
    syncs: AtomicU64,
}

#[derive(Debug)]
struct FaultyFiles(Arc<Faults>);

struct FaultyFile {
    faults: Arc<Faults>,
    file: Box<dyn WalFile>,
}

impl WalFiles for FaultyFiles {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WalFile>> {
        Ok(Box::new(FaultyFile { faults: Arc::clone(&self.0), file: DiskFiles.create(path)? }))
    }
}

impl WalFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = i64::try_from(bytes.len()).unwrap();
        let room = self.faults.room.fetch_sub(length, Ordering::Relaxed);
        if room < length {
            // As a full disk does, it takes what fits.
            self.file.append(&bytes[..usize::try_from(room.max(0)).unwrap()])?;
            return Err(io::Error::from_raw_os_error(28));
        }
        self.file.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.faults.syncs.fetch_add(1, Ordering::Relaxed);
        if self.faults.sync_fails.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk is gone"));
        }
        self.file.sync()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        if self.faults.truncate_fails.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk is gone"));
        }
        self.file.truncate(length)
    }
}

async fn open(directory: &TempDir, faults: &Arc<Faults>) -> EmbeddedHost {
    let now = Arc::new(|| 1);
    let mut config = Config::new(directory.path().to_owned(), Arc::new(InMemory::new()), "p".into(), now);
    config.wal_flush_interval = Duration::ZERO;
    EmbeddedHost::open_with(config, Arc::new(FaultyFiles(Arc::clone(faults)))).await.unwrap()
}

async fn write(host: &EmbeddedHost, lines: &str) -> Result<crate::WriteReport, WriteError> {
    let line_protocol = Bytes::copy_from_slice(lines.as_bytes());
    let precision = Precision::Nanosecond;
    let (accept_partial, no_sync, default_time) = (false, false, None);
    let database = "d".to_owned();
    host.write(WriteRequest { database, line_protocol, precision, accept_partial, no_sync, default_time }).await
}

async fn count(host: &EmbeddedHost) -> usize {
    let sql = "select v from m".to_owned();
    let request = QueryRequest { database: "d".to_owned(), sql, parameters: BTreeMap::new() };
    let batches = host.query(request).await.unwrap().collect().await.unwrap();
    batches.iter().map(arrow::array::RecordBatch::num_rows).sum()
}

#[tokio::test]
async fn a_full_disk_refuses_writes_until_there_is_room_again() {
    let directory = TempDir::new().unwrap();
    let faults = Arc::new(Faults::default());
    faults.room.store(10_000, Ordering::Relaxed);
    let host = open(&directory, &faults).await;
    write(&host, "m v=1 1").await.unwrap();
    faults.room.store(100, Ordering::Relaxed);
    let error = write(&host, "m v=2,new=\"x\" 2").await.unwrap_err();
    let message = error.to_string();
    assert_eq!(message, "cannot store the write: cannot write to the WAL: No space left on device (os error 28)");
    // Nothing of the failed write binds the next: neither its rows nor its columns.
    faults.room.store(10_000, Ordering::Relaxed);
    assert_eq!(write(&host, "m v=3,new=1 3").await.unwrap().sequence, Some(2));
    assert_eq!(count(&host).await, 2);
    drop(host);
    let host = open(&directory, &faults).await;
    assert_eq!(host.recovery().bytes_cut, 0);
    assert_eq!((count(&host).await, host.recovery().rows_replayed), (2, 2));
}

#[tokio::test]
async fn a_first_segment_that_cannot_be_begun_is_begun_later() {
    let directory = TempDir::new().unwrap();
    let faults = Arc::new(Faults::default());
    let host = open(&directory, &faults).await;
    assert!(matches!(write(&host, "m v=1 1").await, Err(WriteError::Storage(_))));
    assert!(!host.database_exists("d"));
    faults.room.store(10_000, Ordering::Relaxed);
    write(&host, "m v=1 1").await.unwrap();
    assert_eq!(count(&host).await, 1);
}

#[tokio::test]
async fn a_failed_sync_and_a_failed_repair_leave_nothing_behind() {
    let directory = TempDir::new().unwrap();
    let faults = Arc::new(Faults::default());
    faults.room.store(100_000, Ordering::Relaxed);
    let host = open(&directory, &faults).await;
    write(&host, "m v=1 1").await.unwrap();
    faults.sync_fails.store(true, Ordering::Relaxed);
    faults.truncate_fails.store(true, Ordering::Relaxed);
    assert!(matches!(write(&host, "m v=2 2").await, Err(WriteError::Storage(_))));
    faults.sync_fails.store(false, Ordering::Relaxed);
    // The torn entry is still there, so nothing may be written behind it.
    assert!(matches!(write(&host, "m v=3 3").await, Err(WriteError::Storage(_))));
    faults.truncate_fails.store(false, Ordering::Relaxed);
    write(&host, "m v=4 4").await.unwrap();
    drop(host);
    let host = open(&directory, &faults).await;
    assert_eq!((host.recovery().rows_replayed, host.recovery().last_sequence), (2, 2));
}

#[tokio::test]
async fn one_commit_is_one_sync() {
    let directory = TempDir::new().unwrap();
    let faults = Arc::new(Faults::default());
    faults.room.store(i64::MAX, Ordering::Relaxed);
    let host = open(&directory, &faults).await;
    let before = faults.syncs.load(Ordering::Relaxed);
    let writes = (0..40).map(|time| {
        let host = host.clone();
        async move { write(&host, &format!("m v=1 {time}")).await }
    });
    let outcomes = futures_util::future::join_all(writes).await;
    assert!(outcomes.iter().all(Result::is_ok));
    let syncs = faults.syncs.load(Ordering::Relaxed) - before;
    assert_eq!(syncs, *host.head().borrow());
    assert!(syncs < 40, "{syncs} syncs for 40 writes");
}
