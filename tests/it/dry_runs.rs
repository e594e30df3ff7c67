//! Tests of plugins by their authors: over HTTP, by the command line, and without a server.

mod command;
mod surroundings;

use serde_json::{Value, json};

use crate::world::{DB, TestRunner};

const TRIED: &str = r#"
def process_writes(influxdb3_local, table_batches, args=None):
    influxdb3_local.info("args", args)
    influxdb3_local.warn("w")
    influxdb3_local.error("e")
    influxdb3_local.write_sync(LineBuilder("sync").int64_field("n", 1), no_sync=False)
    for batch in table_batches:
        line = LineBuilder("out_" + batch["table_name"]).int64_field("n", len(batch["rows"])).time_ns(1)
        influxdb3_local.write(line)
        influxdb3_local.write_to_db("otherdb", line)
    if args and "raise" in args:
        raise ValueError("wal boom")


def process_scheduled_call(influxdb3_local, call_time, args=None):
    influxdb3_local.info("at", call_time, args)
    influxdb3_local.info(influxdb3_local.query("select 1 as x"))
    influxdb3_local.write(LineBuilder("o").int64_field("a", 1).time_ns(1))


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    if query_parameters.get("how") == "stream":
        return (text for text in ["one ", "two"])
    if query_parameters.get("how") == "bytes":
        return b"\xff"
    return [request_headers.method, query_parameters, request_headers, request_body.decode(), args], 201
"#;

struct World(TestRunner);

impl World {
    fn new() -> Self {
        let runner = TestRunner::start();
        runner.plugin("tried.py", TRIED);
        Self(runner)
    }

    /// The report of a test, without the time that it took.
    fn report(&self, kind: &str, body: &Value) -> Value {
        let answer = self.0.post_json(&format!("/api/v3/plugin_test/{kind}"), body);
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{}", answer.text());
        without_durations(answer.json())
    }

    fn is_untouched(&self) {
        let tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'iox'";
        assert_eq!(self.0.query(tables).len(), 0);
        self.0.get("/api/v3/configure/database?format=json").is(200, r#"[{"iox::database":"db"}]"#);
        assert_eq!(self.0.count("system.processing_engine_logs"), 0);
    }
}

fn without_durations(mut report: Value) -> Value {
    for line in report["log_lines"].as_array_mut().into_iter().flatten() {
        if line.as_str().is_some_and(|line| line.starts_with("INFO: finished execution in ")) {
            *line = json!("INFO: finished");
        }
    }
    report
}

#[test]
fn a_plugin_for_writes_is_tried_and_nothing_is_kept() {
    let world = World::new();
    let lines = "cpu,h=a v=1 1\ncpu,h=b v=2 2\nmem v=1";
    let body = json!({ "filename": "tried.py", "database": DB, "input_lp": lines, "input_arguments": { "k": "v" } });
    assert_eq!(
        world.report("wal", &body),
        json!({
            "log_lines": ["INFO: starting execution of wal plugin.", "INFO: args {'k': 'v'}", "WARN: w", "ERROR: e", "INFO: finished"],
            "database_writes": {
                "otherdb": ["out_cpu n=2i 1", "out_mem n=1i 1"],
                "db": ["sync n=1i", "out_cpu n=2i 1", "out_mem n=1i 1"],
            },
            "errors": [],
        })
    );
    let unknown = json!({ "filename": "tried.py", "database": "nope", "input_lp": "cpu v=1" });
    assert_eq!(world.report("wal", &unknown)["database_writes"]["nope"], json!(["sync n=1i", "out_cpu n=1i 1"]));
    let empty = json!({ "filename": "tried.py", "database": DB, "input_lp": "" });
    assert_eq!(world.report("wal", &empty)["errors"], json!([]));
    world.is_untouched();
}

#[test]
fn failures_of_a_tried_plugin_are_told_with_what_came_before() {
    let world = World::new();
    let body =
        json!({ "filename": "tried.py", "database": DB, "input_lp": "cpu v=1", "input_arguments": { "raise": "1" } });
    let report = world.report("wal", &body);
    assert_eq!(report["errors"], json!(["error executing plugin: ValueError: wal boom"]));
    assert_eq!(report["log_lines"][2], "WARN: w");
    assert_eq!(report["database_writes"], json!({ "db": ["sync n=1i"] }), "what would have stayed");
    let traceback = report["traceback"].as_str().unwrap();
    assert!(
        traceback.contains("tried.py\", line 12, in process_writes") && traceback.contains("raise ValueError"),
        "{traceback}"
    );

    let wal = |file: &str, code: &str, lines: &str| {
        world.0.plugin(file, code);
        world.report("wal", &json!({ "filename": file, "database": DB, "input_lp": lines }))["errors"].clone()
    };
    let missing = "error executing plugin: the process_writes function is not present in the plugin. Should be defined as: \
                   process_writes(influxdb3_local, table_batches, args=None)";
    assert_eq!(wal("empty.py", "", "cpu v=1"), json!([missing]));
    let syntax = wal("syntax.py", "def (", "cpu v=1");
    assert!(syntax[0].as_str().unwrap().starts_with("error executing plugin: SyntaxError: invalid syntax"), "{syntax}");
    let bad = json!(["line protocol parse failed: No fields were provided"]);
    assert_eq!(wal("empty.py", "", "not valid"), bad);
    assert_eq!(wal("empty.py", "", "cpu v=1\nnot valid"), bad);
    let dies = wal("dies.py", "import os\ndef process_writes(*all):\n    os._exit(3)\n", "cpu v=1");
    assert_eq!(dies, json!(["error executing plugin: worker exited by itself with exit code 3"]));
    let writes = "class Line:\n    def build(self): return 'not valid'\ndef process_writes(api, batches, args=None):\n    \
                  api.write(Line())\n    api.write_to_db('bad name!', Line())\n";
    let written = "line protocol parse error on write to db db: WriteLineError { original_line: \"not valid\", line_number: 1, \
                   error_message: \"No fields were provided\" }";
    let errors = wal("writes.py", writes, "cpu v=1");
    assert!(errors.as_array().unwrap().contains(&json!(written)), "{errors}");
    assert!(errors[0].as_str().unwrap().starts_with("database name bad name! is invalid: "), "{errors}");
    world.is_untouched();
}

#[test]
fn a_directory_is_tried_as_it_is_run() {
    let world = World::new();
    world.0.plugin("multi/__init__.py", "from .part import process_writes\n");
    world.0.plugin("multi/part.py", "def process_writes(api, batches, args=None):\n    api.info(len(batches))\n");
    let report = world.report("wal", &json!({ "filename": "multi", "database": DB, "input_lp": "a v=1\nb v=1" }));
    assert_eq!((&report["errors"], &report["log_lines"][1]), (&json!([]), &json!("INFO: 2")));
}

#[test]
fn a_plugin_for_schedules_is_tried_at_its_next_time() {
    let world = World::new();
    let body = json!({ "filename": "tried.py", "database": DB, "schedule": "0 0 0 1 1 * 2099", "input_arguments": { "a": "b" } });
    assert_eq!(
        world.report("schedule", &body),
        json!({
            "trigger_time": "2099-01-01T00:00:00Z",
            "log_lines": [
                "INFO: starting execution with scheduled time 2099-01-01 00:00:00 UTC",
                "INFO: at 2099-01-01 00:00:00 {'a': 'b'}",
                "INFO: [{'x': 1}]",
                "INFO: finished",
            ],
            "database_writes": { "db": ["o a=1i 1"] },
            "errors": [],
        })
    );
    let refused = |database: &str, schedule: &str, error: &str| {
        let body = json!({ "filename": "tried.py", "database": database, "schedule": schedule });
        let report = world.report("schedule", &body);
        assert_eq!(report["trigger_time"], Value::Null);
        assert!(report["errors"][0].as_str().unwrap().starts_with(error), "{report}");
    };
    refused(DB, "abc", "invalid cron syntax: abc\n^\n");
    refused(DB, "0 0 0 1 1 * 2001", "cron schedule never triggers: 0 0 0 1 1 * 2001");
    refused("nope", "* * * * * *", "couldn't find db");
    let default = world.report("schedule", &json!({ "filename": "tried.py", "database": DB }));
    assert_eq!(default["errors"], json!([]));
    world.is_untouched();
}

#[test]
fn a_plugin_for_requests_is_tried() {
    let world = World::new();
    let body = json!({
        "filename": "tried.py", "database": DB, "method": "put", "query_parameters": { "a": "1" },
        "headers": [["X-Test", "Abc"]], "body": "text", "input_arguments": { "k": "v" },
    });
    let report = world.report("request", &body);
    assert_eq!(
        report["response"],
        json!({
            "status": 201,
            "headers": [["content-type", "application/json"]],
            "body": r#"["PUT", {"a": "1"}, {"x-test": "Abc"}, "text", {"k": "v"}]"#,
        })
    );
    let how = |how: &str| {
        let body = json!({ "filename": "tried.py", "database": DB, "query_parameters": { "how": how } });
        world.report("request", &body)["response"].clone()
    };
    assert_eq!(how("stream")["body"], "one two");
    assert_eq!((&how("bytes")["body_base64"], how("bytes").get("body")), (&json!("/w=="), None));
    world.is_untouched();
}

#[test]
fn a_test_that_cannot_begin_is_refused() {
    let world = World::new();
    let test = |body: &Value| world.0.post_json("/api/v3/plugin_test/wal", body);
    let with = |file: &str| test(&json!({ "filename": file, "database": DB, "input_lp": "cpu v=1" }));
    with("nope.py").is(404, "Plugin error: reading plugin file: Plugin not found: nope.py");
    with("../x.py").contains(400, "Plugin error: Path traversal detected");
    let missing = test(&json!({ "filename": "tried.py", "database": DB }));
    missing.contains(400, "serde json error: missing field `input_lp` at line 1 column");
}
