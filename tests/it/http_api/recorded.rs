//! The requests of the `influxdb3` command line, as they go over the wire, one after another.

use serde_json::{Value, json};

use crate::world::{Answer, Request, TestRunner};

const TRIGGERS: &str = "/api/v3/configure/processing_engine_trigger";

/// What the command prints or relies on: the status, and the text of the answer.
#[track_caller]
fn answered(answer: &Answer, status: u16, text: &str) {
    assert_eq!((answer.status, answer.text().as_str()), (status, text));
}

fn json_request(method: &'static str, path: &str, body: &str) -> Request {
    Request::new(method, path)
        .header("accept", "*/*")
        .header("content-type", "application/json")
        .header("authorization", "Bearer apiv3_token")
        .body(body)
}

#[test]
fn the_life_of_a_trigger_by_the_influxdb3_command() {
    let runner = TestRunner::start();
    runner.plugin("count.py", "def process_writes(api, batches, args=None):\n    api.info(args)\n    api.write(LineBuilder('n').int64_field('n', len(batches)).time_ns(1))\n");
    let send = |method, path: &str, body: &str| runner.send(&json_request(method, path, body));
    // influxdb3 create database sensors
    answered(&send("POST", "/api/v3/configure/database", r#"{"db":"sensors"}"#), 200, "");
    answered(
        &send("POST", "/api/v3/configure/database", r#"{"db":"sensors"}"#),
        409,
        "attempted to create a resource that already exists",
    );
    // influxdb3 test wal_plugin --database sensors --lp … --input-arguments k=v count.py
    let test = r#"{"filename":"count.py","database":"sensors","input_lp":"cpu v=1","cache_name":null,"input_arguments":{"k":"v"}}"#;
    let tested: Value = send("POST", "/api/v3/plugin_test/wal", test).json();
    assert_eq!((&tested["database_writes"], &tested["errors"]), (&json!({ "sensors": ["n n=1i 1"] }), &json!([])));
    // influxdb3 create trigger --database sensors --path count.py --trigger-spec table:cpu --trigger-arguments k=v count
    let create = r#"{"db":"sensors","plugin_filename":"count.py","trigger_name":"count","trigger_settings":{"run_async":false,"error_behavior":"log"},"trigger_specification":"table:cpu","trigger_arguments":{"k":"v"},"disabled":false}"#;
    answered(&send("POST", TRIGGERS, create), 200, "");
    answered(&send("POST", TRIGGERS, create), 409, "attempted to create a resource that already exists");
    // influxdb3 write --database sensors 'cpu v=1'
    let write = "/api/v3/write_lp?db=sensors&precision=auto&accept_partial=true&no_sync=false";
    answered(
        &runner.send(&Request::new("POST", write).header("authorization", "Bearer apiv3_token").body("cpu v=1")),
        204,
        "",
    );
    crate::world::until("the trigger has run", || {
        // influxdb3 query --database sensors 'SELECT n FROM n'
        let query = send(
            "POST",
            "/api/v3/query_sql",
            r#"{"db":"sensors","q":"SELECT n FROM n","format":"json","params":null}"#,
        );
        if query.text() == r#"[{"n":1}]"# { Ok(()) } else { Err(query.text()) }
    });
    let pretty = runner.get("/api/v3/query_sql?db=sensors&q=SELECT+n+FROM+n&format=pretty");
    answered(&pretty, 200, "+---+\n| n |\n+---+\n| 1 |\n+---+");
    // influxdb3 show databases
    assert!(runner.get("/api/v3/configure/database?format=pretty&show_deleted=false").text().contains("iox::database"));
    // influxdb3 show system --database sensors table processing_engine_triggers
    let shown = r#"{"db":"sensors","q":"SELECT trigger_name, plugin_filename, trigger_specification, disabled, error_behavior FROM system.processing_engine_triggers","format":"jsonl"}"#;
    let row = r#"{"trigger_name":"count","plugin_filename":"count.py","trigger_specification":"{\"single_table_wal_write\":{\"table_name\":\"cpu\"}}","disabled":false,"error_behavior":"log"}"#;
    answered(&send("POST", "/api/v3/query_sql", shown), 200, &format!("{row}\n"));
    // influxdb3 show plugins
    let plugins = r#"{"db":"_internal","q":"SELECT plugin_name, file_name, size_bytes FROM system.plugin_files","format":"json"}"#;
    assert_eq!(send("POST", "/api/v3/query_sql", plugins).json()[0]["plugin_name"], "count");
    // influxdb3 disable|enable|delete trigger --database sensors count
    let of = |path: &str| format!("{path}?db=sensors&trigger_name=count");
    answered(&send("POST", &of(&format!("{TRIGGERS}/disable")), ""), 200, "");
    answered(&send("POST", &of(&format!("{TRIGGERS}/enable")), ""), 200, "");
    let running = "Cannot delete running plugin count. Disable it first or use --force.";
    answered(&send("DELETE", &format!("{}&force=false", of(TRIGGERS)), ""), 409, running);
    answered(&send("DELETE", TRIGGERS, r#"{"db":"sensors","trigger_name":"count","force":true}"#), 200, "");
    answered(
        &send("DELETE", &format!("{}&force=true", of(TRIGGERS)), ""),
        404,
        "the requested resource was not found: count",
    );
}
