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
