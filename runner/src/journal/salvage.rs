//! What can be done when the file of records is damaged.
//!
//! The rows of batches and of dead letters are most of the file, and each can be missed: a trigger says in its log that it was not
//! given a batch, and a dead letter that its rows are not there. So where the checksums say that nothing but such rows is damaged,
//! the file as it was found goes to the directory `quarantine`, and a new one has everything else. Everything smaller says what is
//! done and what is not; without it a start would repeat or leave out work and could not even say so, and it is refused.

use std::fs::{self, File};
use std::io;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use redb::{Builder, ReadableDatabase, ReadableTable, ReadableTableMetadata};

use super::damaged_file::open;
use super::keys::Kind;
use super::seal::{Broken, check};
use super::store::{APPLIED_KEY, APPLIED_TURNED_KEY, CACHE_BYTES, FORMAT, FORMAT_KEY, META, RECORDS};
use crate::limits;

/// Directory of damaged files, beside the journal.
const DIRECTORY: &str = "quarantine";

/// Damaged files that are kept at most.
const QUARANTINED_MAX: u32 = 1_000;

/// Keys that are named in the log, at most; their number is told.
const NAMED_MAX: usize = 20;

/// What a look at a damaged file has found.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    /// Records that are as they were written.
    good: u64,
    /// Keys of rows that are not.
    damaged: Vec<String>,
}

/// Why nothing could be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unsalvaged {
    /// Something is damaged that cannot be missed.
    Damaged(String),
    /// There is no room, or the file system fails otherwise; later it may go.
    Failed(String),
}

/// Replaces a damaged file by one without the rows that are damaged, and keeps the damaged one.
///
/// # Errors
/// Why that cannot be done. Then everything is as it was.
pub(super) fn salvage(path: &Path) -> Result<(), Unsalvaged> {
    // The database may panic over a file that it did not write itself.
    let panicked = |_| "it is damaged in its structure".to_owned();
    let found = catch_unwind(|| look(path)).map_err(panicked).flatten().map_err(Unsalvaged::Damaged)?;
    let new = path.with_extension("redb.new");
    let replaced = catch_unwind(|| copy(path, &new)).map_err(panicked).flatten().and_then(|()| {
        let failed = |error: io::Error| format!("the damaged file could not be set aside: {error}");
        let kept = set_aside(path).map_err(failed)?;
        // From one moment to the next: a start never finds a node without a journal.
        fs::rename(&new, path).and_then(|()| sync_directory(path)).map_err(failed)?;
        Ok(kept)
    });
    let kept = replaced.map_err(|reason| {
        // It may not be there, and the next try begins with removing it.
        let _ = fs::remove_file(&new);
        Unsalvaged::Failed(reason)
    })?;
    tracing::error!(
        "journal {}: it was damaged and is in `{}` as it was found; {} records are good, the rows of {} are lost",
        path.display(),
        kept.display(),
        found.good,
        found.damaged.len(),
    );
    for key in found.damaged.iter().take(NAMED_MAX) {
        tracing::error!("journal {}: the rows of `{}` were damaged", path.display(), shown(key));
    }
    Ok(())
}

/// A key for people.
pub(super) fn shown(key: &str) -> String {
    key.chars().map(|c| if c.is_control() { '/' } else { c }).collect()
}

/// Looks at every record; an error where something else than rows is damaged, or may be missing.
fn look(path: &Path) -> Result<Found, String> {
    let read = || -> Result<Result<Found, String>, redb::Error> {
        let transaction = open(path)?.begin_read()?;
        let format = transaction.open_table(META)?.get(FORMAT_KEY)?.map(|value| value.value());
        if format != Some(FORMAT) {
            return Ok(Err("its version is not known".to_owned()));
        }
        let meta = transaction.open_table(META)?;
        let [applied, turned] = [meta.get(APPLIED_KEY)?, meta.get(APPLIED_TURNED_KEY)?];
        if applied.map(|value| value.value()) != turned.map(|value| !value.value()) {
            return Ok(Err("how much of the host's log it holds is damaged".to_owned()));
        }
        let records = transaction.open_table(RECORDS)?;
        let (mut found, mut last) = (Found { good: 0, damaged: Vec::new() }, None);
        for entry in records.iter()? {
            let (key, value) = entry?;
            let key = key.value();
            // Each is there once and at its place, or else the structure is damaged.
            if last.as_deref() >= Some(key) {
                return Ok(Err("its records are not in order".to_owned()));
            }
            last = Some(key.to_owned());
            match check(key, value.value()) {
                Ok(_) => found.good += 1,
                Err(Broken::Value) if is_rows(key) => found.damaged.push(key.to_owned()),
                Err(Broken::Value) => return Ok(Err(format!("its record `{}` is damaged", shown(key)))),
                Err(Broken::Key) => {
                    return Ok(Err("one of its records is damaged, and nobody can say which".to_owned()));
                }
            }
        }
        if records.len()? != found.good + found.damaged.len() as u64 {
            return Ok(Err("some of its records cannot be found".to_owned()));
        }
        Ok(Ok(found))
    };
    read().map_err(|error| error.to_string()).flatten()
}

/// Whether a record holds rows that can be missed.
fn is_rows(key: &str) -> bool {
    [Kind::Spool, Kind::LetterRows].iter().any(|kind| key.starts_with(&kind.prefix()))
}

/// Writes what is good to a new file.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let write = || -> Result<(), redb::Error> {
        match fs::remove_file(to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let source = open(from)?.begin_read()?;
        let records = source.open_table(RECORDS)?;
        let database = Builder::new().set_cache_size(CACHE_BYTES).create(to)?;
        let mut entries = records.iter()?.peekable();
        while entries.peek().is_some() {
            let transaction = database.begin_write()?;
            {
                let (mut table, mut bytes) = (transaction.open_table(RECORDS)?, 0);
                for entry in entries.by_ref() {
                    let (key, value) = entry?;
                    if check(key.value(), value.value()).is_ok() {
                        table.insert(key.value(), value.value())?;
                    }
                    bytes += value.value().len();
                    if bytes > limits::LEDGER_RECENT_BYTES {
                        break;
                    }
                }
            }
            transaction.commit()?;
        }
        let transaction = database.begin_write()?;
        {
            transaction.open_table(RECORDS)?;
            let mut meta = transaction.open_table(META)?;
            meta.insert(FORMAT_KEY, FORMAT)?;
            if let Some(applied) = source.open_table(META)?.get(APPLIED_KEY)? {
                meta.insert(APPLIED_KEY, applied.value())?;
                meta.insert(APPLIED_TURNED_KEY, !applied.value())?;
            }
        }
        transaction.commit()?;
        database.close()?;
        Ok(())
    };
    write().map_err(|error| format!("a new file could not be written: {error}"))
}

/// Gives a file a second name among the damaged ones.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let directory = path.with_file_name(DIRECTORY);
    fs::create_dir_all(&directory)?;
    for number in 1..=QUARANTINED_MAX {
        let kept = directory.join(format!("journal-{number}.redb"));
        match fs::hard_link(path, &kept) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            // Not every file system knows second names.
            Err(_) => {
                let copied = fs::copy(path, &kept).and_then(|_| File::open(&kept)?.sync_all());
                copied.inspect_err(|_| drop(fs::remove_file(&kept)))?;
            }
        }
        sync_directory(&kept)?;
        sync_directory(&directory)?;
        return Ok(kept);
    }
    Err(io::Error::other(format!("`{}` is full; remove what you do not need of it", directory.display())))
}

/// Makes the name of a file durable.
fn sync_directory(of: &Path) -> io::Result<()> {
    File::open(of.parent().unwrap_or(Path::new("/")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::super::{Ledger, Record, StoreError};
    use super::*;
    use crate::trigger::TriggerId;

    /// The place in the host's log; a text, so that it can be found.
    const PLACE: u64 = u64::from_le_bytes(*b"a place!");

    /// Key of the record that was written last.
    const LAST_KEY: &str = "z";

    /// A directory with a journal of small records and of rows, and what is in it; one that was closed, or as a crash leaves it.
    fn journal(is_closed: bool) -> (tempfile::TempDir, PathBuf, BTreeMap<String, Bytes>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.redb");
        let mut records = BTreeMap::new();
        for number in 1..=9_u64 {
            let trigger = TriggerId::new("d", format!("t{number}"));
            records.insert(Kind::At.of(&trigger), Bytes::from(format!("position {number}")));
            // Some share a page, some have several.
            let rows = format!("rows {number} ").repeat(usize::try_from(number).unwrap() * 90);
            records.insert(Kind::Spool.numbered_in("d", number), Bytes::from(rows.clone()));
            records.insert(Kind::LetterRows.named(&format!("l{number}")), Bytes::from(rows));
        }
        let ledger = Ledger::open(&path).unwrap();
        ledger.apply(PLACE, records.iter().map(|(key, value)| Record::set(key.clone(), value.clone())));
        ledger.sync().unwrap();
        // After a crash a damaged page of the last write is taken for one that the crash has torn, and the write is undone.
        for key in ["y", LAST_KEY] {
            records.insert(key.to_owned(), Bytes::from_static(b"later"));
            ledger.apply(PLACE, [Record::set(key.to_owned(), "later")]);
            ledger.sync().unwrap();
        }
        let as_of_a_crash = fs::read(&path).unwrap();
        drop(ledger);
        if !is_closed {
            fs::write(&path, as_of_a_crash).unwrap();
        }
        (directory, path, records)
    }

    fn flip(path: &Path, offset: usize) -> Vec<u8> {
        let mut bytes = fs::read(path).unwrap();
        bytes[offset] ^= 0x10;
        fs::write(path, &bytes).unwrap();
        bytes
    }

    /// The last place of a text in a file.
    fn place(path: &Path, text: &str) -> usize {
        let bytes = fs::read(path).unwrap();
        bytes.windows(text.len()).rposition(|found| found == text.as_bytes()).unwrap()
    }

    fn all(ledger: &Ledger) -> BTreeMap<String, Bytes> {
        ledger.scan("").unwrap().into_iter().collect()
    }

    #[test]
    fn rows_that_are_damaged_are_set_aside_and_everything_else_goes_on() {
        for is_closed in [true, false] {
            rows_are_set_aside(is_closed);
        }
    }

    fn rows_are_set_aside(is_closed: bool) {
        let (directory, path, mut records) = journal(is_closed);
        for (turn, number) in [(1, 2), (2, 8)] {
            let damaged = flip(&path, place(&path, &format!("rows {number} rows {number} ")));
            let ledger = Ledger::open(&path).unwrap();
            let lost: Vec<String> = records.keys().filter(|key| ledger.get(key).unwrap().is_none()).cloned().collect();
            assert!(lost.len() == 1 && is_rows(&lost[0]), "{lost:?}");
            records.remove(&lost[0]);
            assert_eq!((all(&ledger), ledger.durable()), (records.clone(), Some(PLACE)));
            let kept = directory.path().join(format!("quarantine/journal-{turn}.redb"));
            assert!(fs::read(kept).unwrap() == damaged, "as it was found");
            ledger.apply(PLACE, [Record::set("new".to_owned(), "record")]);
            ledger.sync().unwrap();
            records.insert("new".to_owned(), Bytes::from_static(b"record"));
        }
        assert_eq!(all(&Ledger::open(&path).unwrap()), records);
    }

    #[test]
    fn a_start_without_positions_is_refused_and_changes_nothing() {
        for (text, is_closed) in [("position 3", true), ("position 3", false), ("t3", true), ("a place!", true)] {
            let (directory, path, _) = journal(is_closed);
            let damaged = flip(&path, place(&path, text));
            let error = Ledger::open(&path).unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
            let error = error.to_string();
            assert!(
                error.contains("is damaged") && error.contains("from a backup of the whole node directory"),
                "{error}"
            );
            assert!(fs::read(&path).unwrap() == damaged);
            let names: Vec<_> = fs::read_dir(&directory).unwrap().flatten().map(|entry| entry.file_name()).collect();
            assert_eq!(names, ["journal.redb"]);
        }
    }

    #[test]
    fn whatever_is_damaged_nothing_is_read_that_was_not_written() {
        for is_closed in [true, false] {
            nothing_else_is_read(is_closed);
        }
    }

    fn nothing_else_is_read(is_closed: bool) {
        let (directory, path, records) = journal(is_closed);
        let whole = fs::read(&path).unwrap();
        let mut chance = fastrand::Rng::with_seed(u64::from(is_closed));
        let (mut went_on, mut refused) = (0, 0);
        for _ in 0..150 {
            let _ = fs::remove_dir_all(directory.path().join(DIRECTORY));
            fs::write(&path, &whole).unwrap();
            // Most of a file is empty.
            let used =
                std::iter::repeat_with(|| chance.usize(..whole.len())).find(|offset| whole[*offset] != 0).unwrap();
            flip(&path, used);
            let ledger = match Ledger::open(&path) {
                Ok(ledger) => ledger,
                Err(StoreError::Damaged { .. } | StoreError::Failed { .. }) => {
                    refused += 1;
                    continue;
                }
                Err(error) => panic!("byte {used}: {error}"),
            };
            went_on += 1;
            let found = all(&ledger);
            assert_eq!(ledger.durable(), Some(PLACE), "byte {used}");
            assert!(found.iter().all(|(key, value)| records.get(key) == Some(value)), "byte {used}");
            let may_be_missing = |key: &str| is_rows(key) || (key == LAST_KEY && !is_closed);
            assert!(records.keys().all(|key| may_be_missing(key) || found.contains_key(key)), "byte {used}");
        }
        assert!(went_on > 50 && went_on + refused == 150, "{went_on} went on, {refused} were refused");
    }

    #[test]
    fn a_record_that_is_damaged_while_the_server_runs_is_an_error_and_not_rows() {
        let (_directory, path, records) = journal(true);
        let ledger = Ledger::open(&path).unwrap();
        // The file is open, and this page was not read yet.
        flip(&path, place(&path, "rows 9 rows 9 "));
        let of = |number: u64| [Kind::Spool.numbered_in("d", number), Kind::LetterRows.named(&format!("l{number}"))];
        let errors = of(9).map(|key| ledger.get(&key).err());
        let error = match &errors {
            [Some(error), None] | [None, Some(error)] => error.to_string(),
            errors => panic!("{errors:?}"),
        };
        assert!(error.contains("9` is damaged; when the server is stopped and started again"), "{error}");
        for key in of(1) {
            assert_eq!(ledger.get(&key).unwrap().as_ref(), records.get(&key));
        }
    }

    #[test]
    fn a_disk_that_takes_no_new_file_is_a_reason_to_try_again_and_changes_nothing() {
        let (directory, path, _) = journal(true);
        let damaged = flip(&path, place(&path, "rows 2 rows 2 "));
        fs::write(directory.path().join(DIRECTORY), "not a directory").unwrap();
        let error = Ledger::open(&path).unwrap_err().to_string();
        assert!(error.contains("can be had, but the damaged file could not be set aside: "), "{error}");
        assert!(fs::read(&path).unwrap() == damaged && !path.with_extension("redb.new").exists());
        fs::remove_file(directory.path().join(DIRECTORY)).unwrap();
        Ledger::open(&path).unwrap();
    }

    #[test]
    fn values_without_checksums_get_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.redb");
        let database = Builder::new().create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut records = transaction.open_table(RECORDS).unwrap();
            for number in 0..200 {
                records.insert(format!("key{number}").as_str(), format!("value{number}").as_bytes()).unwrap();
            }
            let mut meta = transaction.open_table(META).unwrap();
            meta.insert(FORMAT_KEY, 1).unwrap();
            meta.insert(APPLIED_KEY, 5).unwrap();
        }
        transaction.commit().unwrap();
        drop(database);
        for _ in 0..2 {
            let ledger = Ledger::open(&path).unwrap();
            assert_eq!((all(&ledger).len(), ledger.durable()), (200, Some(5)));
            assert_eq!(ledger.get("key77").unwrap().unwrap(), "value77");
        }
        assert_eq!(look(&path), Ok(Found { good: 200, damaged: Vec::new() }));
    }
}
