//! `bulkhead test`.

use serde_json::Value;

use super::{TRIED, World, without_durations};
use crate::world::{DB, Finished, Setup, bulkhead, processes_of};

#[track_caller]
fn json_of(finished: &Finished) -> Value {
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
    without_durations(serde_json::from_str(&finished.stdout).unwrap())
}

#[test]
fn a_plugin_is_tried_by_the_server_and_shown() {
    let world = World::new();
    let test = ["test", "wal_plugin", "--database", DB, "--input-arguments", "k=v,l=w"];
    let lines = ["--lp", "cpu v=1 1"];
    let shown = world.0.cli(&[&test[..], &lines, &["tried.py"]].concat());
    assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""), "{shown:?}");
    let expected = "log\n  INFO: starting execution of wal plugin.\n  INFO: args {'k': 'v', 'l': 'w'}\n  WARN: w\n  ERROR: e\n  \
                    INFO: finished execution in ";
    assert!(shown.stdout.starts_with(expected), "{}", shown.stdout);
    let writes =
        "\nwrites to db (not kept)\n  sync n=1i\n  out_cpu n=1i 1\nwrites to otherdb (not kept)\n  out_cpu n=1i 1\n";
    assert!(shown.stdout.ends_with(writes), "{}", shown.stdout);

    let file = world.0.root().join("rows.lp");
    std::fs::write(&file, "mem v=1 1\n").unwrap();
    let json = world.0.cli(&[&test[..], &["--file", file.to_str().unwrap(), "--json", "tried.py"]].concat());
    assert_eq!(json_of(&json)["database_writes"]["otherdb"][0], "out_mem n=1i 1");

    let schedule =
        world.0.cli(&["test", "schedule_plugin", "-d", DB, "--schedule", "0 0 0 1 1 * 2099", "--json", "tried.py"]);
    assert_eq!(json_of(&schedule)["trigger_time"], "2099-01-01T00:00:00Z");

    let request = [
        "test",
        "request_plugin",
        "-d",
        DB,
        "--method",
        "POST",
        "--query",
        "a=1",
        "--header",
        "X-A=b",
        "--body",
        "text",
    ];
    let shown = world.0.cli(&[&request[..], &["tried.py"]].concat());
    let response = "response 201\n  content-type: application/json\n\n  [\"POST\", {\"a\": \"1\"}, {\"x-a\": \"b\"}, \"text\", null]\n";
    assert!(shown.code == Some(0) && shown.stdout.ends_with(response), "{shown:?}");
    world.is_untouched();
}

#[test]
fn a_failed_test_says_so_and_has_an_exit_code() {
    let world = World::new();
    let test = ["test", "wal_plugin", "--database", DB];
    let failed = world.0.cli(&[&test[..], &["--lp", "cpu v=1", "--input-arguments", "raise=1", "tried.py"]].concat());
    assert_eq!((failed.code, failed.stderr.trim()), (Some(1), "error: the test failed"));
    let errors = "errors\n  error executing plugin: ValueError: wal boom\n  Traceback (most recent call last):\n";
    assert!(failed.stdout.contains(errors), "{}", failed.stdout);
    let nothing = world.0.cli(&[&test[..], &["tried.py"]].concat());
    assert_eq!(
        (nothing.code, nothing.stderr.trim()),
        (Some(1), "error: one of --lp, --file and --arrow must be provided")
    );
    let missing = world.0.cli(&[&test[..], &["--lp", "cpu v=1", "nope.py"]].concat());
    assert!(missing.code == Some(1) && missing.stderr.contains("[404 Not Found]: Plugin error"), "{missing:?}");
}

#[test]
fn a_plugin_is_tried_without_a_server_and_nothing_is_left() {
    let setup = Setup::new();
    setup.plugin("tried.py", TRIED);
    setup.plugin(
        "mean.py",
        "def process_scheduled_call(api, call_time, args=None):\n    api.info(api.query('SELECT avg(v) AS v FROM cpu'))\n",
    );
    let temporary = setup.root().join("tmp");
    std::fs::create_dir_all(&temporary).unwrap();
    let rows = setup.root().join("rows.lp");
    std::fs::write(&rows, "cpu v=1 1\ncpu v=3 2\n").unwrap();
    let (rows, cache) = (rows.to_str().unwrap(), setup.root().join("cache"));
    std::fs::create_dir_all(cache.join("bulkhead")).unwrap();
    let environments = setup.data_dir().join("environments");
    if !environments.exists() {
        // They are not shared with other tests here.
        std::fs::create_dir_all(&environments).unwrap();
    }
    std::os::unix::fs::symlink(environments, cache.join("bulkhead/environments")).unwrap();
    let local = |arguments: &[&str], plugin: &str| {
        let mut command = bulkhead(&["test"]);
        command.args(arguments).args(["--local", "--json"]).arg(setup.plugin_dir().join(plugin));
        let output = command.env("TMPDIR", &temporary).env("XDG_CACHE_HOME", &cache).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        json_of(&Finished { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) })
    };
    let report = local(&["wal_plugin", "--file", rows], "tried.py");
    assert_eq!(report["database_writes"]["test"][1], "out_cpu n=2i 1");
    let report = local(&["schedule_plugin", "--database", "weather", "--data", rows], "mean.py");
    assert_eq!(report["log_lines"][1], "INFO: [{'v': 2.0}]");
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "the temporary directory is gone");
    assert_eq!(processes_of(setup.root()).len(), 0);
}
