//! What a query sees: catalog `public` with schema `iox`, the database's tables, and schema `system`.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;

use super::table::HostTable;
use crate::batches::conform;
use crate::config::SystemTables;
use crate::shared::Shared;

/// The catalog of one database. Tables are looked up when a query names them, so it costs nothing to make.
#[derive(Debug)]
pub(super) struct HostCatalog {
    iox: Arc<IoxSchema>,
    system: Arc<SystemSchema>,
}

impl HostCatalog {
    pub(super) fn new(
        database: String,
        shared: Arc<Shared>,
        system_tables: Arc<dyn SystemTables>,
        store_url: ObjectStoreUrl,
    ) -> Self {
        let system = Arc::new(SystemSchema { database: database.clone(), tables: system_tables });
        Self { iox: Arc::new(IoxSchema { database, shared, store_url }), system }
    }
}

impl CatalogProvider for HostCatalog {
    fn schema_names(&self) -> Vec<String> {
        vec!["iox".to_owned(), "system".to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            "iox" => Some(Arc::clone(&self.iox) as Arc<dyn SchemaProvider>),
            "system" => Some(Arc::clone(&self.system) as Arc<dyn SchemaProvider>),
            _ => None,
        }
    }
}

#[derive(Debug)]
struct IoxSchema {
    database: String,
    shared: Arc<Shared>,
    store_url: ObjectStoreUrl,
}

#[async_trait]
impl SchemaProvider for IoxSchema {
    fn table_names(&self) -> Vec<String> {
        let state = self.shared.state.read();
        let schema = state.databases.get(&self.database).map(|database| &database.schema);
        let mut names: Vec<String> =
            schema.into_iter().flat_map(|schema| schema.tables.keys().map(ToString::to_string)).collect();
        names.sort_unstable();
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let state = self.shared.state.read();
        let snapshot = state.databases.get(&self.database).and_then(|database| database.table(name));
        Ok(snapshot.map(|snapshot| {
            let table: Arc<dyn TableProvider> = Arc::new(HostTable::new(snapshot, self.store_url.clone()));
            table
        }))
    }

    fn table_exist(&self, name: &str) -> bool {
        let state = self.shared.state.read();
        state.databases.get(&self.database).is_some_and(|database| database.schema.tables.contains_key(name))
    }
}

#[derive(Debug)]
struct SystemSchema {
    database: String,
    tables: Arc<dyn SystemTables>,
}

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        self.tables.tables(&self.database).into_iter().map(|(name, _)| name).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let found = self.tables.tables(&self.database).into_iter().find(|(table, _)| table == name);
        Ok(found.map(|(name, schema)| {
            let (database, tables) = (self.database.clone(), Arc::clone(&self.tables));
            let table: Arc<dyn TableProvider> = Arc::new(SystemTable { database, name, schema, tables });
            table
        }))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.tables(&self.database).iter().any(|(table, _)| table == name)
    }
}

#[derive(Debug)]
struct SystemTable {
    database: String,
    name: String,
    schema: SchemaRef,
    tables: Arc<dyn SystemTables>,
}

#[async_trait]
impl TableProvider for SystemTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = self.tables.scan(&self.database, &self.name);
        let batches =
            rows.iter().map(|rows| conform(rows, &self.schema)).collect::<std::result::Result<Vec<_>, _>>()?;
        Ok(MemorySourceConfig::try_new_exec(&[batches], Arc::clone(&self.schema), projection.cloned())?)
    }
}
