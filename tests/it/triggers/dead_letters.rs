//! Batches that a trigger gives up.

use serde_json::{Value, json};

use crate::world::{Request, TestRunner, Trigger, until};

/// Copies rows whose value is not negative; fails for the others until somebody mends it.
const PICKY: &str = "\
def process_writes(api, batches, args=None):
    for batch in batches:
        for row in batch['rows'] if batch['table_name'] != 'kept' else []:
            if row['v'] < 0:
                raise ValueError('negative')
            line = LineBuilder('kept').tag('t', batch['table_name']).tag('of', str(row['v']))
            api.write(line.float64_field('v', float(row['v'])))
";

/// The plugin with its fault removed, as its author would do it.
fn mend(runner: &TestRunner) {
    runner.plugin("picky.py", &PICKY.replace("if row['v'] < 0", "if False"));
}

fn world(trigger: impl Fn(Trigger) -> Trigger) -> TestRunner {
    let runner = TestRunner::start();
    runner.plugin("picky.py", PICKY);
    let quick = Trigger::new("picky", "picky.py", "all_tables")
        .on_error("retry")
        .setting("attempts_max", json!(2))
        .setting("backoff_initial", json!("1ms"));
    runner.create(&trigger(quick));
    runner
}

const LIST: &str = "/api/v3/configure/dead_letter?db=db";

fn letters(runner: &TestRunner) -> Vec<Value> {
    runner.get(LIST).json().as_array().unwrap().clone()
}

fn until_letters(runner: &TestRunner, count: usize) -> Vec<Value> {
    until(&format!("there are {count} dead letters"), || {
        let letters = letters(runner);
        if letters.len() == count { Ok(letters) } else { Err(format!("{letters:?}; {:?}", runner.logs("picky"))) }
    })
}

fn id(letter: &Value) -> &str {
    letter["id"].as_str().unwrap()
}

#[test]
fn a_batch_that_fails_again_and_again_is_kept_with_its_cause_and_the_stream_goes_on() {
    let mut runner = world(|trigger| trigger);
    runner.write("m,tag=a\\ b v=-1,s=\"x\" 1\nm,tag=c v=2 2\nkept_not v=3i 3");
    runner.write("m v=4 4");
    runner.until_count("kept", 1);
    // It outlives stops and kills.
    runner.stop();
    runner.restart();
    runner.kill();
    runner.restart();
    let [letter] = until_letters(&runner, 1).try_into().unwrap();
    assert_eq!((&letter["cause"], &letter["message"]), (&json!("exception"), &json!("ValueError: negative")));
    assert!(letter["traceback"].as_str().unwrap().contains("raise ValueError('negative')"), "{letter}");
    assert_eq!((&letter["attempts"], &letter["rows"], &letter["isolated"]), (&json!(2), &json!(3), &json!(false)));
    assert_eq!((&letter["trigger_name"], &letter["db"]), (&json!("picky"), &json!("db")));
    let rows = runner.query("SELECT * FROM system.dead_letters");
    assert_eq!(rows.len(), 1);
    assert_eq!((&rows[0]["id"], &rows[0]["rows"], &rows[0]["cause"]), (&letter["id"], &json!(3), &json!("exception")));
    assert_eq!(runner.query_in("_internal", "SELECT id FROM system.dead_letters").len(), 1);

    // Taken out as line protocol, they can be written again.
    let lines = runner.cli(&["dead-letter", "show", "--export", "lp", id(&letter)]);
    let mut lines: Vec<&str> = lines.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["kept_not v=3i 3", "m,tag=a\\ b v=-1,s=\"x\" 1", "m,tag=c v=2 2"]);
    // And the failure can be had again, without the trigger.
    let file = runner.root().join("letter.lp");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let test = ["test", "wal_plugin", "--database", "db", "--file", file.to_str().unwrap(), "picky.py"];
    let tried = runner.cli(&test);
    assert!(tried.code == Some(1) && format!("{tried:?}").contains("ValueError: negative"), "{tried:?}");
    let arrow = Request::new("GET", &format!("/api/v3/configure/dead_letter/{}", id(&letter))).query("format", "arrow");
    runner.send(&arrow).contains(400, "an Arrow stream holds one table; name one of");
    // The rows of a table are one stream, though they do not have the same columns; a test takes them as they are.
    let file = runner.root().join("letter.arrow");
    let export = ["dead-letter", "show", "--export", "arrow", "--table", "m", "--output", file.to_str().unwrap()];
    assert_eq!(runner.cli(&[&export[..], &[id(&letter)]].concat()).code, Some(0));
    let reader = arrow::ipc::reader::StreamReader::try_new(std::fs::File::open(&file).unwrap(), None).unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 2);
    let test = ["test", "wal_plugin", "--database", "db", "--arrow", file.to_str().unwrap(), "picky.py"];
    let tried = runner.cli(&test);
    assert!(tried.code == Some(1) && format!("{tried:?}").contains("ValueError: negative"), "{tried:?}");

    // As long as the cause is there, a replay changes nothing but the count of attempts.
    let failed = runner.cli(&["dead-letter", "replay", id(&letter)]);
    assert_eq!(failed.code, Some(1));
    assert!(failed.stderr.contains("failed again: server responded with error [422"), "{failed:?}");
    assert!(failed.stderr.contains("ValueError: negative"), "{failed:?}");
    assert_eq!(until_letters(&runner, 1)[0]["attempts"], 3);
    assert_eq!(runner.count("kept"), 1);

    mend(&runner);
    let replayed = runner.cli(&["dead-letter", "replay", "--all", "--database", "db", "--trigger", "picky"]);
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    assert_eq!(replayed.stdout, format!("Dead letter {} replayed successfully\n", id(&letter)));
    assert_eq!(runner.count("kept"), 4);
    // Lines without a time have that of the batch, not of the replay.
    let times = runner.query("SELECT count(DISTINCT time) AS n, min(time) < max(time) AS two FROM kept");
    assert_eq!((&times[0]["n"], &times[0]["two"]), (&json!(2), &json!(true)));
    let old = runner.query("SELECT v FROM kept ORDER BY time DESC LIMIT 1");
    assert_eq!(old[0]["v"], 4.0);
    assert!(letters(&runner).is_empty());
    assert!(runner.cli(&["dead-letter", "show", id(&letter)]).stderr.contains("was not found"));
    runner.stop_leaving_nothing();
}

#[test]
fn the_rows_that_fail_are_found_and_the_others_are_done_once() {
    let mut runner = world(|trigger| trigger.setting("isolate_poison", json!(true)));
    let lines: Vec<String> =
        (0..100).map(|row| format!("m v={} {row}", if row == 17 || row == 80 { -row } else { row })).collect();
    runner.write(&lines.join("\n"));
    let letters = until_letters(&runner, 2);
    let bad: Vec<_> =
        letters.iter().map(|letter| (&letter["rows"], &letter["isolated"], &letter["attempts"])).collect();
    assert_eq!(bad, [(&json!(1), &json!(true), &json!(1)); 2]);
    runner.until_logged("picky", "2 of 100 rows of batch");
    assert_eq!(runner.count("kept"), 98);
    let sum = runner.query("SELECT sum(v) AS s FROM kept");
    assert_eq!(sum[0]["s"], f64::from((0..100).sum::<i32>() - 17 - 80));
    runner.kill();
    runner.restart();
    assert_eq!((runner.count("kept"), until_letters(&runner, 2).len()), (98, 2));
    // One is discarded, the other goes with its trigger.
    let discarded = runner.cli(&["dead-letter", "discard", id(&letters[0])]);
    assert_eq!(discarded.stdout, format!("Dead letter {} discarded\n", id(&letters[0])));
    until_letters(&runner, 1);
    runner.delete("picky", true).is(200, "");
    until_letters(&runner, 0);
    runner.get(&format!("/api/v3/configure/dead_letter/{}", id(&letters[1]))).contains(404, "was not found");
}

#[test]
fn a_cause_that_no_retry_mends_is_not_retried() {
    let runner = world(|trigger| {
        trigger.setting("attempts_max", json!(50)).setting("no_retry_on", json!(["deadline", "ValueError"]))
    });
    runner.write("m v=-1 1");
    assert_eq!(until_letters(&runner, 1)[0]["attempts"], 1);
}

#[test]
fn with_log_and_disable_the_batch_is_kept_too() {
    let runner = world(|trigger| trigger.on_error("disable"));
    runner.create(&Trigger::new("log", "picky.py", "all_tables"));
    runner.write("m v=-1 1");
    until_letters(&runner, 2);
    runner.until_state("picky", "disabled");
    let of =
        |name: &str| runner.get(&format!("{LIST}&trigger_name={name}")).json()[0]["id"].as_str().unwrap().to_owned();
    let replay = |id: &str| runner.send(&Request::new("POST", &format!("/api/v3/configure/dead_letter/{id}/replay")));
    replay(&of("picky")).contains(409, "trigger 'picky' does not run; enable it first");
    mend(&runner);
    replay(&of("log")).is(200, "");
    runner.switch("enable", "picky").is(200, "");
    replay(&of("picky")).is(200, "");
    assert_eq!(runner.count("kept"), 1, "both wrote the same point");
    replay("no-such-id").contains(404, "dead letter no-such-id");
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let runner = TestRunner::start();
    runner.plugin("picky.py", PICKY);
    let trigger = || Trigger::new("t", "picky.py", "all_tables");
    for (name, value, text) in [
        ("backoff_factor", json!(0.1), "`backoff_factor` must be a number from 1 to 1000"),
        ("backoff_jitter", json!(2), "`backoff_jitter` must be a number from 0 to 1"),
        ("backoff_initial", json!("soon"), "duration `soon`"),
        ("no_retry_on", json!(["timeout"]), "`no_retry_on` names `timeout`"),
    ] {
        runner.try_create(&trigger().setting(name, value)).contains(400, text);
    }
    let created = runner.cli(&[
        "create",
        "trigger",
        "--database",
        "db",
        "--path",
        "picky.py",
        "--trigger-spec",
        "all_tables",
        "--error-behavior",
        "retry",
        "--backoff-initial",
        "1s",
        "--backoff-factor",
        "1.5",
        "--backoff-cap",
        "1m",
        "--backoff-jitter",
        "0",
        "--no-retry-on",
        "load,KeyError",
        "--isolate-poison",
        "t",
    ]);
    assert_eq!(created.code, Some(0), "{created:?}");
}

#[test]
fn a_letter_whose_rows_a_disk_has_damaged_says_so_and_can_be_discarded() {
    let mut runner = world(|trigger| trigger);
    let telling = -987_654.321_f64;
    runner.write(&format!("m v={telling} 1"));
    runner.write("m v=-2 2");
    until_letters(&runner, 2);
    runner.stop();
    runner.damage_journal(&telling.to_le_bytes());
    runner.restart();
    let letters = until_letters(&runner, 2);
    let shown: Vec<_> =
        letters.iter().map(|letter| runner.cli(&["dead-letter", "show", "--export", "lp", id(letter)])).collect();
    let (damaged, whole) = if shown[0].code == Some(0) { (1, 0) } else { (0, 1) };
    assert_eq!(shown[whole].stdout, "m v=-2 2\n");
    assert_eq!(shown[damaged].code, Some(1));
    let told = "its rows were damaged, and are in `quarantine` in the node directory";
    assert!(shown[damaged].stderr.contains(told), "{}", shown[damaged].stderr);
    assert!(runner.stderr().contains("the rows of 1 are lost"), "{}", runner.stderr());
    assert_eq!(runner.cli(&["dead-letter", "discard", id(&letters[damaged])]).code, Some(0));
    until_letters(&runner, 1);
    runner.stop_leaving_nothing();
}
