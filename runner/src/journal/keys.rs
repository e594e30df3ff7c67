//! The keys of records: the kind, then whose it is, in parts that a separator keeps apart, so that a prefix finds what belongs
//! together.

use crate::trigger::TriggerId;

/// Between the parts of a key. Names hold no control characters; one that does is written with escapes.
const SEPARATOR: char = '\u{1f}';

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// How far a trigger has come, with effects that were committed together with it.
    At,
    /// How far a trigger has come without effects; written now and then.
    Seen,
    /// An event beyond [`Kind::At`] that an asynchronous trigger is done with.
    Done,
    /// Events that are given to a trigger together, so that a repeated call has the same ones.
    Together,
    /// A part of a batch that is being cut, and that is done.
    Part,
    /// What is known of a dead letter.
    Letter,
    /// The rows of a dead letter.
    LetterRows,
    /// A batch that a remote host streamed.
    Spool,
    /// The number of the last such batch.
    SpoolHead,
    /// By what such a batch is known again, by the host's number.
    SpoolSeen,
    /// A cache entry of a trigger.
    Cached,
    /// A cache entry that all triggers share.
    Shared,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::At => "at",
            Self::Seen => "seen",
            Self::Done => "done",
            Self::Together => "together",
            Self::Part => "part",
            Self::Letter => "letter",
            Self::LetterRows => "letter-rows",
            Self::Spool => "spool",
            Self::SpoolHead => "spool-head",
            Self::SpoolSeen => "spool-seen",
            Self::Cached => "cached",
            Self::Shared => "shared",
        }
    }

    /// What all keys of the kind begin with.
    #[must_use]
    pub fn prefix(self) -> String {
        format!("{}{SEPARATOR}", self.word())
    }

    /// The key of a record with a name of its own.
    #[must_use]
    pub fn named(self, name: &str) -> String {
        format!("{}{}", self.prefix(), plain(name))
    }

    /// The key of a database's record.
    #[must_use]
    pub fn in_database(self, database: &str) -> String {
        self.named(database)
    }

    /// What the keys of a database's numbered records begin with.
    #[must_use]
    pub fn all_in(self, database: &str) -> String {
        format!("{}{SEPARATOR}", self.named(database))
    }

    /// The key of one of a database's numbered records. Keys sort by the number.
    #[must_use]
    pub fn numbered_in(self, database: &str, number: u64) -> String {
        format!("{}{number:020}", self.all_in(database))
    }

    /// The key of a trigger's record.
    #[must_use]
    pub fn of(self, trigger: &TriggerId) -> String {
        let (kind, database, name) = (self.word(), plain(&trigger.database), plain(&trigger.name));
        format!("{kind}{SEPARATOR}{database}{SEPARATOR}{name}")
    }

    /// What the keys of a trigger's numbered records begin with.
    #[must_use]
    pub fn all_of(self, trigger: &TriggerId) -> String {
        format!("{}{SEPARATOR}", self.of(trigger))
    }

    /// The key of one of a trigger's numbered records. Keys sort by the number.
    #[must_use]
    pub fn numbered(self, trigger: &TriggerId, number: u64) -> String {
        format!("{}{number:020}", self.all_of(trigger))
    }
}

impl Kind {
    /// What the keys of records that belong to one of a trigger's numbers begin with; any text may follow.
    #[must_use]
    pub fn all_of_number(self, trigger: &TriggerId, number: u64) -> String {
        format!("{}{SEPARATOR}", self.numbered(trigger, number))
    }
}

/// The parts of a key that begins with [`Kind::all_of_number`]: trigger, number, and the text that follows.
#[must_use]
pub fn parts_of_number(key: &str) -> Option<(TriggerId, u64, &str)> {
    let mut parts = key.splitn(5, SEPARATOR).skip(1);
    let trigger = TriggerId::new(parts.next()?, parts.next()?);
    Some((trigger, parts.next()?.parse().ok()?, parts.next()?))
}

/// The number at the end of a key that [`Kind::numbered`] made.
#[must_use]
pub fn number(key: &str) -> Option<u64> {
    key.rsplit(SEPARATOR).next()?.parse().ok()
}

/// Whose record it is, for keys of triggers.
#[must_use]
pub fn trigger_of(key: &str) -> Option<TriggerId> {
    let mut parts = key.split(SEPARATOR).skip(1);
    Some(TriggerId::new(parts.next()?, parts.next()?))
}

/// A name without control characters.
pub(super) fn plain(name: &str) -> String {
    if !name.contains(char::is_control) {
        return name.to_owned();
    }
    name.chars().map(|c| if c.is_control() { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_two_triggers_never_meet() {
        let (a, b) = (TriggerId::new("d", "t"), TriggerId::new("d", "t\u{1f}1"));
        assert!(!Kind::Done.numbered(&b, 1).starts_with(&Kind::Done.all_of(&a)));
        assert!(Kind::Done.numbered(&a, 1).starts_with(&Kind::Done.all_of(&a)));
        assert!(Kind::Done.numbered(&a, 9) < Kind::Done.numbered(&a, 10));
        assert_eq!(number(&Kind::Done.numbered(&a, 10)), Some(10));
        assert_eq!(trigger_of(&Kind::At.of(&a)), Some(a));
    }
}
