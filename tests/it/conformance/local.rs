//! `influxdb3_local`: its members, their signatures, and the log.

use super::{Row, check, differs, gives, raises};
use crate::world::TestRunner;

const ROWS: &[Row] = &[
    gives(
        "r = type(influxdb3_local), type(influxdb3_local.cache)",
        "(<class 'builtins.PyPluginCallApi'>, <class 'builtins.PyCache'>)",
    ),
    gives(
        "r = [name for name in dir(influxdb3_local) if not name.startswith('_')]",
        "['cache', 'error', 'info', 'query', 'warn', 'write', 'write_sync', 'write_sync_to_db', 'write_to_db']",
    ),
    gives("r = [name for name in dir(influxdb3_local.cache) if not name.startswith('_')]", "['delete', 'get', 'put']"),
    gives(
        "r = [getattr(influxdb3_local, name).__text_signature__ for name in ('info', 'warn', 'error')]",
        "['($self, *args)', '($self, *args)', '($self, *args)']",
    ),
    gives(
        "r = influxdb3_local.write.__text_signature__, influxdb3_local.write_to_db.__text_signature__",
        "('($self, line_builder)', '($self, db_name, line_builder)')",
    ),
    gives(
        "r = influxdb3_local.write_sync.__text_signature__, influxdb3_local.write_sync_to_db.__text_signature__",
        "('($self, line_builder, no_sync)', '($self, db_name, line_builder, no_sync)')",
    ),
    gives(
        "c = influxdb3_local.cache; r = c.put.__text_signature__, c.get.__text_signature__, c.delete.__text_signature__",
        "('($self, key, value, ttl=None, use_global=None)', '($self, key, default=None, use_global=None)', '($self, key, use_global=None)')",
    ),
    gives(
        r#"r = (influxdb3_local.info("a",1,None,{"x":1}), influxdb3_local.warn(), influxdb3_local.error(object))"#,
        "(None, None, None)",
    ),
    raises(
        "influxdb3_local.info(a=1)",
        "builtins.TypeError",
        "PyPluginCallApi.info() got an unexpected keyword argument 'a'",
    ),
    raises(
        "influxdb3_local.foo = 1",
        "builtins.AttributeError",
        "'builtins.PyPluginCallApi' object has no attribute 'foo'",
    ),
    raises(
        "influxdb3_local.debug('x')",
        "builtins.AttributeError",
        "'builtins.PyPluginCallApi' object has no attribute 'debug'",
    ),
    gives(
        "import influxdb3_py_api; r = influxdb3_py_api.QueryError.__mro__",
        "(<class 'influxdb3_py_api.QueryError'>, <class 'Exception'>, <class 'BaseException'>, <class 'object'>)",
    ),
    differs(
        gives(
            "r = influxdb3_local.query.__text_signature__",
            "'($self, query, args=None, database=None, *, arrow=False)'",
        ),
        "there is no `arrow`; it can be given by name only, so that calls without it mean the same",
    ),
    differs(
        gives(
            "from bulkhead_worker import QueryError; import influxdb3_py_api; r = QueryError is influxdb3_py_api.QueryError",
            "True",
        ),
        "the class cannot be imported",
    ),
];

#[test]
fn influxdb3_local() {
    let runner = TestRunner::start();
    check(&runner, ROWS);
    let lines = runner.logs("eval");
    let said: Vec<&str> = lines.iter().map(String::as_str).filter(|line| !line.contains(" execution ")).collect();
    assert_eq!(said, ["INFO a 1 None {'x': 1}", "WARN ", "ERROR <class 'object'>"]);
}
