//! Plans that read files and memory as they are.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::ToDFSchema;
use datafusion::config::TableParquetOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use object_store::ObjectMeta;
use object_store::path::Path;

use crate::batches::conform;
use crate::table::{Chunk, DataFile};

/// Rows up to which memory is read by one thread; dividing less costs more than it gives.
const ROWS_PER_PARTITION: usize = 64 * 1024;

/// A part of a table that is read as one.
#[derive(Debug, Clone)]
pub(super) enum Source {
    File(Arc<DataFile>),
    Memory(Arc<Chunk>),
}

impl Source {
    /// The first and the last time; `None` without rows.
    pub(super) fn bounds(&self) -> Option<(i64, i64)> {
        match self {
            Self::File(file) => Some((file.min_time, file.max_time)),
            Self::Memory(chunk) => chunk.bounds(),
        }
    }

    /// Whether two of its rows may have the same series and time.
    pub(super) fn may_have_duplicates(&self) -> bool {
        match self {
            // The snapshot that wrote the file merged them.
            Self::File(_) => false,
            Self::Memory(chunk) => chunk.may_have_duplicates(),
        }
    }
}

/// How a query reads the sources of one table.
pub(super) struct Scan<'a> {
    state: &'a dyn Session,
    store_url: &'a ObjectStoreUrl,
    table: &'a SchemaRef,
    columns: Vec<usize>,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    limit: Option<usize>,
}

impl<'a> Scan<'a> {
    /// Reads `columns` of `table`. Rows that do not satisfy `filters` may be left out.
    pub(super) fn new(
        state: &'a dyn Session,
        store_url: &'a ObjectStoreUrl,
        table: &'a SchemaRef,
        columns: Vec<usize>,
        filters: &[Expr],
    ) -> Result<Self> {
        let predicate = match conjunction(filters.iter().cloned()) {
            Some(filter) => Some(state.create_physical_expr(filter, &Arc::clone(table).to_dfschema()?)?),
            None => None,
        };
        Ok(Self { state, store_url, table, columns, predicate, limit: None })
    }

    /// Allows to stop after so many rows of each source.
    pub(super) fn with_limit(mut self, limit: Option<usize>) -> Self {
        self.limit = limit;
        self
    }

    /// Plans that read all sources, in any order and in parallel.
    pub(super) fn plans(&self, sources: &[Source]) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let threads = self.state.config().target_partitions().max(1);
        let mut plans = Vec::new();
        let mut batches = Vec::new();
        let mut files = Vec::new();
        for source in sources {
            match source {
                Source::File(file) => files.push(partitioned(file)?),
                Source::Memory(chunk) => batches.extend(self.batches(chunk)?),
            }
        }
        if !files.is_empty() {
            plans.push(self.files(FileGroup::new(files).split_files(threads))?);
        }
        if !batches.is_empty() {
            plans.push(self.memory(divide(batches, threads))?);
        }
        Ok(plans)
    }

    /// One plan for each source, in their order, each with one partition.
    pub(super) fn ordered(&self, sources: &[Source]) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let plan = |source: &Source| match source {
            Source::File(file) => self.files(vec![FileGroup::new(vec![partitioned(file)?])]),
            Source::Memory(chunk) => self.memory(vec![self.batches(chunk)?]),
        };
        sources.iter().map(plan).collect()
    }

    fn files(&self, groups: Vec<FileGroup>) -> Result<Arc<dyn ExecutionPlan>> {
        let environment = self.state.runtime_env();
        let cache = environment.cache_manager.get_file_metadata_cache();
        let reader = CachedParquetFileReaderFactory::new(environment.object_store(self.store_url)?, cache);
        let mut options = TableParquetOptions::new();
        options.global = self.state.config_options().execution.parquet.clone();
        let mut source = ParquetSource::new(Arc::clone(self.table))
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::new(reader));
        if let Some(predicate) = &self.predicate {
            source = source.with_predicate(Arc::clone(predicate));
        }
        let config = FileScanConfigBuilder::new(self.store_url.clone(), Arc::new(source))
            .with_projection_indices(Some(self.columns.clone()))?
            .with_file_groups(groups)
            .with_limit(self.limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    fn memory(&self, partitions: Vec<Vec<RecordBatch>>) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = Arc::new(self.table.project(&self.columns)?);
        let config = MemorySourceConfig::try_new(&partitions, schema, None)?.with_limit(self.limit);
        Ok(DataSourceExec::from_data_source(config))
    }

    fn batches(&self, chunk: &Chunk) -> Result<Vec<RecordBatch>> {
        let schema = Arc::new(self.table.project(&self.columns)?);
        Ok(chunk.batches().iter().map(|batch| conform(batch, &schema)).collect::<std::result::Result<_, _>>()?)
    }
}

fn partitioned(file: &DataFile) -> Result<PartitionedFile> {
    let location = Path::parse(&file.path).map_err(object_store::Error::from)?;
    // The file never changes, so its time of change, which tells cached metadata apart, may be any.
    let last_modified = Default::default();
    Ok(PartitionedFile::new_from_meta(ObjectMeta {
        location,
        last_modified,
        size: file.size_bytes,
        e_tag: None,
        version: None,
    }))
}

/// Divides batches over at most `partitions`, each with enough rows to be worth a thread.
fn divide(batches: Vec<RecordBatch>, partitions: usize) -> Vec<Vec<RecordBatch>> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let partitions = partitions.min(rows.div_ceil(ROWS_PER_PARTITION)).max(1);
    let mut divided = vec![Vec::new(); partitions];
    for (number, batch) in batches.into_iter().enumerate() {
        divided[number % partitions].push(batch);
    }
    divided
}
