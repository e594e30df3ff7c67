//! `/api/v3/query_sql`.

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::json;

use crate::world::{DB, Request, TestRunner};

const PATH: &str = "/api/v3/query_sql";
const SQL: &str = "SELECT host, v, note FROM cpu ORDER BY time";

fn world() -> TestRunner {
    let runner = TestRunner::start();
    runner.write("cpu,host=a v=1.5,note=\"x\" 1\ncpu,host=b v=2.5 2");
    runner
}

fn get(format: &str) -> Request {
    Request::new("GET", PATH).query("db", DB).query("q", SQL).query("format", format)
}

#[test]
fn rows_come_in_every_format_by_get_and_by_post() {
    let runner = world();
    let check = |format: &str, content_type: &str, text: &str| {
        let by_get = runner.send(&get(format));
        by_get.is(200, text);
        assert_eq!(by_get.header("content-type"), content_type);
        let by_post = runner.post_json(PATH, &json!({ "db": DB, "q": SQL, "format": format }));
        by_post.is(200, text);
        assert_eq!(by_post.header("content-type"), content_type);
    };
    // Columns without a value are left out.
    check("json", "application/json", r#"[{"host":"a","v":1.5,"note":"x"},{"host":"b","v":2.5}]"#);
    let lines = "{\"host\":\"a\",\"v\":1.5,\"note\":\"x\"}\n{\"host\":\"b\",\"v\":2.5}\n";
    check("jsonl", "application/jsonl", lines);
    check("csv", "text/csv", "host,v,note\na,1.5,x\nb,2.5,\n");
    let table = "+------+-----+------+\n| host | v   | note |\n+------+-----+------+\n| a    | 1.5 | x    |\n\
                 | b    | 2.5 |      |\n+------+-----+------+";
    check("pretty", "text/plain; charset=utf-8", table);
}

#[test]
fn rows_in_parquet_read_back() {
    let runner = world();
    let answer = runner.send(&get("parquet"));
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/vnd.apache.parquet"));
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(answer.body)).unwrap().build().unwrap();
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    let mut lines = arrow::json::LineDelimitedWriter::new(Vec::new());
    lines.write_batches(&batches.iter().collect::<Vec<_>>()).unwrap();
    lines.finish().unwrap();
    let text = String::from_utf8(lines.into_inner()).unwrap();
    assert_eq!(text, "{\"host\":\"a\",\"v\":1.5,\"note\":\"x\"}\n{\"host\":\"b\",\"v\":2.5}\n");
}

#[test]
fn no_rows_are_a_valid_answer_in_every_format() {
    let runner = world();
    let none = |format: &str| {
        runner.post_json(PATH, &json!({ "db": DB, "q": "SELECT host FROM cpu WHERE v > 9", "format": format }))
    };
    none("json").is(200, "[]");
    none("jsonl").is(200, "");
    none("csv").is(200, "host\n");
    none("pretty").contains(200, "+");
    assert_eq!(none("parquet").status, 200);
}

#[test]
fn the_accept_header_names_a_format_too() {
    let runner = world();
    let accept =
        |value: &str| runner.send(&Request::new("GET", PATH).query("db", DB).query("q", SQL).header("accept", value));
    assert_eq!(accept("text/csv").header("content-type"), "text/csv");
    assert_eq!(accept("*/*").header("content-type"), "application/json");
    runner.send(&get("xml")).contains(400, "unknown format `xml`, expected one of `json`, `jsonl`, `csv`");
}

#[test]
fn parameters_are_typed_and_never_text_of_the_query() {
    let runner = world();
    let post = |sql: &str, params: serde_json::Value| {
        runner.post_json(PATH, &json!({ "db": DB, "q": sql, "params": params, "format": "json" }))
    };
    post("SELECT v FROM cpu WHERE host = $host", json!({ "host": "b" })).is(200, r#"[{"v":2.5}]"#);
    post("SELECT v FROM cpu WHERE v > $v", json!({ "v": 2 })).is(200, r#"[{"v":2.5}]"#);
    post("SELECT v FROM cpu WHERE v > $v", json!({ "v": 2.4 })).is(200, r#"[{"v":2.5}]"#);
    post("SELECT v FROM cpu WHERE host = $host", json!({ "host": "b' OR 1=1 --" })).is(200, "[]");
    post("SELECT v FROM cpu WHERE host = $host", json!({ "host": null })).is(200, "[]");
    post("SELECT v FROM cpu WHERE host = $host", json!({ "host": [1] })).contains(400, "parameter `host` must be");
    let missing = post("SELECT v FROM cpu WHERE host = $nothing", json!({}));
    assert_eq!(missing.status, 400, "{}", missing.text());
    let by_get = Request::new("GET", PATH).query("db", DB).query("q", "SELECT v FROM cpu WHERE host = $h");
    runner.send(&by_get.clone().query("params", r#"{"h":"a"}"#)).is(200, r#"[{"v":1.5}]"#);
    runner.send(&by_get.query("params", "nonsense")).contains(400, "serde json error: params: ");
}

#[test]
fn errors_of_the_query_are_the_callers_and_say_why() {
    let runner = world();
    let error = |sql: &str, text: &str| runner.sql(DB, sql).is(400, text);
    error("SELECT * FROM nothere", "Error during planning: table 'public.iox.nothere' not found");
    let misspelt = "SQL error: ParserError(\"Expected: an SQL statement, found: selec at Line: 1, Column: 1\")";
    error("selec 1", misspelt);
    error("SELECT 1/0 AS x", "Arrow error: Divide by zero error");
    runner.sql(DB, "SELECT nothere FROM cpu").contains(400, "No field named nothere");
    runner.sql(DB, "CREATE TABLE x AS SELECT 1").contains(400, "DDL not supported");
    runner.sql(DB, "INSERT INTO cpu VALUES (1)").contains(400, "");
    runner.sql("nodb", "SELECT 1").is(404, "database not found: nodb");
    runner.sql(DB, "").contains(400, "");
    let post = |body: &serde_json::Value| runner.post_json(PATH, body);
    post(&json!({ "q": "SELECT 1" })).contains(400, "serde json error: missing field `db`");
    post(&json!({ "db": DB })).contains(400, "serde json error: missing field `q`");
    runner.get(&format!("{PATH}?db={DB}")).is(400, "serde error: missing field `q`");
    runner.send(&Request::new("POST", PATH).body("{}")).contains(415, "unacceptable content-type");
}

#[test]
fn tables_and_types_are_shown_as_by_influxdb_3() {
    let runner = world();
    let tables = runner.query("SHOW TABLES");
    let shown =
        |schema: &str, name: &str| tables.iter().any(|row| row["table_schema"] == schema && row["table_name"] == name);
    assert!(shown("iox", "cpu"), "{tables:?}");
    assert!(shown("system", "processing_engine_triggers") && shown("system", "processing_engine_logs"), "{tables:?}");
    assert!(shown("system", "workers") && shown("information_schema", "columns"), "{tables:?}");
    let columns = runner.query(
        "SELECT column_name, data_type, is_nullable FROM information_schema.columns \
         WHERE table_schema = 'iox' AND table_name = 'cpu' ORDER BY column_name",
    );
    let expected = json!([
        { "column_name": "host", "data_type": "Dictionary(Int32, Utf8)", "is_nullable": "YES" },
        { "column_name": "note", "data_type": "Utf8", "is_nullable": "YES" },
        { "column_name": "time", "data_type": "Timestamp(ns)", "is_nullable": "NO" },
        { "column_name": "v", "data_type": "Float64", "is_nullable": "YES" },
    ]);
    assert_eq!(json!(columns), expected);
}
