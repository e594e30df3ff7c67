use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int32Type, TimestampNanosecondType};

use super::*;
use crate::schema::TableSchema;

const OPTIONS: LineOptions = LineOptions { precision: Precision::Nanosecond, default_time: 77, go_on: true };

fn parse(body: &str) -> ParsedLines {
    let mut parser = LineParser::new(None);
    parser.feed(body, OPTIONS);
    parser.finish().unwrap()
}

fn names(table: &ParsedTable) -> Vec<String> {
    table.batch.schema().fields().iter().map(|field| field.name().clone()).collect()
}

fn messages(parsed: &ParsedLines) -> Vec<(usize, &str)> {
    parsed.errors.iter().map(|error| (error.line_number, error.error_message.as_str())).collect()
}

#[test]
fn columns_come_tags_first_then_fields_then_time() {
    let parsed = parse("m,b=1 y=1 5\nm,a=2,b=3 x=2,y=3\n");
    let table = &parsed.tables[0];
    assert_eq!(names(table), ["b", "a", "y", "x", "time"]);
    let tags = table.batch.column(1).as_dictionary::<Int32Type>();
    assert!(tags.is_null(0) && tags.is_valid(1));
    let x = table.batch.column(3).as_primitive::<Float64Type>();
    assert!(x.is_null(0));
    assert_eq!(x.value(1), 2.0);
    let times = table.batch.column(4).as_primitive::<TimestampNanosecondType>();
    assert_eq!(times.values().to_vec(), [5, 77]);
}

#[test]
fn a_bad_line_leaves_no_column_behind() {
    let parsed = parse("m v=1 1\nm w=1,v=\"x\" 2\nm v=3 3\n");
    assert_eq!(names(&parsed.tables[0]), ["v", "time"]);
    assert_eq!(parsed.rows(), 2);
    assert_eq!(
        messages(&parsed),
        [(
            2,
            "invalid column type for column 'v', expected iox::column_type::field::float, got iox::column_type::field::string"
        )]
    );
}

#[test]
fn one_name_is_a_tag_or_a_field_and_time_is_neither() {
    let parsed = parse("m,x=1 x=1\nm time=5\nm,a=1,a=2 v=1\n");
    assert_eq!(
        messages(&parsed),
        [
            (
                1,
                "invalid column type for column 'x', expected iox::column_type::tag, got iox::column_type::field::float"
            ),
            (
                2,
                "invalid column type for column 'time', expected iox::column_type::timestamp, got iox::column_type::field::float"
            ),
            (3, "Must not contain duplicate tags, but \"a\" was repeated"),
        ]
    );
    assert!(parsed.tables.is_empty());
}

#[test]
fn the_last_of_a_repeated_field_counts() {
    let parsed = parse("m a=1,b=2,a=3 1\nm a=4,b=5,a=6 2\n");
    let a = parsed.tables[0].batch.column(0).as_primitive::<Float64Type>();
    assert_eq!(a.values().to_vec(), [3.0, 6.0]);
}

#[test]
fn comments_and_blank_lines_are_skipped_but_counted() {
    let parsed = parse("# comment\n\n  \nbad line here\nm v=1\n");
    assert_eq!(messages(&parsed), [(4, "No fields were provided")]);
    assert_eq!(parsed.errors[0].original_line, "bad line here");
    assert_eq!(parsed.rows(), 1);
}

#[test]
fn a_timestamp_that_nanoseconds_cannot_hold_is_an_error() {
    let mut parser = LineParser::new(None);
    let good =
        parser.feed("m v=1 9223372036854775807", LineOptions { precision: Precision::Second, go_on: false, ..OPTIONS });
    assert!(!good);
    assert!(parser.finish().unwrap().errors[0].error_message.contains("out of range"));
}

#[test]
fn a_table_has_a_limit_of_columns() {
    let columns: BTreeMap<Arc<str>, ColumnKind> =
        (0..498).map(|number| (Arc::from(format!("f{number}")), ColumnKind::Float)).collect();
    let mut schema = DatabaseSchema::default();
    schema.tables.insert(Arc::from("m"), Arc::new(TableSchema::new(columns)));
    let mut parser = LineParser::new(Some(Arc::new(schema)));
    parser.feed("m one=1\nm two=1\nm f1=1\n", OPTIONS);
    let parsed = parser.finish().unwrap();
    assert_eq!(messages(&parsed), [(2, "limit `columns of a table` reached: 501 asked for, 500 allowed")]);
    assert_eq!(parsed.rows(), 2);
    assert_eq!(parsed.tables[0].added.len(), 1);
}

#[test]
fn long_lines_and_many_errors_are_cut() {
    let long = format!("é{}", "x".repeat(5_000));
    let body = format!("{long}\n").repeat(limits::LINE_ERRORS_MAX + 5);
    let parsed = parse(&body);
    assert_eq!(parsed.errors.len(), limits::LINE_ERRORS_MAX);
    assert!(parsed.errors.iter().all(|error| error.original_line.len() <= limits::ORIGINAL_LINE_BYTES_MAX));
}
