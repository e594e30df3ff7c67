//! Tracebacks show the plugin's own lines, and nothing of the worker's.

use serde_json::json;

use crate::world::{DB, TestRunner, Trigger};

/// Calls a plugin that fails, and returns the traceback that its log has, and its caller, and whoever tries it.
fn traceback(runner: &TestRunner, name: &str, plugin: &str, text: &str) -> String {
    runner.create(&Trigger::new(name, plugin, &format!("request:{name}")));
    let answer = runner.engine(name);
    answer.contains(500, text);
    let line = runner.until_logged(name, "File \"");
    assert!(!line.contains("bulkhead_worker") && !line.contains("importlib"), "{line}");
    let told = answer.json()["traceback"].as_str().unwrap().to_owned();
    assert!(line.ends_with(&told), "the caller is told:\n{told}\nthe log has:\n{line}");
    let body = json!({ "filename": plugin, "database": DB });
    let tried = runner.post_json("/api/v3/plugin_test/request", &body).json();
    assert_eq!(tried["traceback"].as_str().map(str::trim_end), Some(told.as_str()), "{tried}");
    line.replace(runner.plugin_dir().to_str().unwrap(), "PLUGINS")
}

const DEEP: &str = "\
import json

def inner(n):
    return {}[n]

def process_request(api, query, headers, body, args=None):
    try:
        inner('key')
    except KeyError as error:
        json.loads('{')
";

#[test]
fn a_traceback_has_file_names_numbers_and_lines_also_of_the_exception_before() {
    let runner = TestRunner::start();
    runner.plugin("deep.py", DEEP);
    let said = traceback(&runner, "deep", "deep.py", "JSONDecodeError: ");
    for part in [
        "File \"PLUGINS/deep.py\", line 8, in process_request\n    inner('key')",
        "File \"PLUGINS/deep.py\", line 4, in inner\n    return {}[n]",
        "KeyError: 'key'",
        "During handling of the above exception, another exception occurred:",
        "File \"PLUGINS/deep.py\", line 10, in process_request\n    json.loads('{')",
        "json/decoder.py",
    ] {
        assert!(said.contains(part), "{part:?} in\n{said}");
    }
}

#[test]
fn a_directory_plugin_shows_the_file_of_each_module() {
    let runner = TestRunner::start();
    runner.plugin(
        "pack/__init__.py",
        "from .work import run\n\ndef process_request(api, query, headers, body, args=None):\n    return run()\n",
    );
    runner.plugin("pack/work.py", "def run():\n    raise ValueError('deep inside')\n");
    let said = traceback(&runner, "pack", "pack", "ValueError: deep inside");
    assert!(said.contains("File \"PLUGINS/pack/__init__.py\", line 4, in process_request\n    return run()"), "{said}");
    assert!(
        said.contains("File \"PLUGINS/pack/work.py\", line 2, in run\n    raise ValueError('deep inside')"),
        "{said}"
    );
}

#[test]
fn an_error_at_import_and_a_syntax_error_name_their_line() {
    let runner = TestRunner::start();
    runner.plugin(
        "early.py",
        "import json\n\nlimit = 1 / 0\n\ndef process_request(api, query, headers, body, args=None):\n    return ''\n",
    );
    let said = traceback(&runner, "early", "early.py", "ZeroDivisionError: division by zero");
    assert!(said.contains("File \"PLUGINS/early.py\", line 3, in <module>\n    limit = 1 / 0"), "{said}");
    // It was well when the trigger was created.
    runner.plugin("late.py", "def process_request(api, query, headers, body, args=None):\n    return ''\n");
    runner.create(&Trigger::new("late", "late.py", "request:late"));
    runner.engine("late").is(200, "");
    runner.plugin("late.py", "def process_request(api, query, headers, body, args=None):\n    return (\n");
    runner.engine("late").contains(500, "SyntaxError: '(' was never closed (late.py, line 2)");
    let said = runner.until_logged("late", "File \"").replace(runner.plugin_dir().to_str().unwrap(), "PLUGINS");
    assert!(said.contains("File \"PLUGINS/late.py\", line 2\n    return (\n"), "{said}");
}

#[test]
fn an_exception_in_a_thread_is_logged_with_its_lines() {
    let runner = TestRunner::start();
    let code = "\
import threading

def work():
    raise RuntimeError('in a thread')

def process_request(api, query, headers, body, args=None):
    thread = threading.Thread(target=work, name='worker-7')
    thread.start()
    thread.join()
    return 'went on'
";
    runner.plugin("thread.py", code);
    runner.create(&Trigger::new("thread", "thread.py", "request:thread"));
    runner.engine("thread").is(200, "went on");
    runner.until_logged("thread", "RuntimeError: in a thread");
    let said = runner.logs("thread").join("\n");
    assert!(said.contains("WARN Exception in thread worker-7"), "{said}");
    assert!(said.contains("/thread.py\", line 4, in work"), "{said}");
    assert!(said.contains("raise RuntimeError('in a thread')"), "{said}");
}
