//! The segments that exist: which sequences each holds and where, reading them back, and removing them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::entry::{EntryHeader, HEADER_BYTES, commit_of, read_entry};
use crate::commit::Commit;
use crate::error::ReadError;
use crate::limits::ENTRIES_PER_MARK;

/// The first bytes of every segment.
const MAGIC: [u8; 8] = *b"BULKHWAL";

/// The version of the format that is written, and the newest that is read. Version 2 added records.
pub(super) const FORMAT_VERSION: u32 = 2;

/// Bytes before a segment's first entry: magic, version, four that are reserved.
pub(super) const SEGMENT_HEADER_BYTES: u64 = 16;

/// The bytes that a segment starts with.
pub(super) fn segment_header() -> [u8; 16] {
    let mut header = [0; 16];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    header
}

/// The version that a segment states; `None` when the bytes are not the start of a segment.
pub(super) fn segment_version(bytes: &[u8]) -> Option<u32> {
    let header = bytes.first_chunk::<16>()?;
    let version = header[8..].first_chunk::<4>()?;
    (header[..8] == MAGIC).then(|| u32::from_le_bytes(*version))
}

/// The path of the segment whose first entry is `first`.
pub(super) fn segment_path(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("{first:020}.wal"))
}

/// One segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) first: u64,
    pub(super) last: u64,
    /// The offset of every [`ENTRIES_PER_MARK`]th entry, beginning with the first.
    marks: Vec<u64>,
}

impl Segment {
    pub(super) fn new(path: PathBuf, first: u64) -> Self {
        Self { path, first, last: first.saturating_sub(1), marks: Vec::new() }
    }

    /// Takes note of the next entry.
    pub(super) fn note(&mut self, sequence: u64, offset: u64) {
        if (sequence - self.first).is_multiple_of(ENTRIES_PER_MARK) {
            self.marks.push(offset);
        }
        self.last = sequence;
    }
}

/// All segments, oldest first. The last one may be the one that is written.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    list: Vec<Segment>,
}

/// Where an entry is to be found: at or behind the offset.
#[derive(Debug)]
pub(crate) struct EntryPlace {
    path: PathBuf,
    offset: u64,
    sequence: u64,
}

impl EntryPlace {
    /// The segment's file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Segments {
    pub(super) fn push(&mut self, segment: Segment) {
        self.list.push(segment);
    }

    /// Takes note of an entry that was written to the last segment.
    pub(super) fn note(&mut self, sequence: u64, offset: u64) {
        if let Some(segment) = self.list.last_mut() {
            segment.note(sequence, offset);
        }
    }

    /// Forgets the last segment when it has no entry.
    pub(super) fn drop_empty_tail(&mut self) {
        if self.list.last().is_some_and(|segment| segment.last < segment.first) {
            self.list.pop();
        }
    }

    /// The place of the entry `sequence`.
    ///
    /// # Errors
    /// When it was removed.
    pub(crate) fn find(&self, sequence: u64) -> Result<EntryPlace, ReadError> {
        let behind = self.list.partition_point(|segment| segment.first <= sequence);
        let segment = behind.checked_sub(1).and_then(|place| self.list.get(place));
        let segment = segment.filter(|segment| sequence <= segment.last);
        let mark = segment.and_then(|segment| {
            let mark = usize::try_from((sequence - segment.first) / ENTRIES_PER_MARK).ok()?;
            segment.marks.get(mark).map(|&offset| EntryPlace { path: segment.path.clone(), offset, sequence })
        });
        mark.ok_or_else(|| self.gone(sequence))
    }

    /// The error for an entry that is not kept any more.
    pub(crate) fn gone(&self, sequence: u64) -> ReadError {
        let oldest = self.list.iter().find(|segment| segment.first <= segment.last && segment.last >= sequence);
        ReadError::Gone { wanted: sequence, oldest: oldest.map_or(sequence + 1, |segment| segment.first) }
    }

    /// Whether [`Segments::remove_up_to`] would remove anything.
    pub(crate) fn has_up_to(&self, floor: u64) -> bool {
        self.list.len() > 1 && self.list.first().is_some_and(|segment| segment.last <= floor)
    }

    /// Removes the segments whose entries all are at most `floor`, except for the last, which may be the one that is written.
    /// Returns their files.
    pub(crate) fn remove_up_to(&mut self, floor: u64) -> Vec<PathBuf> {
        let candidates = self.list.len().saturating_sub(1);
        let removed = self.list[..candidates].iter().take_while(|segment| segment.last <= floor).count();
        self.list.drain(..removed).map(|segment| segment.path).collect()
    }
}

/// Reads the entry at `place`.
///
/// # Errors
/// When the file cannot be read or does not hold the entry.
pub(crate) fn read_commit(place: &EntryPlace) -> Result<Commit, ReadError> {
    let io_error = |source| ReadError::Io { path: place.path.clone(), source };
    let mut file = File::open(&place.path).map_err(io_error)?;
    let mut offset = place.offset;
    file.seek(SeekFrom::Start(offset)).map_err(io_error)?;
    // The header of the entry before tells how far to skip, so only headers are read on the way.
    let mut bytes = vec![0; HEADER_BYTES];
    loop {
        let corrupt = |reason| ReadError::Corrupt { path: place.path.clone(), offset, reason };
        bytes.resize(HEADER_BYTES, 0);
        file.read_exact(&mut bytes).map_err(io_error)?;
        let header = EntryHeader::read(&bytes).map_err(corrupt)?;
        if header.sequence > place.sequence {
            return Err(corrupt(format!("entry {} follows where {} should", header.sequence, place.sequence)));
        }
        if header.sequence == place.sequence {
            read_rest(&mut file, &mut bytes, header.length).map_err(io_error)?;
            let (header, actions) = read_entry(&Bytes::from(bytes)).map_err(corrupt)?;
            return Ok(commit_of(header.sequence, header.recorded_at_ns, actions));
        }
        let skip = i64::try_from(header.length).map_err(|error| corrupt(error.to_string()))?;
        file.seek(SeekFrom::Current(skip)).map_err(io_error)?;
        offset += header.entry_bytes() as u64;
    }
}

fn read_rest(file: &mut File, bytes: &mut Vec<u8>, length: usize) -> io::Result<()> {
    // Not allocated ahead: a corrupt length must not cost a gigabyte.
    let limit = u64::try_from(length).unwrap_or(u64::MAX);
    let read = file.take(limit).read_to_end(bytes)?;
    if read == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
