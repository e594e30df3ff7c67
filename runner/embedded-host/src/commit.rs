//! What a commit holds, as the feed's readers get it, and the ring of recent ones.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

/// The rows of one table in a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRows {
    /// The table's name.
    pub table: String,
    /// How many rows `ipc` holds.
    pub rows: usize,
    /// One complete Arrow IPC stream: tags, then fields, then `time`, only the columns that were written.
    pub ipc: Bytes,
}

/// The rows of one database in a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseBatch {
    /// The database's name.
    pub database: String,
    /// In order of commit. A table comes several times when its writes had different columns.
    pub tables: Vec<TableRows>,
}

/// One durable entry of the write-ahead log: the writes that were gathered together, or the creation or deletion of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its place in the log. Sequences are counted from 1 and have no gaps.
    pub sequence: u64,
    /// When it was written, in nanoseconds since the epoch.
    pub recorded_at_ns: i64,
    /// The rows, by database; empty when a database was created or deleted.
    pub databases: Vec<DatabaseBatch>,
}

/// The latest commits, as many as fit into a number of bytes.
#[derive(Debug)]
pub(crate) struct RecentCommits {
    commits: VecDeque<(Arc<Commit>, usize)>,
    bytes: usize,
    bytes_max: usize,
}

impl RecentCommits {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { commits: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Adds the next commit, which takes `bytes` of memory, and drops the oldest ones that no longer fit.
    pub(crate) fn push(&mut self, commit: Arc<Commit>, bytes: usize) {
        self.bytes += bytes;
        self.commits.push_back((commit, bytes));
        while self.bytes > self.bytes_max {
            let Some((_, bytes)) = self.commits.pop_front() else {
                return;
            };
            self.bytes -= bytes;
        }
    }

    /// The commit of this sequence, if it is still here.
    pub(crate) fn get(&self, sequence: u64) -> Option<Arc<Commit>> {
        let (first, _) = self.commits.front()?;
        let place = usize::try_from(sequence.checked_sub(first.sequence)?).ok()?;
        self.commits.get(place).map(|(commit, _)| Arc::clone(commit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_and_the_rest_is_found_by_sequence() {
        let mut recent = RecentCommits::new(100);
        for sequence in 1..=5 {
            recent.push(Arc::new(Commit { sequence, recorded_at_ns: 0, databases: Vec::new() }), 40);
        }
        assert!(recent.get(3).is_none());
        assert_eq!(recent.get(4).map(|commit| commit.sequence), Some(4));
        assert_eq!(recent.get(5).map(|commit| commit.sequence), Some(5));
        assert!(recent.get(6).is_none());
        recent.push(Arc::new(Commit { sequence: 6, recorded_at_ns: 0, databases: Vec::new() }), 1_000);
        assert!(recent.get(6).is_none());
    }
}
