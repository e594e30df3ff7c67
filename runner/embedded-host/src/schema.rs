//! Columns, tables and databases as queries see them, in InfluxDB 3's types.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

/// The column that every table has.
pub(crate) const TIME_COLUMN: &str = "time";

/// What a column holds. It displays as InfluxDB 3 names it in a type conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ColumnKind {
    Tag,
    Float,
    Integer,
    Unsigned,
    String,
    Boolean,
}

impl fmt::Display for ColumnKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tag => "iox::column_type::tag",
            Self::Float => "iox::column_type::field::float",
            Self::Integer => "iox::column_type::field::integer",
            Self::Unsigned => "iox::column_type::field::unsigned",
            Self::String => "iox::column_type::field::string",
            Self::Boolean => "iox::column_type::field::boolean",
        })
    }
}

impl ColumnKind {
    /// The Arrow type of such a column.
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Self::Tag => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            Self::Float => DataType::Float64,
            Self::Integer => DataType::Int64,
            Self::Unsigned => DataType::UInt64,
            Self::String => DataType::Utf8,
            Self::Boolean => DataType::Boolean,
        }
    }

    /// The kind of a column of this Arrow type; `None` for `time` and for what this crate never writes.
    pub(crate) fn of(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Dictionary(_, _) => Some(Self::Tag),
            DataType::Float64 => Some(Self::Float),
            DataType::Int64 => Some(Self::Integer),
            DataType::UInt64 => Some(Self::Unsigned),
            DataType::Utf8 => Some(Self::String),
            DataType::Boolean => Some(Self::Boolean),
            _ => None,
        }
    }

    /// The Arrow field of such a column.
    pub(crate) fn field(self, name: &str) -> Field {
        Field::new(name, self.data_type(), true)
    }
}

/// The Arrow field of `time`: nanoseconds since the epoch, without a zone.
pub(crate) fn time_field() -> Field {
    Field::new(TIME_COLUMN, DataType::Timestamp(TimeUnit::Nanosecond, None), false)
}

/// A table's columns, `time` aside, and the Arrow schema of all of them in alphabetical order.
#[derive(Debug, Clone)]
pub(crate) struct TableSchema {
    columns: BTreeMap<Arc<str>, ColumnKind>,
    arrow: SchemaRef,
}

impl TableSchema {
    /// A table of these columns and `time`.
    pub(crate) fn new(columns: BTreeMap<Arc<str>, ColumnKind>) -> Self {
        let mut fields: Vec<Field> = columns.iter().map(|(name, kind)| kind.field(name)).collect();
        let place = fields.partition_point(|field| field.name().as_str() < TIME_COLUMN);
        fields.insert(place, time_field());
        Self { columns, arrow: Arc::new(Schema::new(fields)) }
    }

    /// The kind of column `name`, if the table has it.
    pub(crate) fn kind(&self, name: &str) -> Option<ColumnKind> {
        self.columns.get(name).copied()
    }

    /// All columns but `time`.
    pub(crate) fn columns(&self) -> &BTreeMap<Arc<str>, ColumnKind> {
        &self.columns
    }

    /// How many columns there are, `time` included.
    pub(crate) fn column_count(&self) -> usize {
        self.columns.len() + 1
    }

    /// The schema that queries see.
    pub(crate) fn arrow(&self) -> &SchemaRef {
        &self.arrow
    }

    /// Whether a batch of this schema brings a column that the table lacks.
    fn lacks_columns_of(&self, batch: &Schema) -> bool {
        batch
            .fields()
            .iter()
            .any(|field| field.name() != TIME_COLUMN && !self.columns.contains_key(field.name().as_str()))
    }
}

/// The tables of one database.
#[derive(Debug, Clone, Default)]
pub(crate) struct DatabaseSchema {
    /// By table name.
    pub(crate) tables: HashMap<Arc<str>, Arc<TableSchema>>,
}

impl DatabaseSchema {
    /// Takes in the columns of a batch that was committed. Admission has made sure that its types agree with the table's.
    pub(crate) fn extend(this: &mut Arc<Self>, table: &str, batch: &Schema) {
        let known = this.tables.get(table);
        if known.is_some_and(|known| !known.lacks_columns_of(batch)) {
            return;
        }
        let mut columns = known.map(|known| known.columns.clone()).unwrap_or_default();
        for field in batch.fields() {
            if let Some(kind) = ColumnKind::of(field.data_type()) {
                columns.entry(Arc::from(field.name().as_str())).or_insert(kind);
            }
        }
        let schema = Arc::new(TableSchema::new(columns));
        Arc::make_mut(this).tables.insert(Arc::from(table), schema);
    }
}
