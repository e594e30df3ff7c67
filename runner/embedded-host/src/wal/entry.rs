//! The bytes of an entry.
//!
//! `length u32, crc32 u32, sequence u64, recorded_at i64, payload`, all little-endian. The checksum covers everything behind it.
//! The payload is a list of actions, each a tag byte and its fields; texts and byte strings carry their length as `u32`.

use std::ops::Range;

use bytes::Bytes;

use crate::commit::{Commit, DatabaseBatch, TableRows};
use crate::limits::ENTRY_BYTES_MAX;
use crate::records::Record;

/// Bytes before an entry's payload.
pub(crate) const HEADER_BYTES: usize = 24;

/// Where the checksum begins to count.
const CHECKED_FROM: usize = 8;

const CREATE: u8 = 1;
const DELETE: u8 = 2;
const ROWS: u8 = 3;
const RECORD: u8 = 4;
const NO_RECORD: u8 = 5;

/// One action of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// A database was created.
    Create(String),
    /// A database was deleted.
    Delete(String),
    /// Rows were written to the database.
    Rows(String, TableRows),
    /// A record changed.
    Record(Record),
}

/// An entry in the making.
#[derive(Debug)]
pub(crate) struct EntryBuilder {
    bytes: Vec<u8>,
    /// Database, table, rows and the place of the stream in `bytes`.
    rows: Vec<(String, String, usize, Range<usize>)>,
}

impl EntryBuilder {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; HEADER_BYTES], rows: Vec::new() }
    }

    pub(crate) fn create(&mut self, database: &str) {
        self.bytes.push(CREATE);
        self.text(database);
    }

    pub(crate) fn delete(&mut self, database: &str) {
        self.bytes.push(DELETE);
        self.text(database);
    }

    /// Adds rows, whose Arrow IPC stream `encode` appends to the bytes that it is given.
    ///
    /// # Errors
    /// What `encode` fails with; the entry is of no use then.
    pub(crate) fn rows<E>(
        &mut self,
        database: &str,
        table: &str,
        rows: usize,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.bytes.push(ROWS);
        self.text(database);
        self.text(table);
        self.length(rows);
        let length_at = self.bytes.len();
        self.length(0);
        let start = self.bytes.len();
        encode(&mut self.bytes)?;
        let length = length_u32(self.bytes.len() - start);
        self.bytes[length_at..start].copy_from_slice(&length.to_le_bytes());
        self.rows.push((database.to_owned(), table.to_owned(), rows, start..self.bytes.len()));
        Ok(())
    }

    pub(crate) fn record(&mut self, record: &Record) {
        self.bytes.push(if record.value.is_some() { RECORD } else { NO_RECORD });
        self.text(&record.key);
        if let Some(value) = &record.value {
            self.length(value.len());
            self.bytes.extend_from_slice(value);
        }
    }

    /// The entry's bytes, or `None` when it is larger than an entry may be, and the commit that shares them.
    pub(crate) fn finish(mut self, sequence: u64, recorded_at_ns: i64) -> Option<(Bytes, Commit)> {
        let length = self.bytes.len() - HEADER_BYTES;
        if length > ENTRY_BYTES_MAX {
            return None;
        }
        self.bytes[8..16].copy_from_slice(&sequence.to_le_bytes());
        self.bytes[16..24].copy_from_slice(&recorded_at_ns.to_le_bytes());
        let checksum = crc32fast::hash(&self.bytes[CHECKED_FROM..]);
        self.bytes[..4].copy_from_slice(&length_u32(length).to_le_bytes());
        self.bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
        let bytes = Bytes::from(self.bytes);
        let actions = self.rows.into_iter().map(|(database, table, rows, place)| {
            Action::Rows(database, TableRows { table, rows, ipc: bytes.slice(place) })
        });
        let commit = commit_of(sequence, recorded_at_ns, actions.collect());
        Some((bytes, commit))
    }

    fn length(&mut self, length: usize) {
        self.bytes.extend_from_slice(&length_u32(length).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.bytes.extend_from_slice(text.as_bytes());
    }
}

/// Lengths above `u32::MAX` make an entry larger than [`ENTRY_BYTES_MAX`], which `finish` refuses.
fn length_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// The commit of an entry's actions.
pub(crate) fn commit_of(sequence: u64, recorded_at_ns: i64, actions: Vec<Action>) -> Commit {
    let mut databases: Vec<DatabaseBatch> = Vec::new();
    for action in actions {
        let Action::Rows(database, rows) = action else {
            continue;
        };
        match databases.iter_mut().find(|batch| batch.database == database) {
            Some(batch) => batch.tables.push(rows),
            None => databases.push(DatabaseBatch { database, tables: vec![rows] }),
        }
    }
    Commit { sequence, recorded_at_ns, databases }
}

/// What stands before an entry's payload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EntryHeader {
    pub(crate) length: usize,
    checksum: u32,
    pub(crate) sequence: u64,
    pub(crate) recorded_at_ns: i64,
}

impl EntryHeader {
    /// Reads the header at the start of `bytes`.
    ///
    /// # Errors
    /// When there are too few bytes or the length is beyond what an entry may have.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut cursor = Cursor { bytes };
        let header = Self {
            length: cursor.length()?,
            checksum: u32::from_le_bytes(cursor.array()?),
            sequence: u64::from_le_bytes(cursor.array()?),
            recorded_at_ns: i64::from_le_bytes(cursor.array()?),
        };
        if header.length > ENTRY_BYTES_MAX {
            return Err(format!("an entry of {} bytes is longer than any", header.length));
        }
        Ok(header)
    }

    /// Bytes of the whole entry.
    pub(crate) fn entry_bytes(&self) -> usize {
        HEADER_BYTES + self.length
    }
}

/// Reads the entry at the start of `bytes`, and checks it.
///
/// # Errors
/// What does not hold.
pub(crate) fn read_entry(bytes: &Bytes) -> Result<(EntryHeader, Vec<Action>), String> {
    let header = EntryHeader::read(bytes)?;
    if bytes.len() < header.entry_bytes() {
        return Err(format!("the entry has {} bytes, {} are there", header.entry_bytes(), bytes.len()));
    }
    let entry = bytes.slice(..header.entry_bytes());
    if crc32fast::hash(&entry[CHECKED_FROM..]) != header.checksum {
        return Err("the checksum does not match".to_owned());
    }
    let mut cursor = Cursor { bytes: &entry[HEADER_BYTES..] };
    let mut actions = Vec::new();
    while !cursor.bytes.is_empty() {
        let [tag] = cursor.array()?;
        actions.push(match tag {
            CREATE => Action::Create(cursor.text()?),
            DELETE => Action::Delete(cursor.text()?),
            ROWS => {
                let (database, table) = (cursor.text()?, cursor.text()?);
                let rows = cursor.length()?;
                let length = cursor.length()?;
                let ipc = entry.slice_ref(cursor.take(length)?);
                Action::Rows(database, TableRows { table, rows, ipc })
            }
            RECORD => {
                let key = cursor.text()?;
                let length = cursor.length()?;
                // Copied: a small value must not hold the whole entry in memory.
                let value = Bytes::copy_from_slice(cursor.take(length)?);
                Action::Record(Record { key, value: Some(value) })
            }
            NO_RECORD => Action::Record(Record { key: cursor.text()?, value: None }),
            other => return Err(format!("unknown action {other}")),
        });
    }
    Ok((header, actions))
}

struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or_else(|| "the entry ends too early".to_owned())?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or_else(|| "the entry ends too early".to_owned())?;
        self.bytes = rest;
        Ok(*taken)
    }

    fn length(&mut self) -> Result<usize, String> {
        usize::try_from(u32::from_le_bytes(self.array()?)).map_err(|error| error.to_string())
    }

    fn text(&mut self) -> Result<String, String> {
        let length = self.length()?;
        String::from_utf8(self.take(length)?.to_vec()).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> [Record; 2] {
        let set = Record { key: "k".to_owned(), value: Some(Bytes::from_static(b"value")) };
        [set, Record { key: "gone".to_owned(), value: None }]
    }

    fn entry() -> (Bytes, Commit) {
        let mut builder = EntryBuilder::new();
        builder.create("a");
        builder
            .rows("a", "t", 2, |out| -> Result<(), ()> {
                out.extend_from_slice(b"stream");
                Ok(())
            })
            .unwrap();
        builder.delete("b");
        for record in records() {
            builder.record(&record);
        }
        builder.finish(7, 99).unwrap()
    }

    #[test]
    fn an_entry_reads_back_as_it_was_written() {
        let (bytes, commit) = entry();
        let (header, actions) = read_entry(&bytes).unwrap();
        assert_eq!((header.sequence, header.recorded_at_ns, header.entry_bytes()), (7, 99, bytes.len()));
        let rows = TableRows { table: "t".to_owned(), rows: 2, ipc: Bytes::from_static(b"stream") };
        assert_eq!(actions[0], Action::Create("a".to_owned()));
        assert_eq!(actions[1], Action::Rows("a".to_owned(), rows));
        assert_eq!(actions[2], Action::Delete("b".to_owned()));
        assert_eq!(actions[3..], records().map(Action::Record));
        assert_eq!(commit_of(7, 99, actions), commit);
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_noticed() {
        let (bytes, _) = entry();
        for length in 0..bytes.len() {
            assert!(read_entry(&bytes.slice(..length)).is_err(), "cut at {length}");
        }
        for place in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[place] ^= 0x40;
            assert!(read_entry(&Bytes::from(changed)).is_err(), "changed at {place}");
        }
    }
}
