//! From line protocol to one Arrow batch per table, checked against the database's schema line by line.

mod columns;
mod rows;
mod scan;
mod split;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use influxdb_line_protocol::parse_lines;

use self::rows::TableRowsBuilder;
use self::scan::{Line, Scanner};
use self::split::Lines;
use crate::error::{LimitExceeded, LineError};
use crate::limits;
use crate::precision::Precision;
use crate::schema::{ColumnKind, DatabaseSchema};
use crate::series::SeriesSpans;

/// The rows of one write for one table.
#[derive(Debug)]
pub(crate) struct ParsedTable {
    /// The table's name.
    pub(crate) name: Arc<str>,
    /// Tags, then fields, each in order of first appearance, then `time`.
    pub(crate) batch: RecordBatch,
    /// The series of the batch and the times that they cover.
    pub(crate) spans: SeriesSpans,
    /// Columns that the schema, against which the lines were checked, does not have.
    pub(crate) added: Vec<(Arc<str>, ColumnKind)>,
    /// Whether that schema does not have the table.
    pub(crate) new: bool,
}

/// What a parser made of the lines that it was fed.
#[derive(Debug)]
pub(crate) struct ParsedLines {
    /// In order of first appearance, each with at least one row.
    pub(crate) tables: Vec<ParsedTable>,
    /// The lines that are not part of `tables`, at most [`limits::LINE_ERRORS_MAX`].
    pub(crate) errors: Vec<LineError>,
}

#[cfg(test)]
impl ParsedLines {
    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.tables.iter().map(|table| table.batch.num_rows()).sum()
    }
}

/// Reads a body of line protocol against no tables and forgets its rows: for whoever looks for bytes that make it do anything
/// else.
pub fn read_lines(body: &[u8]) {
    let Ok(body) = std::str::from_utf8(body) else { return };
    for precision in [Precision::Nanosecond, Precision::Second] {
        let mut parser = LineParser::new(None);
        let options = LineOptions { precision, default_time: 0, go_on: true };
        let is_whole = parser.feed(body, options);
        let parsed = parser.finish();
        assert!(is_whole && parsed.is_ok_and(|parsed| parsed.tables.iter().all(|table| table.batch.num_rows() > 0)));
    }
}

/// How the lines of one body are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LineOptions {
    /// The unit of the timestamps.
    pub(crate) precision: Precision,
    /// The time, in nanoseconds, of lines without a timestamp.
    pub(crate) default_time: i64,
    /// Whether to go on after a bad line.
    pub(crate) go_on: bool,
}

/// Reads bodies of line protocol for one database.
pub(crate) struct LineParser {
    schema: Option<Arc<DatabaseSchema>>,
    tables: Vec<TableRowsBuilder>,
    by_name: HashMap<Arc<str>, usize>,
    /// The table of the last line; the next line usually has the same.
    last: usize,
    errors: Vec<LineError>,
}

impl LineParser {
    /// A parser that checks lines against `schema`, `None` being a database that does not exist yet.
    pub(crate) fn new(schema: Option<Arc<DatabaseSchema>>) -> Self {
        Self { schema, tables: Vec::new(), by_name: HashMap::new(), last: 0, errors: Vec::new() }
    }

    /// Reads one body. Returns false when it stopped at a bad line, which is then the last of the errors.
    pub(crate) fn feed(&mut self, body: &str, options: LineOptions) -> bool {
        let mut scanner = Scanner::default();
        for (line_number, line) in Lines::new(body) {
            let outcome = match scanner.scan(line) {
                Some(line) => self.push(line, options),
                // One line comes back as one item, or as none when it is blank or a comment.
                None => match parse_lines(line).next() {
                    Some(Ok(parsed)) => self.push(Line::from(&parsed), options),
                    Some(Err(error)) => Err(error.to_string()),
                    None => continue,
                },
            };
            if let Err(error_message) = outcome {
                if self.errors.len() < limits::LINE_ERRORS_MAX {
                    self.errors.push(LineError {
                        error_message,
                        line_number,
                        original_line: cut(line, limits::ORIGINAL_LINE_BYTES_MAX).to_owned(),
                    });
                }
                if !options.go_on {
                    return false;
                }
            }
        }
        true
    }

    /// The batches of everything that was fed.
    ///
    /// # Errors
    /// When Arrow refuses the columns, which would be a fault of this module.
    pub(crate) fn finish(self) -> Result<ParsedLines, ArrowError> {
        let mut tables = Vec::with_capacity(self.tables.len());
        for table in self.tables {
            if let Some(table) = table.finish()? {
                tables.push(table);
            }
        }
        Ok(ParsedLines { tables, errors: self.errors })
    }

    fn push(&mut self, line: Line<'_, '_>, options: LineOptions) -> Result<(), String> {
        let time = match line.timestamp {
            None => options.default_time,
            Some(timestamp) => options.precision.to_nanoseconds(timestamp).ok_or_else(|| {
                format!("timestamp '{timestamp}' is out of range: its nanoseconds do not fit into 64 bits")
            })?,
        };
        let table = self.table_of(line.table)?;
        self.tables[table].push(line, time)
    }

    fn table_of(&mut self, name: &str) -> Result<usize, String> {
        if self.tables.get(self.last).is_some_and(|table| table.name() == name) {
            return Ok(self.last);
        }
        if let Some(&table) = self.by_name.get(name) {
            self.last = table;
            return Ok(table);
        }
        let known = self.schema.as_ref().and_then(|schema| schema.tables.get(name)).cloned();
        if known.is_none() {
            let old = self.schema.as_ref().map_or(0, |schema| schema.tables.len());
            let requested = old + self.tables.iter().filter(|table| table.is_new()).count() + 1;
            if requested > limits::TABLES_PER_DATABASE_MAX {
                let limit = limits::TABLES_PER_DATABASE_MAX;
                return Err(LimitExceeded { name: "tables of a database", limit, requested }.to_string());
            }
        }
        let name: Arc<str> = Arc::from(name);
        self.last = self.tables.len();
        self.tables.push(TableRowsBuilder::new(Arc::clone(&name), known));
        self.by_name.insert(name, self.last);
        Ok(self.last)
    }
}

/// The lines of a body with their numbers.
pub(crate) fn split_lines(body: &str) -> impl Iterator<Item = (usize, &str)> {
    Lines::new(body)
}

/// The first `limit` bytes of `text`, or a little less where a character would be cut.
fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

#[cfg(test)]
mod tests;
