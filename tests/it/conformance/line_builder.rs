//! `LineBuilder` and its exceptions.

use super::{Row, check, differs, gives, raises};
use crate::world::TestRunner;

const ROWS: &[Row] = &[
    gives(
        r#"r = LineBuilder("out").tag("t","v").float64_field("f",1.0).int64_field("i",2).uint64_field("u",3).string_field("s","q\"x").bool_field("b",True).time_ns(5).build()"#,
        r#"'out,t=v f=1.0,i=2i,u=3u,s="q\\"x",b=t 5'"#,
    ),
    gives(r#"r = LineBuilder("x").float64_field("a",float("nan")).build()"#, "'x a=nan'"),
    gives(r#"r = LineBuilder("x").float64_field("a",float("inf")).build()"#, "'x a=inf'"),
    gives(r#"r = LineBuilder("x").float64_field("a",1e20).build()"#, "'x a=100000000000000000000.0'"),
    gives(r#"r = LineBuilder("x").float64_field("a",5).build()"#, "'x a=5.0'"),
    gives(r#"r = LineBuilder("x").int64_field("a",2**70).build()"#, "'x a=1180591620717411303424i'"),
    gives(r#"r = LineBuilder("x").string_field("a","l1\nl2").build()"#, r#"'x a="l1\nl2"'"#),
    gives(r#"r = LineBuilder("x").tag("a","").int64_field("b",1).build()"#, "'x,a= b=1i'"),
    gives(r#"r = LineBuilder("x,y").int64_field("b",1).build()"#, r"'x\\,y b=1i'"),
    gives(r#"r = LineBuilder("x").tag("a","b c,d=e\\f").int64_field("b",1).build()"#, r"'x,a=b\\ c\\,d\\=e\\\\f b=1i'"),
    gives(r#"r = LineBuilder("x").tag("a", 5).tag("a", None).int64_field("b",1).build()"#, "'x,a=None b=1i'"),
    gives(r#"r = LineBuilder("x").int64_field("a",True).uint64_field("b",True).build()"#, "'x a=Truei,b=Trueu'"),
    gives(r#"r = LineBuilder("x").bool_field("a","yes").bool_field("b",0).build()"#, "'x a=t,b=f'"),
    gives(
        r#"b = LineBuilder("x").tag("t", 1).int64_field("i", 2); r = (b.measurement, dict(b.tags), dict(b.fields))"#,
        "('x', {'t': '1'}, {'i': '2i'})",
    ),
    gives(r#"r = LineBuilder("x").int64_field("a",1).time_ns(None).build()"#, "'x a=1i'"),
    gives("r = LineBuilder.__module__ == __import__('builtins').LineBuilder.__module__", "True"),
    raises(
        r#"LineBuilder("x").tag("a","b").build()"#,
        "__main__.InvalidLineError",
        "At least one field is required: x,a=b",
    ),
    raises(r#"LineBuilder("x y")"#, "__main__.InvalidMeasurementError", "Measurement name cannot contain spaces"),
    raises(r#"LineBuilder("x").tag("a b","c")"#, "__main__.InvalidKeyError", "tag key 'a b' cannot contain spaces"),
    raises(r#"LineBuilder("x").tag("a,b","c")"#, "__main__.InvalidKeyError", "tag key 'a,b' cannot contain commas"),
    raises(
        r#"LineBuilder("x").tag("a=b","")"#,
        "__main__.InvalidKeyError",
        "tag key 'a=b' cannot contain equals signs",
    ),
    raises(r#"LineBuilder("x").tag("","")"#, "__main__.InvalidKeyError", "tag key cannot be empty"),
    raises(
        r#"LineBuilder("x").bool_field("a b",1)"#,
        "__main__.InvalidKeyError",
        "field key 'a b' cannot contain spaces",
    ),
    raises(r#"LineBuilder("x").uint64_field("a",-1)"#, "builtins.ValueError", "uint64 field 'a' cannot be negative"),
    raises(
        r#"LineBuilder("x").string_field("a",1)"#,
        "builtins.AttributeError",
        "'int' object has no attribute 'replace'",
    ),
    raises(
        r#"LineBuilder("x").float64_field("a","1")"#,
        "builtins.TypeError",
        "not all arguments converted during string formatting",
    ),
    raises(
        r#"LineBuilder("x").uint64_field("a","1")"#,
        "builtins.TypeError",
        "'<' not supported between instances of 'str' and 'int'",
    ),
    gives(
        "import __main__; r = [c.__name__ for c in __main__.InvalidLineError.__mro__]",
        "['InvalidLineError', 'InfluxDBError', 'Exception', 'BaseException', 'object']",
    ),
    differs(
        gives(
            "from bulkhead_worker import InvalidKeyError, InvalidLineError, InvalidMeasurementError, InfluxDBError; r = 1",
            "1",
        ),
        "they can be reached through `__main__` only",
    ),
    differs(
        gives(r#"r = LineBuilder("x").tag("a", "1\n2").int64_field("b",1).build()"#, r"'x,a=1\\n2 b=1i'"),
        "the line is cut in two, so that all lines of the call are lost; line protocol has no newline in a tag",
    ),
];

#[test]
fn line_builder() {
    check(&TestRunner::start(), ROWS);
}
