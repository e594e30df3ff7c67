//! Entries as records of the journal.

use bytes::{BufMut, Bytes, BytesMut};
use chrono::DateTime;

use super::Owner;
use super::mirror::Entry;
use crate::clock::nanos;
use crate::journal::{Kind, Record, parts_of_number};
use crate::trigger::TriggerId;

/// The first byte of a record, so that the next form can be told from this one.
const FORMAT: u8 = 1;

/// Bytes before the value: format, whether it expires, when, version.
const HEADER_BYTES: usize = 18;

/// The record's key; without an owner for an entry that all triggers share.
pub(super) fn key(owner: Option<&Owner>, key: &str) -> String {
    match owner {
        Some(owner) => format!("{}{key}", Kind::Cached.all_of_number(&owner.trigger, owner.origin)),
        None => format!("{}{key}", Kind::Shared.prefix()),
    }
}

/// The record that says how an entry is now; `None` when it is gone.
pub(super) fn record(owner: Option<&Owner>, name: &str, entry: Option<&Entry>) -> Record {
    let key = key(owner, name);
    let Some(entry) = entry else { return Record::remove(key) };
    let mut value = BytesMut::with_capacity(HEADER_BYTES + entry.value.len());
    value.put_u8(FORMAT);
    value.put_u8(u8::from(entry.expires_at.is_some()));
    value.put_i64_le(entry.expires_at.map_or(0, nanos));
    value.put_u64_le(entry.version);
    value.put_slice(&entry.value);
    Record::set(key, value.freeze())
}

/// Reads a record's value.
///
/// # Errors
/// When it is none, or of a later version.
pub(super) fn entry(value: &Bytes, stamp: u64) -> Result<Entry, String> {
    let Some((header, _)) = value.split_first_chunk::<HEADER_BYTES>() else {
        return Err(format!("{} bytes are too few for an entry", value.len()));
    };
    let [format, expires, rest @ ..] = header;
    if *format != FORMAT {
        return Err(format!("its format {format} is not {FORMAT}"));
    }
    let (mut at, mut version) = ([0; 8], [0; 8]);
    at.copy_from_slice(&rest[..8]);
    version.copy_from_slice(&rest[8..]);
    let expires_at = (*expires != 0).then(|| DateTime::from_timestamp_nanos(i64::from_le_bytes(at)));
    Ok(Entry { version: u64::from_le_bytes(version), value: value.slice(HEADER_BYTES..), expires_at, stamp })
}

/// Whose entry a record holds, and its name; `None` for a key that no entry has.
pub(super) fn place(kind: Kind, key: &str) -> Option<(Option<(TriggerId, u64)>, String)> {
    if kind == Kind::Shared {
        return Some((None, key.strip_prefix(&kind.prefix())?.to_owned()));
    }
    let (trigger, origin, name) = parts_of_number(key)?;
    Some((Some((trigger, origin)), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn an_entry_reads_back_and_other_bytes_are_refused() {
        let owner = Owner { trigger: Arc::new(TriggerId::new("db", "t")), origin: 7 };
        for expires_at in [None, DateTime::from_timestamp(1_700_000_000, 5)] {
            let before = Entry { version: u64::MAX, value: Bytes::from_static(b"pickle"), expires_at, stamp: 3 };
            let Record { key, value: Some(value) } = record(Some(&owner), "a\u{1f}b", Some(&before)) else {
                panic!("it has a value")
            };
            assert_eq!(entry(&value, 3), Ok(before));
            let found = place(Kind::Cached, &key);
            assert_eq!(found, Some((Some((TriggerId::new("db", "t"), 7)), "a\u{1f}b".to_owned())));
        }
        let shared = record(None, "k", None);
        assert_eq!((place(Kind::Shared, &shared.key), shared.value), (Some((None, "k".to_owned())), None));
        assert_eq!(entry(&Bytes::from_static(b"\x01\x00"), 0), Err("2 bytes are too few for an entry".to_owned()));
        assert_eq!(entry(&Bytes::from_static(&[9; 18]), 0), Err("its format 9 is not 1".to_owned()));
    }
}
