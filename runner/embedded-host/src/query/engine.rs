//! The engine: its threads, its limits, and the way of one query through it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, MemoryCatalogProviderList};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::{SQLOptions, SessionConfig, SessionState};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::{SendableRecordBatchStream, execute_stream};
use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::catalog::HostCatalog;
use super::parameters::{ParameterValue, param_values};
use super::query_error;
use super::stream::{BatchStream, QueryResult};
use crate::config::SystemTables;
use crate::error::{OpenError, QueryError};
use crate::limits;
use crate::shared::Shared;

/// The name under which DataFusion finds the object store.
const STORE_URL: &str = "bulkhead://store";

/// The catalog and the schema of all tables, as in InfluxDB 3.
const CATALOG: &str = "public";
const SCHEMA: &str = "iox";

/// Bytes of a query thread's stack. Planning recurses over the query's expressions, so deep ones need room.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// Runs queries on threads of its own, so that no caller's thread computes for long.
#[derive(Debug)]
pub(crate) struct QueryEngine {
    /// Functions, rules and limits; each query gets a copy with its database's catalog.
    base: SessionState,
    shared: Arc<Shared>,
    system_tables: Arc<dyn SystemTables>,
    store_url: ObjectStoreUrl,
    running: Arc<Semaphore>,
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
}

impl QueryEngine {
    /// Starts the engine. Temporary files go below `spill_dir`.
    pub(crate) fn start(
        shared: Arc<Shared>,
        system_tables: Arc<dyn SystemTables>,
        spill_dir: &Path,
    ) -> Result<Self, OpenError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let engine_error = |error: DataFusionError| OpenError::Engine(error.to_string());
        let store_url = ObjectStoreUrl::parse(STORE_URL).map_err(engine_error)?;
        let environment = RuntimeEnvBuilder::new()
            .with_memory_limit(limits::QUERY_MEMORY_BYTES_MAX, 1.0)
            .with_temp_file_path(spill_dir)
            .with_max_temp_directory_size(limits::QUERY_SPILL_BYTES_MAX)
            .build_arc()
            .map_err(engine_error)?;
        environment.register_object_store(store_url.as_ref(), Arc::clone(&shared.store));
        let mut config = SessionConfig::new()
            .with_target_partitions(threads)
            .with_default_catalog_and_schema(CATALOG, SCHEMA)
            .with_create_default_catalog_and_schema(false)
            .with_information_schema(true);
        // Strings keep the type that they were written with; InfluxDB 3 shows no views either.
        config.options_mut().execution.parquet.schema_force_view_types = false;
        let base =
            SessionStateBuilder::new_with_default_features().with_config(config).with_runtime_env(environment).build();
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("bulkhead-query")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(OpenError::Thread)?;
        let handle = runtime.handle().clone();
        let running = Arc::new(Semaphore::new(limits::QUERIES_MAX));
        Ok(Self { base, shared, system_tables, store_url, running, handle, runtime: Mutex::new(Some(runtime)) })
    }

    /// The handle of the engine's threads, for the host's other work in the background.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Stops the threads without waiting for what they do.
    pub(crate) fn stop(&self) {
        self.running.close();
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }

    /// Begins a query. It returns when the columns are known.
    pub(crate) async fn query(
        &self,
        database: String,
        sql: String,
        parameters: BTreeMap<String, ParameterValue>,
    ) -> Result<QueryResult, QueryError> {
        if sql.len() > limits::SQL_BYTES_MAX {
            let (limit, requested) = (limits::SQL_BYTES_MAX, sql.len());
            let error = crate::error::LimitExceeded { name: "SQL bytes", limit, requested };
            return Err(QueryError::Limit(error.to_string()));
        }
        let permit = Arc::clone(&self.running).acquire_owned().await.map_err(|_| QueryError::Closed)?;
        let state = self.session(database);
        let (schema_sender, schema) = oneshot::channel::<Result<SchemaRef, QueryError>>();
        let (sender, batches) = mpsc::channel(limits::RESULT_BATCHES_BUFFERED_MAX);
        let mut task = JoinSet::new();
        let run = async move {
            let _permit = permit;
            let mut stream = match start(&state, &sql, parameters).await {
                Ok(stream) => stream,
                Err(error) => {
                    let _ = schema_sender.send(Err(error));
                    return;
                }
            };
            if schema_sender.send(Ok(stream.schema())).is_err() {
                return;
            }
            while let Some(batch) = stream.next().await {
                let batch = batch.map_err(|error| query_error(&error, false));
                let failed = batch.is_err();
                if sender.send(batch).await.is_err() || failed {
                    return;
                }
            }
        };
        task.spawn_on(run, &self.handle);
        // The sender is dropped unused when the engine stops, or when the query panics.
        let schema = schema.await.map_err(|_| self.lost())??;
        Ok(QueryResult { schema, stream: BatchStream::new(batches, task) })
    }

    fn lost(&self) -> QueryError {
        if self.running.is_closed() {
            QueryError::Closed
        } else {
            QueryError::Execution("the query engine failed; its log says why".to_owned())
        }
    }

    fn session(&self, database: String) -> SessionState {
        let tables = (Arc::clone(&self.shared), Arc::clone(&self.system_tables), self.store_url.clone());
        let catalog: Arc<dyn CatalogProvider> = Arc::new(HostCatalog::new(database, tables.0, tables.1, tables.2));
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(CATALOG.to_owned(), catalog);
        let mut state =
            SessionStateBuilder::new_from_existing(self.base.clone()).with_catalog_list(Arc::new(catalogs)).build();
        // `now()` is the time at which the query began.
        let options = Arc::clone(state.config_options());
        state.execution_props_mut().mark_start_execution(options);
        state
    }
}

async fn start(
    state: &SessionState,
    sql: &str,
    parameters: BTreeMap<String, ParameterValue>,
) -> Result<SendableRecordBatchStream, QueryError> {
    let plan = async {
        let plan = state.create_logical_plan(sql).await?;
        read_only().verify_plan(&plan)?;
        plan.with_param_values(param_values(parameters))
    };
    let plan = plan.await.map_err(|error| query_error(&error, true))?;
    let started = async { execute_stream(state.create_physical_plan(&plan).await?, state.task_ctx()) };
    started.await.map_err(|error| query_error(&error, false))
}

fn read_only() -> SQLOptions {
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false)
}
