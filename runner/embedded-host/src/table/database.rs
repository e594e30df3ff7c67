//! All databases.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;

use super::{DataFile, TableData, TableSnapshot};
use crate::schema::DatabaseSchema;
use crate::series::SeriesSpans;

/// One database.
#[derive(Debug, Default)]
pub(crate) struct Database {
    /// Differs between two databases of one name, one of which was created after the other was deleted.
    pub(crate) generation: u64,
    /// What its tables look like.
    pub(crate) schema: Arc<DatabaseSchema>,
    /// Their rows, by table name.
    pub(crate) tables: HashMap<Arc<str>, TableData>,
}

impl Database {
    /// The table `name` as it is now.
    pub(crate) fn table(&self, name: &str) -> Option<TableSnapshot> {
        let schema = Arc::clone(self.schema.tables.get(name)?);
        Some(self.tables.get(name)?.snapshot(schema))
    }
}

/// Everything that is committed. Only the writer thread and, at start, recovery add to it.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// By name.
    pub(crate) databases: BTreeMap<String, Database>,
    /// The last sequence that is part of it.
    pub(crate) applied: u64,
    generations: u64,
}

impl State {
    /// Creates `name` unless it exists.
    pub(crate) fn create(&mut self, name: &str) -> &mut Database {
        if !self.databases.contains_key(name) {
            self.generations += 1;
        }
        let generation = self.generations;
        self.databases.entry(name.to_owned()).or_insert_with(|| Database { generation, ..Database::default() })
    }

    /// Deletes `name`. Returns the files that nobody needs any more.
    pub(crate) fn delete(&mut self, name: &str) -> Vec<Arc<DataFile>> {
        let Some(database) = self.databases.remove(name) else {
            return Vec::new();
        };
        database.tables.values().flat_map(|table| table.files().iter().cloned()).collect()
    }

    /// Adds committed rows; the database and the table come into being with their first row.
    pub(crate) fn push(&mut self, database: &str, table: &str, batch: RecordBatch, spans: &[SeriesSpans]) {
        let database = self.create(database);
        DatabaseSchema::extend(&mut database.schema, table, batch.schema_ref());
        let data = database.tables.entry(Arc::from(table)).or_insert_with(|| TableData::new(Vec::new(), false));
        data.push(batch, spans);
    }
}
