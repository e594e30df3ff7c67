//! The contract with plugins, row by row: what is called, and what a plugin gets. Where no remark stands, InfluxDB 3 Core 3.10
//! was seen to answer the same; `differs` marks what is otherwise on purpose, with its reason.

mod cache;
mod environment;
mod inputs;
mod line_builder;
mod local;
mod query;
mod responses;
mod tracebacks;
mod writes;

use crate::world::{DB, Request, TestRunner, Trigger};

/// One row: a snippet, and what it leaves in `r` or raises.
struct Row {
    call: &'static str,
    expected: Expected,
}

enum Expected {
    /// The `repr` of `r`.
    Gives(&'static str),
    /// A class with its module, and the beginning of its text.
    Raises(&'static str, &'static str),
}

const fn gives(call: &'static str, value: &'static str) -> Row {
    Row { call, expected: Expected::Gives(value) }
}

const fn raises(call: &'static str, class: &'static str, text: &'static str) -> Row {
    Row { call, expected: Expected::Raises(class, text) }
}

/// The same as a row, where InfluxDB 3 does something else; `_incumbent` says what, and why not here.
const fn differs(row: Row, _incumbent: &'static str) -> Row {
    row
}

/// Runs the rows in order in one request plugin.
fn check(runner: &TestRunner, rows: &[Row]) {
    runner.fixture("eval.py");
    runner.create(&Trigger::new("eval", "eval.py", "request:eval"));
    let mut wrong = Vec::new();
    for row in rows {
        let answer = runner.send(&Request::new("POST", "/api/v3/engine/eval").body(row.call));
        let said = if answer.status == 200 { answer.json() } else { serde_json::json!({ "status": answer.text() }) };
        let is_right = match row.expected {
            Expected::Gives(value) => said["gives"] == value,
            Expected::Raises(class, text) => {
                said["raises"] == class && said["text"].as_str().is_some_and(|said| said.starts_with(text))
            }
        };
        if !is_right {
            wrong.push(format!("{}\n    -> {said}", row.call));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}
