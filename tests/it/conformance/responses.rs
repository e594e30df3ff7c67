//! What becomes of what `process_request` returns or raises, as a client sees it.

use super::{Request, Trigger};
use crate::world::TestRunner;

/// One row: the body of the function, and status, content type and body of the response. The content type of an error is
/// ours; InfluxDB 3 sends none.
struct Row(&'static str, u16, &'static str, &'static str);

/// The same as a row, where InfluxDB 3 does something else; `_incumbent` says what, and why not here.
const fn differs(row: Row, _incumbent: &'static str) -> Row {
    row
}

const HTML: &str = "text/html";
const JSON: &str = "application/json";
const PLAIN: &str = "text/plain";
const BYTES: &str = "application/octet-stream";

const ROWS: &[Row] = &[
    Row("return 'hello'", 200, HTML, "hello"),
    Row("return {'a': [1, 2.5, None, True, 's']}", 200, JSON, r#"{"a": [1, 2.5, null, true, "s"]}"#),
    Row("return [1, 2, 3]", 200, JSON, "[1, 2, 3]"),
    Row("return {'a': float('nan')}", 200, JSON, r#"{"a": NaN}"#),
    Row("return 'é✓'", 200, HTML, "é✓"),
    Row("return None", 500, JSON, r#"{"error":"Unsupported return type from Python function"}"#),
    Row("return 42", 500, JSON, r#"{"error":"Unsupported return type from Python function"}"#),
    Row("return True", 500, JSON, r#"{"error":"Unsupported return type from Python function"}"#),
    Row("return 1.5", 500, JSON, r#"{"error":"Unsupported return type from Python function"}"#),
    differs(Row("return b'abc'", 200, BYTES, "abc"), "200 with an empty body: the bytes are lost"),
    Row("return 'nope', 404", 404, HTML, "nope"),
    Row("return 'x', {'X-A': '1'}", 200, HTML, "x"),
    Row("return {'a': 1}, 201, {'X-A': '1', 'Content-Type': 'text/weird'}", 201, "text/weird", r#"{"a": 1}"#),
    Row("return {'e': 1}, 418", 418, JSON, r#"{"e": 1}"#),
    Row("return ('only',)", 200, HTML, "only"),
    Row("return ()", 200, HTML, ""),
    Row("return ('a', 200, {}, 'x')", 200, HTML, "ax"),
    Row("return 'a', 200, 'notadict'", 500, JSON, r#"{"error":"expected a dictionary in header item"}"#),
    Row("return 'a', '500'", 200, HTML, "a"),
    Row("return 'a', 99999", 500, HTML, "a"),
    Row("return 'a', -1", 500, HTML, "a"),
    Row("return 'a', 99", 500, HTML, "a"),
    Row("return None, 200", 200, PLAIN, "None"),
    Row("return 5, 200", 200, PLAIN, "5"),
    differs(Row("return b'xyz', 200", 200, BYTES, "xyz"), "text/plain with the body b'xyz'"),
    Row("return 'a', 200, {'X-A': 1}", 500, JSON, r#"{"error":"TypeError: 'int' object is not an instance of 'str'"}"#),
    differs(
        Row(
            "return 'a', 200, {'X-A': 'a\\nb'}",
            500,
            JSON,
            r#"{"error":"the value of header 'X-A' contains a line break or another control character"}"#,
        ),
        "200 with an empty header: nobody learns of the mistake",
    ),
    differs(
        Row("return 'a', 200, {'X A': '1'}", 500, JSON, r#"{"error":"invalid header name 'X A'"}"#),
        "500 `request handler for trigger down`: its handler has died",
    ),
    differs(Row("return 'a', 200, [('X-A', '1'), ('X-A', '2')]", 200, HTML, "a"), "500: headers cannot repeat there"),
    differs(Row("return 'a', 200, {'X-A': ['1', '2']}", 200, HTML, "a"), "500: headers cannot repeat there"),
    Row("return '', 204", 204, HTML, ""),
    Row("def g():\n    yield 'a'\n    yield b'b'\n    yield 'c'\nreturn g()", 200, HTML, "abc"),
    differs(Row("return iter(['a', 'b']), 201", 201, HTML, "ab"), "text/plain with the iterator's repr"),
    Row("return {'x'}", 200, HTML, "x"),
    Row(
        "return {'a': object()}",
        500,
        JSON,
        r#"{"error":"TypeError: Object of type object is not JSON serializable"}"#,
    ),
    differs(Row("return 'a\\ud800b'", 200, HTML, "a?b"), "200 with an empty body"),
    Row(
        "class R:\n    status_code = 202\n    headers = {'X-F': '1'}\n    def __flask_response__(self): return True\n    \
         def get_data(self): return 'flasky'\nreturn R()",
        202,
        "",
        "flasky",
    ),
    Row("raise ValueError('boom')", 500, JSON, r#"{"error":"Python function call failed: ValueError: boom"}"#),
    Row("raise RuntimeError()", 500, JSON, r#"{"error":"Python function call failed: RuntimeError: "}"#),
    Row("import sys; sys.exit(3)", 500, JSON, r#"{"error":"Python function call failed: SystemExit: 3"}"#),
    Row("raise KeyboardInterrupt()", 500, JSON, r#"{"error":"Python function call failed: KeyboardInterrupt: "}"#),
    Row("raise MemoryError()", 500, JSON, r#"{"error":"Python function call failed: MemoryError: "}"#),
    Row(
        "try:\n    1/0\nexcept Exception as e:\n    raise KeyError('k') from e",
        500,
        JSON,
        r#"{"error":"Python function call failed: KeyError: 'k'"}"#,
    ),
    Row(
        "import not_a_module_xyz\nreturn 'x'",
        500,
        JSON,
        r#"{"error":"Python function call failed: ModuleNotFoundError: No module named 'not_a_module_xyz'"}"#,
    ),
];

#[test]
fn every_form_of_a_response() {
    let runner = TestRunner::start();
    runner.fixture("answer.py");
    runner.create(&Trigger::new("answer", "answer.py", "request:answer"));
    let mut wrong = Vec::new();
    for Row(code, status, content_type, body) in ROWS {
        let answer = runner.send(&Request::new("POST", "/api/v3/engine/answer").body(*code));
        let seen = (answer.status, answer.header("content-type"), answer.told());
        if seen != (*status, *content_type, (*body).to_owned()) {
            wrong.push(format!("{code}\n    -> {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), ROWS.len(), wrong.join("\n"));
}
