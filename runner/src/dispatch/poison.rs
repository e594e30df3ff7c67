//! Batches that a trigger gives up: finding the rows that fail, and keeping them as dead letters.

use std::ops::Range;

use arrow::array::RecordBatch;
use bulkhead_proto::types::v1::{Failure, FailureKind};

use super::effects::{self, Effects, Patience};
use super::runner::{Next, Occasion, Settles, TriggerRunner};
use super::status::TriggerState;
use crate::clock::nanos;
use crate::failure::word;
use crate::host::FeedTable;
use crate::journal::{Kind, Letter, Record};
use crate::limits;
use crate::logs::Level;
use crate::session::arrow_ipc;
use crate::supervisor::CallEvent;
use crate::trigger::ErrorBehavior;

/// Rows that are given up.
struct Dead {
    occasion: Occasion,
    failure: Failure,
    attempts: u32,
    is_isolated: bool,
}

impl TriggerRunner {
    /// Gives an event up: rows go to the dead letters, and the trigger is past it.
    pub(super) async fn give_up(&self, occasion: Occasion, attempts: u32, failure: Failure) -> Next {
        let Settles::Event(number) = occasion.settles else { return Next::Continue };
        let CallEvent::Wal { .. } = &occasion.event else {
            self.cursor.finish(number, false);
            return Next::Continue;
        };
        let whole = Dead { occasion: occasion.clone(), failure, attempts, is_isolated: false };
        let mut records = vec![self.cursor.record(number)];
        let dead = if self.definition.delivery.isolate_poison && depends_on_rows(whole.failure.kind()) {
            match self.isolate(whole, number).await {
                Some((dead, done)) => {
                    records.extend(done.into_iter().map(Record::remove));
                    dead
                }
                None => return Next::Stopped,
            }
        } else {
            vec![whole]
        };
        if self.keep(&occasion, &dead, records).await {
            self.cursor.finish(number, true);
            Next::Continue
        } else {
            Next::Stopped
        }
    }

    /// Commits dead letters together with `records`. `false` when the trigger stops before.
    async fn keep(&self, occasion: &Occasion, dead: &[Dead], mut records: Vec<Record>) -> bool {
        let mut letters = Vec::new();
        for dead in dead {
            let (letter, tables) = self.letter(dead);
            if !self.make_room(letter.bytes).await {
                return false;
            }
            match letter.records(&tables) {
                Ok(mut kept) => records.append(&mut kept),
                Err(error) => tracing::error!("dead letter {}: {error}", letter.id),
            }
            letters.push(letter);
        }
        let waiting = |error: &crate::host::HostError| {
            self.trouble(TriggerState::Failed, format!("its dead letter waits for the host: {error}"));
        };
        let patience = Patience::UntilStopped { stop: &self.stop, waiting: &waiting };
        // What the failed calls left in the cache.
        let mut cached = self.cache.prepare(Some(occasion.invocation), Vec::new());
        records.append(&mut cached.take_records());
        let effects = Effects {
            trigger: std::sync::Arc::clone(&self.id),
            invocation: occasion.invocation,
            default_time: occasion.default_time,
            writes: Vec::new(),
            records,
        };
        if effects::commit(&self.host, effects, &self.log, patience, &self.cancel).await.is_err() {
            return false;
        }
        cached.committed();
        for letter in letters {
            let text = format!(
                "gave up {} rows of batch {} after {} attempts; they are dead letter {}",
                letter.rows(),
                letter.sequence,
                letter.attempts,
                letter.id
            );
            self.log.runner(Level::Error, Some(occasion.invocation), text);
            self.letters.added(&letter);
        }
        true
    }

    /// Waits for room, or, where the trigger is to go on whatever happens, makes it. `false` when the trigger stops before.
    async fn make_room(&self, bytes: u64) -> bool {
        loop {
            // From before the look on, so that no change is missed.
            let room = self.letters.changed.notified();
            if self.letters.has_room(&self.id, bytes) {
                return true;
            }
            let limit = format!("`dead_letters_max` of {}", limits::DEAD_LETTERS_MAX);
            if self.definition.error_behavior == ErrorBehavior::Retry {
                let text =
                    format!("it waits because its dead letters have reached the limit {limit}; replay or discard some");
                self.log.runner(Level::Error, None, text.clone());
                self.trouble(TriggerState::Failed, text);
                tokio::select! {
                    () = room => continue,
                    () = self.stop.cancelled() => return false,
                }
            }
            let oldest = match self.letters.oldest(&self.id) {
                Ok(Some(oldest)) => oldest,
                Ok(None) => return true,
                Err(error) => {
                    tracing::error!("dead letters cannot be read: {error}");
                    return true;
                }
            };
            let text = format!(
                "dead letter {} with {} rows is dropped: the limit {limit} is reached",
                oldest.id,
                oldest.rows()
            );
            self.log.runner(Level::Error, None, text);
            if let Err(error) = self.letters.discard(&oldest.id).await {
                tracing::error!("dead letter {} could not be dropped: {error}", oldest.id);
                return true;
            }
            self.letters.count_dropped();
        }
    }

    fn letter(&self, dead: &Dead) -> (Letter, Vec<FeedTable>) {
        let (sequence, tables) = match &dead.occasion.event {
            CallEvent::Wal { sequence, tables, .. } => (*sequence, tables.clone()),
            CallEvent::Tick(_) | CallEvent::Request(_) => (0, Vec::new()),
        };
        let letter = Letter {
            id: dead.occasion.invocation.to_string(),
            trigger: self.id.as_ref().clone(),
            sequence,
            recorded_at_ns: nanos(dead.occasion.default_time),
            dead_at_ns: nanos(self.clock.now()),
            cause: word(dead.failure.kind()).to_owned(),
            message: dead.failure.message.clone(),
            traceback: dead.failure.traceback.clone(),
            stderr_tail: dead.failure.stderr_tail.clone(),
            attempts: dead.attempts,
            tables: tables.iter().map(|table| (table.table.clone(), table.rows as u64)).collect(),
            bytes: tables.iter().map(|table| table.ipc.len() as u64).sum(),
            isolated: dead.is_isolated,
        };
        (letter, tables)
    }

    /// Cuts a batch into halves again and again until the rows are found that fail. The others are done, each part with a
    /// record of its own, so that a crash repeats none. Returns the dead rows and the keys of the parts' records, or `None`
    /// when the trigger stops before.
    async fn isolate(&self, whole: Dead, number: u64) -> Option<(Vec<Dead>, Vec<String>)> {
        let CallEvent::Wal { tables, .. } = &whole.occasion.event else { return Some((vec![whole], Vec::new())) };
        let rows = match decoded(tables) {
            Ok(rows) => rows,
            Err(error) => {
                tracing::error!(trigger = %self.id, "a batch cannot be cut: {error}");
                return Some((vec![whole], Vec::new()));
            }
        };
        let of_parts = format!("{}-", Kind::Part.numbered(&self.id, number));
        let known = self.host.ledger().scan(&of_parts).unwrap_or_default();
        let mut done: Vec<String> = known.into_iter().map(|(key, _)| key).collect();
        let count = rows.iter().map(|(_, batch)| batch.num_rows()).sum();
        let (mut dead, mut calls) = (Vec::new(), 0);
        let mut parts = halves(0..count);
        while let Some(part) = parts.pop() {
            let key = format!("{of_parts}{:010}-{:010}", part.start, part.end);
            if done.contains(&key) {
                continue;
            }
            let tables = match slice(&rows, &part) {
                Ok(tables) => tables,
                Err(error) => {
                    tracing::error!(trigger = %self.id, "a batch cannot be cut: {error}");
                    return Some((vec![whole], done));
                }
            };
            let occasion = self.part(&whole.occasion, number, &part, tables, key.clone());
            let is_isolated = true;
            if calls >= limits::ISOLATION_CALLS_MAX {
                let failure = whole.failure.clone();
                dead.push(Dead { occasion, failure, attempts: whole.attempts, is_isolated: false });
                continue;
            }
            calls += 1;
            let failure = match self.invoke(&occasion, None, self.cancel.clone()).await.outcome {
                Ok(_) => {
                    done.push(key);
                    continue;
                }
                Err(failure) => failure,
            };
            if self.cancel.is_cancelled() || self.stop.is_cancelled() {
                return None;
            }
            if part.len() > 1 {
                parts.append(&mut halves(part));
            } else {
                dead.push(Dead { occasion, failure, attempts: 1, is_isolated });
            }
        }
        let rows: usize = dead.iter().map(|dead| row_count(&dead.occasion.event)).sum();
        let text = format!("{rows} of {count} rows of batch {number} fail by themselves; the others are done");
        self.log.runner(Level::Warn, Some(whole.occasion.invocation), text);
        Some((dead, done))
    }
}

/// Whether fewer rows can make a difference.
fn depends_on_rows(kind: FailureKind) -> bool {
    !matches!(kind, FailureKind::Load | FailureKind::Environment | FailureKind::Start | FailureKind::Unspecified)
}

fn row_count(event: &CallEvent) -> usize {
    match event {
        CallEvent::Wal { tables, .. } => tables.iter().map(|table| table.rows).sum(),
        CallEvent::Tick(_) | CallEvent::Request(_) => 0,
    }
}

/// The two halves of a part, the earlier one last, because it is taken first. One row is its own half.
fn halves(part: Range<usize>) -> Vec<Range<usize>> {
    if part.len() < 2 {
        return vec![part];
    }
    let middle = part.start + part.len() / 2;
    vec![middle..part.end, part.start..middle]
}

fn decoded(tables: &[FeedTable]) -> Result<Vec<(String, RecordBatch)>, arrow::error::ArrowError> {
    let mut rows = Vec::new();
    for table in tables {
        rows.extend(arrow_ipc::decode(&table.ipc)?.into_iter().map(|batch| (table.table.clone(), batch)));
    }
    Ok(rows)
}

/// The rows of a part, counted over all tables.
fn slice(rows: &[(String, RecordBatch)], part: &Range<usize>) -> Result<Vec<FeedTable>, arrow::error::ArrowError> {
    let (mut start, mut tables) = (0, Vec::new());
    for (table, batch) in rows {
        let end = start + batch.num_rows();
        let (from, to) = (part.start.max(start), part.end.min(end));
        if from < to {
            let batch = batch.slice(from - start, to - from);
            let ipc = arrow_ipc::encode(&batch.schema(), std::slice::from_ref(&batch))?;
            tables.push(FeedTable { table: table.clone(), rows: batch.num_rows(), ipc });
        }
        start = end;
    }
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::Int64Type;
    use std::sync::Arc;

    fn numbers(rows: Range<i64>) -> RecordBatch {
        RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from_iter_values(rows)) as ArrayRef)]).unwrap()
    }

    fn values(tables: &[FeedTable]) -> Vec<(String, Vec<i64>)> {
        let of = |table: &FeedTable| -> Vec<i64> {
            let batches = arrow_ipc::decode(&table.ipc).unwrap();
            batches.iter().flat_map(|it| it.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
        };
        tables.iter().map(|table| (table.table.clone(), of(table))).collect()
    }

    #[test]
    fn a_part_is_cut_across_tables() {
        let rows =
            [("a".to_owned(), numbers(0..3)), ("b".to_owned(), numbers(10..12)), ("a".to_owned(), numbers(3..4))];
        let cut = |part: Range<usize>| values(&slice(&rows, &part).unwrap());
        assert_eq!(cut(2..4), [("a".to_owned(), vec![2]), ("b".to_owned(), vec![10])]);
        assert_eq!(cut(5..6), [("a".to_owned(), vec![3])]);
        assert_eq!(cut(0..6).iter().map(|(_, values)| values.len()).sum::<usize>(), 6);
    }

    #[test]
    fn halves_cover_everything_once() {
        let mut parts = halves(0..13);
        let mut rows = Vec::new();
        while let Some(part) = parts.pop() {
            if part.len() == 1 { rows.push(part.start) } else { parts.append(&mut halves(part)) }
        }
        assert_eq!(rows, (0..13).collect::<Vec<_>>());
    }
}
