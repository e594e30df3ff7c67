//! The dead letters of all triggers: keeping, listing, removing, and the room that there is for them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::beginnings;
use super::error::EngineError;
use crate::host::{FeedTable, Host};
use crate::journal::{Kind, Letter, Record, StoreError, decode_tables};
use crate::limits;
use crate::trigger::TriggerId;

/// See the module.
pub struct DeadLetters {
    host: Arc<dyn Host>,
    held: Mutex<BTreeMap<TriggerId, Held>>,
    /// Letters that went because there was no room for the next one.
    dropped: AtomicU64,
    /// Told when there may be room again.
    pub(super) changed: Notify,
}

/// What is kept for one trigger.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    letters: u64,
    bytes: u64,
}

impl DeadLetters {
    /// Reads what is kept.
    pub(super) fn open(host: Arc<dyn Host>) -> Result<Self, StoreError> {
        let (dropped, changed) = (AtomicU64::new(0), Notify::new());
        let letters = Self { host, held: Mutex::default(), dropped, changed };
        for letter in letters.list()? {
            letters.added(&letter);
        }
        Ok(letters)
    }

    /// All dead letters, oldest batch first.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn list(&self) -> Result<Vec<Letter>, StoreError> {
        let found = self.host.ledger().scan(&Kind::Letter.prefix())?;
        Ok(found.iter().filter_map(|(key, value)| read(key, value)).collect())
    }

    /// One dead letter.
    ///
    /// # Errors
    /// When there is none of this id, or the journal cannot be read.
    pub fn get(&self, id: &str) -> Result<Letter, EngineError> {
        let key = Kind::Letter.named(id);
        let value = self.host.ledger().get(&key)?;
        value.and_then(|value| read(&key, &value)).ok_or_else(|| EngineError::LetterNotFound(id.to_owned()))
    }

    /// The rows of a dead letter.
    ///
    /// # Errors
    /// When there is none of this id, or the journal cannot be read.
    pub fn rows(&self, id: &str) -> Result<Vec<FeedTable>, EngineError> {
        let letter = self.get(id)?;
        let unreadable = |reason: String| EngineError::LetterUnreadable { id: id.to_owned(), reason };
        let rows = self.host.ledger().get(&Kind::LetterRows.named(&letter.id))?;
        // A start has taken them out of a damaged journal.
        let rows = rows.ok_or_else(|| {
            unreadable("its rows were damaged, and are in `quarantine` in the node directory".to_owned())
        })?;
        decode_tables(rows).map_err(unreadable)
    }

    /// Removes a dead letter for good.
    ///
    /// # Errors
    /// When there is none of this id, or it cannot be removed.
    pub async fn discard(&self, id: &str) -> Result<Letter, EngineError> {
        let letter = self.get(id)?;
        beginnings::commit(&self.host, Letter::removal(id).to_vec()).await.map_err(EngineError::Journal)?;
        self.removed(&letter);
        Ok(letter)
    }

    /// Letters that went because there was no room for the next one, since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// How many letters are kept for the trigger, and the bytes of their rows.
    pub(super) fn held(&self, trigger: &TriggerId) -> (u64, u64) {
        self.held.lock().get(trigger).map_or((0, 0), |held| (held.letters, held.bytes))
    }

    /// Whether a letter of so many bytes may be kept for the trigger.
    pub(super) fn has_room(&self, trigger: &TriggerId, bytes: u64) -> bool {
        let held = self.held.lock().get(trigger).copied().unwrap_or_default();
        // One that is larger than all may be is kept when it is the only one.
        held.letters == 0
            || (held.letters < limits::DEAD_LETTERS_MAX
                && held.bytes.saturating_add(bytes) <= limits::DEAD_LETTER_BYTES_MAX)
    }

    /// The trigger's letter that has been dead for longest.
    pub(super) fn oldest(&self, trigger: &TriggerId) -> Result<Option<Letter>, StoreError> {
        let letters = self.list()?.into_iter().filter(|letter| letter.trigger == *trigger);
        Ok(letters.min_by_key(|letter| letter.dead_at_ns))
    }

    /// Counts a letter that is kept.
    pub(super) fn added(&self, letter: &Letter) {
        let mut held = self.held.lock();
        let held = held.entry(letter.trigger.clone()).or_default();
        held.letters += 1;
        held.bytes += letter.bytes;
    }

    /// Counts a letter that is no more.
    pub(super) fn removed(&self, letter: &Letter) {
        let mut all = self.held.lock();
        if let Some(held) = all.get_mut(&letter.trigger) {
            held.letters = held.letters.saturating_sub(1);
            held.bytes = held.bytes.saturating_sub(letter.bytes);
            if held.letters == 0 {
                all.remove(&letter.trigger);
            }
        }
        drop(all);
        self.changed.notify_waiters();
    }

    /// Counts a letter that went for want of room.
    pub(super) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// The letters of triggers that are removed, with the records that remove them.
    pub(super) fn of(&self, ids: &[TriggerId]) -> (Vec<Letter>, Vec<Record>) {
        let letters = self.list().unwrap_or_default();
        let gone: Vec<Letter> = letters.into_iter().filter(|letter| ids.contains(&letter.trigger)).collect();
        let records = gone.iter().flat_map(|letter| Letter::removal(&letter.id)).collect();
        (gone, records)
    }
}

fn read(key: &str, value: &[u8]) -> Option<Letter> {
    serde_json::from_slice(value)
        .inspect_err(|error| tracing::error!("dead letter {key:?} cannot be read: {error}"))
        .ok()
}
