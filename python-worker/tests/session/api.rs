//! `influxdb3_local`, its cache, and `LineBuilder`.

use std::time::Instant;

use bulkhead_proto::types::v1::{FailureKind, LogLevel, LogSource};
use bulkhead_proto::worker::v1::parameter_value::Kind;
use bulkhead_proto::worker::v1::session_request::Fact;
use bulkhead_python_worker::limits::FLUSH_AGE;
use tonic::Status;

use crate::rows::{Column, stream};
use crate::world::{World, request_event};

/// Calls of the API that raise, and the exception: class and text as InfluxDB 3 has them.
const RAISING: [(&str, &str); 25] = [
    ("influxdb3_local.info(a=1)", "builtins.TypeError: PyPluginCallApi.info() got an unexpected keyword argument 'a'"),
    (
        "influxdb3_local.debug('x')",
        "builtins.AttributeError: 'builtins.PyPluginCallApi' object has no attribute 'debug'",
    ),
    ("influxdb3_local.write('x f=1')", "builtins.AttributeError: 'str' object has no attribute 'build'"),
    (
        "influxdb3_local.write_sync(LineBuilder('ws').int64_field('i',3))",
        "builtins.TypeError: PyPluginCallApi.write_sync() missing 1 required positional argument: 'no_sync'",
    ),
    (
        "influxdb3_local.query('select 1', {'t':[]})",
        "builtins.TypeError: argument 'args': 'list' object is not an instance of 'str'",
    ),
    ("LineBuilder('x').tag('a','b').build()", "__main__.InvalidLineError: At least one field is required: x,a=b"),
    ("LineBuilder('x y')", "__main__.InvalidMeasurementError: Measurement name cannot contain spaces"),
    ("LineBuilder('x').tag('a b','c')", "__main__.InvalidKeyError: tag key 'a b' cannot contain spaces"),
    ("LineBuilder('x').tag('a=b','')", "__main__.InvalidKeyError: tag key 'a=b' cannot contain equals signs"),
    ("LineBuilder('x').int64_field('a,b',1)", "__main__.InvalidKeyError: field key 'a,b' cannot contain commas"),
    ("LineBuilder('x').int64_field('',1)", "__main__.InvalidKeyError: field key cannot be empty"),
    ("LineBuilder('x').uint64_field('a',-1)", "builtins.ValueError: uint64 field 'a' cannot be negative"),
    ("c.put('t0',1,-1)", "builtins.ValueError: cannot convert float seconds to Duration: value is negative"),
    (
        "c.put('t0',1,float('nan'))",
        "builtins.ValueError: cannot convert float seconds to Duration: value is either too big or NaN",
    ),
    ("c.put('t0',1,'5')", "builtins.TypeError: argument 'ttl': must be real number, not str"),
    ("c.put(5,1)", "builtins.TypeError: argument 'key': 'int' object is not an instance of 'str'"),
    ("c.keys()", "builtins.AttributeError: 'builtins.PyCache' object has no attribute 'keys'"),
    ("'k' in c", "builtins.TypeError: argument of type 'builtins.PyCache' is not "),
    ("c['k']", "builtins.TypeError: 'builtins.PyCache' object is not subscriptable"),
    ("influxdb3_local.foo = 1", "builtins.AttributeError: 'builtins.PyPluginCallApi' object has no attribute 'foo'"),
    (
        "influxdb3_local.query()",
        "builtins.TypeError: PyPluginCallApi.query() missing 1 required positional argument: 'query'",
    ),
    (
        "influxdb3_local.write_to_db(1, LineBuilder('x'))",
        "builtins.TypeError: argument 'db_name': 'int' object is not an instance of 'str'",
    ),
    (
        "type('B',(),{'build':lambda s:1})() and influxdb3_local.write(type('B',(),{'build':lambda s:1})())",
        "builtins.TypeError: 'int' object is not an instance of 'str'",
    ),
    ("import __main__; raise __main__.InvalidLineError('x')", "__main__.InvalidLineError: x"),
    (
        "import influxdb3_py_api as a, bulkhead_worker as b; assert a.QueryError is b.QueryError; raise a.QueryError('x')",
        "influxdb3_py_api.QueryError: x",
    ),
];

/// Expressions and their `repr`.
const VALUES: [(&str, &str); 22] = [
    (
        "LineBuilder('x').tag('t','a b,c=d\\\\e').float64_field('f',1.5).int64_field('i',-3).uint64_field('u',7).string_field('s','q\"\\\\').bool_field('b',True).time_ns(5).build()",
        r#"'x,t=a\\ b\\,c\\=d\\\\e f=1.5,i=-3i,u=7u,s="q\\"\\\\",b=t 5'"#,
    ),
    ("LineBuilder('x').float64_field('a',float('nan')).build()", "'x a=nan'"),
    ("LineBuilder('x').float64_field('a',float('inf')).build()", "'x a=inf'"),
    ("LineBuilder('x').float64_field('a',1e20).build()", "'x a=100000000000000000000.0'"),
    ("LineBuilder('x').float64_field('a',5).build()", "'x a=5.0'"),
    ("LineBuilder('x').int64_field('a',2**70).build()", "'x a=1180591620717411303424i'"),
    ("LineBuilder('x').tag('a','').int64_field('b',1).build()", "'x,a= b=1i'"),
    ("LineBuilder('x,y').int64_field('b',1).build()", "'x\\\\,y b=1i'"),
    (
        "(c.put('k',{'a':[1]}), c.get('k'), c.get('missing'), c.get('missing','dflt'))",
        "(None, {'a': [1]}, None, 'dflt')",
    ),
    ("(c.get('k')['a'].append(2), c.get('k'))", "(None, {'a': [1, 2]})"),
    ("(c.delete('k'), c.delete('k'), c.get('k'))", "(True, False, None)"),
    ("(c.put('t',1,0), c.get('t'))", "(None, None)"),
    ("(c.put('n',None), c.get('n','dflt'))", "(None, None)"),
    (
        "(c.put('g',1,use_global=True), c.get('g'), c.get('g',use_global=True), c.get('g',None,True), c.delete('g'), c.delete('g',True))",
        "(None, None, 1, 1, False, True)",
    ),
    ("(c.put(key='a',value=1,ttl=10.5,use_global=False), c.get('a'))", "(None, 1)"),
    (
        "(c.put('t',1,0.02), c.get('t'), __import__('time').sleep(0.03), c.get('t'), c.delete('t'))",
        "(None, 1, None, None, False)",
    ),
    ("(c.put('o',1,0.02), c.put('o',2), __import__('time').sleep(0.03), c.get('o'))", "(None, None, None, 2)"),
    ("(c.put('f',lambda x:x+1), c.get('f')(1))", "(None, 2)"),
    ("influxdb3_local.cache is influxdb3_local.cache", "False"),
    ("(type(influxdb3_local), type(c))", "(<class 'builtins.PyPluginCallApi'>, <class 'builtins.PyCache'>)"),
    (
        "[n for n in dir(influxdb3_local) if not n.startswith('_')]",
        "['cache', 'error', 'info', 'query', 'warn', 'write', 'write_sync', 'write_sync_to_db', 'write_to_db']",
    ),
    ("c.put('h', 1, 1e300) if False else c.put('far', 1, 1e18)", "None"),
];

on_every_python! {
    async fn what_the_api_raises(python) {
        let mut world = World::start(python).await;
        for (code, expected) in RAISING {
            let body = format!("c = influxdb3_local.cache\ntry:\n    {code}\nexcept Exception as e:\n    return f'{{type(e).__module__}}.{{type(e).__qualname__}}: {{e}}'");
            let text = world.respond(&body).await.body();
            assert!(text.starts_with(expected), "{code}: {text}");
        }
    }

    async fn what_the_api_returns(python) {
        let mut world = World::start(python).await;
        for (code, expected) in VALUES {
            let text = world.respond(&format!("c = influxdb3_local.cache\nreturn repr({code})")).await.body();
            assert_eq!(text, expected, "{code}");
        }
    }

    async fn logs_keep_level_and_order(python) {
        let mut world = World::start(python).await;
        let ended = world.respond("influxdb3_local.info('a', 1, None, {'x': 1})\ninfluxdb3_local.warn()\ninfluxdb3_local.error(object)\nreturn ''").await;
        let lines: Vec<_> = ended.entries().map(|entry| (entry.level(), entry.source(), entry.message.as_str())).collect();
        assert_eq!(lines, [
            (LogLevel::Info, LogSource::Api, "a 1 None {'x': 1}"),
            (LogLevel::Warn, LogSource::Api, ""),
            (LogLevel::Error, LogSource::Api, "<class 'object'>"),
        ]);
        assert!(ended.logs.iter().all(|log| log.invocation_id == Some(1)));
    }

    async fn a_long_line_is_cut_and_says_so(python) {
        let mut world = World::start(python).await;
        let ended = world.respond("influxdb3_local.info('é' * 5000)\nreturn ''").await;
        let message = &ended.entries().next().unwrap().message;
        assert!(message.len() <= 1000 && message.ends_with("é ... (9040 bytes cut)"), "{message}");
    }

    async fn writes_come_before_the_end_and_by_database(python) {
        let mut world = World::start(python).await;
        let ended = world.respond("
for i in range(3):
    influxdb3_local.write(LineBuilder('m').int64_field('i', i))
influxdb3_local.write_to_db('other', LineBuilder('o').int64_field('i', 9))
class Two:
    def build(self): return 'duck f=1\\nduck f=2 2'
influxdb3_local.write(Two())
return ''").await;
        assert_eq!(ended.succeeded().written("db"), "m i=0i\nm i=1i\nm i=2i\nduck f=1\nduck f=2 2\n");
        assert_eq!(ended.written("other"), "o i=9i\n");
    }

    async fn writes_of_a_failed_call_are_dropped(python) {
        let mut world = World::start(python).await;
        let begun = Instant::now();
        let ended = world.respond("influxdb3_local.write(LineBuilder('m').int64_field('i', 1))\ninfluxdb3_local.info('kept')\nraise ValueError").await;
        assert_eq!(ended.failure().kind(), FailureKind::Exception);
        // What was old enough was sent already; the runner drops that. It also ages between the end of the function and that of the
        // call, which the call's own time does not have.
        assert!(ended.writes.is_empty() || begun.elapsed() >= FLUSH_AGE);
        assert_eq!(ended.messages(), ["kept"]);
    }

    async fn lines_are_flushed_by_age_count_and_bytes_while_the_plugin_runs(python) {
        let mut world = World::start(python).await;
        world.load_request("
import time
influxdb3_local.info('first')
influxdb3_local.write(LineBuilder('m').int64_field('i', 1))
time.sleep(60)").await;
        let id = world.invoke(request_event(), false).await;
        assert!(matches!(world.fact().await, Fact::Logs(logs) if logs.lines.len() == 1));
        assert!(matches!(world.fact().await, Fact::Written(_)));
        world.cancel(id, FailureKind::Cancelled).await;
        world.end_of(id).await;
        world.load_request("for i in range(3000): influxdb3_local.info(i)\nfor i in range(20): influxdb3_local.write(LineBuilder('m').string_field('s', 'x' * 10000))\nreturn ''").await;
        let ended = world.request().await;
        assert_eq!(ended.logs.len(), 3000);
        assert!(ended.entries().zip(0..).all(|(entry, index)| entry.message == index.to_string()));
        // By bytes that makes three; the age may cut in between.
        assert!((3..=20).contains(&ended.writes.len()), "{}", ended.writes.len());
        assert_eq!(ended.written("db").lines().count(), 20);
    }

    async fn the_write_buffer_has_a_limit(python) {
        let mut world = World::start(python).await;
        let ended = world.respond("for i in range(30): influxdb3_local.write(LineBuilder('m').string_field('s', 'x' * 100000))").await;
        assert_eq!(ended.failure().kind(), FailureKind::Limit);
        assert!(ended.failure().message.starts_with("write_buffer_bytes_max of 1048576 bytes exceeded: 1100"), "{:?}", ended.failure());
        let ended = world.respond("from bulkhead_worker import LimitExceeded\ntry:\n    influxdb3_local.write(LineBuilder('m').string_field('s', 'x' * 2000000))\nexcept LimitExceeded:\n    influxdb3_local.write(LineBuilder('ok').int64_field('i', 1))\nreturn ''").await;
        assert_eq!(ended.succeeded().written("db"), "ok i=1i\n");
    }

    async fn a_query_returns_rows_or_raises(python) {
        let mut world = World::start(python).await;
        world.load_request("return repr(influxdb3_local.query('select 1', {'p': 'v'}, 'elsewhere'))").await;
        let id = world.invoke(request_event(), false).await;
        let asked = world.peer.queries.recv().await.unwrap();
        assert_eq!((asked.request.invocation_id, asked.request.sql.as_str(), asked.request.database.as_str()), (id, "select 1", "elsewhere"));
        let text = |name: &str| asked.request.parameters.get(name).and_then(|value| value.kind.clone());
        assert_eq!(text("p"), Some(Kind::Text("v".into())));
        let part = |value| stream(&[("a", Column::I64(vec![Some(value), None])), ("s", Column::Text(vec![None, Some("x")]))]);
        asked.answer.send(Ok(vec![part(1), part(2)])).unwrap();
        let expected = "[{'a': 1, 's': None}, {'a': None, 's': 'x'}, {'a': 2, 's': None}, {'a': None, 's': 'x'}]";
        assert_eq!(world.end_of(id).await.body(), expected);

        world.load_request("
import influxdb3_py_api
try:
    influxdb3_local.query('selec')
except influxdb3_py_api.QueryError as e:
    return repr(e)").await;
        let id = world.invoke(request_event(), false).await;
        world.peer.queries.recv().await.unwrap().answer.send(Err(Status::invalid_argument("error: no such thing executing query on db: selec"))).unwrap();
        assert_eq!(world.end_of(id).await.body(), "QueryError('error: no such thing executing query on db: selec')");
    }

    async fn write_sync_waits_for_the_answer(python) {
        let mut world = World::start(python).await;
        world.load_request("
influxdb3_local.write_sync(LineBuilder('m').int64_field('i', 1), False)
try:
    influxdb3_local.write_sync_to_db('other', LineBuilder('m').int64_field('i', 2), no_sync=True)
except Exception as e:
    return repr(e)").await;
        let id = world.invoke(request_event(), false).await;
        let asked = world.peer.writes.recv().await.unwrap();
        let batch = asked.request.batch.unwrap();
        assert_eq!((batch.database.as_str(), &batch.line_protocol[..], asked.request.no_sync), ("db", &b"m i=1i"[..], false));
        asked.answer.send(Ok(())).unwrap();
        let asked = world.peer.writes.recv().await.unwrap();
        assert!(asked.request.no_sync);
        asked.answer.send(Err(Status::invalid_argument("error writing line protocol to other: no"))).unwrap();
        assert_eq!(world.end_of(id).await.body(), "Exception('error writing line protocol to other: no')");
    }

    async fn threads_may_ask_at_once_and_after_the_call(python) {
        let mut world = World::start(python).await;
        world.load_request("
import threading
def work(n):
    influxdb3_local.query(f'select {n}')
    influxdb3_local.info('thread', n)
    influxdb3_local.write(LineBuilder('late').int64_field('n', n))
for n in range(3):
    threading.Thread(target=work, args=(n,), daemon=True).start()
return 'done'").await;
        let id = world.invoke(request_event(), false).await;
        assert_eq!(world.end_of(id).await.body(), "done");
        for _ in 0..3 {
            let asked = world.peer.queries.recv().await.unwrap();
            assert_eq!(asked.request.invocation_id, id);
            asked.answer.send(Ok(vec![stream(&[])])).unwrap();
        }
        let (mut logs, mut lines) = (0, 0);
        while logs < 3 || lines < 3 {
            match world.fact().await {
                Fact::Logs(said) => logs += said.lines.iter().filter(|log| log.invocation_id == Some(id)).count(),
                Fact::Written(written) if written.invocation_id == id => lines += written.batch.unwrap().line_protocol.iter().filter(|&&byte| byte == b'\n').count(),
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    async fn a_forked_child_leaves_the_session_alone(python) {
        let mut world = World::start(python).await;
        let ended = world.respond("
import os, sys
read, write = os.pipe()
pid = os.fork()
if pid == 0:
    print('from the child', flush=True)
    try:
        influxdb3_local.info('x')
    except RuntimeError as e:
        os.write(write, str(e).encode())
    os._exit(0)
os.waitpid(pid, 0)
return os.read(read, 1000).decode()").await;
        assert_eq!(ended.body(), "`influxdb3_local` cannot be used in a forked process");
        assert!(!ended.messages().contains(&"from the child"));
        world.respond("return ''").await.succeeded();
    }
}
