//! What is looked at before a trigger is registered.

use crate::world::{TestRunner, Trigger};

const HINT: &str = "\nhint: correct it, or skip this check with `--no-check` (`\"no_check\": true` in the request)";

#[test]
fn code_that_cannot_work_is_refused_with_file_line_and_what_to_do() {
    let runner = TestRunner::start();
    let check = |file: &str, code: &str, spec: &str, text: &str| {
        runner.plugin(file, code);
        let path = file.split('/').next().unwrap();
        let refused = runner.try_create(&Trigger::new("broken", path, spec));
        refused.is(400, &format!("Plugin error: {text}{HINT}"));
        assert_eq!(runner.count("system.processing_engine_triggers"), 0, "nothing is registered");
    };
    check(
        "syntax.py",
        "x = 1\ndef process_writes(a, b, c)\n    pass\n",
        "all_tables",
        "syntax.py, line 2: SyntaxError: expected ':'\n    def process_writes(a, b, c)\n                               ^",
    );
    let writes = "the process_writes function is not present in the plugin. Should be defined as: \
                  process_writes(influxdb3_local, table_batches, args=None)";
    check("empty.py", "", "all_tables", &format!("empty.py: {writes}"));
    check(
        "other.py",
        "def process_request(*all):\n    pass\n",
        "all_tables",
        &format!(
            "other.py: {writes}\nhint: the file defines process_request, which belongs to the specification `request:<PATH>`"
        ),
    );
    check(
        "async.py",
        "\n\nasync def process_scheduled_call(a, b, c):\n    pass\n",
        "every:1h",
        "async.py, line 3: the process_scheduled_call function is an `async def`, which is not supported. Should be defined as: \
         process_scheduled_call(influxdb3_local, call_time, args=None)\n\
         hint: remove `async`; coroutines can be run inside of the function with `asyncio.run`",
    );
    runner.plugin("multi/__init__.py", "from .part import process_writes\n");
    check(
        "multi/part.py",
        "def process_writes(a, b, c):\n    pass\n\nreturn 1\n",
        "all_tables",
        "multi/part.py, line 4: SyntaxError: 'return' outside function\n    return 1\n    ^",
    );
}

#[test]
fn a_check_runs_nothing_of_the_plugin_and_takes_what_may_work() {
    let runner = TestRunner::start();
    let marker = runner.root().join("ran");
    let touch = format!("open({:?}, 'w').close()\nimport package_that_nobody_has\n", marker.display().to_string());
    let requirements = "# /// script\n# dependencies = [\"package-that-nobody-has\"]\n# ///\n";
    runner.plugin("single.py", &format!("{requirements}{touch}def process_writes(*all):\n    pass\n"));
    runner.create(&Trigger::new("single", "single.py", "all_tables"));
    runner.plugin("directory/__init__.py", &format!("{touch}from .part import *\n"));
    runner.plugin("directory/part.py", &format!("{touch}def process_writes(*all):\n    pass\n"));
    runner.create(&Trigger::new("directory", "directory", "all_tables"));
    runner.plugin("made.py", "globals()['process_writes'] = print\n");
    runner.create(&Trigger::new("made", "made.py", "all_tables"));
    runner.plugin("wrong.py", "def (");
    runner.create(&Trigger::new("wrong", "wrong.py", "all_tables").unchecked());
    assert!(!marker.exists(), "the check has run the plugin");
    assert_eq!(runner.logs("single"), [""; 0]);
}

#[test]
fn code_that_is_made_to_break_the_check_breaks_nothing_else() {
    let runner = TestRunner::start();
    runner.fixture("neighbour.py");
    runner.create(&Trigger::new("neighbour", "neighbour.py", "request:neighbour"));
    runner.plugin("deep.py", &format!("x = {}{}\n", "(".repeat(150_000), ")".repeat(150_000)));
    runner.try_create(&Trigger::new("deep", "deep.py", "all_tables")).contains(400, "Plugin error: deep.py");
    runner.plugin("zero.py", "x = 1\0\n");
    runner.try_create(&Trigger::new("zero", "zero.py", "all_tables")).contains(400, "Plugin error: zero.py");
    runner.plugin("latin.py", "# coding: no-such-coding\n");
    runner.try_create(&Trigger::new("latin", "latin.py", "all_tables")).contains(400, "Plugin error: latin.py");
    assert_eq!(runner.engine("neighbour").status, 200);
}
