//! `write`, `write_to_db`, `write_sync` and `write_sync_to_db`.

use super::{DB, Request, Row, Trigger, check, differs, gives, raises};
use crate::world::TestRunner;

const EXCEPTION: &str = "builtins.Exception";

const ROWS: &[Row] = &[
    gives(r#"r = influxdb3_local.write(LineBuilder("out").tag("t","v").int64_field("i",2).time_ns(5))"#, "None"),
    gives(r#"r = influxdb3_local.write_to_db("autodb",LineBuilder("out2").int64_field("i",2).time_ns(1))"#, "None"),
    gives(r#"r = influxdb3_local.write_to_db("bad name!",LineBuilder("out2").int64_field("i",2))"#, "None"),
    raises(r#"influxdb3_local.write("out3 f=1")"#, "builtins.AttributeError", "'str' object has no attribute 'build'"),
    gives("class B:\n    def build(self): return \"duck f=1 1\\nduck f=2 2\"\nr = influxdb3_local.write(B())", "None"),
    gives("class B:\n    def build(self): return \"not valid\"\nr = influxdb3_local.write(B())", "None"),
    raises(
        "class B:\n    def build(self): return \"not valid\"\ninfluxdb3_local.write_sync(B(), False)",
        EXCEPTION,
        "error writing line protocol to db: Cannot write: line protocol parse failed: No fields were provided",
    ),
    gives(r#"r = influxdb3_local.write_sync(LineBuilder("ws").int64_field("i",2), True)"#, "None"),
    gives(r#"r = influxdb3_local.write_sync(LineBuilder("ws").int64_field("i",3), no_sync=False)"#, "None"),
    raises(
        r#"influxdb3_local.write_sync(LineBuilder("ws").int64_field("i",3))"#,
        "builtins.TypeError",
        "PyPluginCallApi.write_sync() missing 1 required positional argument: 'no_sync'",
    ),
    raises(
        r#"influxdb3_local.write_sync(LineBuilder("ws").string_field("i","x"), True)"#,
        EXCEPTION,
        "error writing line protocol to db: Cannot write: line protocol parse failed: invalid column type for column 'i', expected iox::column_type::field::integer, got iox::column_type::field::string",
    ),
    raises(
        r#"influxdb3_local.write_sync_to_db("bad name!",LineBuilder("ws").int64_field("i",3), True)"#,
        EXCEPTION,
        "error writing line protocol to bad name!: invalid database name: database name 'bad name!' contains invalid character, character number 3 is not allowed",
    ),
    raises(
        r#"influxdb3_local.write_sync_to_db("_internal",LineBuilder("ws").int64_field("i",3), True)"#,
        EXCEPTION,
        "error writing line protocol to _internal: writing to the _internal database is not allowed",
    ),
    gives(
        r#"influxdb3_local.write_sync(LineBuilder("rw").int64_field("i",9).time_ns(1), False); r = influxdb3_local.query("select * from rw")"#,
        "[{'i': 9, 'time': 1}]",
    ),
    raises(
        r#"influxdb3_local.write(LineBuilder("rw2").int64_field("i",9).time_ns(1)); influxdb3_local.query("select * from rw2")"#,
        "influxdb3_py_api.QueryError",
        "error: error while planning query: Error during planning: table 'public.iox.rw2' not found executing query on db: select * from rw2",
    ),
    raises(
        r#"influxdb3_local.write_to_db(1, LineBuilder("x").int64_field("a", 1))"#,
        "builtins.TypeError",
        "argument 'db_name': 'int' object is not an instance of 'str'",
    ),
    raises(
        r#"influxdb3_local.write_sync(LineBuilder("x").int64_field("a", 1), "yes")"#,
        "builtins.TypeError",
        "argument 'no_sync': 'str' object is not an instance of 'bool'",
    ),
    raises(
        r#"influxdb3_local.write(LineBuilder("x"))"#,
        "__main__.InvalidLineError",
        "At least one field is required: x",
    ),
    differs(
        gives(r#"r = influxdb3_local.write_to_db("_internal",LineBuilder("x").int64_field("i",2))"#, "None"),
        "the lines are refused later in both, and only the log tells",
    ),
];

#[test]
fn writes() {
    let runner = TestRunner::start();
    check(&runner, ROWS);
    let rows = runner.query("select * from duck order by time");
    assert_eq!(rows.len(), 2, "a builder may build several lines");
    assert_eq!(runner.query("select t, i from out")[0], serde_json::json!({"t": "v", "i": 2}));
    assert_eq!(runner.query_in("autodb", "select i from out2")[0]["i"], 2);
    assert_eq!(runner.count("rw2"), 1, "what is written before an exception that the plugin handles is kept");
    for part in [
        "ERROR error writing back lines to db: Cannot write: line protocol parse failed: No fields were provided",
        "ERROR error writing back lines to bad name!: invalid database name: database name 'bad name!' contains invalid character, character number 3 is not allowed",
        "ERROR error writing back lines to _internal: writing to the _internal database is not allowed",
    ] {
        runner.until_logged("eval", part);
    }
}

#[test]
fn writes_of_a_function_that_raises_are_dropped_and_synchronous_ones_stay() {
    let runner = TestRunner::start();
    let code = "\
def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    influxdb3_local.write(LineBuilder('later').int64_field('i', 1))
    influxdb3_local.write_sync(LineBuilder('now').int64_field('i', 1), no_sync=False)
    raise ValueError('boom')
";
    runner.plugin("fails.py", code);
    runner.create(&Trigger::new("fails", "fails.py", "request:fails"));
    runner.engine("fails").raised("ValueError: boom");
    assert_eq!((runner.count("later"), runner.count("now")), (0, 1));
}

#[test]
fn write_sync_inside_a_data_write_trigger_does_not_wait_for_that_trigger() {
    let runner = TestRunner::start();
    let code = "\
def process_writes(influxdb3_local, table_batches, args=None):
    for batch in table_batches:
        if batch['table_name'] != 'm':
            continue
        for no_sync in (False, True):
            line = LineBuilder('copied').tag('no_sync', str(no_sync)).int64_field('rows', len(batch['rows'])).time_ns(batch['rows'][0]['time'])
            influxdb3_local.write_sync(line, no_sync)
        assert influxdb3_local.query('select count(*) n from copied')[0]['n'] >= 1
        influxdb3_local.write(LineBuilder('done').int64_field('i', 1))
";
    runner.plugin("copies.py", code);
    // Its own writes come back to it.
    runner.create(&Trigger::new("copies", "copies.py", "all_tables"));
    for time in 1..=3 {
        runner.write(&format!("m v=1 {time}"));
        runner.until_count("done", time);
    }
    assert_eq!(runner.count("copied"), 6);
}

#[test]
fn a_plugin_may_call_its_own_server_and_wait_for_another_trigger() {
    let runner = TestRunner::start();
    let code = "\
import json, urllib.request
def post(args, path, body):
    request = urllib.request.Request(f\"http://{args['server']}{path}\", body, method='POST')
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode()
def process_writes(influxdb3_local, table_batches, args=None):
    for batch in table_batches:
        if batch['table_name'] == 'm':
            influxdb3_local.info('answer:', post(args, '/api/v3/engine/inner', b'x'))
            post(args, '/api/v3/write_lp?db=db', b'from_inside i=1i')
            influxdb3_local.info('rows:', influxdb3_local.query('select i from from_inside'))
";
    runner.plugin("outer.py", code);
    runner.plugin("inner.py", "def process_request(influxdb3_local, q, h, body, args=None):\n    return influxdb3_local.query('select count(*) n from m')[0]\n");
    runner.create(&Trigger::new("inner", "inner.py", "request:inner"));
    let server = runner.client().address().to_string();
    let outer = Trigger::new("outer", "outer.py", "all_tables").arguments(serde_json::json!({ "server": server }));
    runner.create(&outer.setting("allow_net", serde_json::json!([server])));
    runner.write("m v=1 1");
    runner.until_logged("outer", "INFO answer: {\"n\": 1}");
    runner.until_logged("outer", "INFO rows: [{'i': 1}]");
}

#[test]
fn a_request_plugin_that_writes_does_not_wait_for_a_flush_of_a_second() {
    let runner = TestRunner::start();
    runner.plugin("writes.py", "def process_request(api, q, h, body, args=None):\n    api.write(LineBuilder('w').int64_field('i', 1))\n    return ''\n");
    runner.create(&Trigger::new("writes", "writes.py", "request:writes"));
    runner.engine("writes").is(200, "");
    let begun = std::time::Instant::now();
    for _ in 0..5 {
        runner.send(&Request::new("POST", "/api/v3/engine/writes")).is(200, "");
    }
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(3),
        "five took {:?}; the incumbent takes five seconds",
        begun.elapsed()
    );
    assert_eq!(runner.query_in(DB, "select count(*) n from w")[0]["n"], 6, "what was answered was written");
}
