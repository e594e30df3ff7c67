//! Enabling, disabling and deleting triggers.

use serde_json::json;

use crate::world::{DB, Request, TestRunner, Trigger};

const PATH: &str = "/api/v3/configure/processing_engine_trigger";

fn world() -> TestRunner {
    let runner = TestRunner::start();
    runner.plugin("hello.py", "def process_request(api, query, headers, body, args=None):\n    return 'hello'\n");
    runner.create(&Trigger::new("t", "hello.py", "request:hello"));
    runner
}

#[test]
fn disabling_and_enabling_take_effect_at_once_and_can_be_repeated() {
    let runner = world();
    runner.engine("hello").is(200, "hello");
    for _ in 0..2 {
        runner.switch("disable", "t").is(200, "");
        assert_eq!(runner.trigger("t")["disabled"], json!(true));
        assert_eq!(runner.trigger("t")["state"], "disabled");
        runner.engine("hello").is(404, r#"{"error":"not found"}"#);
    }
    for _ in 0..2 {
        runner.switch("enable", "t").is(200, "");
        assert_eq!(runner.trigger("t")["disabled"], json!(false));
        assert_eq!(runner.trigger("t")["state"], "active");
        runner.engine("hello").is(200, "hello");
    }
}

#[test]
fn changes_of_what_is_not_there_are_refused() {
    let runner = world();
    for verb in ["enable", "disable"] {
        runner.switch(verb, "zzz").is(404, "the requested resource was not found: zzz");
        let path = format!("{PATH}/{verb}");
        runner
            .send(&Request::new("POST", &path).query("db", "zz").query("trigger_name", "t"))
            .is(404, "Database not found zz");
        // The parameters belong into the query string.
        runner.post_json(&path, &json!({ "db": DB, "trigger_name": "t" })).is(400, "serde error: missing field `db`");
        runner.send(&Request::new("POST", &path).query("db", DB)).is(400, "serde error: missing field `trigger_name`");
    }
    runner.delete("zzz", false).is(404, "the requested resource was not found: zzz");
    let elsewhere = Request::new("DELETE", PATH).query("db", "zz").query("trigger_name", "t");
    runner.send(&elsewhere).is(404, "Database not found zz");
    runner.send(&Request::new("DELETE", PATH)).is(400, "serde error: missing field `db`");
    let doubtful = Request::new("DELETE", PATH).query("db", DB).query("trigger_name", "t").query("force", "perhaps");
    runner.send(&doubtful).is(400, "serde error: `force` is `perhaps`, expected `true` or `false`");
    runner.engine("hello").is(200, "hello");
}

#[test]
fn an_enabled_trigger_is_deleted_only_by_force() {
    let runner = world();
    runner.delete("t", false).is(409, "Cannot delete running plugin t. Disable it first or use --force.");
    runner.engine("hello").is(200, "hello");
    runner.delete("t", true).is(200, "");
    runner.engine("hello").is(404, r#"{"error":"not found"}"#);
    runner.delete("t", true).is(404, "the requested resource was not found: t");

    // The path and the name are free again, and a disabled trigger goes without force.
    runner.create(&Trigger::new("t", "hello.py", "request:hello").disabled());
    runner.delete("t", false).is(200, "");
}

#[test]
fn the_parameters_of_a_deletion_may_come_as_json() {
    let runner = world();
    let delete = |body: &serde_json::Value| runner.send(&Request::new("DELETE", PATH).json(body));
    delete(&json!({ "db": DB })).contains(400, "serde json error: missing field `trigger_name`");
    delete(&json!({ "db": DB, "trigger_name": "t" })).contains(409, "Cannot delete running plugin t.");
    delete(&json!({ "db": DB, "trigger_name": "t", "force": true })).is(200, "");
    runner.engine("hello").is(404, r#"{"error":"not found"}"#);
}
