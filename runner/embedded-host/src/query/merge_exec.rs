//! The plan that merges rows of the same series and time.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties, ReplaceChildrenOptions,
    SendableRecordBatchStream,
};
use futures_util::StreamExt;

use crate::merge::merge_rows;

/// Reads its inputs one after the other, oldest first, and gives out their merged rows.
///
/// The inputs are not its children: what the optimizer may do to a plan's children, to divide or to filter them, would change
/// which row is the latest.
#[derive(Debug)]
pub(super) struct MergeExec {
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    output: Vec<usize>,
    properties: Arc<PlanProperties>,
}

impl MergeExec {
    /// Merges inputs of one schema, which has all tags and `time`, and gives out the columns `output` of it.
    pub(super) fn try_new(inputs: Vec<Arc<dyn ExecutionPlan>>, output: Vec<usize>) -> Result<Self> {
        let schema: SchemaRef = match inputs.first() {
            Some(input) => Arc::new(input.schema().project(&output)?),
            None => Arc::new(arrow::datatypes::Schema::empty()),
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Ok(Self { inputs, output, properties: Arc::new(properties) })
    }
}

impl DisplayAs for MergeExec {
    fn fmt_as(&self, _format: DisplayFormatType, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MergeExec: sources={}", self.inputs.len())
    }
}

impl ExecutionPlan for MergeExec {
    fn name(&self) -> &'static str {
        "MergeExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let merged = merge(self.inputs.clone(), self.output.clone(), context);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures_util::stream::once(merged))))
    }
}

async fn merge(
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    output: Vec<usize>,
    context: Arc<TaskContext>,
) -> Result<RecordBatch> {
    let memory = MemoryConsumer::new("MergeExec").register(context.memory_pool());
    let Some(schema) = inputs.first().map(|input| input.schema()) else {
        return Ok(RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty())));
    };
    let mut batches = Vec::new();
    for input in inputs {
        let mut stream = input.execute(0, Arc::clone(&context))?;
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            // Once for the batch and once for its share of the joined rows.
            memory.try_grow(2 * batch.get_array_memory_size())?;
            batches.push(batch);
        }
    }
    let merged = merge_rows(&schema, &batches)?;
    Ok(merged.project(&output)?)
}
