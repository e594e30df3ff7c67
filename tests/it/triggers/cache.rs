//! `influxdb3_local.cache`: live objects, per trigger.

use crate::world::{TestRunner, Trigger, until};

const COUNTER: &str = "\
def process_request(api, query, headers, body, args=None):
    state = api.cache.get('state')
    if state is None:
        state = {'calls': 0, 'square': lambda x: x * x}
        api.cache.put('state', state)
    state['calls'] += 1
    if query.get('fail'):
        raise ValueError('after the change')
    return {'calls': state['calls'], 'square': state['square'](state['calls'])}
";

#[test]
fn live_objects_stay_between_calls_also_after_an_exception() {
    let runner = TestRunner::start();
    runner.plugin("counter.py", COUNTER);
    runner.create(&Trigger::new("a", "counter.py", "request:a"));
    runner.create(&Trigger::new("b", "counter.py", "request:b"));
    runner.engine("a").is(200, r#"{"calls": 1, "square": 1}"#);
    runner.engine("a").is(200, r#"{"calls": 2, "square": 4}"#);
    runner.engine("a?fail=1").contains(500, "ValueError: after the change");
    runner.engine("a").is(200, r#"{"calls": 4, "square": 16}"#);
    runner.engine("b").is(200, r#"{"calls": 1, "square": 1}"#);
    runner.switch("disable", "a").is(200, "");
    runner.switch("enable", "a").is(200, "");
    runner.engine("a").is(200, r#"{"calls": 1, "square": 1}"#);
}

#[test]
fn entries_expire_and_can_be_deleted() {
    let runner = TestRunner::start();
    let code = "\
def process_request(api, query, headers, body, args=None):
    cache = api.cache
    if query['do'] == 'put':
        cache.put('k', 'v', ttl=float(query['ttl']) if 'ttl' in query else None)
        return 'put'
    if query['do'] == 'delete':
        return str(cache.delete('k'))
    return str(cache.get('k', default='nothing'))
";
    runner.plugin("cache.py", code);
    runner.create(&Trigger::new("cache", "cache.py", "request:cache"));
    let call = |query: &str| runner.engine(&format!("cache?do={query}")).text();
    assert_eq!(call("get"), "nothing");
    call("put");
    assert_eq!(call("get"), "v");
    assert_eq!([call("delete"), call("delete"), call("get")], ["True", "False", "nothing"]);
    call("put&ttl=0.2");
    until("the entry is gone", || (call("get") == "nothing").then_some(()));
    call("put&ttl=0");
    assert_eq!(call("get"), "nothing");
    runner.engine("cache?do=put&ttl=-1").contains(500, "ValueError: cannot convert float seconds to Duration");
}

#[test]
fn module_globals_of_a_single_file_are_new_at_every_call() {
    let runner = TestRunner::start();
    let code = "n = 0\ndef process_request(api, query, headers, body, args=None):\n    global n\n    n += 1\n    return str(n)\n";
    runner.plugin("globals.py", code);
    runner.create(&Trigger::new("globals", "globals.py", "request:globals"));
    runner.engine("globals").is(200, "1");
    runner.engine("globals").is(200, "1");
}

/// Counts in the cache; on request it holds what cannot be copied, or ends its process.
const PERSISTENT: &str = "\
import os, threading, uuid
class State:
    def __init__(self):
        self.calls = 0
def process_request(api, query, headers, body, args=None):
    state = api.cache.get('state') or State()
    state.calls += 1
    api.cache.put('state', state)
    if 'lock' in query:
        api.cache.put('lock', threading.Lock())
    if 'exit' in query:
        os._exit(3)
    if 'fail' in query:
        raise ValueError('after the change')
    return str((state.calls, int(os.environ.setdefault('LIFE', str(uuid.uuid4().int % 10**9)))))
";

fn counted(text: &str) -> (u32, i32) {
    let (calls, pid) = text.trim_matches(['(', ')']).split_once(", ").unwrap();
    (calls.parse().unwrap(), pid.parse().unwrap())
}

#[test]
fn what_can_be_copied_survives_the_worker_and_the_loss_of_the_rest_is_logged() {
    let runner = TestRunner::start();
    runner.plugin("state.py", PERSISTENT);
    runner.create(&Trigger::new("a", "state.py", "request:a"));
    runner.create(&Trigger::new("b", "state.py", "request:b"));
    let (calls, first) = counted(&runner.engine("a?lock=1").text());
    assert_eq!(calls, 1);
    runner.engine("a?fail=1").contains(500, "after the change");
    // The call that ends its process changes nothing: what counts is the last copy.
    assert_eq!(runner.engine("a?exit=1").status, 500);
    runner.until_logged(
        "a",
        "WARN 1 cache entry ended with its worker: 'lock' (TypeError: cannot pickle '_thread.lock' object)",
    );
    let (calls, second) = counted(&runner.engine("a").text());
    assert_eq!(calls, 3, "the call that raised counts");
    assert_ne!(first, second, "another process goes on");
    assert_eq!(counted(&runner.engine("b").text()).0, 1, "another trigger has its own");
    runner.switch("disable", "a").is(200, "");
    runner.switch("enable", "a").is(200, "");
    assert_eq!(counted(&runner.engine("a").text()).0, 1, "disabling forgets");
}

#[test]
fn a_worker_that_is_stopped_for_idleness_costs_no_state_and_one_that_holds_what_cannot_be_copied_stays() {
    let runner = TestRunner::start_with(&["--worker-idle-timeout", "200ms"]);
    runner.plugin("state.py", PERSISTENT);
    runner.create(&Trigger::new("copied", "state.py", "request:copied"));
    runner.create(&Trigger::new("held", "state.py", "request:held"));
    let (_, held) = counted(&runner.engine("held?lock=1").text());
    let (_, copied) = counted(&runner.engine("copied").text());
    runner.until_ended("copied", 1);
    let again = counted(&runner.engine("copied").text());
    assert_eq!(again.0, 2);
    assert_ne!(again.1, copied);
    runner.until_ended("copied", 2);
    assert_eq!(counted(&runner.engine("held").text()), (2, held));
}

#[test]
fn a_worker_is_held_no_longer_than_by_what_holds_it() {
    let runner = TestRunner::start_with(&["--worker-idle-timeout", "50ms"]);
    let code = "\
import os, threading, time
def work(go):
    while not os.path.exists(go):
        time.sleep(0.01)
def process_request(api, query, headers, body, args=None):
    if 'go' in query:
        threading.Thread(target=work, args=(query['go'],), daemon=True).start()
    else:
        api.cache.put('lock', threading.Lock(), ttl=0.5)
    return 'held'
";
    runner.plugin("held.py", code);
    for name in ["expiring", "thread"] {
        let trigger = Trigger::new(name, "held.py", &format!("request:{name}"));
        runner.create(&trigger.setting("allow_read", serde_json::json!([runner.root()])));
    }
    let go = runner.root().join("go");
    runner.engine(&format!("thread?go={}", go.display())).is(200, "held");
    runner.engine("expiring").is(200, "held");
    assert_eq!(runner.workers("expiring")[0]["state"], "idle");
    runner.until_ended("expiring", 1);
    assert_eq!(runner.workers("thread")[0]["state"], "idle", "the thread still runs");
    std::fs::write(go, "").unwrap();
    runner.until_ended("thread", 1);
    assert!(!runner.all_logs().iter().any(|line| line.contains("ended with")), "{:?}", runner.all_logs());
}

#[test]
fn the_workers_of_an_asynchronous_trigger_see_the_same_entries() {
    let runner = TestRunner::start();
    let code = "\
import os, time
def process_request(api, query, headers, body, args=None):
    if query['do'] == 'put':
        api.cache.put('k', [query['value']])
    elif query['do'] == 'wait':
        while not os.path.exists(query['go']):
            time.sleep(0.01)
    return str((api.cache.get('k'), os.getpid()))
";
    runner.plugin("shared.py", code);
    runner.create(
        &Trigger::new("shared", "shared.py", "request:shared")
            .run_async()
            .setting("allow_read", serde_json::json!([runner.root()])),
    );
    let go = runner.root().join("go");
    let path = format!("shared?do=wait&go={}", go.display());
    let client = runner.client();
    let waiting = std::thread::spawn(move || client.engine(&path).text());
    until("a worker waits", || (runner.workers("shared").first()?["state"] == "running").then_some(()));
    for value in ["1", "2"] {
        let put = runner.engine(&format!("shared?do=put&value={value}")).text();
        assert!(put.starts_with(&format!("(['{value}'], ")), "{put}");
    }
    std::fs::write(go, "").unwrap();
    let seen = waiting.join().unwrap();
    assert!(seen.starts_with("(['2'], "), "the other worker's last value: {seen}");
}

#[test]
fn the_global_namespace_crosses_triggers_with_plain_data() {
    let runner = TestRunner::start();
    let code = "\
def process_request(api, query, headers, body, args=None):
    if query['do'] == 'put':
        api.cache.put('k', {'n': (1, 2.5)}, use_global=True)
    elif query['do'] == 'change':
        api.cache.get('k', use_global=True)['n'] = 'changed'
    elif query['do'] == 'bad':
        api.cache.put('k', print, use_global=True)
    elif query['do'] == 'delete':
        return str(api.cache.delete('k', use_global=True))
    return repr(api.cache.get('k', 'nothing', use_global=True))
";
    runner.plugin("global.py", code);
    runner.create_database("other");
    runner.create(&Trigger::new("a", "global.py", "request:a"));
    runner.create(&Trigger::new("b", "global.py", "request:b").in_database("other"));
    runner.engine("b?do=get").is(200, "'nothing'");
    runner.engine("a?do=put").is(200, "{'n': (1, 2.5)}");
    runner.engine("b?do=get").is(200, "{'n': (1, 2.5)}");
    runner.engine("b?do=change").is(200, "{'n': 'changed'}");
    runner.engine("a?do=get").is(200, "{'n': 'changed'}");
    runner
        .engine("a?do=bad")
        .contains(500, "TypeError: the global cache takes plain data only, not 'builtin_function_or_method'");
    runner.switch("disable", "a").is(200, "");
    runner.engine("b?do=get").is(200, "{'n': 'changed'}");
    runner.engine("b?do=delete").is(200, "True");
    runner.engine("b?do=get").is(200, "'nothing'");
}

#[test]
fn a_thread_that_goes_on_writes_logs_and_caches_also_long_after_its_call() {
    let runner = TestRunner::start_with(&["--worker-idle-timeout", "200ms"]);
    let code = "\
import os, threading, time
def work(api, go):
    while not os.path.exists(go):
        time.sleep(0.01)
    api.cache.put('said', 'late')
    api.write(LineBuilder('late').int64_field('i', 1))
    api.write_sync(LineBuilder('late_sync').int64_field('i', 1), no_sync=False)
    api.info('rows:', api.query('select i from late_sync'))
def process_request(api, query, headers, body, args=None):
    if 'go' in query:
        threading.Thread(target=work, args=(api, query['go']), daemon=True).start()
    return str(api.cache.get('said'))
";
    runner.plugin("thread.py", code);
    let trigger = Trigger::new("thread", "thread.py", "request:thread");
    runner.create(&trigger.setting("allow_read", serde_json::json!([runner.root()])));
    let go = runner.root().join("go");
    runner.engine(&format!("thread?go={}", go.display())).is(200, "None");
    // More calls than the runner remembers by name, and longer than a worker without work stays.
    for _ in 0..80 {
        runner.engine("thread").is(200, "None");
    }
    std::fs::write(go, "").unwrap();
    runner.until_logged("thread", "INFO rows: [{'i': 1}]");
    runner.until_count("late", 1);
    until("the thread's entry is there", || (runner.engine("thread").text() == "late").then_some(()));
    assert_eq!(runner.workers("thread").len(), 1, "one worker all the time");
}
