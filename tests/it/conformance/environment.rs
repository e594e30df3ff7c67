//! What a plugin finds around itself.

use super::{Row, check, differs, gives};
use crate::world::{TestRunner, Trigger};

const ROWS: &[Row] = &[
    gives("import sys; r = sys.argv", "['']"),
    gives("r = LineBuilder.__name__", "'LineBuilder'"),
    gives(
        "import os, sys; r = sys.executable.startswith(os.environ['VIRTUAL_ENV'] + os.sep) and sys.prefix == os.environ['VIRTUAL_ENV']",
        "True",
    ),
    gives("import os; r = os.environ['PLUGIN_DIR'] == os.environ['INFLUXDB3_PLUGIN_DIR'] == os.getcwd()", "True"),
    gives("import time; r = time.tzname[0]", "'UTC'"),
    differs(
        gives("import threading; r = threading.current_thread() is threading.main_thread()", "True"),
        "a foreign thread, in which signals cannot be handled",
    ),
];

#[test]
fn environment() {
    check(&TestRunner::start(), ROWS);
}

#[test]
fn globals_of_a_single_file_plugin() {
    let runner = TestRunner::start();
    let code = "\
at_import = 'LineBuilder' in dir(__builtins__) and LineBuilder('x') is not None
def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    import builtins
    return [__builtins__ is builtins or __builtins__ is builtins.__dict__, at_import, '__file__' in globals(), __name__]
";
    runner.plugin("around.py", code);
    runner.create(&Trigger::new("around", "around.py", "request:around"));
    // `__name__` is undefined in InfluxDB 3, where code that tests it fails.
    runner.engine("around").is(200, r#"[true, true, false, "around"]"#);
}
