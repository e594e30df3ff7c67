//! A damaged file of records, as the database can read it: without a change of it, also when it was not closed.
//!
//! A file that was not closed is repaired when it is opened, which a damaged one refuses. What that repairs is needed for writing
//! only, so the database reads the file as one reads beside a writer, and is told that the file is closed. What it reads counts only
//! as far as the checksums of the records say so.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use redb::{BackendError, Builder, ConcurrencyMode, ReadOnlyDatabase, StorageBackend};

use super::store::CACHE_BYTES;

/// Place of the byte with the file's state, behind the magic number (redb's `docs/design.md`, "Super-header").
const STATE_OFFSET: u64 = 9;
/// The bit of it that says that the file was not closed.
const IS_OPEN: u8 = 2;

#[derive(Debug)]
struct DamagedFile(File);

impl StorageBackend for DamagedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)?;
        let state = STATE_OFFSET.checked_sub(offset).and_then(|place| out.get_mut(usize::try_from(place).ok()?));
        if let Some(state) = state {
            *state &= !IS_OPEN;
        }
        Ok(())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    // Nobody else has the file: the node's own lock sees to that.

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn query_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(false)
    }
}

/// Opens a damaged file; it may panic.
pub(super) fn open(path: &Path) -> Result<ReadOnlyDatabase, redb::Error> {
    let file = DamagedFile(File::open(path)?);
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_concurrency_mode(ConcurrencyMode::SingleWriter);
    Ok(builder.open_read_only_with_backend(file)?)
}
