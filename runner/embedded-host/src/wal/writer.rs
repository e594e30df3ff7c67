//! The thread that commits.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::error::ArrowError;

use super::segments::{SEGMENT_HEADER_BYTES, Segment, segment_header, segment_path};
use super::{EntryBuilder, Operation, Queued, WalFile, WalFiles};
use crate::batches::encode_ipc;
use crate::commit::Commit;
use crate::config::CommitSize;
use crate::limits::SEGMENT_BYTES;
use crate::series::SeriesSpans;
use crate::shared::Shared;

/// Rows of one table that one entry holds as one stream.
struct Rows {
    database: String,
    table: Arc<str>,
    batches: Vec<RecordBatch>,
    spans: Vec<SeriesSpans>,
}

/// The segment that is being written.
struct Active {
    file: Box<dyn WalFile>,
    /// The end of the last good entry.
    length: u64,
    /// Whether bytes of a failed entry may stand behind it.
    torn: bool,
}

/// Takes operations from the queue, writes them to the log and applies them.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    files: Arc<dyn WalFiles>,
    directory: PathBuf,
    interval: Duration,
    active: Option<Active>,
    last_sequence: u64,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        files: Arc<dyn WalFiles>,
        directory: PathBuf,
        interval: Duration,
        last_sequence: u64,
    ) -> Self {
        Self { shared, files, directory, interval, active: None, last_sequence }
    }

    /// Commits until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        // A panic must not leave callers waiting at a queue that nobody empties.
        let _close = CloseOnDrop(Arc::clone(&self.shared));
        while let Some(taken) = self.shared.queue.take(self.interval) {
            let outcome = self.commit(&taken);
            self.shared.queue.settle(&taken);
            if let Err(reason) = &outcome {
                tracing::warn!(reason, operations = taken.len(), "a commit failed, its writes were refused");
            }
            for mut queued in taken {
                drop(queued.permit.take());
                if let Some(reply) = queued.reply.take() {
                    // A caller that went away does not need the answer.
                    let _ = reply.send(outcome.clone());
                }
            }
        }
    }

    fn commit(&mut self, taken: &[Queued]) -> Result<u64, String> {
        let mut entry = EntryBuilder::new();
        let mut rows = Vec::new();
        for queued in taken {
            match &queued.operation {
                Operation::Create(name) => entry.create(name),
                Operation::Delete(name) => entry.delete(name),
                Operation::Write(_) => {}
            }
        }
        for group in grouped(taken) {
            let batch = group.joined().map_err(|error| error.to_string())?;
            entry
                .rows(&group.database, &group.table, batch.num_rows(), |out| encode_ipc(&batch, out))
                .map_err(|error| error.to_string())?;
            rows.push((group, batch));
        }
        let records = || taken.iter().flat_map(|queued| &queued.records);
        records().for_each(|record| entry.record(record));
        let sequence = self.last_sequence + 1;
        let recorded_at_ns = (self.shared.now)();
        let (bytes, commit) =
            entry.finish(sequence, recorded_at_ns).ok_or("the writes are too large for one WAL entry")?;
        let offset = self.append(sequence, &bytes).map_err(|error| format!("cannot write to the WAL: {error}"))?;
        self.last_sequence = sequence;
        let row_count = rows.iter().map(|(_, batch)| batch.num_rows() as u64).sum();
        self.shared.observer.committed(CommitSize {
            sequence,
            rows: row_count,
            bytes: bytes.len() as u64,
            recorded_at_ns,
        });
        self.shared.segments.lock().note(sequence, offset);
        self.apply(taken, rows);
        self.shared.records.apply(sequence, records().cloned().collect());
        self.publish(commit, bytes.len());
        Ok(sequence)
    }

    fn apply(&self, taken: &[Queued], rows: Vec<(Rows, RecordBatch)>) {
        let mut garbage = Vec::new();
        let mut state = self.shared.state.write();
        state.applied = self.last_sequence;
        for queued in taken {
            match &queued.operation {
                Operation::Create(name) => {
                    state.create(name);
                }
                Operation::Delete(name) => garbage.extend(state.delete(name)),
                Operation::Write(_) => {}
            }
        }
        for (group, batch) in rows {
            state.push(&group.database, &group.table, batch, &group.spans);
        }
        drop(state);
        if !garbage.is_empty() {
            self.shared.garbage.lock().extend(garbage.iter().map(|file| file.path.clone()));
            self.shared.upkeep.notify_one();
        }
    }

    fn publish(&self, commit: Commit, bytes: usize) {
        let sequence = commit.sequence;
        self.shared.recent.lock().push(Arc::new(commit), bytes);
        self.shared.head.send_replace(sequence);
        let unsaved = self.shared.unsaved.add(bytes);
        if unsaved >= self.shared.snapshot_bytes || self.shared.records.wants_sync() {
            self.shared.upkeep.notify_one();
        }
    }

    /// Writes an entry and forces it to disk. Returns its offset in the segment. After a failure nothing of it stays.
    fn append(&mut self, sequence: u64, bytes: &[u8]) -> std::io::Result<u64> {
        let rotate = self.shared.rotate.swap(false, Ordering::Relaxed);
        if self.active.as_ref().is_some_and(|active| active.length >= SEGMENT_BYTES || rotate)
            && let Some(mut active) = self.active.take()
            && active.torn
        {
            // Only the last segment may have a torn end, so this one is repaired before there is a next.
            if let Err(error) = active.file.truncate(active.length) {
                self.active = Some(active);
                return Err(error);
            }
        }
        let active = match &mut self.active {
            Some(active) => active,
            none => none.insert(begin_segment(self.files.as_ref(), &self.shared, &self.directory, sequence)?),
        };
        if active.torn {
            active.file.truncate(active.length)?;
            active.torn = false;
        }
        active.torn = true;
        let written = active.file.append(bytes).and_then(|()| {
            let begun = Instant::now();
            active.file.sync().inspect(|()| self.shared.observer.synced(begun.elapsed()))
        });
        if let Err(error) = written {
            active.torn = active.file.truncate(active.length).is_err();
            return Err(error);
        }
        active.torn = false;
        let offset = active.length;
        active.length += bytes.len() as u64;
        Ok(offset)
    }
}

fn begin_segment(
    files: &dyn WalFiles,
    shared: &Shared,
    directory: &std::path::Path,
    first: u64,
) -> std::io::Result<Active> {
    let path = segment_path(directory, first);
    let mut file = files.create(&path)?;
    file.append(&segment_header())?;
    let mut segments = shared.segments.lock();
    // A segment that was begun and whose first entry failed has the same name and is replaced.
    segments.drop_empty_tail();
    segments.push(Segment::new(path, first));
    Ok(Active { file, length: SEGMENT_HEADER_BYTES, torn: false })
}

impl Rows {
    fn joined(&self) -> Result<RecordBatch, ArrowError> {
        match self.batches.as_slice() {
            [only] => Ok(only.clone()),
            batches => concat_batches(batches[0].schema_ref(), batches),
        }
    }
}

/// The rows of all writes, those of one table together as long as their columns agree.
fn grouped(taken: &[Queued]) -> Vec<Rows> {
    let mut groups: Vec<Rows> = Vec::new();
    let mut latest: HashMap<(&str, &str), usize> = HashMap::new();
    for queued in taken {
        let Operation::Write(writes) = &queued.operation else {
            continue;
        };
        for write in writes {
            for table in &write.tables {
                let place = latest.get(&(write.database.as_str(), &*table.name)).copied();
                let same = place.filter(|&place| groups[place].batches[0].schema_ref() == table.batch.schema_ref());
                if let Some(place) = same {
                    groups[place].batches.push(table.batch.clone());
                    groups[place].spans.push(table.spans.clone());
                    continue;
                }
                latest.insert((&write.database, &table.name), groups.len());
                groups.push(Rows {
                    database: write.database.clone(),
                    table: Arc::clone(&table.name),
                    batches: vec![table.batch.clone()],
                    spans: vec![table.spans.clone()],
                });
            }
        }
    }
    groups
}

struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.queue.close();
    }
}
