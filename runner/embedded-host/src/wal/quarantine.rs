//! Damage in the middle of the log: what is unreadable is set aside, what is good goes on.
//!
//! A damaged segment is copied to the directory `quarantine` as it is, under the sequences that are missing. Then it is cut before the
//! damage, and the good entries behind become a segment of their own. Each step can be repeated, so a crash in between does no harm.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::entry::{EntryHeader, read_entry};
use super::segments::{SEGMENT_HEADER_BYTES, segment_header, segment_path};

/// The directory below that of the log.
const DIRECTORY: &str = "quarantine";

/// How far the sequence of an entry can be beyond the last good one. It tells an entry from bytes that look like one.
const SEQUENCES_LOST_MAX: u64 = 1 << 24;

/// Sequences that are missing because their entries were set aside.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    ranges: Vec<RangeInclusive<u64>>,
}

/// A damaged segment.
pub(super) struct Damage<'a> {
    pub(super) directory: &'a Path,
    pub(super) path: &'a Path,
    pub(super) bytes: &'a Bytes,
    /// Where the first bad byte may lie; what stands before it is good.
    pub(super) offset: u64,
    /// The last good sequence before it.
    pub(super) last: u64,
    /// The first sequence of the next segment, when there is one.
    pub(super) next_segment: Option<u64>,
}

/// What was done about damage.
pub(super) struct Repaired {
    /// The segment with the good entries behind the damage, and its first sequence.
    pub(super) rest: Option<(u64, PathBuf)>,
    /// The sequences that are missing; empty when only garbage stood between good entries.
    pub(super) missing: RangeInclusive<u64>,
    /// The copy.
    pub(super) copy: PathBuf,
}

impl Quarantine {
    /// What was set aside before.
    pub(super) fn read(directory: &Path) -> io::Result<Self> {
        let files = match fs::read_dir(directory.join(DIRECTORY)) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let mut ranges = Vec::new();
        for file in files {
            let path = file?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if let Some((from, to)) = stem.split_once('-')
                && let (Ok(from), Ok(to)) = (from.parse(), to.parse())
            {
                ranges.push(from..=to);
            }
        }
        Ok(Self { ranges })
    }

    /// Whether all these sequences are known to be missing.
    pub(super) fn has(&self, mut sequences: RangeInclusive<u64>) -> bool {
        sequences.all(|sequence| self.ranges.iter().any(|range| range.contains(&sequence)))
    }

    /// Sets damage aside.
    pub(super) fn repair(&mut self, damage: &Damage<'_>) -> io::Result<Repaired> {
        let rest = good_entry_behind(damage);
        let end = rest.map(|(sequence, _)| sequence).or(damage.next_segment).unwrap_or(damage.last + 1);
        let missing = damage.last + 1..=end - 1;
        let copy = set_aside(damage.directory, damage.path, &missing)?;
        let rest = match rest {
            Some((sequence, at)) => {
                let path = segment_path(damage.directory, sequence);
                // Under another name first: nobody takes a half-written segment for a whole one.
                let begun = path.with_extension("begun");
                let mut file = File::create(&begun)?;
                file.write_all(&segment_header())?;
                file.write_all(&damage.bytes[at..])?;
                file.sync_all()?;
                fs::rename(&begun, &path)?;
                File::open(damage.directory)?.sync_all()?;
                Some((sequence, path))
            }
            None => None,
        };
        let file = OpenOptions::new().write(true).open(damage.path)?;
        file.set_len(damage.offset)?;
        file.sync_all()?;
        self.ranges.push(missing.clone());
        Ok(Repaired { rest, missing, copy })
    }
}

/// Sets the segment aside in which the entry of this sequence turned out to be unreadable, and reports it. The entry is missing for
/// readers; the next start repairs the log.
pub(crate) fn set_aside_unreadable(segment: &Path, sequence: u64, reason: &dyn std::fmt::Display) {
    let directory = segment.parent().unwrap_or(Path::new("."));
    match set_aside(directory, segment, &(sequence..=sequence)) {
        Ok(copy) => tracing::error!(sequence, copy = %copy.display(), "{reason}; a copy is set aside"),
        Err(error) => tracing::error!(sequence, "{reason}; no copy could be set aside: {error}"),
    }
}

/// Copies a damaged segment under the sequences that cannot be read from it.
pub(super) fn set_aside(directory: &Path, segment: &Path, missing: &RangeInclusive<u64>) -> io::Result<PathBuf> {
    let quarantine = directory.join(DIRECTORY);
    fs::create_dir_all(&quarantine)?;
    let copy = quarantine.join(format!("{:020}-{:020}.wal", missing.start(), missing.end()));
    fs::copy(segment, &copy)?;
    File::open(&copy)?.sync_all()?;
    File::open(&quarantine)?.sync_all()?;
    Ok(copy)
}

/// The first good entry behind the damage, with its place: one that is whole, agrees with its checksum, and can come next.
fn good_entry_behind(damage: &Damage<'_>) -> Option<(u64, usize)> {
    let from = usize::try_from(damage.offset.max(SEGMENT_HEADER_BYTES)).ok()?;
    (from..damage.bytes.len()).find_map(|at| {
        let rest = &damage.bytes[at..];
        let header = EntryHeader::read(rest).ok()?;
        let ahead = header.sequence.checked_sub(damage.last)?;
        let fits = header.entry_bytes() <= rest.len() && (1..=SEQUENCES_LOST_MAX).contains(&ahead);
        let comes_before_next = damage.next_segment.is_none_or(|next| header.sequence < next);
        (fits && comes_before_next && read_entry(&damage.bytes.slice(at..)).is_ok()).then_some((header.sequence, at))
    })
}

/// Whether a good entry stands somewhere behind the damage: then no crash tore the end, and cutting would lose it.
pub(super) fn has_good_entry_behind(bytes: &Bytes, offset: u64, last: u64) -> bool {
    let path = Path::new("");
    good_entry_behind(&Damage { directory: path, path, bytes, offset: offset + 1, last, next_segment: None }).is_some()
}
