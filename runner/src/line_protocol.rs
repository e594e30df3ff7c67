//! Rows as line protocol, for a person who wants to write them somewhere or reproduce a failure.

use std::fmt::Write;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Name of the column that holds the time of a row.
const TIME: &str = "time";

/// The rows of a table. Columns of dictionaries are tags, `time` is the time in nanoseconds, the others are fields; a null is
/// left out, and so is a row without fields.
///
/// # Errors
/// When a column has a type that line protocol has no form for.
pub fn lines(table: &str, batch: &RecordBatch) -> Result<String, ArrowError> {
    let schema = batch.schema();
    let options = FormatOptions::default();
    let mut tags = Vec::new();
    let mut fields = Vec::new();
    let mut times = None;
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if field.name() == TIME {
            let nanoseconds = arrow::compute::cast(column, &DataType::Int64)?;
            times = Some(nanoseconds.as_primitive::<arrow::datatypes::Int64Type>().clone());
        } else if matches!(field.data_type(), DataType::Dictionary(_, _)) {
            tags.push((escaped(field.name(), ",= "), ArrayFormatter::try_new(column, &options)?, column));
        } else {
            fields.push((escaped(field.name(), ",= "), ArrayFormatter::try_new(column, &options)?, column));
        }
    }
    let mut lines = String::new();
    for row in 0..batch.num_rows() {
        let mut values = Vec::new();
        for (name, formatter, column) in fields.iter().filter(|(_, _, column)| column.is_valid(row)) {
            values.push(format!("{name}={}", value(column.as_ref(), formatter, row)?));
        }
        if values.is_empty() {
            continue;
        }
        lines.push_str(&escaped(table, ", "));
        for (name, formatter, _) in tags.iter().filter(|(_, _, column)| column.is_valid(row)) {
            // Writing to a text does not fail.
            let _ = write!(lines, ",{name}={}", escaped(&formatter.value(row).to_string(), ",= "));
        }
        let _ = write!(lines, " {}", values.join(","));
        if let Some(times) = times.as_ref().filter(|times| times.is_valid(row)) {
            let _ = write!(lines, " {}", times.value(row));
        }
        lines.push('\n');
    }
    Ok(lines)
}

fn value(column: &dyn Array, formatter: &ArrayFormatter<'_>, row: usize) -> Result<String, ArrowError> {
    let plain = || formatter.value(row).to_string();
    match column.data_type() {
        DataType::Float64 => Ok(column.as_primitive::<Float64Type>().value(row).to_string()),
        DataType::Float32 => Ok(column.as_primitive::<Float32Type>().value(row).to_string()),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Ok(format!("{}i", plain())),
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => Ok(format!("{}u", plain())),
        DataType::Boolean => Ok(plain()),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Ok(format!("\"{}\"", escaped(&plain(), "\"\\"))),
        other => Err(ArrowError::NotYetImplemented(format!("line protocol has no form for {other}"))),
    }
}

fn escaped(text: &str, special: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if special.contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int64Array, StringArray};
    use arrow::array::{TimestampNanosecondArray, UInt64Array};
    use arrow::datatypes::Int32Type;
    use std::sync::Arc;

    #[test]
    fn every_type_has_its_form_and_nulls_are_left_out() {
        let tags: DictionaryArray<Int32Type> = [Some("a b"), None].into_iter().collect();
        let columns: [(&str, ArrayRef); 7] = [
            ("t g", Arc::new(tags)),
            ("f", Arc::new(Float64Array::from(vec![Some(1.5), Some(2.0)]))),
            ("i", Arc::new(Int64Array::from(vec![Some(-1), None]))),
            ("u", Arc::new(UInt64Array::from(vec![None, Some(7)]))),
            ("b", Arc::new(BooleanArray::from(vec![Some(true), None]))),
            ("s", Arc::new(StringArray::from(vec![Some("say \"x\\\""), None]))),
            ("time", Arc::new(TimestampNanosecondArray::from(vec![10, 20]))),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap();
        let text = lines("m x", &batch).unwrap();
        assert_eq!(text, "m\\ x,t\\ g=a\\ b f=1.5,i=-1i,b=true,s=\"say \\\"x\\\\\\\"\" 10\nm\\ x f=2,u=7u 20\n");
    }
}
