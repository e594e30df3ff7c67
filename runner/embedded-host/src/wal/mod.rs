//! The write-ahead log: segments of checksummed entries in a local directory.

mod admission;
mod entry;
mod file;
mod quarantine;
mod queue;
mod recovery;
mod segments;
mod writer;

pub(crate) use self::entry::{Action, EntryBuilder};
pub(crate) use self::file::{DiskFiles, WalFile, WalFiles};
pub(crate) use self::quarantine::set_aside_unreadable;
pub(crate) use self::queue::{Admission, Operation, ParsedWrite, Queue, Queued};
pub(crate) use self::recovery::{RecoveredLog, recover};
pub(crate) use self::segments::{Segments, read_commit};
pub(crate) use self::writer::Writer;
