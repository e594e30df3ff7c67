//! What starts a trigger, and what it is called with.

use super::COPY;
use crate::world::{TestRunner, Trigger, until};

const TICKS: &str = "\
def process_scheduled_call(api, call_time, args=None):
    api.info('tick', repr(call_time), args)
    api.write(LineBuilder('ticks').int64_field('n', 1).time_ns(int(call_time.timestamp() * 1000) * 1000000))
";

#[test]
fn a_table_trigger_sees_its_table_and_all_tables_sees_every_one() {
    let runner = TestRunner::start();
    runner.create_database("other");
    let code = "def process_writes(api, batches, args=None):\n    api.info([(b['table_name'], len(b['rows'])) for b in batches])\n";
    runner.plugin("log.py", code);
    runner.create(&Trigger::new("one", "log.py", "table:cpu"));
    runner.create(&Trigger::new("all", "log.py", "all_tables"));
    runner.write_to("other", "cpu v=1 1");
    runner.write("mem v=1 1\nmem v=2 2");
    runner.until_logged("all", "[('mem', 2)]");
    runner.write("cpu v=1 1\nmem v=3 3");
    runner.until_logged("one", "[('cpu', 1)]");
    runner.until_logged("all", "('cpu', 1)");
    let calls = runner.logs("one").iter().filter(|line| line.contains("starting execution")).count();
    assert_eq!(calls, 1, "{:#?}", runner.logs("one"));
    assert!(!runner.logs("all").iter().any(|line| line.contains("[('cpu', 1)]")), "another database's rows");
}

#[test]
fn rows_are_plain_dictionaries_of_what_the_line_had() {
    let runner = TestRunner::start();
    let code = "\
def process_writes(api, batches, args=None):
    assert type(batches) is list and isinstance(batches[0], dict) and type(batches[0]['rows']) is list
    for row in batches[0]['rows']:
        assert type(row) is dict
        api.info('row', row, [type(v).__name__ for v in row.values()])
";
    runner.plugin("rows.py", code);
    runner.create(&Trigger::new("rows", "rows.py", "table:m"));
    runner.write("m,tag1=a,tag2=b f=1.5,i=3i,u=7u,s=\"str \\\"q\\\" é\",b=true 1700000000000000000\nm f=2 5");
    let first = "{'tag1': 'a', 'tag2': 'b', 'f': 1.5, 'i': 3, 'u': 7, 's': 'str \"q\" é', 'b': True, 'time': 1700000000000000000} \
                 ['str', 'str', 'float', 'int', 'int', 'str', 'bool', 'int']";
    let line = runner.until_logged("rows", "'tag1'");
    assert_eq!(line, format!("INFO row {first}"));
    runner.until_logged("rows", "INFO row {'f': 2.0, 'time': 5} ['float', 'int']");
}

#[test]
fn a_table_trigger_waits_quietly_for_its_table() {
    let runner = TestRunner::start();
    runner.plugin("copy.py", COPY);
    runner.create(&Trigger::new("early", "copy.py", "table:later"));
    runner.create(&Trigger::new("all", "copy.py", "all_tables").arguments(serde_json::json!({ "target": "seen" })));
    for number in 1..=3 {
        runner.write(&format!("others v=1 {number}"));
    }
    // The other trigger has seen the writes, so this one could have.
    until("the writes were delivered", || (runner.count("seen") >= 3).then_some(()));
    assert_eq!(runner.logs("early"), Vec::<String>::new());
    assert_eq!(runner.trigger("early")["state"], "active");
    runner.write("later v=4 4");
    runner.until_count("later_seen", 1);
}

#[test]
fn every_and_cron_call_with_naive_utc_times_on_their_multiples() {
    let runner = TestRunner::start();
    runner.plugin("ticks.py", TICKS);
    runner.create(&Trigger::new("every", "ticks.py", "every:1s").arguments(serde_json::json!({ "k": "v" })));
    runner.create(&Trigger::new("cron", "ticks.py", "cron:*/1 * * * * *"));
    for trigger in ["every", "cron"] {
        let ticks = until("there are three ticks", || {
            let lines = runner.logs(trigger);
            let ticks: Vec<String> = lines.iter().filter(|line| line.starts_with("INFO tick")).cloned().collect();
            (ticks.len() >= 3).then_some(ticks)
        });
        assert!(ticks.iter().all(|line| line.contains("datetime.datetime(2") && !line.contains("tzinfo")), "{ticks:?}");
        let mut distinct = ticks.clone();
        distinct.dedup();
        assert_eq!(distinct, ticks, "each tick comes once");
    }
    assert!(runner.until_logged("every", "INFO tick").ends_with("{'k': 'v'}"));
    assert!(runner.until_logged("cron", "INFO tick").ends_with(" None"));
    runner.until_logged("cron", "INFO starting execution with scheduled time 2");
}

#[test]
fn the_older_documentations_path_and_five_field_cron_work() {
    let runner = TestRunner::start();
    runner.plugin("hello.py", "def process_request(api, query, headers, body, args=None):\n    return 'hello'\n");
    runner.create(&Trigger::new("path", "hello.py", "path:hello"));
    runner.engine("hello").is(200, "hello");
    runner.plugin("ticks.py", TICKS);
    runner.create(&Trigger::new("cron", "ticks.py", "cron:* * * * *"));
    let row = runner.trigger("cron");
    assert_eq!(row["trigger_specification"], r#"{"schedule":{"schedule":"0 * * * * *"}}"#);
    // At second 0 of the next minute, so at most a minute from now.
    let line = runner.until_logged("cron", "INFO starting execution with scheduled time");
    assert!(line.contains(":00 UTC"), "{line}");
}

#[test]
fn a_trigger_reads_what_is_written_while_it_is_enabled() {
    let runner = TestRunner::start();
    runner.plugin("copy.py", COPY);
    runner.write("m v=1 1");
    runner.create(&Trigger::new("copy", "copy.py", "table:m"));
    runner.write("m v=2 2");
    runner.until_count("m_seen", 1);
    runner.switch("disable", "copy").is(200, "");
    runner.write("m v=3 3");
    runner.switch("enable", "copy").is(200, "");
    runner.write("m v=4 4");
    runner.until_count("m_seen", 2);
    let values = runner.query("SELECT v FROM m_seen ORDER BY v");
    assert_eq!(serde_json::json!(values), serde_json::json!([{ "v": 2.0 }, { "v": 4.0 }]));
}

#[test]
fn writes_of_a_plugin_may_go_to_another_database_and_bad_ones_are_logged() {
    let runner = TestRunner::start();
    let code = "\
class Line:
    def __init__(self, text): self.text = text
    def build(self): return self.text

def process_request(api, query, headers, body, args=None):
    api.write_to_db('fresh', Line('m v=1 1\\nm v=2 2'))
    api.write_to_db('bad', Line('not a line'))
    api.write(Line('here v=1 1'))
    return 'done'
";
    runner.plugin("writes.py", code);
    runner.create(&Trigger::new("writes", "writes.py", "request:writes"));
    runner.engine("writes").is(200, "done");
    runner.until_logged(
        "writes",
        "ERROR error writing back lines to bad: Cannot write: line protocol parse failed: No fields",
    );
    assert_eq!(runner.query_in("fresh", "SELECT v FROM m").len(), 2);
    assert_eq!(runner.count("here"), 1);
}
