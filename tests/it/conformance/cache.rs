//! `influxdb3_local.cache`.

use super::{Row, check, gives, raises};
use crate::world::TestRunner;

const ROWS: &[Row] = &[
    gives(
        r#"c = influxdb3_local.cache; r = (c.put("k",{"a":[1]}), c.get("k"), c.get("missing"), c.get("missing","dflt"))"#,
        "(None, {'a': [1]}, None, 'dflt')",
    ),
    gives(r#"r = influxdb3_local.cache.get("k")"#, "{'a': [1]}"),
    gives(r#"c = influxdb3_local.cache; c.get("k")["a"].append(2); r = c.get("k")"#, "{'a': [1, 2]}"),
    gives(r#"r = influxdb3_local.cache.get("k")"#, "{'a': [1, 2]}"),
    gives(
        r#"import time; c = influxdb3_local.cache; c.put("t",1,0.3); a = c.get("t"); time.sleep(0.4); r = (a,c.get("t"))"#,
        "(1, None)",
    ),
    gives(r#"c = influxdb3_local.cache; c.put("t0",1,0); r = c.get("t0")"#, "None"),
    raises(
        r#"influxdb3_local.cache.put("t0",1,-1)"#,
        "builtins.ValueError",
        "cannot convert float seconds to Duration: value is negative",
    ),
    gives(r#"c = influxdb3_local.cache; c.put("t0",1,None); r = c.get("t0")"#, "1"),
    raises(
        r#"influxdb3_local.cache.put("t0",1,float("nan"))"#,
        "builtins.ValueError",
        "cannot convert float seconds to Duration: value is either too big or NaN",
    ),
    raises(
        r#"influxdb3_local.cache.put("t0",1,"5")"#,
        "builtins.TypeError",
        "argument 'ttl': must be real number, not str",
    ),
    gives(r#"c = influxdb3_local.cache; r = (c.delete("k"),c.delete("k"),c.get("k"))"#, "(True, False, None)"),
    gives(
        r#"c = influxdb3_local.cache; r = (c.put("g",1,use_global=True), c.get("g"), c.get("g",use_global=True), c.get("g",None,True), c.delete("g"), c.delete("g",True))"#,
        "(None, None, 1, 1, False, True)",
    ),
    raises(
        "influxdb3_local.cache.put(5,1)",
        "builtins.TypeError",
        "argument 'key': 'int' object is not an instance of 'str'",
    ),
    gives(r#"r = influxdb3_local.cache.put(key="a",value=1,ttl=10.5,use_global=False)"#, "None"),
    gives(r#"c = influxdb3_local.cache; c.put("n",None); r = c.get("n","dflt")"#, "None"),
    gives(
        r#"import time; c = influxdb3_local.cache; c.put("o",1,0.2); c.put("o",2); time.sleep(.3); r = c.get("o")"#,
        "2",
    ),
    gives(r#"c = influxdb3_local.cache; c.put("big", "x"*(50*1024*1024)); r = len(c.get("big"))"#, "52428800"),
    gives(r#"r = len(influxdb3_local.cache.get("big"))"#, "52428800"),
    gives(r#"c = influxdb3_local.cache; c.put("fn", lambda x:x+1); r = c.get("fn")(1)"#, "2"),
    gives(r#"r = influxdb3_local.cache.get("fn")(2)"#, "3"),
    gives("r = influxdb3_local.cache is influxdb3_local.cache", "False"),
    raises(
        "influxdb3_local.cache.keys()",
        "builtins.AttributeError",
        "'builtins.PyCache' object has no attribute 'keys'",
    ),
    raises(r#""k" in influxdb3_local.cache"#, "builtins.TypeError", "argument of type 'builtins.PyCache' is not "),
    raises(r#"influxdb3_local.cache["k"]"#, "builtins.TypeError", "'builtins.PyCache' object is not subscriptable"),
];

#[test]
fn cache() {
    check(&TestRunner::start(), ROWS);
}
