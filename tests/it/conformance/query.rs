//! `influxdb3_local.query`: values, parameters and errors.

use super::{Row, check, differs, gives, raises};
use crate::world::TestRunner;

const LINES: &str = "m,tag1=a,tag2=b f=1.5,i=3i,u=7u,s=\"str \\\"q\\\" é\",b=t 1700000000000000000
m,tag1=a f=2 1700000000000000001
m i=4i 1700000000000000002
m,tag2=z s=\"\" 1700000000000000003
n f=1e300,i=9223372036854775807i,u=18446744073709551615u,neg=-9223372036854775808i 1700000000000000000
n f=-0.0 -5";

const QUERY_ERROR: &str = "influxdb3_py_api.QueryError";

const ROWS: &[Row] = &[
    gives(
        r#"r = influxdb3_local.query("select * from m order by time")"#,
        r#"[{'b': True, 'f': 1.5, 'i': 3, 's': 'str "q" é', 'tag1': 'a', 'tag2': 'b', 'time': 1700000000000000000, 'u': 7}, {'b': None, 'f': 2.0, 'i': None, 's': None, 'tag1': 'a', 'tag2': None, 'time': 1700000000000000001, 'u': None}, {'b': None, 'f': None, 'i': 4, 's': None, 'tag1': None, 'tag2': None, 'time': 1700000000000000002, 'u': None}, {'b': None, 'f': None, 'i': None, 's': '', 'tag1': None, 'tag2': 'z', 'time': 1700000000000000003, 'u': None}]"#,
    ),
    gives(
        r#"r = influxdb3_local.query("select * from n order by time")"#,
        "[{'f': -0.0, 'i': None, 'neg': None, 'time': -5, 'u': None}, {'f': 1e+300, 'i': 9223372036854775807, 'neg': -9223372036854775808, 'time': 1700000000000000000, 'u': 18446744073709551615}]",
    ),
    gives(
        r#"r = influxdb3_local.query("select count(*) c, avg(f) a, max(time) t, max(s) s, bool_or(b) b, count(*)>0 as gt from m")"#,
        r#"[{'c': 4, 'a': 1.75, 't': 1700000000000000003, 's': 'str "q" é', 'b': True, 'gt': True}]"#,
    ),
    gives(
        r#"r = influxdb3_local.query("select i from m where tag1 = $t order by time", {"t":"a"})"#,
        "[{'i': 3}, {'i': None}]",
    ),
    gives(r#"r = influxdb3_local.query(query="select 1 as x", args=None, database=None)"#, "[{'x': 1}]"),
    gives(r#"r = influxdb3_local.query("select * from only", None, "w3")"#, "[{'time': 1, 'v': 1.0}]"),
    gives(r#"r = influxdb3_local.query("select * from m where f > 100")"#, "[]"),
    gives(
        r#"r = influxdb3_local.query("select date_bin(interval '1 hour', time) as x, count(*) c from m group by 1")"#,
        "[{'x': 1699999200000000000, 'c': 4}]",
    ),
    gives(r#"r = type(influxdb3_local.query("select now() as x")[0]["x"])"#, "<class 'int'>"),
    gives(
        r#"r = type(influxdb3_local.query("select 1")), type(influxdb3_local.query("select 1")[0])"#,
        "(<class 'list'>, <class 'dict'>)",
    ),
    raises(
        r#"influxdb3_local.query("select * from only", None, "nodbx")"#,
        QUERY_ERROR,
        "error: database not found: nodbx executing query on nodbx: select * from only",
    ),
    raises(
        r#"influxdb3_local.query("select * from nothere")"#,
        QUERY_ERROR,
        "error: error while planning query: Error during planning: table 'public.iox.nothere' not found executing query on db: select * from nothere",
    ),
    raises(
        r#"influxdb3_local.query("selec 1")"#,
        QUERY_ERROR,
        "error: error while planning query: SQL error: ParserError(\"Expected: an SQL statement, found: selec at Line: 1, Column: 1\") executing query on db: selec 1",
    ),
    raises(
        r#"influxdb3_local.query("select nope from m")"#,
        QUERY_ERROR,
        "error: error while planning query: Schema error: No field named nope. Valid fields are m.b, m.f, m.i, m.s, m.tag1, m.tag2, m.time, m.u. executing query on db: select nope from m",
    ),
    raises(
        r#"influxdb3_local.query("select 1/0 as x")"#,
        QUERY_ERROR,
        "error: Arrow error: Divide by zero error executing query on db: select 1/0 as x",
    ),
    raises(
        r#"influxdb3_local.query("create table x(a int)")"#,
        QUERY_ERROR,
        "error: error while planning query: Error during planning: DDL not supported: CreateMemoryTable executing query on db: create table x(a int)",
    ),
    raises(
        r#"influxdb3_local.query("select 1; select 2")"#,
        QUERY_ERROR,
        "error: error while planning query: This feature is not implemented: The context currently only supports a single SQL statement executing query on db: select 1; select 2",
    ),
    raises(
        "influxdb3_local.query(5)",
        "builtins.TypeError",
        "argument 'query': 'int' object is not an instance of 'str'",
    ),
    raises(
        "influxdb3_local.query()",
        "builtins.TypeError",
        "PyPluginCallApi.query() missing 1 required positional argument: 'query'",
    ),
    raises(
        "influxdb3_local.query('select 1', {'t': []})",
        "builtins.TypeError",
        "argument 'args': 'list' object is not an instance of 'str'",
    ),
    raises(
        "influxdb3_local.query('select 1', [])",
        "builtins.TypeError",
        "argument 'args': 'list' object is not an instance of 'dict'",
    ),
];

const NO_TEXT: &str = "only text is taken as a parameter";
const NO_TABLE: &str = "fails to parse, although the documentation shows it";
const NO_TYPE: &str = "`ValueError: Unsupported data type`";

const BEYOND: &[Row] = &[
    differs(gives(r#"r = influxdb3_local.query("select f from m where i = $t", {"t":3})"#, "[{'f': 1.5}]"), NO_TEXT),
    differs(gives(r#"r = influxdb3_local.query("select i from m where f > $t", {"t":1.9})"#, "[{'i': None}]"), NO_TEXT),
    differs(gives(r#"r = influxdb3_local.query("select i from m where b = $t", {"t":True})"#, "[{'i': 3}]"), NO_TEXT),
    differs(
        gives(
            r#"r = influxdb3_local.query("select u from n where u = $t", {"t":2**64-1})"#,
            "[{'u': 18446744073709551615}]",
        ),
        NO_TEXT,
    ),
    differs(
        gives(
            r#"from datetime import datetime, timezone, timedelta; at = datetime(2023,11,14,22,13,20); zone = timezone(timedelta(hours=2)); q = "select count(*) c from m where time = $t"
r = [influxdb3_local.query(q, {"t": t})[0]["c"] for t in (at, at.replace(tzinfo=timezone.utc), datetime(2023,11,15,0,13,20,tzinfo=zone), datetime(1969,1,1))]"#,
            "[1, 1, 1, 0]",
        ),
        NO_TEXT,
    ),
    differs(gives(r#"r = influxdb3_local.query("select $t is null as x", {"t":None})"#, "[{'x': True}]"), NO_TEXT),
    differs(
        raises(
            "influxdb3_local.query('select $t', {'t': 2**64})",
            "builtins.OverflowError",
            "argument 'args': 18446744073709551616 is outside of 64 bits",
        ),
        NO_TEXT,
    ),
    differs(
        gives(
            r#"r = influxdb3_local.query("select count(*) c from $table where tag1 = $t", {"table":"m", "t":"a"})"#,
            "[{'c': 2}]",
        ),
        NO_TABLE,
    ),
    differs(
        raises(
            r#"influxdb3_local.query("select * from $table", {"table":"m\" union select 1 --"})"#,
            QUERY_ERROR,
            "error: error while planning query: Error during planning: table 'public.iox.m\" union select 1 --' not found",
        ),
        NO_TABLE,
    ),
    differs(
        gives(
            r#"r = influxdb3_local.query("select cast(1 as int) a, cast(2 as smallint) b, cast(3 as tinyint unsigned) c, cast(0.5 as real) d")"#,
            "[{'a': 1, 'b': 2, 'c': 3, 'd': 0.5}]",
        ),
        NO_TYPE,
    ),
    differs(
        gives(
            r#"r = influxdb3_local.query("select date '2020-01-01' as x, cast('12:34:56.5' as time) as y, date '0001-01-01' as z")"#,
            "[{'x': datetime.date(2020, 1, 1), 'y': datetime.time(12, 34, 56, 500000), 'z': datetime.date(1, 1, 1)}]",
        ),
        NO_TYPE,
    ),
    differs(
        gives(
            r#"r = influxdb3_local.query("select interval '1 month 2 day 3 second' as x")"#,
            "[{'x': {'months': 1, 'days': 2, 'nanoseconds': 3000000000}}]",
        ),
        NO_TYPE,
    ),
    differs(
        gives(
            r#"r = influxdb3_local.query("select concat(tag1, s) as x, upper(tag1) as y, cast(tag1 as varchar) z from m where tag2 = 'b'")"#,
            r#"[{'x': 'astr "q" é', 'y': 'A', 'z': 'a'}]"#,
        ),
        NO_TYPE,
    ),
    differs(
        gives(
            r#"r = influxdb3_local.query("select array_agg(f order by f) as x from m where f is not null")"#,
            "[{'x': [1.5, 2.0]}]",
        ),
        NO_TYPE,
    ),
    differs(
        gives(
            r#"r = influxdb3_local.query("select make_array(make_array(1), make_array(2, null)) as x")"#,
            "[{'x': [[1], [2, None]]}]",
        ),
        NO_TYPE,
    ),
    differs(
        gives(
            r#"r = influxdb3_local.query("select named_struct('a', 1, 'b', 'x') as x")"#,
            "[{'x': {'a': 1, 'b': 'x'}}]",
        ),
        NO_TYPE,
    ),
    differs(
        gives(
            r#"r = influxdb3_local.query("select cast(1.25 as decimal(10,2)) as x, -cast(3 as decimal(30,0)) as y")"#,
            "[{'x': Decimal('1.25'), 'y': Decimal('-3')}]",
        ),
        NO_TYPE,
    ),
    differs(
        gives(
            r#"r = influxdb3_local.query("select arrow_cast('ab', 'Binary') a, arrow_cast('cd', 'BinaryView') b, arrow_cast('x', 'LargeUtf8') c, arrow_cast('y', 'Dictionary(Int8, Utf8)') d")"#,
            "[{'a': b'ab', 'b': b'cd', 'c': 'x', 'd': 'y'}]",
        ),
        NO_TYPE,
    ),
    differs(
        gives(
            r#"r = influxdb3_local.query("select arrow_cast(1, 'Duration(Second)') a, arrow_cast(1.5, 'Float16') b, arrow_cast(7, 'Dictionary(Int8, Int64)') c, null as d")"#,
            "[{'a': 1000000000, 'b': 1.5, 'c': 7, 'd': None}]",
        ),
        NO_TYPE,
    ),
    differs(
        gives(
            r#"r = [influxdb3_local.query(f"select arrow_cast(time, 'Timestamp({unit}, None)') as x from m where i = 3")[0]["x"] for unit in ("Second", "Millisecond", "Microsecond", "Nanosecond")]"#,
            "[1700000000000000000, 1700000000000000000, 1700000000000000000, 1700000000000000000]",
        ),
        "a panic for units other than nanoseconds",
    ),
];

#[test]
fn query() {
    let runner = TestRunner::start();
    runner.write(LINES);
    runner.write_to("w3", "only v=1.0 1");
    check(&runner, ROWS);
}

#[test]
fn query_beyond_the_incumbent() {
    let runner = TestRunner::start();
    runner.write(LINES);
    check(&runner, BEYOND);
}
