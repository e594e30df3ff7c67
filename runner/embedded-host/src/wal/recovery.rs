//! Reading the log at start.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::Action;
use super::entry::{EntryHeader, read_entry};
use super::segments::{FORMAT_VERSION, SEGMENT_HEADER_BYTES, Segment, Segments, segment_version};
use crate::error::OpenError;

/// What was found in the log.
#[derive(Debug, Default)]
pub(crate) struct RecoveredLog {
    /// The segments that hold entries.
    pub(crate) segments: Segments,
    /// The last sequence in them, or `covered` when there is none above it.
    pub(crate) last_sequence: u64,
    /// Entries above `covered`.
    pub(crate) entries: u64,
    /// Bytes of the entries above `covered`.
    pub(crate) entry_bytes: usize,
    /// Bytes that were cut from the end of the last segment.
    pub(crate) bytes_cut: u64,
}

/// Reads every segment in `directory` and hands the entries above `covered`, which no snapshot holds, to `replay` in their order,
/// each action with its sequence. Of entries up to `covered` it hands out the records, which are kept by a store of their own that
/// has them up to `recorded`; `None` for a new store, which takes what there is.
///
/// A last segment that ends in the middle of an entry, as a crash leaves it, is cut there.
///
/// # Errors
/// When a file cannot be read, is of a newer format or corrupt, when entries are missing, and what `replay` says of an entry.
pub(crate) fn recover(
    directory: &Path,
    covered: u64,
    recorded: Option<u64>,
    mut replay: impl FnMut(u64, Action) -> Result<(), String>,
) -> Result<RecoveredLog, OpenError> {
    let paths = segment_paths(directory)?;
    let mut log = RecoveredLog { last_sequence: covered, ..RecoveredLog::default() };
    // Behind this sequence every entry must be there.
    let floor = recorded.map_or(covered, |recorded| recorded.min(covered));
    let mut previous: Option<u64> = None;
    for (number, (first, path)) in paths.iter().enumerate() {
        let mut reader = SegmentReader::open(path, number + 1 == paths.len())?;
        let mut segment = Segment::new(path.clone(), *first);
        while let Some((header, actions)) = reader.next()? {
            let expected = segment.last + 1;
            if header.sequence != expected || previous.is_some_and(|previous| previous >= header.sequence) {
                return Err(reader.corrupt(format!("entry {} stands where {expected} should", header.sequence)));
            }
            let next = previous.unwrap_or_default().max(floor) + 1;
            if header.sequence > next {
                return Err(OpenError::Gap { expected: next, found: header.sequence });
            }
            previous = Some(header.sequence);
            segment.note(header.sequence, reader.entry_at);
            if header.sequence > covered {
                log.last_sequence = header.sequence;
                log.entries += 1;
                log.entry_bytes += header.entry_bytes();
            }
            for action in actions {
                if header.sequence > covered || matches!(action, Action::Record(_)) {
                    replay(header.sequence, action).map_err(|reason| reader.corrupt(reason))?;
                }
            }
        }
        log.bytes_cut += reader.cut()?;
        if segment.last < segment.first {
            fs::remove_file(path).map_err(io_error("remove", path))?;
        } else {
            log.segments.push(segment);
        }
    }
    Ok(log)
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { action, path, source }
}

/// The segments of the directory with the first sequence that their names state, in order.
fn segment_paths(directory: &Path) -> Result<Vec<(u64, PathBuf)>, OpenError> {
    let mut paths = Vec::new();
    for file in fs::read_dir(directory).map_err(io_error("list", directory))? {
        let path = file.map_err(io_error("list", directory))?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        if path.extension().is_some_and(|extension| extension == "wal")
            && let Some(first) = stem.and_then(|stem| stem.parse().ok())
        {
            paths.push((first, path));
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

struct SegmentReader {
    path: PathBuf,
    bytes: Bytes,
    /// Whether this is the last segment, whose end a crash may have torn.
    last: bool,
    /// Where the last entry that was read begins.
    entry_at: u64,
    /// Where the next entry begins.
    offset: u64,
    torn: bool,
}

impl SegmentReader {
    fn open(path: &Path, last: bool) -> Result<Self, OpenError> {
        let bytes = Bytes::from(fs::read(path).map_err(io_error("read", path))?);
        let mut reader =
            Self { path: path.to_owned(), bytes, last, entry_at: 0, offset: SEGMENT_HEADER_BYTES, torn: false };
        match segment_version(&reader.bytes) {
            Some(found) if found > FORMAT_VERSION => {
                Err(OpenError::UnsupportedVersion { path: reader.path, found, supported: FORMAT_VERSION })
            }
            Some(_) => Ok(reader),
            // The crash came before the header was whole, so no entry was acknowledged from here.
            None if last && (reader.bytes.len() as u64) < SEGMENT_HEADER_BYTES => {
                reader.offset = 0;
                reader.torn = true;
                Ok(reader)
            }
            None => {
                Err(OpenError::Corrupt { path: reader.path, offset: 0, reason: "this is no WAL segment".to_owned() })
            }
        }
    }

    fn next(&mut self) -> Result<Option<(EntryHeader, Vec<Action>)>, OpenError> {
        let rest = self.bytes.slice(usize::try_from(self.offset).unwrap_or(usize::MAX).min(self.bytes.len())..);
        if self.torn || rest.is_empty() {
            return Ok(None);
        }
        self.entry_at = self.offset;
        match read_entry(&rest) {
            Ok((header, actions)) => {
                self.offset += header.entry_bytes() as u64;
                Ok(Some((header, actions)))
            }
            Err(reason) if !self.last || self.whole_entry_follows(&rest) => Err(self.corrupt(reason)),
            Err(reason) => {
                tracing::warn!(
                    segment = %self.path.display(), offset = self.offset, bytes = rest.len(), reason,
                    "the WAL ends in the middle of an entry, which was never acknowledged; cutting it off"
                );
                self.torn = true;
                Ok(None)
            }
        }
    }

    /// Whether a good entry stands where the bad one would end: then no crash tore the bad one, and cutting would lose the good.
    fn whole_entry_follows(&self, rest: &Bytes) -> bool {
        EntryHeader::read(rest).is_ok_and(|header| {
            rest.len() > header.entry_bytes() && read_entry(&rest.slice(header.entry_bytes()..)).is_ok()
        })
    }

    fn corrupt(&self, reason: String) -> OpenError {
        OpenError::Corrupt { path: self.path.clone(), offset: self.entry_at, reason }
    }

    /// Cuts a torn end off. Returns how many bytes that were.
    fn cut(&self) -> Result<u64, OpenError> {
        if !self.torn {
            return Ok(0);
        }
        let file = OpenOptions::new().write(true).open(&self.path).map_err(io_error("open", &self.path))?;
        file.set_len(self.offset).and_then(|()| file.sync_all()).map_err(io_error("truncate", &self.path))?;
        Ok((self.bytes.len() as u64).saturating_sub(self.offset))
    }
}
