//! The command line, against a running server and alone.

use crate::world::{DB, Finished, Setup, TestRunner, bulkhead, processes_of, run, until};

const HELLO: &str = "def process_request(api, query, headers, body, args=None):\n    return 'hello ' + str(args)\n";

#[track_caller]
fn succeeds(finished: &Finished, stdout: &str) {
    assert_eq!((finished.code, finished.stdout.trim_end()), (Some(0), stdout), "{finished:?}");
    assert_eq!(finished.stderr, "");
}

#[track_caller]
fn fails(finished: &Finished, code: i32, stderr: &str) {
    assert!(finished.code == Some(code) && finished.stderr.contains(stderr), "expected {stderr:?}: {finished:?}");
}

#[test]
fn every_verb_explains_itself() {
    let verbs = [
        "",
        "serve",
        "demo",
        "create",
        "create database",
        "create trigger",
        "delete",
        "delete database",
        "delete trigger",
        "enable",
        "enable trigger",
        "disable",
        "disable trigger",
        "show",
        "show database",
        "show trigger",
        "show workers",
        "show logs",
        "show plugins",
        "show arguments",
        "show invocations",
        "show system",
        "new",
        "test",
        "test wal_plugin",
        "test schedule_plugin",
        "test request_plugin",
        "update",
        "update trigger",
        "write",
        "query",
    ];
    for verb in verbs {
        let arguments: Vec<&str> = verb.split_whitespace().chain(["--help"]).collect();
        let help = run(&arguments);
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""), "{verb}");
        assert!(help.stdout.contains("Usage: bulkhead"), "{verb}: {}", help.stdout);
    }
    assert!(run(&["--help"]).stdout.contains("bulkhead create trigger --database weather"));
    assert!(run(&["create", "trigger", "--help"]).stdout.contains("every:DURATION"));
    assert!(run(&["--version"]).stdout.starts_with("bulkhead "));
    fails(&run(&["creat"]), 2, "error: unrecognized subcommand 'creat'");
    assert_eq!(run(&[]).code, Some(2));
}

#[test]
fn a_trigger_is_created_shown_switched_and_deleted() {
    let runner = TestRunner::start();
    runner.plugin("hello.py", HELLO);
    let create = |name: &str, more: &[&str]| {
        let mut arguments = vec!["create", "trigger", "--database", DB];
        arguments.extend(more);
        arguments.push(name);
        runner.cli(&arguments)
    };
    let hello = ["--path", "hello.py", "--trigger-spec", "request:hello", "--trigger-arguments", "a=1,b=x=y"];
    succeeds(&create("t1", &hello), "Trigger t1 created successfully");
    runner.engine("hello").is(200, "hello {'a': '1', 'b': 'x=y'}");
    fails(
        &create("t1", &hello),
        1,
        "error: Failed to create trigger: server responded with error [409 Conflict]: attempted to create a resource that already exists",
    );

    let old_names = [
        "--plugin-filename",
        "hello.py",
        "--trigger-spec",
        "request:two",
        "--run-asynchronous",
        "--error-behavior",
        "Retry",
        "--disabled",
    ];
    succeeds(&create("t2", &old_names), "Trigger t2 created successfully");
    let row = runner.trigger("t2");
    assert_eq!(
        (&row["run_async"], &row["error_behavior"], &row["disabled"]),
        (&true.into(), &"retry".into(), &true.into())
    );

    let switch = |verb: &str, name: &str| runner.cli(&[verb, "trigger", "--database", DB, name]);
    succeeds(&switch("disable", "t1"), "Trigger t1 disabled successfully");
    assert_eq!(runner.engine("hello").status, 404);
    succeeds(&switch("enable", "t1"), "Trigger t1 enabled successfully");
    runner.engine("hello").contains(200, "hello");
    fails(
        &switch("enable", "zzz"),
        1,
        "error: Failed to enable trigger: server responded with error [404 Not Found]: the requested resource was not found: zzz",
    );

    let shown = runner.cli(&["show", "triggers", "-d", DB]);
    assert!(shown.code == Some(0) && shown.stdout.contains("| t1 ") && shown.stdout.contains("| active "), "{shown:?}");
    let workers = runner.cli(&["show", "workers", "-d", DB, "--format", "csv"]);
    assert!(workers.code == Some(0) && workers.stdout.contains("\nt1,"), "{workers:?}");
    let logs = runner.cli(&["show", "logs", "-d", DB, "--format", "jsonl"]);
    assert!(logs.code == Some(0) && logs.stdout.contains("starting execution of request plugin."), "{logs:?}");

    let delete = |arguments: &[&str]| runner.cli(&[&["delete", "trigger", "--database", DB], arguments].concat());
    fails(
        &delete(&["t1"]),
        1,
        "error: Failed to delete trigger: server responded with error [409 Conflict]: Cannot delete running plugin t1. Disable it first or use --force.",
    );
    succeeds(&delete(&["--force", "t1"]), "Trigger t1 deleted successfully");
    succeeds(&delete(&["t2"]), "Trigger t2 deleted successfully");
}

#[test]
fn bad_arguments_are_refused_before_anything_is_sent() {
    let create = |spec: &str, more: &[&str]| {
        let arguments =
            ["create", "trigger", "--host", "http://127.0.0.1:1", "-d", DB, "--path", "x.py", "--trigger-spec", spec];
        run(&[&arguments[..], more, &["t"]].concat())
    };
    fails(&create("every:0s", &[]), 2, "failed to parse trigger from every:0s: the period must be at least 1ms");
    fails(&create("foo", &[]), 2, "expect one of the following forms: 'table:<TABLE_NAME>'");
    fails(&create("all_tables", &["--trigger-arguments", "novalue"]), 2, "`novalue` has no `=`; write it as key=value");
    fails(&create("all_tables", &["--error-behavior", "ignore"]), 2, "[possible values: log, retry, disable]");
    fails(&create("all_tables", &["--timeout", "soon"]), 2, "write it as 500ms, 30s or 5m");
    fails(&run(&["create", "trigger", "t"]), 2, "--database <NAME>");
    fails(&run(&["serve", "--http-bind", "nowhere"]), 2, "invalid socket address");
    fails(&run(&["serve", "--grpc-bind", "0.0.0.0:1"]), 2, "only loopback addresses and Unix sockets are allowed");
    fails(&run(&["serve", "--host", "grpc"]), 2, "--host-address <ADDRESS>");
}

#[test]
fn rows_are_written_and_queried() {
    let runner = TestRunner::start();
    let write = |arguments: &[&str]| runner.cli(&[&["write", "--database", DB], arguments].concat());
    succeeds(&write(&["m v=1 1\nm v=2 2"]), "success: 2 lines");
    std::fs::write(runner.root().join("lines.lp"), "m v=3 3\nm v=4 4\nm v=5 5\n").unwrap();
    succeeds(&write(&["--file", "lines.lp", "--batch-lines", "2", "--precision", "ns"]), "success: 3 lines");
    succeeds(&runner.cli_with_input(&["write", "-d", DB], "m v=6 6\n"), "success: 1 lines");

    let bad = write(&["m v=7 7\nbad line\nm v=\"x\" 8"]);
    fails(
        &bad,
        1,
        "error: partial write of line protocol occurred\n  line 2: No fields were provided: bad line\n  line 3: invalid column type",
    );
    assert!(bad.stderr.contains("error: some lines were not written"), "{bad:?}");
    fails(&write(&["--file", "nothing.lp"]), 1, "error: nothing.lp: No such file or directory");

    let query = |arguments: &[&str]| runner.cli(&[&["query", "--database", DB], arguments].concat());
    succeeds(&query(&["--format", "csv", "SELECT v FROM m WHERE v < 3 ORDER BY v"]), "v\n1.0\n2.0");
    succeeds(&query(&["--format", "json", "SELECT count(*) AS n FROM m"]), r#"[{"n":7}]"#);
    succeeds(&query(&["--format", "jsonl", "SELECT count(*) AS n FROM m"]), r#"{"n":7}"#);
    succeeds(&query(&["SELECT count(*) AS n FROM m"]), "+---+\n| n |\n+---+\n| 7 |\n+---+");
    succeeds(&runner.cli_with_input(&["query", "-d", DB, "--format", "csv", "-"], "SELECT 1 AS one"), "one\n1");
    fails(
        &query(&["SELECT * FROM nothere"]),
        1,
        "error: Query command failed: server responded with error [400 Bad Request]: Error during planning: table 'public.iox.nothere' not found",
    );
}

#[test]
fn databases_are_created_shown_and_deleted() {
    let runner = TestRunner::start();
    succeeds(&runner.cli(&["create", "database", "other"]), "Database \"other\" created successfully");
    fails(
        &runner.cli(&["create", "database", "other"]),
        1,
        "error: Failed to create database: server responded with error [409 Conflict]: attempted",
    );
    fails(
        &runner.cli(&["create", "database", "_x"]),
        1,
        "[400 Bad Request]: db name did not start with a number or letter",
    );
    assert!(runner.cli(&["show", "databases"]).stdout.contains("| other"));
    succeeds(&runner.cli(&["delete", "database", "other"]), "Database \"other\" deleted successfully");
    fails(
        &runner.cli(&["delete", "database", "other"]),
        1,
        "error: Failed to delete database: server responded with error [404 Not Found]",
    );
}

#[test]
fn a_server_that_is_not_there_is_told_with_a_hint() {
    let query = |host: &str| run(&["query", "--host", host, "-d", DB, "SELECT 1"]);
    let refused = query("http://127.0.0.1:1");
    fails(&refused, 1, "error: the server at http://127.0.0.1:1 cannot be reached: ");
    fails(&refused, 1, "hint: start one with `bulkhead serve`, or name another with `--host`");
    fails(&query("https://127.0.0.1:1"), 1, "https is not supported yet");
    fails(&query("/nowhere"), 1, "hint: write it as http://127.0.0.1:8181");
}

#[test]
fn the_demo_shows_the_main_job_and_leaves_nothing() {
    let place = Setup::new();
    let temporary = place.root().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let demo = bulkhead(&["demo"]).env("TMPDIR", &temporary).output().unwrap();
    let stdout = String::from_utf8_lossy(&demo.stdout);
    assert_eq!(demo.status.code(), Some(0), "{stdout}\n{}", String::from_utf8_lossy(&demo.stderr));
    for shown in [
        "Write 3288 rows of real weather",
        "3288 rows in 9 batches",
        "San Francisco",
        "\"temp_max\":",
        "worker killed by signal 11 (SIGSEGV)",
        "Fatal Python error: Segmentation fault",
        "same pid as before",
        "bulkhead create trigger -d weather --path daily_range.py --trigger-spec table:weather daily_range",
        "Stopped: no process of the demo is left.",
    ] {
        assert!(stdout.contains(shown), "{shown:?} in\n{stdout}");
    }
    assert!(!stdout.contains("started since"), "{stdout}");
    assert!(String::from_utf8_lossy(&demo.stderr).contains("3286 of 3286 rows derived"));
    until("no process of the demo is left", || processes_of(place.root()).is_empty().then_some(()));
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "its directory is removed");
}

/// Runs the functions of a test file as pytest would, without the need for it.
#[test]
fn a_plugin_that_is_there_is_not_written_over_and_its_name_is_one_of_python() {
    let setup = Setup::new();
    let directory = setup.root().join("new");
    let new = ["new", "wal", "mine", "--directory", directory.to_str().unwrap()];
    let file = |name: &str| directory.join(name).display().to_string();
    let made = [file("mine.py"), file("test_mine.py"), file("typings"), file("pytest.ini")].join("\n");
    succeeds(&run(&new), &made);
    fails(&run(&new), 1, "File exists");
    let second = ["new", "request", "other", "--directory", directory.to_str().unwrap()];
    succeeds(&run(&second), &[file("other.py"), file("test_other.py")].join("\n"));
    fails(&run(&["new", "wal", "1-bad"]), 2, "it must consist of letters, digits and `_`");
}
