//! Who may enter the queue.
//!
//! A write was checked against the schema as it was when its lines were parsed. Admission makes sure that what it would add, a
//! database, a table or a column, agrees with what was committed since and with what is queued before it. So the thread that
//! commits never meets a conflict, and a commit that fails leaves nothing to undo.

use std::collections::HashMap;
use std::sync::Arc;

use super::queue::{Admission, Operation, ParsedWrite};
use crate::error::LimitExceeded;
use crate::limits;
use crate::schema::{ColumnKind, DatabaseSchema};
use crate::table::{Database, State};

/// What queued operations are about to add, by database.
#[derive(Debug, Default)]
pub(super) struct Pending {
    databases: HashMap<String, PendingDatabase>,
}

#[derive(Debug, Default)]
struct PendingDatabase {
    creating: usize,
    deleting: usize,
    /// Tables with the columns that queued writes add, each with the number of those writes. A new table has an entry of its own.
    tables: HashMap<Arc<str>, PendingTable>,
}

#[derive(Debug, Default)]
struct PendingTable {
    writes: usize,
    new: bool,
    columns: HashMap<Arc<str>, (ColumnKind, usize)>,
}

impl Pending {
    /// Counts, or no longer counts, what an operation is about to add.
    pub(super) fn note(&mut self, operation: &Operation, entering: bool) {
        let add = |count: &mut usize| *count = if entering { *count + 1 } else { count.saturating_sub(1) };
        match operation {
            Operation::Create(name) => add(&mut self.databases.entry(name.clone()).or_default().creating),
            Operation::Delete(name) => add(&mut self.databases.entry(name.clone()).or_default().deleting),
            Operation::Write(writes) => {
                for write in writes {
                    let adds =
                        write.generation.is_none() || write.tables.iter().any(|it| it.new || !it.added.is_empty());
                    if !adds {
                        continue;
                    }
                    let database = self.databases.entry(write.database.clone()).or_default();
                    if write.generation.is_none() {
                        add(&mut database.creating);
                    }
                    for table in write.tables.iter().filter(|it| it.new || !it.added.is_empty()) {
                        let pending = database.tables.entry(Arc::clone(&table.name)).or_default();
                        add(&mut pending.writes);
                        pending.new |= table.new;
                        for (name, kind) in &table.added {
                            add(&mut pending.columns.entry(Arc::clone(name)).or_insert((*kind, 0)).1);
                        }
                        pending.columns.retain(|_, (_, writes)| *writes > 0);
                    }
                    database.tables.retain(|_, table| table.writes > 0);
                }
            }
        }
        if !entering {
            self.databases.retain(|_, it| it.creating > 0 || it.deleting > 0 || !it.tables.is_empty());
        }
    }

    /// Whether an operation agrees with what is committed and with what is queued.
    pub(super) fn admit(&self, state: &State, operation: &Operation) -> Admission {
        match operation {
            Operation::Create(name) | Operation::Delete(name) if self.databases.contains_key(name) => Admission::Busy,
            Operation::Create(name) if state.databases.contains_key(name) => Admission::Stale,
            Operation::Create(_) => self.admit_databases(state, 1),
            Operation::Delete(name) if state.databases.contains_key(name) => Admission::Entered,
            Operation::Delete(_) => Admission::Stale,
            Operation::Write(writes) => self.admit_writes(state, writes),
        }
    }

    fn admit_writes(&self, state: &State, writes: &[ParsedWrite]) -> Admission {
        let creating = |name| self.databases.get(name).is_some_and(|pending: &PendingDatabase| pending.creating > 0);
        let created = writes.iter().filter(|write| write.generation.is_none() && !creating(&write.database)).count();
        if created > 0 {
            let admission = self.admit_databases(state, created);
            if !matches!(admission, Admission::Entered) {
                return admission;
            }
        }
        for write in writes {
            let pending = self.databases.get(&write.database);
            let admission = admit_write(pending, state.databases.get(&write.database), write);
            if !matches!(admission, Admission::Entered) {
                return admission;
            }
        }
        Admission::Entered
    }

    fn admit_databases(&self, state: &State, created: usize) -> Admission {
        let waiting = |(name, pending): &(&String, &PendingDatabase)| {
            pending.creating > 0 && !state.databases.contains_key(name.as_str())
        };
        let requested = state.databases.len() + self.databases.iter().filter(waiting).count() + created;
        let limit = limits::DATABASES_MAX;
        if requested <= limit {
            Admission::Entered
        } else {
            Admission::Refused(LimitExceeded { name: "databases", limit, requested })
        }
    }
}

fn admit_write(pending: Option<&PendingDatabase>, committed: Option<&Database>, write: &ParsedWrite) -> Admission {
    if pending.is_some_and(|it| it.deleting > 0) {
        return Admission::Busy;
    }
    if committed.map(|it| it.generation) != write.generation {
        return Admission::Stale;
    }
    let schema = committed.map(|it| &it.schema);
    if write.tables.iter().any(|table| table.new) && too_many_tables(pending, schema, write) {
        return Admission::Busy;
    }
    for table in &write.tables {
        let known = schema.and_then(|schema| schema.tables.get(&table.name));
        let queued = pending.and_then(|pending| pending.tables.get(&table.name));
        let mut added = 0;
        for (name, kind) in &table.added {
            if known.and_then(|known| known.kind(name)).is_some_and(|committed| committed != *kind) {
                return Admission::Stale;
            }
            match queued.and_then(|queued| queued.columns.get(name)) {
                Some((other, _)) if other != kind => return Admission::Busy,
                Some(_) => {}
                None => added += usize::from(known.is_none_or(|known| known.kind(name).is_none())),
            }
        }
        let columns = known.map_or(1, |known| known.column_count()) + added;
        let in_queue = queued.map_or(0, |queued| {
            queued.columns.keys().filter(|name| known.is_none_or(|known| known.kind(name).is_none())).count()
        });
        if added > 0 && columns + in_queue > limits::COLUMNS_PER_TABLE_MAX {
            // Parsing again against the committed columns names the lines that are too many.
            return if in_queue > 0 { Admission::Busy } else { Admission::Stale };
        }
    }
    Admission::Entered
}

/// Whether the queued new tables and this write's are more than may be. The parser counted without those in the queue.
fn too_many_tables(
    pending: Option<&PendingDatabase>,
    schema: Option<&Arc<DatabaseSchema>>,
    write: &ParsedWrite,
) -> bool {
    let committed = |name: &Arc<str>| schema.is_some_and(|schema| schema.tables.contains_key(name));
    let queued =
        |name: &Arc<str>| pending.is_some_and(|pending| pending.tables.get(name).is_some_and(|table| table.new));
    let waiting =
        pending.map_or(0, |it| it.tables.iter().filter(|(name, table)| table.new && !committed(name)).count());
    let new = write.tables.iter().filter(|it| it.new && !committed(&it.name) && !queued(&it.name)).count();
    waiting > 0 && schema.map_or(0, |schema| schema.tables.len()) + waiting + new > limits::TABLES_PER_DATABASE_MAX
}
