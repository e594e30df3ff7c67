//! The file operations of the log, behind a trait so that tests can make a disk fail.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

/// A segment that is being written.
pub(crate) trait WalFile: Send {
    /// Writes `bytes` at the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Forces everything that was appended to disk.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file to `length` bytes and goes on writing there.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// Where segments are made.
pub(crate) trait WalFiles: Debug + Send + Sync {
    /// Makes the empty segment `path` and forces its name to disk. A file of that name holds no entry and is replaced.
    fn create(&self, path: &Path) -> io::Result<Box<dyn WalFile>>;
}

/// The real thing.
#[derive(Debug)]
pub(crate) struct DiskFiles;

impl WalFiles for DiskFiles {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WalFile>> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        if let Some(directory) = path.parent() {
            File::open(directory)?.sync_all()?;
        }
        Ok(Box::new(DiskFile(file)))
    }
}

struct DiskFile(File);

impl WalFile for DiskFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)?;
        self.0.seek(SeekFrom::Start(length))?;
        self.0.sync_data()
    }
}
