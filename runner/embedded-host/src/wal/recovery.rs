//! Reading the log at start.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::Action;
use super::entry::{EntryHeader, read_entry};
use super::quarantine::{Damage, Quarantine, has_good_entry_behind};
use super::segments::{FORMAT_VERSION, SEGMENT_HEADER_BYTES, Segment, Segments, segment_version};
use crate::config::{CommitSize, Observer};
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
    /// Entries that were set aside because they cannot be read.
    pub(crate) entries_lost: u64,
}

/// Reads every segment in `directory` and hands the entries above `covered`, which no snapshot holds, to `replay` in their order,
/// each action with its sequence. Of entries up to `covered` it hands out the records, which are kept by a store of their own that
/// has them up to `recorded`; `None` for a new store, which takes what there is.
///
/// A last segment that ends in the middle of an entry, as a crash leaves it, is cut there. Damage that no crash explains is set aside
/// and reported, and what is good behind it goes on; see [`super::quarantine`].
///
/// # Errors
/// When a file cannot be read or is of a newer format, when entries are missing that were not set aside, and what `replay` says of an
/// entry.
pub(crate) fn recover(
    directory: &Path,
    covered: u64,
    recorded: Option<u64>,
    observer: &dyn Observer,
    mut replay: impl FnMut(u64, Action) -> Result<(), String>,
) -> Result<RecoveredLog, OpenError> {
    let mut paths = segment_paths(directory)?;
    let mut quarantine = Quarantine::read(directory).map_err(io_error("list", directory))?;
    let mut log = RecoveredLog { last_sequence: covered, ..RecoveredLog::default() };
    // Behind this sequence every entry must be there.
    let floor = recorded.map_or(covered, |recorded| recorded.min(covered));
    let mut previous: Option<u64> = None;
    while let Some((first, path)) = paths.pop_front() {
        let mut segment = Segment::new(path.clone(), first);
        let mut reader = SegmentReader::open(&path, paths.is_empty(), segment.last)?;
        while let Some((header, actions)) = reader.next()? {
            let expected = segment.last + 1;
            if header.sequence != expected || previous.is_some_and(|previous| previous >= header.sequence) {
                return Err(reader.corrupt(format!("entry {} stands where {expected} should", header.sequence)));
            }
            let next = previous.unwrap_or_default().max(floor) + 1;
            if header.sequence > next && !quarantine.has(next..=header.sequence - 1) {
                return Err(OpenError::Gap { expected: next, found: header.sequence });
            }
            previous = Some(header.sequence);
            segment.note(header.sequence, reader.entry_at);
            if header.sequence > covered {
                log.last_sequence = header.sequence;
                log.entries += 1;
                log.entry_bytes += header.entry_bytes();
            }
            let rows = |action: &Action| if let Action::Rows(_, table) = action { table.rows as u64 } else { 0 };
            observer.committed(CommitSize {
                sequence: header.sequence,
                rows: actions.iter().map(rows).sum(),
                bytes: header.entry_bytes() as u64,
                recorded_at_ns: header.recorded_at_ns,
            });
            for action in actions {
                if header.sequence > covered || matches!(action, Action::Record(_)) {
                    replay(header.sequence, action).map_err(|reason| reader.corrupt(reason))?;
                }
            }
        }
        log.bytes_cut += reader.cut()?;
        if let Some(reason) = reader.damage.take() {
            let next_segment = paths.front().map(|(first, _)| *first);
            let damage = Damage {
                directory,
                path: &path,
                bytes: &reader.bytes,
                offset: reader.offset,
                last: segment.last.max(previous.unwrap_or_default()),
                next_segment,
            };
            let repaired = quarantine.repair(&damage).map_err(io_error("set aside the damage of", &path))?;
            let lost = repaired.missing.clone().count() as u64;
            log.entries_lost += lost;
            tracing::error!(
                segment = %path.display(), offset = reader.offset, reason, entries_lost = lost,
                first = repaired.missing.start(), last = repaired.missing.end(), copy = %repaired.copy.display(),
                "the WAL is damaged; what cannot be read is set aside, what is good goes on"
            );
            if let Some(rest) = repaired.rest
                && paths.front() != Some(&rest)
            {
                paths.push_front(rest);
            }
        }
        if segment.last < segment.first {
            fs::remove_file(&path).map_err(io_error("remove", &path))?;
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
fn segment_paths(directory: &Path) -> Result<VecDeque<(u64, PathBuf)>, OpenError> {
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
    Ok(paths.into())
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
    /// What is wrong at `offset`, when no crash explains it.
    damage: Option<String>,
    /// The last sequence that was read.
    last_sequence: u64,
}

impl SegmentReader {
    fn open(path: &Path, last: bool, last_sequence: u64) -> Result<Self, OpenError> {
        let bytes = Bytes::from(fs::read(path).map_err(io_error("read", path))?);
        let mut reader = Self {
            path: path.to_owned(),
            bytes,
            last,
            entry_at: 0,
            offset: SEGMENT_HEADER_BYTES,
            torn: false,
            damage: None,
            last_sequence,
        };
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
                reader.offset = 0;
                reader.damage = Some("this is no WAL segment".to_owned());
                Ok(reader)
            }
        }
    }

    fn next(&mut self) -> Result<Option<(EntryHeader, Vec<Action>)>, OpenError> {
        let rest = self.bytes.slice(usize::try_from(self.offset).unwrap_or(usize::MAX).min(self.bytes.len())..);
        if self.torn || self.damage.is_some() || rest.is_empty() {
            return Ok(None);
        }
        self.entry_at = self.offset;
        match read_entry(&rest) {
            Ok((header, actions)) => {
                self.offset += header.entry_bytes() as u64;
                self.last_sequence = header.sequence;
                Ok(Some((header, actions)))
            }
            Err(reason) if !self.last || has_good_entry_behind(&self.bytes, self.offset, self.last_sequence) => {
                self.damage = Some(reason);
                Ok(None)
            }
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
