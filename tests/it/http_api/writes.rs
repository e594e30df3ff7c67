//! `POST /api/v3/write_lp` and its older forms.

use serde_json::json;

use super::gzip;
use crate::world::{Client, DB, Request, TestRunner, until_true};

const PATH: &str = "/api/v3/write_lp";
const CONFLICT: &str = "invalid column type for column 'v', expected iox::column_type::field::float, \
                        got iox::column_type::field::string";

#[test]
fn every_type_reads_back() {
    let runner = TestRunner::start();
    runner.write("m,tag1=a,tag2=b f=1.5,i=3i,u=7u,s=\"str \\\"q\\\" é\",b=true 1700000000000000000");
    let expected = json!([{
        "tag1": "a", "tag2": "b", "f": 1.5, "i": 3, "u": 7, "s": "str \"q\" é", "b": true, "time": "2023-11-14T22:13:20"
    }]);
    assert_eq!(json!(runner.query("SELECT * FROM m")), expected);
}

#[test]
fn the_good_lines_of_a_partial_write_arrive_and_the_bad_ones_are_told() {
    let runner = TestRunner::start();
    let lines = "ok v=1 1\nbad line here\n# a comment\n\nok v=2 2\nok v=\"text\" 3\n";
    let answer = runner.send(&Client::write_request(DB, lines));
    assert_eq!((answer.status, answer.header("content-type")), (400, "application/json"));
    let expected = json!({
        "error": "partial write of line protocol occurred",
        "data": [
            { "error_message": "No fields were provided", "line_number": 2, "original_line": "bad line here" },
            { "error_message": CONFLICT, "line_number": 6, "original_line": "ok v=\"text\" 3" },
        ],
    });
    assert_eq!(answer.json(), expected);
    assert_eq!(json!(runner.query("SELECT v FROM ok ORDER BY time")), json!([{ "v": 1.0 }, { "v": 2.0 }]));
}

#[test]
fn a_write_that_is_not_to_be_partial_is_refused_as_a_whole() {
    let runner = TestRunner::start();
    let all_or_nothing = |lines: &str| runner.send(&Client::write_request(DB, lines).query("accept_partial", "false"));
    let refused = all_or_nothing("ok v=1 1\nbad line here");
    let expected = json!({
        "error": "line protocol parsing error",
        "data": { "error_message": "No fields were provided", "line_number": 2, "original_line": "bad line here" },
    });
    assert_eq!((refused.status, refused.json()), (400, expected));
    assert_eq!(runner.count("ok"), 0);
    all_or_nothing("ok v=1 1").is(204, "");
    let conflict = all_or_nothing("ok v=\"text\" 2");
    assert_eq!((conflict.status, &conflict.json()["data"]["error_message"]), (400, &json!(CONFLICT)));
    assert_eq!(runner.count("ok"), 1);
    runner.send(&Client::write_request(DB, "ok v=1").query("accept_partial", "maybe")).contains(400, "accept_partial");
}

#[test]
fn timestamps_have_the_unit_that_the_write_says() {
    let runner = TestRunner::start();
    let units = [
        ("second", "1"),
        ("s", "2"),
        ("millisecond", "3000"),
        ("ms", "4000"),
        ("microsecond", "5000000"),
        ("us", "6000000"),
        ("nanosecond", "7000000000"),
        ("ns", "8000000000"),
    ];
    for (unit, time) in units {
        let request = Request::new("POST", PATH).query("db", DB).query("precision", unit);
        runner.send(&request.body(format!("m v=1 {time}"))).is(204, "");
    }
    // Without a unit the magnitude tells it.
    runner.send(&Request::new("POST", PATH).query("db", DB).body("guessed v=1 1700000000")).is(204, "");
    let seconds: Vec<_> =
        runner.query("SELECT time FROM m ORDER BY time").iter().map(|row| row["time"].clone()).collect();
    let expected: Vec<_> = (1..=8).map(|second| json!(format!("1970-01-01T00:00:0{second}"))).collect();
    assert_eq!(seconds, expected);
    assert_eq!(json!(runner.query("SELECT time FROM guessed")), json!([{ "time": "2023-11-14T22:13:20" }]));
    let unknown = Request::new("POST", PATH).query("db", DB).query("precision", "days").body("m v=1 1");
    runner.send(&unknown).contains(400, "unknown precision `days`");
}

#[test]
fn packed_bodies_and_unsynced_writes_are_taken() {
    let runner = TestRunner::start();
    let packed = Client::write_request(DB, "").header("content-encoding", "gzip").body(gzip(b"m v=1 1\nm v=2 2"));
    runner.send(&packed).is(204, "");
    assert_eq!(runner.count("m"), 2);
    let broken = Client::write_request(DB, "").header("content-encoding", "gzip").body("m v=1 1");
    runner.send(&broken).contains(400, "invalid gzip body");
    let other = Client::write_request(DB, "m v=1 1").header("content-encoding", "br");
    runner.send(&other).contains(400, "invalid content-encoding `br`");

    runner.send(&Client::write_request(DB, "unsynced v=1 1").query("no_sync", "true")).is(204, "");
    until_true("the unsynced row is there", || runner.count("unsynced") == 1);
    // A row that an unsynced write cannot take is still told.
    let bad = runner.send(&Client::write_request(DB, "unsynced v=\"x\" 1").query("no_sync", "true"));
    assert_eq!(bad.status, 400, "{}", bad.text());
}

#[test]
fn a_write_makes_its_database_and_a_bad_name_is_refused() {
    let runner = TestRunner::start();
    runner.write_to("new", "m v=1 1");
    assert_eq!(runner.query_in("new", "SELECT v FROM m").len(), 1);
    let to = |database: &str| runner.send(&Client::write_request(database, "m v=1 1"));
    to("_bad").is(400, r#"{"error":"db name did not start with a number or letter"}"#);
    to("a b").contains(400, "invalid character in database or rp name");
    to("").is(400, r#"{"error":"db name cannot be empty"}"#);
    to("_internal").contains(400, "read-only");
    runner.send(&Request::new("POST", PATH).body("m v=1 1")).is(400, "serde error: missing field `db`");
    let not_text = runner.send(&Client::write_request(DB, "").body(*b"m v=\"\xff\" 1"));
    not_text.contains(400, "body content is not valid utf8");
    runner.send(&Client::write_request(DB, "")).is(204, "");
}

#[test]
fn clients_of_the_older_apis_can_write() {
    let runner = TestRunner::start();
    let v2 = Request::new("POST", "/api/v2/write").query("bucket", DB).query("precision", "s");
    runner.send(&v2.body("m v=1 1")).is(204, "");
    runner.send(&Request::new("POST", "/write").query("db", DB).body("m v=2 2")).is(204, "");
    let times = runner.query("SELECT time FROM m ORDER BY time");
    let expected = json!([{ "time": "1970-01-01T00:00:00.000000002" }, { "time": "1970-01-01T00:00:01" }]);
    assert_eq!(json!(times), expected);
}
