//! What a request plugin gets, and what becomes of what it returns.

use serde_json::json;

use super::gzip;
use crate::world::{Answer, Request, TestRunner, Trigger};

fn world() -> TestRunner {
    let runner = TestRunner::start();
    runner.fixture("returns.py");
    runner.create(&Trigger::new("returns", "returns.py", "request:returns"));
    runner
}

#[test]
fn each_returned_value_becomes_the_response_that_plugins_rely_on() {
    let runner = world();
    let returned = |what: &str| runner.engine(&format!("returns?what={what}"));
    let check = |what: &str, status: u16, content_type: &str, text: &str| {
        let answer = returned(what);
        let seen = (answer.status, answer.header("content-type").to_owned(), answer.text());
        assert_eq!(seen, (status, content_type.to_owned(), text.to_owned()), "for {what}");
    };
    check("text", 200, "text/html", "hello");
    check("dict", 200, "application/json", r#"{"a": 1}"#);
    check("list", 200, "application/json", "[1, 2]");
    check("text_and_status", 404, "text/html", "nope");
    check("dict_status_headers", 201, "application/json", r#"{"a": 1}"#);
    assert_eq!(returned("dict_status_headers").header("x-mine"), "yes");
    check("content_type", 200, "text/csv", "a,b");
    check("none_and_status", 200, "text/plain", "None");
    check("flask", 202, "application/xml", "<x/>");
    check("bytes", 200, "application/octet-stream", "abc");
    check("bad_status", 500, "text/html", "x");
    let unsupported = r#"{"error":"Unsupported return type from Python function"}"#;
    for what in ["none", "integer", "true"] {
        check(what, 500, "application/json", unsupported);
    }
    let no_dictionary = r#"{"error":"expected a dictionary in header item"}"#;
    check("headers_no_dict", 500, "application/json", no_dictionary);
    returned("header_integer").contains(500, "'int' object is not an instance of 'str'");
    returned("header_newline").contains(500, "line break");
    returned("unserialisable").contains(500, "TypeError: Object of type object is not JSON serializable");
}

#[test]
fn a_plugin_sees_parameters_headers_and_body() {
    let runner = world();
    let request = Request::new("POST", "/api/v3/engine/returns?what=echo&a=1&a=2&b=%C3%A9%20x")
        .header("X-Custom", "Value")
        .header("Authorization", "Bearer secret")
        .header("Content-Encoding", "gzip")
        .body(gzip("bödy".as_bytes()));
    let seen: Answer = runner.send(&request);
    assert_eq!(seen.status, 200, "{}", seen.text());
    assert_eq!(seen.json()["query"], json!({ "what": "echo", "a": "2", "b": "é x" }));
    assert_eq!(seen.json()["headers"]["x-custom"], "Value");
    assert_eq!(seen.json()["headers"].get("authorization"), None);
    assert_eq!(seen.json()["body"], "bödy");
    assert_eq!(seen.json()["args"], json!(null));
}

#[test]
fn repeated_headers_are_kept_both_ways() {
    let runner = TestRunner::start();
    runner.plugin(
        "repeat.py",
        "def process_request(api, query, headers, body, args=None):\n    \
             seen = [headers.method, headers['x-many'], headers.get_all('x-many'), query['a'], query.get_all('a')]\n    \
             return seen, 200, {'Set-Cookie': ['a=1', 'b=2']}\n",
    );
    runner.create(&Trigger::new("repeat", "repeat.py", "request:repeat"));
    let request = Request::new("PUT", "/api/v3/engine/repeat?a=1&a=2").header("X-Many", "one").header("X-Many", "two");
    let answer = runner.send(&request);
    answer.is(200, r#"["PUT", "two", ["one", "two"], "2", ["1", "2"]]"#);
    let cookies: Vec<_> = answer.header_lines.iter().filter(|(name, _)| name == "set-cookie").collect();
    assert_eq!(cookies.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["a=1", "b=2"]);
}

#[test]
fn a_path_matches_exactly_and_for_every_method() {
    let runner = world();
    runner.engine("returns/").is(404, r#"{"error":"not found"}"#);
    runner.engine("returns/more").is(404, r#"{"error":"not found"}"#);
    runner.engine("Returns").is(404, r#"{"error":"not found"}"#);
    runner.send(&Request::new("POST", "/api/v3/engine/returns?what=text")).is(200, "hello");
    for method in ["PUT", "DELETE", "PATCH"] {
        runner.send(&Request::new(method, "/api/v3/engine/returns?what=text")).is(200, "hello");
    }
    runner.plugin("lead.py", "def process_request(api, query, headers, body, args=None):\n    return 'lead'\n");
    runner.create(&Trigger::new("lead", "lead.py", "request:/lead"));
    runner.get("/api/v3/engine//lead").is(200, "lead");
    runner.get("/api/v3/engine/lead").is(200, "lead");
}

#[test]
fn faults_of_a_request_plugin_are_told_to_the_caller() {
    let runner = world();
    let returned = |what: &str| runner.engine(&format!("returns?what={what}"));
    returned("raises").raised("ValueError: boom");
    returned("text").is(200, "hello");
    let failing = |name: &str, code: &str, text: &str| {
        runner.plugin(&format!("{name}.py"), code);
        runner.create(&Trigger::new(name, &format!("{name}.py"), &format!("request:{name}")).unchecked());
        runner.engine(name).contains(500, text);
    };
    failing("syntax", "def (", "SyntaxError: invalid syntax");
    failing("import", "raise ValueError('at import')\ndef process_request(*all): pass\n", "ValueError: at import");
    let missing = "the process_request function is not present in the plugin. Should be defined as: \
                   process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None)";
    failing("missing", "x = 1\n", missing);
    let four = "def process_request(a, b, c, d):\n    return 'x'\n";
    failing("four", four, "process_request() takes 4 positional arguments but 5 were given");
    failing("coroutine", "async def process_request(a, b, c, d, e):\n    return 'x'\n", "async def");
}
