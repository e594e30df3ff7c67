//! Where the events of a trigger begin: at the present for one that is made or enabled, where it was for one that a start brings
//! back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::positions::Beginning;
use crate::clock::{SharedClock, nanos};
use crate::host::{Host, HostError};
use crate::journal::{Kind, Ledger, Mark, Progress, Record, StoreError, number, trigger_of};
use crate::trigger::{TriggerDefinition, TriggerId, TriggerKind};

/// What was recorded of all triggers, read at start.
pub(super) struct Recorded {
    marks: BTreeMap<TriggerId, Mark>,
    done: BTreeMap<TriggerId, BTreeSet<u64>>,
}

impl Recorded {
    /// Reads it.
    pub(super) fn read(ledger: &Ledger) -> Result<Self, StoreError> {
        let mut marks: BTreeMap<TriggerId, Mark> = BTreeMap::new();
        for (key, value) in ledger.scan(&Kind::At.prefix())? {
            match Mark::decode(&value) {
                Ok(mark) => drop(trigger_of(&key).map(|id| marks.insert(id, mark))),
                Err(error) => tracing::error!("the recorded position {key:?} cannot be read: {error}"),
            }
        }
        for (key, value) in ledger.scan(&Kind::Seen.prefix())? {
            let position = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok()).unwrap_or_default();
            if let Some(mark) = trigger_of(&key).and_then(|id| marks.get_mut(&id)) {
                mark.position = mark.position.max(position);
            }
        }
        let mut done: BTreeMap<TriggerId, BTreeSet<u64>> = BTreeMap::new();
        for (key, _) in ledger.scan(&Kind::Done.prefix())? {
            if let (Some(id), Some(event)) = (trigger_of(&key), number(&key)) {
                done.entry(id).or_default().insert(event);
            }
        }
        Ok(Self { marks, done })
    }

    /// The beginning of a trigger that was registered before the start; `None` when nothing was recorded of it.
    pub(super) fn take(&mut self, host: &dyn Host, definition: &TriggerDefinition) -> Option<Beginning> {
        let mark = self.marks.remove(&definition.id)?;
        let recorded_done = self.done.remove(&definition.id).unwrap_or_default();
        let mut position = mark.position;
        let mut reader = None;
        if definition.spec.kind() == TriggerKind::Wal {
            let (id, joined) = host.feed(&definition.id.database).join(Some(position));
            (reader, position) = (Some(id), joined);
        }
        let progress = Progress::new(position, recorded_done.iter().copied());
        Some(Beginning { progress, recorded_done, origin: mark.origin, reader })
    }

    /// Records of triggers that there are no more.
    pub(super) fn orphans(self) -> Vec<Record> {
        let ids: BTreeSet<_> = self.marks.into_keys().chain(self.done.keys().cloned()).collect();
        let done = self.done;
        ids.iter().flat_map(|id| removal(id, done.get(id).into_iter().flatten().copied())).collect()
    }
}

/// The beginning of a trigger whose first event is the next one, with the records that say so.
pub(super) fn at_present(
    host: &dyn Host,
    clock: &SharedClock,
    definition: &TriggerDefinition,
) -> (Beginning, Vec<Record>) {
    let (reader, position) = match definition.spec.kind() {
        TriggerKind::Wal => {
            let (reader, head) = host.feed(&definition.id.database).join(None);
            (Some(reader), head)
        }
        TriggerKind::Schedule => (None, u64::try_from(nanos(clock.now())).unwrap_or_default()),
        TriggerKind::Request => (None, 0),
    };
    let origin = fastrand::u64(..);
    let beginning = Beginning { progress: Progress::new(position, []), recorded_done: BTreeSet::new(), origin, reader };
    let mark = Record::set(Kind::At.of(&definition.id), Mark { position, origin }.encode());
    (beginning, vec![mark, Record::remove(Kind::Seen.of(&definition.id))])
}

/// Forgets triggers that were removed, and `others` of their records. What cannot be removed now is an orphan at the next start.
pub(super) async fn forget(host: &Arc<dyn Host>, ids: &[TriggerId], others: Vec<Record>) {
    let ledger = host.ledger();
    let records = ids.iter().flat_map(|id| {
        let done = ledger.scan(&Kind::Done.all_of(id)).unwrap_or_default();
        let done: Vec<u64> = done.iter().filter_map(|(key, _)| number(key)).collect();
        removal(id, done.into_iter())
    });
    let records: Vec<Record> = records.chain(others).collect();
    if let Err(error) = commit(host, records).await {
        tracing::warn!("the positions of removed triggers stay recorded until the next start: {error}");
    }
}

/// Commits records alone.
pub(super) async fn commit(host: &Arc<dyn Host>, records: Vec<Record>) -> Result<(), HostError> {
    if records.is_empty() { Ok(()) } else { host.commit(None, records).await.map(drop) }
}

fn removal(id: &TriggerId, done: impl Iterator<Item = u64>) -> Vec<Record> {
    let positions = [Kind::At, Kind::Seen, Kind::Together].map(|kind| Record::remove(kind.of(id)));
    positions.into_iter().chain(done.map(|event| Record::remove(Kind::Done.numbered(id, event)))).collect()
}
