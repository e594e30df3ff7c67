//! A table as DataFusion reads it.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;

use super::merge_exec::MergeExec;
use super::scan::{Scan, Source};
use super::time_range::TimeRange;
use crate::merge::is_key;
use crate::table::TableSnapshot;

/// One table at the moment when the query was planned.
#[derive(Debug)]
pub(super) struct HostTable {
    snapshot: TableSnapshot,
    store_url: ObjectStoreUrl,
}

impl HostTable {
    pub(super) fn new(snapshot: TableSnapshot, store_url: ObjectStoreUrl) -> Self {
        Self { snapshot, store_url }
    }

    /// Everything that may have rows in the range, oldest first.
    fn sources(&self, range: TimeRange) -> Vec<Source> {
        let files = self.snapshot.files.iter().map(|file| Source::File(Arc::clone(file)));
        let chunks = self.snapshot.chunks.iter().map(|chunk| Source::Memory(Arc::clone(chunk)));
        files.chain(chunks).filter(|it| it.bounds().is_some_and(|(min, max)| range.overlaps(min, max))).collect()
    }

    /// Sources that can be read as they are, and groups of sources that have to be merged.
    ///
    /// A row has duplicates only in sources that cover its time, so only those that overlap, directly or through others, are
    /// merged with each other.
    fn divide(&self, sources: Vec<Source>) -> (Vec<Source>, Vec<Vec<Source>>) {
        if !self.snapshot.may_have_duplicates {
            return (sources, Vec::new());
        }
        let mut by_time: Vec<(usize, Source)> = sources.into_iter().enumerate().collect();
        by_time.sort_by_key(|(_, source)| source.bounds());
        let mut groups: Vec<(i64, Vec<(usize, Source)>)> = Vec::new();
        for (age, source) in by_time {
            let (min, max) = source.bounds().unwrap_or_default();
            match groups.last_mut() {
                Some((end, group)) if min <= *end => {
                    *end = max.max(*end);
                    group.push((age, source));
                }
                _ => groups.push((max, vec![(age, source)])),
            }
        }
        let (mut plain, mut merged) = (Vec::new(), Vec::new());
        for (_, mut group) in groups {
            group.sort_by_key(|(age, _)| *age);
            let mut group: Vec<Source> = group.into_iter().map(|(_, source)| source).collect();
            if group.len() == 1 && !group[0].may_have_duplicates() {
                plain.append(&mut group);
            } else {
                merged.push(group);
            }
        }
        (plain, merged)
    }
}

#[async_trait]
impl TableProvider for HostTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.snapshot.schema.arrow())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // Filters skip files and row groups; DataFusion still applies them to every row.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table = self.snapshot.schema.arrow();
        let wanted: Vec<usize> = projection.cloned().unwrap_or_else(|| (0..table.fields().len()).collect());
        let (plain, merged) = self.divide(self.sources(TimeRange::of(filters)));
        let mut plans =
            Scan::new(state, &self.store_url, table, wanted.clone(), filters)?.with_limit(limit).plans(&plain)?;
        if !merged.is_empty() {
            let needed = with_keys(table, &wanted);
            let output = wanted.iter().filter_map(|column| needed.iter().position(|it| it == column)).collect();
            // A filter on a field must see the merged row: the value that it would drop may be the one that counts.
            let on_keys: Vec<Expr> = filters.iter().filter(|filter| is_on_keys(filter, table)).cloned().collect();
            let scan = Scan::new(state, &self.store_url, table, needed, &on_keys)?;
            for group in merged {
                plans.push(Arc::new(MergeExec::try_new(scan.ordered(&group)?, Vec::clone(&output))?));
            }
        }
        match plans.len() {
            0 => Ok(Arc::new(EmptyExec::new(Arc::new(table.project(&wanted)?)))),
            1 => Ok(plans.remove(0)),
            _ => UnionExec::try_new(plans),
        }
    }
}

/// `wanted` and the columns that tell rows apart, in the table's order.
fn with_keys(table: &Schema, wanted: &[usize]) -> Vec<usize> {
    let fields = table.fields().iter().enumerate();
    fields.filter(|(column, field)| is_key(field) || wanted.contains(column)).map(|(column, _)| column).collect()
}

fn is_on_keys(filter: &Expr, table: &Schema) -> bool {
    !filter.is_volatile()
        && filter.column_refs().iter().all(|column| table.field_with_name(&column.name).is_ok_and(is_key))
}
