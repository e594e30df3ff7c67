//! The rows of one table of one write.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, TimestampNanosecondArray};
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;

use super::ParsedTable;
use super::columns::{Column, kind_of};
use super::scan::Line;
use crate::error::LimitExceeded;
use crate::limits::COLUMNS_PER_TABLE_MAX;
use crate::schema::{ColumnKind, TIME_COLUMN, TableSchema, time_field};
use crate::series::SeriesSpans;

/// Stands in a resolved line for a field that a later one of the same name replaces.
const REPLACED: usize = usize::MAX;

/// Collects the lines of one table.
///
/// A line is resolved first, every name to its column, and only then written, so that a bad line leaves nothing behind.
pub(super) struct TableRowsBuilder {
    name: Arc<str>,
    known: Option<Arc<TableSchema>>,
    columns: Vec<Column>,
    by_name: HashMap<Arc<str>, usize>,
    added: usize,
    times: Vec<i64>,
    lines: u64,
    /// The columns of the line at hand, tags first, in the line's order.
    resolved: Vec<usize>,
    /// The same of the line before, a guess that is nearly always right.
    guess: Vec<usize>,
}

impl TableRowsBuilder {
    pub(super) fn new(name: Arc<str>, known: Option<Arc<TableSchema>>) -> Self {
        Self {
            name,
            known,
            columns: Vec::new(),
            by_name: HashMap::new(),
            added: 0,
            times: Vec::new(),
            lines: 0,
            resolved: Vec::new(),
            guess: Vec::new(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_new(&self) -> bool {
        self.known.is_none()
    }

    /// Takes one line in.
    ///
    /// # Errors
    /// What is wrong with the line, which then has no effect.
    pub(super) fn push(&mut self, line: Line<'_, '_>, time: i64) -> Result<(), String> {
        self.lines += 1;
        std::mem::swap(&mut self.resolved, &mut self.guess);
        self.resolved.clear();
        let columns_before = self.columns.len();
        if let Err(message) = self.resolve(line) {
            for column in self.columns.drain(columns_before..) {
                self.by_name.remove(&column.name);
                self.added -= usize::from(column.added);
            }
            self.resolved.clear();
            return Err(message);
        }
        let row = self.times.len();
        let mut resolved = self.resolved.iter();
        for ((_, value), &column) in line.tags.iter().zip(&mut resolved) {
            self.columns[column].push_tag(row, value.as_str());
        }
        for ((_, value), &column) in line.fields.iter().zip(&mut resolved) {
            if column != REPLACED {
                self.columns[column].push_field(row, value);
            }
        }
        self.times.push(time);
        Ok(())
    }

    /// The batch, or `None` when no line was good.
    pub(super) fn finish(self) -> Result<Option<ParsedTable>, ArrowError> {
        let rows = self.times.len();
        if rows == 0 {
            return Ok(None);
        }
        let added = self.columns.iter().filter(|column| column.added);
        let added = added.map(|column| (Arc::clone(&column.name), column.kind)).collect();
        let mut fields: Vec<Field> = Vec::with_capacity(self.columns.len() + 1);
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.columns.len() + 1);
        let (tags, others): (Vec<Column>, Vec<Column>) =
            self.columns.into_iter().partition(|column| column.kind == ColumnKind::Tag);
        for column in tags.into_iter().chain(others) {
            fields.push(column.kind.field(&column.name));
            arrays.push(column.finish(rows));
        }
        fields.push(time_field());
        arrays.push(Arc::new(TimestampNanosecondArray::from(self.times)));
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
        let spans = SeriesSpans::of(&batch);
        Ok(Some(ParsedTable { name: self.name, batch, spans, added, new: self.known.is_none() }))
    }

    fn resolve(&mut self, line: Line<'_, '_>) -> Result<(), String> {
        for (key, _) in line.tags {
            let column = self.column_of(key.as_str(), ColumnKind::Tag)?;
            if self.columns[column].last_line == self.lines {
                return Err(format!("Must not contain duplicate tags, but \"{}\" was repeated", key.as_str()));
            }
            self.columns[column].last_line = self.lines;
            self.resolved.push(column);
        }
        for (key, value) in line.fields {
            let column = self.column_of(key.as_str(), kind_of(value))?;
            if self.columns[column].last_line == self.lines {
                // The last value of a repeated field counts.
                for earlier in &mut self.resolved {
                    if *earlier == column {
                        *earlier = REPLACED;
                    }
                }
            }
            self.columns[column].last_line = self.lines;
            self.resolved.push(column);
        }
        Ok(())
    }

    /// The column `name` for the next place of the line at hand.
    fn column_of(&mut self, name: &str, kind: ColumnKind) -> Result<usize, String> {
        let guess =
            self.guess.get(self.resolved.len()).and_then(|&column| self.columns.get(column).map(|it| (column, it)));
        let known = match guess {
            Some((column, it)) if *it.name == *name => Some(column),
            _ => self.by_name.get(name).copied(),
        };
        let Some(column) = known else {
            return self.add_column(name, kind);
        };
        let expected = self.columns[column].kind;
        if expected == kind { Ok(column) } else { Err(type_conflict(name, &expected, kind)) }
    }

    fn add_column(&mut self, name: &str, kind: ColumnKind) -> Result<usize, String> {
        if name == TIME_COLUMN {
            return Err(type_conflict(name, &"iox::column_type::timestamp", kind));
        }
        let added = match self.known.as_ref().and_then(|known| known.kind(name)) {
            Some(expected) if expected != kind => return Err(type_conflict(name, &expected, kind)),
            Some(_) => false,
            None => true,
        };
        if added {
            let requested = self.known.as_ref().map_or(1, |known| known.column_count()) + self.added + 1;
            if requested > COLUMNS_PER_TABLE_MAX {
                let limit = COLUMNS_PER_TABLE_MAX;
                return Err(LimitExceeded { name: "columns of a table", limit, requested }.to_string());
            }
            self.added += 1;
        }
        let name: Arc<str> = Arc::from(name);
        let column = self.columns.len();
        self.columns.push(Column::new(Arc::clone(&name), kind, added));
        self.by_name.insert(name, column);
        Ok(column)
    }
}

/// InfluxDB 3's words for a value of the wrong type.
fn type_conflict(column: &str, expected: &dyn std::fmt::Display, got: ColumnKind) -> String {
    format!("invalid column type for column '{column}', expected {expected}, got {got}")
}
