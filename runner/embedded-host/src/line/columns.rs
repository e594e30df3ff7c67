//! The growing columns of one table of one write.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder, StringDictionaryBuilder, UInt64Builder,
};
use arrow::datatypes::Int32Type;
use influxdb_line_protocol::FieldValue;

use crate::schema::ColumnKind;

/// The kind of column that takes a field of this value.
pub(super) fn kind_of(value: &FieldValue<'_>) -> ColumnKind {
    match value {
        FieldValue::I64(_) => ColumnKind::Integer,
        FieldValue::U64(_) => ColumnKind::Unsigned,
        FieldValue::F64(_) => ColumnKind::Float,
        FieldValue::String(_) => ColumnKind::String,
        FieldValue::Boolean(_) => ColumnKind::Boolean,
    }
}

enum Values {
    Tag(StringDictionaryBuilder<Int32Type>),
    Float(Float64Builder),
    Integer(Int64Builder),
    Unsigned(UInt64Builder),
    String(StringBuilder),
    Boolean(BooleanBuilder),
}

/// One column. Rows that lack it are filled with nulls when the next value comes, so a line touches only its own columns.
pub(super) struct Column {
    pub(super) name: Arc<str>,
    pub(super) kind: ColumnKind,
    /// Whether the database's schema lacks it.
    pub(super) added: bool,
    /// The last line, counted from 1, that named the column; tells a name that is repeated in one line.
    pub(super) last_line: u64,
    filled: usize,
    values: Values,
}

impl Column {
    pub(super) fn new(name: Arc<str>, kind: ColumnKind, added: bool) -> Self {
        let values = match kind {
            ColumnKind::Tag => Values::Tag(StringDictionaryBuilder::new()),
            ColumnKind::Float => Values::Float(Float64Builder::new()),
            ColumnKind::Integer => Values::Integer(Int64Builder::new()),
            ColumnKind::Unsigned => Values::Unsigned(UInt64Builder::new()),
            ColumnKind::String => Values::String(StringBuilder::new()),
            ColumnKind::Boolean => Values::Boolean(BooleanBuilder::new()),
        };
        Self { name, kind, added, last_line: 0, filled: 0, values }
    }

    /// Sets the tag of `row`, which must lie behind every row set so far.
    pub(super) fn push_tag(&mut self, row: usize, value: &str) {
        self.fill(row);
        if let Values::Tag(tags) = &mut self.values {
            tags.append_value(value);
            self.filled = row + 1;
        }
    }

    /// Sets the field of `row`, which must lie behind every row set so far. The kinds agree, as the row was resolved before.
    pub(super) fn push_field(&mut self, row: usize, value: &FieldValue<'_>) {
        self.fill(row);
        match (&mut self.values, value) {
            (Values::Float(values), FieldValue::F64(value)) => values.append_value(*value),
            (Values::Integer(values), FieldValue::I64(value)) => values.append_value(*value),
            (Values::Unsigned(values), FieldValue::U64(value)) => values.append_value(*value),
            (Values::String(values), FieldValue::String(value)) => values.append_value(value.as_str()),
            (Values::Boolean(values), FieldValue::Boolean(value)) => values.append_value(*value),
            _ => return,
        }
        self.filled = row + 1;
    }

    /// The column with `rows` rows.
    pub(super) fn finish(mut self, rows: usize) -> ArrayRef {
        self.fill(rows);
        match self.values {
            Values::Tag(mut values) => Arc::new(values.finish()),
            Values::Float(mut values) => Arc::new(values.finish()),
            Values::Integer(mut values) => Arc::new(values.finish()),
            Values::Unsigned(mut values) => Arc::new(values.finish()),
            Values::String(mut values) => Arc::new(values.finish()),
            Values::Boolean(mut values) => Arc::new(values.finish()),
        }
    }

    fn fill(&mut self, rows: usize) {
        let missing = rows - self.filled;
        if missing == 0 {
            return;
        }
        match &mut self.values {
            Values::Tag(values) => values.append_nulls(missing),
            Values::Float(values) => values.append_nulls(missing),
            Values::Integer(values) => values.append_nulls(missing),
            Values::Unsigned(values) => values.append_nulls(missing),
            Values::String(values) => values.append_nulls(missing),
            Values::Boolean(values) => values.append_nulls(missing),
        }
        self.filled = rows;
    }
}
