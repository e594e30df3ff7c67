//! The cache over the end of the runner.

use serde_json::json;

use super::Writer;
use crate::world::{TestRunner, Trigger, until};

/// Keeps and tells entries of its cache.
const KEEPER: &str = "\
import threading
def process_request(api, query, headers, body, args=None):
    is_global = 'global' in query
    if query['do'] == 'put':
        ttl = float(query['ttl']) if 'ttl' in query else None
        api.cache.put(query['key'], {'v': [query['value']]}, ttl, use_global=is_global)
    if query['do'] == 'lock':
        api.cache.put(query['key'], threading.Lock())
    if query['do'] == 'delete':
        api.cache.delete(query['key'], use_global=is_global)
    if 'write' in query:
        api.write(LineBuilder('written').int64_field('i', 1))
    if 'fail' in query:
        raise ValueError('after the change')
    return repr(api.cache.get(query['key'], 'nothing', use_global=is_global))
";

fn keeper() -> TestRunner {
    let runner = TestRunner::start();
    runner.plugin("keeper.py", KEEPER);
    for name in ["a", "b"] {
        runner.create(&Trigger::new(name, "keeper.py", &format!("request:{name}")));
    }
    runner
}

/// What a plugin counts in its cache agrees with what it wrote, row by row, whenever the runner is killed: the two were
/// committed together, and with the place in the log.
#[test]
fn the_cache_and_the_writes_of_a_call_are_committed_as_one_whenever_the_runner_is_killed() {
    // Snapshots come often, so that entries come back from the file and from the log.
    let mut runner = TestRunner::start_with(&["--snapshot-bytes", "30000"]);
    runner.fixture("ledger.py");
    runner.create(&Trigger::new("loud", "ledger.py", "table:m").arguments(json!({ "target": "loud" })));
    let quiet = json!({ "target": "quiet", "quiet": "1" });
    runner.create(&Trigger::new("quiet", "ledger.py", "table:m").arguments(quiet));
    let mut chance = fastrand::Rng::new();
    eprintln!("seed {}", chance.get_seed());
    let mut first = 1;
    for _ in 0..6 {
        let writer = Writer::start_at(runner.client(), first);
        writer.until_more(chance.u64(1..60));
        runner.kill();
        first = writer.stop() + 10;
        runner.restart();
    }
    // One more row: the sum over all of them is in its line, and only if no row was counted twice or left out.
    runner.write("m v=0.5 9000000");
    let rows = runner.count("m");
    runner.until_count("loud", rows);
    let sums = "SELECT (SELECT sum(v) FROM m) AS sum, total, count FROM loud ORDER BY count DESC LIMIT 1";
    let last = &runner.query(sums)[0];
    assert_eq!((last["total"].as_f64(), last["count"].as_u64()), (last["sum"].as_f64(), Some(rows)), "{last}");
    // So does the one that only caches, and wrote nothing before this row.
    runner.until_count("quiet", 1);
    let told = &runner.query("SELECT total, count FROM quiet")[0];
    assert_eq!((told["total"].as_f64(), told["count"].as_u64()), (last["sum"].as_f64(), Some(rows)), "{told}");
    runner.stop_leaving_nothing();
}

#[test]
fn entries_come_back_to_their_trigger_after_a_stop_and_after_a_kill() {
    let mut runner = keeper();
    runner.engine("a?do=put&key=kept&value=1").is(200, "{'v': ['1']}");
    runner.engine("a?do=put&key=written&value=2&write=1").is(200, "{'v': ['2']}");
    runner.engine("a?do=put&key=failed&value=3&fail=1").contains(500, "after the change");
    runner.engine("a?do=put&key=shared&value=4&global=1").is(200, "{'v': ['4']}");
    runner.engine("a?do=put&key=gone&value=5").is(200, "{'v': ['5']}");
    runner.engine("a?do=delete&key=gone").is(200, "'nothing'");
    runner.engine("a?do=lock&key=lock").contains(200, "unlocked");
    let is_there = |runner: &TestRunner| {
        runner.engine("a?do=get&key=kept").is(200, "{'v': ['1']}");
        runner.engine("a?do=get&key=written").is(200, "{'v': ['2']}");
        runner.engine("a?do=get&key=failed").is(200, "{'v': ['3']}");
        runner.engine("b?do=get&key=shared&global=1").is(200, "{'v': ['4']}");
        runner.engine("b?do=get&key=kept").is(200, "'nothing'");
        runner.engine("a?do=get&key=gone").is(200, "'nothing'");
        runner.engine("a?do=get&key=lock").is(200, "'nothing'");
    };
    runner.stop();
    runner.restart();
    is_there(&runner);
    // What was written with rows needs no time to be safe; a kill right after the answer changes nothing.
    runner.engine("a?do=put&key=last&value=6&write=1").is(200, "{'v': ['6']}");
    runner.kill();
    runner.restart();
    is_there(&runner);
    runner.engine("a?do=get&key=last").is(200, "{'v': ['6']}");
    // Disabling forgets for good, and nobody else's.
    runner.switch("disable", "a").is(200, "");
    runner.stop();
    runner.restart();
    runner.switch("enable", "a").is(200, "");
    runner.engine("a?do=get&key=kept").is(200, "'nothing'");
    runner.engine("b?do=get&key=shared&global=1").is(200, "{'v': ['4']}");
    runner.stop_leaving_nothing();
}

#[test]
fn what_a_request_cached_without_writing_is_safe_soon_after() {
    let mut runner = keeper();
    for round in 1..=3 {
        let value = round.to_string();
        runner.engine(&format!("a?do=put&key=k&value={value}")).is(200, &format!("{{'v': ['{value}']}}"));
        until("the entry is recorded", || {
            let log = std::fs::read_dir(runner.node_dir().join("wal")).unwrap();
            let segments = log.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
            let bytes: Vec<u8> = segments.flat_map(|path| std::fs::read(path).unwrap()).collect();
            let wanted = "cached\u{1f}db\u{1f}a";
            let records = bytes.windows(wanted.len()).filter(|part| *part == wanted.as_bytes()).count();
            (records >= round).then_some(())
        });
        runner.kill();
        runner.restart();
        runner.engine("a?do=get&key=k").is(200, &format!("{{'v': ['{value}']}}"));
    }
}

#[test]
fn the_end_of_an_entry_is_kept_by_the_clock_on_the_wall() {
    let mut runner = keeper();
    runner.engine("a?do=put&key=short&value=1&ttl=1.5&write=1").is(200, "{'v': ['1']}");
    runner.engine("a?do=put&key=long&value=2&ttl=600&write=1").is(200, "{'v': ['2']}");
    runner.stop();
    runner.restart();
    runner.engine("a?do=get&key=long").is(200, "{'v': ['2']}");
    until("the time of the other one is over", || {
        (runner.engine("a?do=get&key=short").text() == "'nothing'").then_some(())
    });
    runner.stop();
    runner.restart();
    runner.engine("a?do=get&key=short").is(200, "'nothing'");
    runner.engine("a?do=get&key=long").is(200, "{'v': ['2']}");
}
