//! The commits that a remote host streams, on disk until every trigger is past them.
//!
//! A batch is a record of the journal. It is durable before the host is told that it was taken, so from then on the host need not
//! keep it; batches that arrive at the same time share a write. The latest are in memory too, for triggers that keep up.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::backlog::{Backlog, CommitSize, Retention, RetentionEvent, Totals};
use super::keeping::Keeping;
use super::readers::ReaderId;
use super::{FeedCommit, FeedDatabase, FeedError, FeedTable, WalFeed};
use crate::clock::nanos;
use crate::journal::{Kind, Ledger, Record, StoreError, decode_tables, encode_tables, number};
use crate::limits;

/// A spool for each database, so that a slow trigger of one holds back no other.
#[derive(Debug)]
pub struct Spools {
    ledger: Arc<Ledger>,
    of: Mutex<BTreeMap<String, Arc<Spool>>>,
}

impl Spools {
    /// Spools whose batches are in `ledger`.
    #[must_use]
    pub fn new(ledger: Arc<Ledger>) -> Self {
        Self { ledger, of: Mutex::default() }
    }

    /// The spool of a database.
    pub fn of(&self, database: &str) -> Arc<Spool> {
        let mut spools = self.of.lock();
        let open = || Arc::new(Spool::open(Arc::clone(&self.ledger), database));
        Arc::clone(spools.entry(database.to_owned()).or_insert_with(open))
    }

    /// All that were asked for.
    pub(super) fn all(&self) -> Vec<(String, Arc<Spool>)> {
        self.of.lock().iter().map(|(database, spool)| (database.clone(), Arc::clone(spool))).collect()
    }

    /// The readers that a start brings back have joined: batches that none of them needs may go.
    pub(super) fn open_all(&self) {
        // Also the batches of databases whose triggers are no more.
        let heads = self.ledger.scan(&Kind::SpoolHead.prefix()).unwrap_or_default();
        for database in heads.iter().filter_map(|(key, _)| key.strip_prefix(&Kind::SpoolHead.prefix())) {
            let spool = self.of(database);
            spool.release(&mut spool.state.lock());
        }
    }
}

/// The batches of one database.
#[derive(Debug)]
pub struct Spool {
    ledger: Arc<Ledger>,
    database: String,
    state: Mutex<State>,
    /// The last batch that is durable.
    head: watch::Sender<u64>,
    /// Whether batches are taken in.
    is_open: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    keeping: Keeping,
    totals: Totals,
    /// The last number that was given to a batch.
    last: u64,
    /// Everything up to it is removed.
    removed: u64,
    /// The latest batches, also those that are not durable yet.
    recent: VecDeque<(Arc<FeedCommit>, usize)>,
    recent_bytes: usize,
}

/// A batch on its way into the spool.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its number; `None` when nobody reads, so that nothing is kept.
    sequence: Option<u64>,
}

/// What is remembered of a batch beyond its rows, to know it again when the host sends it a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Print {
    sequence: u64,
    checksum: u32,
    bytes: u64,
}

impl Print {
    fn of(sequence: u64, rows: &[u8]) -> Self {
        Self { sequence, checksum: crc32fast::hash(rows), bytes: rows.len() as u64 }
    }

    fn encode(self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(20);
        bytes.put_u64_le(self.sequence);
        bytes.put_u32_le(self.checksum);
        bytes.put_u64_le(self.bytes);
        bytes.freeze()
    }

    fn decode(mut bytes: Bytes) -> Option<Self> {
        let sequence = bytes.try_get_u64_le().ok()?;
        Some(Self { sequence, checksum: bytes.try_get_u32_le().ok()?, bytes: bytes.try_get_u64_le().ok()? })
    }
}

impl Spool {
    fn open(ledger: Arc<Ledger>, database: &str) -> Self {
        let found = || -> Result<(u64, u64), StoreError> {
            let head = ledger.get(&Kind::SpoolHead.in_database(database))?;
            let head = head.and_then(|value| std::str::from_utf8(&value).ok()?.parse().ok()).unwrap_or_default();
            let first = ledger.first(&Kind::Spool.all_in(database))?.and_then(|key| number(&key));
            Ok((head, first.map_or(head, |first| first.saturating_sub(1))))
        };
        let (last, removed) = found().unwrap_or_else(|error| {
            tracing::error!("the batches of database {database} that were not worked on cannot be read: {error}");
            (0, 0)
        });
        let mut totals = Totals::default();
        if let Err(error) = sum_up(&ledger, database, &mut totals) {
            tracing::error!("the batches of database {database} that were not worked on cannot be summed up: {error}");
        }
        let state = State { last, removed, totals, ..State::default() };
        let (head, is_open) = (watch::Sender::new(last), watch::Sender::new(true));
        Self { ledger, database: database.to_owned(), state: Mutex::new(state), head, is_open }
    }

    /// Tells whether batches are taken in; while they are not, callers of [`Spool::enter`] are to wait.
    pub fn intake(&self) -> watch::Receiver<bool> {
        self.is_open.subscribe()
    }

    /// Takes in a batch that the host numbers `host_sequence`. It is not durable before [`Spool::settle`] has returned. A batch that
    /// was taken in before under this number, with the same rows, is not taken in again.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn enter(
        &self,
        host_sequence: u64,
        recorded_at: DateTime<Utc>,
        tables: Vec<FeedTable>,
    ) -> Result<Entry, StoreError> {
        let rows = encode_tables(&tables);
        let print_key = Kind::SpoolSeen.numbered_in(&self.database, host_sequence);
        let known = self.ledger.get(&print_key)?.and_then(Print::decode);
        let mut state = self.state.lock();
        if let Some(known) = known {
            if known == Print::of(known.sequence, &rows) {
                return Ok(Entry { sequence: Some(known.sequence) });
            }
            tracing::warn!(
                database = self.database,
                host_sequence,
                "the host sent other rows under a number that it has used before; it must have begun to number anew"
            );
        }
        if state.keeping.floor().is_none() {
            return Ok(Entry { sequence: None });
        }
        state.last += 1;
        let sequence = state.last;
        let print = Print::of(sequence, &rows);
        let mut value = BytesMut::with_capacity(8 + rows.len());
        value.put_i64_le(nanos(recorded_at));
        value.put_slice(&rows);
        let mut records = vec![
            Record::set(Kind::Spool.numbered_in(&self.database, sequence), value),
            Record::set(Kind::SpoolHead.in_database(&self.database), sequence.to_string()),
            Record::set(print_key, print.encode()),
        ];
        if let Some(old) = host_sequence.checked_sub(limits::SPOOL_REMEMBERED) {
            records.push(Record::remove(Kind::SpoolSeen.numbered_in(&self.database, old)));
        }
        // Under the lock, so that what is durable has no gaps.
        self.ledger.apply(0, records);
        let row_count = tables.iter().map(|table| table.rows as u64).sum();
        let bytes = rows.len() as u64;
        state.totals.push(CommitSize { sequence, rows: row_count, bytes, at_ns: nanos(recorded_at) });
        let databases = vec![FeedDatabase { database: self.database.clone(), tables }];
        state.keep(Arc::new(FeedCommit { sequence, recorded_at, databases }), rows.len());
        Ok(Entry { sequence: Some(sequence) })
    }

    /// Makes a batch durable, and shows it to the triggers.
    ///
    /// # Errors
    /// When the journal cannot be written. The batch may be durable later; sent again, it is known.
    pub async fn settle(&self, entry: Entry) -> Result<(), StoreError> {
        let Some(sequence) = entry.sequence else { return Ok(()) };
        let ledger = Arc::clone(&self.ledger);
        let synced = tokio::task::spawn_blocking(move || ledger.sync()).await;
        synced.unwrap_or_else(|error| Err(self.ledger.failed(&error)))?;
        self.head.send_if_modified(|head| {
            let is_later = sequence > *head;
            *head = sequence.max(*head);
            is_later
        });
        Ok(())
    }

    /// Removes what nobody needs. The removal is durable with the next batch or position; until then it would only be done again.
    fn release(&self, state: &mut State) {
        let floor = state.keeping.floor().unwrap_or(state.last).min(*self.head.borrow());
        if floor <= state.removed {
            return;
        }
        let gone = (state.removed + 1..=floor).map(|gone| Kind::Spool.numbered_in(&self.database, gone));
        self.ledger.apply(0, gone.map(Record::remove));
        state.removed = floor;
        state.totals.forget(floor);
        while let Some((_, bytes)) = state.recent.pop_front_if(|(commit, _)| commit.sequence <= floor) {
            state.recent_bytes -= bytes;
        }
    }
}

impl State {
    fn keep(&mut self, commit: Arc<FeedCommit>, bytes: usize) {
        self.recent_bytes += bytes;
        self.recent.push_back((commit, bytes));
        while self.recent_bytes > limits::SPOOL_RECENT_BYTES && self.recent.len() > 1 {
            if let Some((_, bytes)) = self.recent.pop_front() {
                self.recent_bytes -= bytes;
            }
        }
    }

    fn recent(&self, sequence: u64) -> Option<Arc<FeedCommit>> {
        let first = self.recent.front()?.0.sequence;
        let place = usize::try_from(sequence.checked_sub(first)?).ok()?;
        self.recent.get(place).map(|(commit, _)| Arc::clone(commit))
    }
}

impl WalFeed for Spool {
    fn head(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    fn next_after(&self, after: u64) -> BoxFuture<'_, Result<Option<Arc<FeedCommit>>, FeedError>> {
        let wanted = after + 1;
        if wanted > *self.head.borrow() {
            return Box::pin(std::future::ready(Ok(None)));
        }
        let (recent, removed, dropped) = {
            let state = self.state.lock();
            (state.recent(wanted), state.removed, state.keeping.oldest_after(after))
        };
        if let Some(oldest) = dropped {
            let reason = "the journal reached its limit, and they were dropped".to_owned();
            return Box::pin(std::future::ready(Err(FeedError { reason, oldest: Some(oldest) })));
        }
        if recent.is_some() {
            return Box::pin(std::future::ready(Ok(recent)));
        }
        let (ledger, database) = (Arc::clone(&self.ledger), self.database.clone());
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || read(&ledger, &database, wanted)).await;
            match read.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(Some(commit)) => Ok(Some(Arc::new(commit))),
                Ok(None) => {
                    let oldest = Some(removed.max(wanted) + 1);
                    Err(FeedError { reason: format!("batch {wanted} is not in the journal"), oldest })
                }
                Err(reason) => Err(FeedError { reason, oldest: None }),
            }
        })
    }

    fn join(&self, at: Option<u64>) -> (ReaderId, u64) {
        let mut state = self.state.lock();
        // A batch that is not durable yet was not acknowledged; whoever joins now still gets it.
        let head = *self.head.borrow();
        let at = at.map_or(head, |at| at.min(head));
        (state.keeping.readers.join(at), at)
    }

    fn advance(&self, reader: ReaderId, position: u64) {
        let mut state = self.state.lock();
        state.keeping.readers.advance(reader, position);
        self.release(&mut state);
    }

    fn leave(&self, reader: ReaderId) {
        let mut state = self.state.lock();
        state.keeping.readers.leave(reader);
        self.release(&mut state);
    }

    fn backlog(&self, position: u64) -> Backlog {
        self.state.lock().totals.behind(position)
    }

    fn kept(&self) -> Backlog {
        let state = self.state.lock();
        state.keeping.kept(&state.totals)
    }

    fn retain(&self, retention: &Retention, now_ns: i64) -> Option<RetentionEvent> {
        let mut state = self.state.lock();
        let State { keeping, totals, .. } = &mut *state;
        let event = keeping.look(totals, retention, now_ns)?;
        self.is_open.send_replace(keeping.paused().is_none());
        self.release(&mut state);
        Some(event)
    }
}

/// Adds the sizes of the batches in the journal.
fn sum_up(ledger: &Ledger, database: &str, totals: &mut Totals) -> Result<(), StoreError> {
    let (prefix, mut after) = (Kind::Spool.all_in(database), String::new());
    loop {
        let page = ledger.page(&prefix, &after, limits::SPOOL_PAGE_BATCHES)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = last.clone();
        for (key, mut value) in page {
            let (bytes, at_ns) = (value.len() as u64, value.try_get_i64_le().unwrap_or_default());
            let rows = decode_tables(value).map_or(0, |tables| tables.iter().map(|table| table.rows as u64).sum());
            totals.push(CommitSize { sequence: number(&key).unwrap_or_default(), rows, bytes, at_ns });
        }
    }
}

/// Reads a batch from the journal.
fn read(ledger: &Ledger, database: &str, sequence: u64) -> Result<Option<FeedCommit>, String> {
    let key = Kind::Spool.numbered_in(database, sequence);
    let Some(mut value) = ledger.get(&key).map_err(|error| error.to_string())? else { return Ok(None) };
    let recorded_at = value.try_get_i64_le().map_err(|error| error.to_string())?;
    let recorded_at = DateTime::from_timestamp_nanos(recorded_at);
    let databases = vec![FeedDatabase { database: database.to_owned(), tables: decode_tables(value)? }];
    Ok(Some(FeedCommit { sequence, recorded_at, databases }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(bytes: usize) -> Vec<FeedTable> {
        vec![FeedTable { table: "t".into(), rows: 1, ipc: vec![7; bytes].into() }]
    }

    async fn push(spool: &Spool, host_sequence: u64, bytes: usize) {
        let entry = spool.enter(host_sequence, DateTime::UNIX_EPOCH, tables(bytes)).unwrap();
        spool.settle(entry).await.unwrap();
    }

    async fn next(spool: &Spool, after: u64) -> Option<u64> {
        spool.next_after(after).await.unwrap().map(|commit| commit.sequence)
    }

    #[tokio::test]
    async fn batches_are_kept_in_order_until_every_reader_is_past_them_also_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let spools = Spools::new(Arc::new(Ledger::open(&path).unwrap()));
        let spool = spools.of("d");
        let (slow, start) = spool.join(None);
        let (fast, _) = spool.join(None);
        assert_eq!(start, 0);
        // More than memory keeps.
        for number in 1..=4 {
            push(&spool, number * 10, limits::SPOOL_RECENT_BYTES / 2).await;
        }
        assert_eq!((next(&spool, 0).await, next(&spool, 3).await, next(&spool, 4).await), (Some(1), Some(4), None));
        spool.advance(fast, 4);
        spool.advance(slow, 1);
        assert!(spool.next_after(0).await.unwrap_err().reason.contains("batch 1 is not in the journal"));
        push(&spool, 50, 10).await;
        drop((spool, spools));

        let ledger = Arc::new(Ledger::open(&path).unwrap());
        let spools = Spools::new(Arc::clone(&ledger));
        let spool = spools.of("d");
        let (reader, at) = spool.join(Some(1));
        spools.open_all();
        assert_eq!((at, *spool.head().borrow(), next(&spool, 1).await), (1, 5, Some(2)));
        assert_eq!(
            spool.next_after(1).await.unwrap().unwrap().databases[0].tables,
            tables(limits::SPOOL_RECENT_BYTES / 2)
        );
        spool.leave(reader);
        assert_eq!(ledger.scan(&Kind::Spool.all_in("d")).unwrap(), []);
        // Without readers nothing is kept, and numbers go on where they were.
        push(&spool, 60, 10).await;
        assert_eq!(spool.join(None).1, 5);
    }

    #[tokio::test]
    async fn a_batch_that_is_sent_again_is_known_and_a_host_that_numbers_anew_is_believed() {
        let directory = tempfile::tempdir().unwrap();
        let spools = Spools::new(Arc::new(Ledger::open(&directory.path().join("journal")).unwrap()));
        let spool = spools.of("d");
        let _reader = spool.join(None);
        push(&spool, 1, 10).await;
        push(&spool, 2, 11).await;
        push(&spool, 1, 10).await;
        push(&spool, 2, 11).await;
        assert_eq!(*spool.head().borrow(), 2);
        push(&spool, 1, 12).await;
        assert_eq!(*spool.head().borrow(), 3);
    }
}
