//! `POST /api/v3/configure/processing_engine_trigger`: what is accepted, and the words of what is not.

use serde_json::{Value, json};

use crate::world::{Request, TestRunner, Trigger};

const PATH: &str = "/api/v3/configure/processing_engine_trigger";
const NOOP: &str = "\
def process_writes(api, batches, args=None):
    pass
process_scheduled_call = process_request = process_writes
";

fn world() -> TestRunner {
    let runner = TestRunner::start();
    runner.plugin("noop.py", NOOP);
    runner
}

#[test]
fn every_form_of_a_spec_is_accepted() {
    let runner = world();
    let specs = [
        "table:cpu",
        "all_tables",
        "every:10s",
        "every:500ms",
        "every:1h 30m",
        "cron:0 * * * * *",
        "cron:0 0 0 1 1 * 2099",
        "cron:*/5 * * * *",
        "request:hello",
        "request:a/b/c",
        "request:/lead",
        "path:old",
        "  table:blanks  ",
    ];
    for (number, spec) in specs.into_iter().enumerate() {
        let answer = runner.try_create(&Trigger::new(&format!("t{number}"), "noop.py", spec).disabled());
        answer.is(200, "");
        assert_eq!(answer.header("content-type"), "", "{spec}");
    }
    let five_fields = runner.trigger("t7");
    assert_eq!(five_fields["trigger_specification"], r#"{"schedule":{"schedule":"0 */5 * * * *"}}"#);
    assert_eq!(runner.trigger("t11")["trigger_specification"], r#"{"request_path":{"path":"old"}}"#);
}

#[test]
fn every_bad_spec_is_refused_with_the_reason() {
    let runner = world();
    let refused = |spec: &str, reason: &str| {
        let answer = runner.try_create(&Trigger::new("t", "noop.py", spec));
        answer.is(400, &format!("failed to parse trigger from {}{reason}", spec.trim()));
    };
    let forms = ": expect one of the following forms: 'table:<TABLE_NAME>', 'all_tables', 'cron:<CRON_EXPRESSION>', \
                 'every:<DURATION>', or 'request:<PATH>'";
    for spec in ["foo", "", "ALL_TABLES", "Table:cpu", "all_tables:x", "every 5s"] {
        refused(spec, forms);
    }
    for spec in ["table:", "table:  "] {
        refused(spec, ": table name is empty");
    }
    for spec in ["every:", "every:abc", "every:-5s", "every:5"] {
        refused(spec, ": couldn't parse to duration");
    }
    refused("every:2y", ": don't support every schedules of over 1 year");
    // These two end an InfluxDB 3 for good.
    refused("every:0s", ": the period must be at least 1ms");
    refused("every:500us", ": the period must be at least 1ms");
    refused("request:", ": the path is empty");
    refused("request:/", ": the path is empty");
    for spec in ["cron:", "cron:a b c", "cron:61 * * * * *", "cron:* * *", "cron:* * * * * * * *"] {
        let answer = runner.try_create(&Trigger::new("t", "noop.py", spec));
        answer.contains(400, &format!("failed to parse trigger from {spec}: "));
    }
    assert_eq!(runner.query("SELECT * FROM system.processing_engine_triggers"), Vec::<Value>::new());
}

/// A correct body with `field` taken away or replaced.
fn body(field: &str, value: Option<Value>) -> Value {
    let mut body = Trigger::new("t", "noop.py", "all_tables").json();
    match value {
        Some(value) => body[field] = value,
        None => drop(body.as_object_mut().unwrap().remove(field)),
    }
    body
}

#[test]
fn a_body_that_is_no_trigger_is_refused_with_the_field() {
    let runner = world();
    for field in ["db", "plugin_filename", "trigger_name", "trigger_settings", "trigger_specification", "disabled"] {
        let answer = runner.post_json(PATH, &body(field, None));
        answer.contains(400, &format!("serde json error: missing field `{field}` at line 1 column "));
    }
    let check = |field: &str, value: Value, text: &str| {
        runner.post_json(PATH, &body(field, Some(value))).contains(400, &format!("serde json error: {text}"));
    };
    let unknown = "unknown variant `ignore`, expected one of `log`, `retry`, `disable` at line 1 column ";
    check("trigger_settings", json!({ "run_async": false, "error_behavior": "ignore" }), unknown);
    check("trigger_settings", json!({ "error_behavior": "log" }), "missing field `run_async`");
    check("trigger_arguments", json!({ "n": 1 }), "invalid type: integer `1`, expected a string at line 1 column ");
    check("disabled", json!("no"), "invalid type: string \"no\", expected a boolean");
    let timeout = |text: &str| json!({ "run_async": false, "error_behavior": "log", "timeout": text });
    check("trigger_settings", timeout("soon"), "timeout `soon`: ");
    check("trigger_settings", timeout("0s"), "timeout `0s` is shorter than 1ms");
    runner
        .send(&Request::new("POST", PATH).header("content-type", "application/json").body("{"))
        .contains(400, "serde json error: EOF while parsing");
    // What nobody asked for is accepted, and the documentation's spelling too.
    let mut generous = body("more", Some(json!([1, 2])));
    generous["trigger_settings"]["error_behavior"] = json!("Log");
    runner.post_json(PATH, &generous).is(200, "");
}

#[test]
fn a_body_that_does_not_say_that_it_is_json_is_refused() {
    let runner = world();
    let text = Trigger::new("t", "noop.py", "all_tables").json().to_string();
    let refused = "unacceptable content-type, expected: application/json";
    runner.send(&Request::new("POST", PATH).body(text.clone())).is(415, refused);
    runner.send(&Request::new("POST", PATH).header("content-type", "text/plain").body(text.clone())).is(415, refused);
    let with_charset = Request::new("POST", PATH).header("content-type", "application/json; charset=utf-8").body(text);
    runner.send(&with_charset).is(200, "");
}

#[test]
fn names_and_request_paths_are_unique_in_a_database() {
    let runner = world();
    runner.create_database("other");
    let exists = "attempted to create a resource that already exists";
    runner.create(&Trigger::new("t", "noop.py", "all_tables"));
    runner.try_create(&Trigger::new("t", "noop.py", "table:cpu")).is(409, exists);
    runner.create(&Trigger::new("t", "noop.py", "all_tables").in_database("other"));
    runner
        .try_create(&Trigger::new("t", "noop.py", "all_tables").in_database("nodb"))
        .is(404, "Database not found nodb");

    runner.create(&Trigger::new("r", "noop.py", "request:hello"));
    let taken = "request path 'hello' is taken by trigger 'r'; in a database a path belongs to one trigger";
    runner.try_create(&Trigger::new("r2", "noop.py", "request:hello")).is(409, taken);
    runner.create(&Trigger::new("r2", "noop.py", "request:/hello").in_database("other"));
    let taken = taken.replace("'r'", "'r2'");
    runner.try_create(&Trigger::new("r3", "noop.py", "request:hello").in_database("other")).is(409, &taken);

    for name in ["with space", "with/slash", "é", "quote'"] {
        runner.create(&Trigger::new(name, "noop.py", "all_tables").disabled());
    }
    let unprintable = "trigger name must not be empty and must not contain control characters";
    runner.try_create(&Trigger::new("", "noop.py", "all_tables")).is(400, unprintable);
    runner.try_create(&Trigger::new("a\nb", "noop.py", "all_tables")).is(400, unprintable);
    let long = runner.try_create(&Trigger::new(&"n".repeat(256), "noop.py", "all_tables"));
    long.is(400, "trigger name has 256 bytes; at most 255 are allowed");
}

#[test]
fn only_files_of_the_plugin_directory_are_plugins() {
    let runner = world();
    runner.plugin("sub/nested.py", NOOP);
    runner.plugin("package/__init__.py", NOOP);
    runner.plugin("sub/broken.py", "def (");
    std::fs::create_dir(runner.plugin_dir().join("bare")).unwrap();
    std::fs::write(runner.root().join("secret.py"), NOOP).unwrap();
    std::os::unix::fs::symlink(runner.root().join("secret.py"), runner.plugin_dir().join("link.py")).unwrap();
    let inside = runner.plugin_dir().join("noop.py").display().to_string();
    let refused = |file: &str, status: u16, text: &str| {
        runner.try_create(&Trigger::new("t", file, "all_tables")).is(status, &format!("Plugin error: {text}"));
    };
    refused("nope.py", 404, "reading plugin file: Plugin not found: nope.py");
    for file in ["../secret.py", "sub/../noop.py", "/etc/hostname", "link.py", inside.as_str()] {
        let text = format!(
            "Path traversal detected: plugin filename '{file}' attempts to access files outside the plugin directory"
        );
        refused(file, 400, &text);
    }
    for file in ["bare", ""] {
        let text = format!("reading plugin file: Multi-file plugin directory must contain __init__.py: {file}");
        refused(file, 400, &text);
    }
    for file in ["noop.py", "sub/nested.py", "package", "package/"] {
        runner.create(&Trigger::new(&format!("of {file}"), file, "all_tables"));
    }
    runner.create(&Trigger::new("broken", "sub/broken.py", "all_tables").unchecked());
}

#[test]
fn a_path_is_answered_by_the_first_database_and_by_each_where_it_is_named() {
    let runner = TestRunner::start();
    runner.create_database("other");
    let code =
        "def process_request(api, query, headers, body, args=None):\n    return args['who'] + query.get('q', '')\n";
    runner.plugin("who.py", code);
    let trigger = |who: &str| Trigger::new(who, "who.py", "request:a/who").arguments(json!({ "who": who }));
    runner.create(&trigger("first"));
    runner.create(&trigger("second").in_database("other"));
    let named = |database: &str| runner.get(&format!("/api/v3/databases/{database}/engine/a/who?q=1"));
    let check = || {
        runner.engine("a/who").is(200, "first");
        named(crate::world::DB).is(200, "first1");
        named("other").is(200, "second1");
        named("nodb").is(404, r#"{"error":"not found"}"#);
    };
    check();
    // A trigger that is off leaves its place to nobody.
    runner.switch("disable", "first").is(200, "");
    runner.engine("a/who").is(404, r#"{"error":"not found"}"#);
    named("other").is(200, "second1");
    runner.switch("enable", "first").is(200, "");
    check();
}
