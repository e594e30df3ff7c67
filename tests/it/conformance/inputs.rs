//! What the three functions are called with.

use serde_json::json;

use super::{Request, Trigger};
use crate::world::{TestRunner, until};

/// Lines, and each row as a plugin logs it: the values, and their types.
const WRITES: &[(&str, &[&str])] = &[
    (
        "m,tag1=a,tag2=b f=1.5,i=3i,u=7u,s=\"str \\\"q\\\" é\",b=t 1700000000000000000\nm,tag1=a f=2 1700000000000000001\nm i=4i 1700000000000000002\nm,tag2=z s=\"\" 1700000000000000003",
        &[
            "INFO m {'tag1': 'a', 'tag2': 'b', 'f': 1.5, 'i': 3, 'u': 7, 's': 'str \"q\" é', 'b': True, 'time': 1700000000000000000} {'tag1': 'str', 'tag2': 'str', 'f': 'float', 'i': 'int', 'u': 'int', 's': 'str', 'b': 'bool', 'time': 'int'}",
            "INFO m {'tag1': 'a', 'f': 2.0, 'time': 1700000000000000001} {'tag1': 'str', 'f': 'float', 'time': 'int'}",
            "INFO m {'i': 4, 'time': 1700000000000000002} {'i': 'int', 'time': 'int'}",
            "INFO m {'tag2': 'z', 's': '', 'time': 1700000000000000003} {'tag2': 'str', 's': 'str', 'time': 'int'}",
        ],
    ),
    (
        "n f=1e300,i=9223372036854775807i,u=18446744073709551615u,neg=-9223372036854775808i 1700000000000000000\nn f=-0.0 -5",
        &[
            "INFO n {'f': 1e+300, 'i': 9223372036854775807, 'u': 18446744073709551615, 'neg': -9223372036854775808, 'time': 1700000000000000000} {'f': 'float', 'i': 'int', 'u': 'int', 'neg': 'int', 'time': 'int'}",
            "INFO n {'f': -0.0, 'time': -5} {'f': 'float', 'time': 'int'}",
        ],
    ),
    // Rows with the same tags and time are not merged.
    (
        "dup,t=x v=1 1700000000000000000\ndup,t=x v=2 1700000000000000000",
        &[
            "INFO dup {'t': 'x', 'v': 1.0, 'time': 1700000000000000000} {'t': 'str', 'v': 'float', 'time': 'int'}",
            "INFO dup {'t': 'x', 'v': 2.0, 'time': 1700000000000000000} {'t': 'str', 'v': 'float', 'time': 'int'}",
        ],
    ),
    // A batch for each table, in the order of their first rows.
    (
        "a v=1 1700000000000000000\nb v=2 1700000000000000000\na v=3 1700003600000000000\na v=0 1600000000000000000",
        &[
            "INFO a {'v': 1.0, 'time': 1700000000000000000} {'v': 'float', 'time': 'int'}",
            "INFO a {'v': 3.0, 'time': 1700003600000000000} {'v': 'float', 'time': 'int'}",
            "INFO a {'v': 0.0, 'time': 1600000000000000000} {'v': 'float', 'time': 'int'}",
            "INFO b {'v': 2.0, 'time': 1700000000000000000} {'v': 'float', 'time': 'int'}",
        ],
    ),
];

#[test]
fn rows_of_a_data_write() {
    let runner = TestRunner::start();
    runner.fixture("rows.py");
    runner.create(&Trigger::new("rows", "rows.py", "all_tables"));
    let mut expected: Vec<&str> = Vec::new();
    for (lines, rows) in WRITES {
        runner.write(lines);
        expected.extend(*rows);
        let seen = until("the rows are logged", || {
            let mut lines = runner.logs("rows");
            lines.retain(|line| !line.contains(" execution "));
            if lines.len() >= expected.len() { Ok(lines) } else { Err(format!("{lines:#?}")) }
        });
        assert_eq!(seen, expected);
    }
}

#[test]
fn valid_lines_of_a_partial_write_arrive_and_lines_without_a_time_get_the_servers() {
    let runner = TestRunner::start();
    runner.fixture("rows.py");
    runner.create(&Trigger::new("rows", "rows.py", "table:ok"));
    let answer = runner.send(&Request::new("POST", "/api/v3/write_lp?db=db").body("ok v=1 1\nbad line here\nok v=2"));
    answer.contains(400, "partial write of line protocol occurred");
    runner.until_logged("rows", "INFO ok {'v': 1.0, 'time': 1000000000}");
    let line = runner.until_logged("rows", "INFO ok {'v': 2.0, 'time': ");
    let nanoseconds: u64 = line.split_once("'time': ").unwrap().1.split_once('}').unwrap().0.parse().unwrap();
    assert!(nanoseconds > 1_700_000_000_000_000_000, "{line}");
}

#[test]
fn request_parameters_headers_body_and_arguments() {
    let runner = TestRunner::start();
    runner.fixture("echo.py");
    runner.create(&Trigger::new("echo", "echo.py", "request:echo").arguments(json!({"k": "v"})));
    runner.create(&Trigger::new("bare", "echo.py", "request:bare"));
    let request = Request::new("GET", "/api/v3/engine/echo?a=1&b=x%20y&a=2&empty=&flag")
        .header("X-Test", "Abc")
        .header("Authorization", "Bearer secret");
    let said = runner.send(&request).json();
    assert_eq!(said["q"], json!({"empty": "", "flag": "", "b": "x y", "a": "2"}), "the last of repeated names");
    assert_eq!(said["h"]["x-test"], "Abc", "names in lower case");
    assert_eq!(said["h"].get("authorization"), None, "the server's own credentials are not the plugin's");
    // Dictionaries in InfluxDB 3; here they are too, and keep repeated names.
    assert_eq!(said["types"], json!(["MultiDict", "RequestHeaders", "bytes", "dict", "PyPluginCallApi"]));
    assert_eq!((&said["body"], &said["args"]), (&json!("b''"), &json!({"k": "v"})));
    let said = runner.send(&Request::new("POST", "/api/v3/engine/bare").body(&b"\x00\x01abc"[..])).json();
    assert_eq!(said["body"], "b'\\x00\\x01abc'");
    assert_eq!(said["types"], json!(["MultiDict", "RequestHeaders", "bytes", "NoneType", "PyPluginCallApi"]));
}

#[test]
fn call_time_is_a_naive_time_in_utc_of_whole_seconds_and_arguments_are_new_in_each_call() {
    let runner = TestRunner::start();
    let code = "\
def process_scheduled_call(influxdb3_local, call_time, args=None):
    influxdb3_local.info(type(call_time).__name__, call_time.tzinfo, call_time.microsecond, call_time.timestamp() % 1, call_time.astimezone().utcoffset(), args)
    args['k'] = 'changed'
";
    runner.plugin("tick.py", code);
    runner.create(&Trigger::new("tick", "tick.py", "every:300ms").arguments(json!({"k": "v"})));
    let lines = until("three ticks", || {
        let mut lines = runner.logs("tick");
        lines.retain(|line| !line.contains(" execution "));
        if lines.len() >= 3 { Ok(lines) } else { Err(format!("{lines:#?}")) }
    });
    for line in lines {
        assert_eq!(line, "INFO datetime None 0 0.0 0:00:00 {'k': 'v'}");
    }
}
