//! `/api/v3/configure/database`.

use serde_json::json;

use crate::world::{Request, TestRunner, Trigger};

const PATH: &str = "/api/v3/configure/database";

#[test]
fn databases_are_created_listed_and_deleted() {
    let runner = TestRunner::start();
    let create = |name: &str| runner.post_json(PATH, &json!({ "db": name }));
    create("d1").is(200, "");
    create("d1").is(409, "attempted to create a resource that already exists");
    create("_d").is(400, r#"{"error":"db name did not start with a number or letter"}"#);
    create("").is(400, r#"{"error":"db name cannot be empty"}"#);
    create("a b").contains(400, "invalid character in database or rp name");
    create(&"d".repeat(100)).contains(400, "db name cannot be longer than");
    runner.post_json(PATH, &json!({})).contains(400, "serde json error: missing field `db`");
    runner.send(&Request::new("POST", PATH).body("{}")).contains(415, "unacceptable content-type");

    let listed = runner.get(&format!("{PATH}?format=json")).json();
    for name in ["d1", "db"] {
        assert!(listed.as_array().unwrap().contains(&json!({ "iox::database": name })), "{name} in {listed}");
    }
    assert!(runner.get(&format!("{PATH}?format=csv")).text().starts_with("iox::database\n"));
    runner.get(&format!("{PATH}?format=xml")).contains(400, "unknown format `xml`");

    let delete = |name: &str| runner.send(&Request::new("DELETE", PATH).query("db", name));
    delete("d1").is(200, "");
    delete("d1").is(404, "the requested resource was not found: d1");
    assert!(!runner.get(PATH).text().contains("d1"));
}

#[test]
fn a_database_goes_with_its_data_and_its_triggers() {
    let runner = TestRunner::start();
    runner.create_database("gone");
    runner.plugin("hello.py", "def process_request(api, query, headers, body, args=None):\n    return 'hello'\n");
    runner.create(&Trigger::new("t", "hello.py", "request:hello").in_database("gone"));
    runner.engine("hello").is(200, "hello");
    runner.write_to("gone", "cpu v=1 1");
    runner.send(&Request::new("DELETE", PATH).query("db", "gone")).is(200, "");
    runner.engine("hello").is(404, r#"{"error":"not found"}"#);
    runner.sql("gone", "SELECT * FROM cpu").is(404, "database not found: gone");

    runner.create_database("gone");
    assert_eq!(runner.query_in("gone", "SELECT * FROM system.processing_engine_triggers").len(), 0);
    runner.write_to("gone", "cpu v=\"another type\" 1");
}
