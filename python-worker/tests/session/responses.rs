//! What `process_request` may return; the rows of the table are those that InfluxDB 3 was seen to
//! answer, but for the last ones.

use bulkhead_proto::types::v1::FailureKind;
use bulkhead_proto::worker::v1::session_request::Fact;
use bytes::Bytes;

use crate::world::{LIMITS, World, request_event};

const GENERATOR: &str = "def g():\n    yield 'a'\n    yield b'b'\n    yield 'c'\nreturn g()";

const FLASK: &str = "class R:
    status_code=202
    headers={'X-F':'1'}
    def __flask_response__(self): return True
    def get_data(self): return 'flasky'
return R()";

const FORMS: [(&str, u32, &str, &str); 29] = [
    ("return 'hello'", 200, "text/html", "hello"),
    ("return {'a':[1,2.5,None,True,'s']}", 200, "application/json", r#"{"a": [1, 2.5, null, true, "s"]}"#),
    ("return [1,2,3]", 200, "application/json", "[1, 2, 3]"),
    ("return 'nope', 404", 404, "text/html", "nope"),
    ("return 'x', {'X-A':'1'}", 200, "text/html", "x"),
    ("return {'a':1}, 201, {'X-A':'1','Content-Type':'text/weird'}", 201, "text/weird", r#"{"a": 1}"#),
    ("return {'e':1}, 418", 418, "application/json", r#"{"e": 1}"#),
    ("return ('only',)", 200, "text/html", "only"),
    ("return ()", 200, "text/html", ""),
    ("return ('a',200,{}, 'x')", 200, "text/html", "ax"),
    ("return 'a','500'", 200, "text/html", "a"),
    ("return 'a',99999", 500, "text/html", "a"),
    ("return 'a',-1", 500, "text/html", "a"),
    ("return 'a',99", 500, "text/html", "a"),
    ("return None, 200", 200, "text/plain", "None"),
    ("return 5, 200", 200, "text/plain", "5"),
    ("return '', 204", 204, "text/html", ""),
    (GENERATOR, 200, "text/html", "abc"),
    ("return {'x'}", 200, "text/html", "x"),
    ("return {'a': float('nan')}", 200, "application/json", r#"{"a": NaN}"#),
    ("return 'é✓'", 200, "text/html", "é✓"),
    (FLASK, 202, "", "flasky"),
    ("return 'x', {'content-type':'a/b'}", 200, "a/b", "x"),
    ("return 'x', 200, {'X-A':'é'}", 200, "text/html", "x"),
    // Bytes are sent as they are; InfluxDB 3 drops them, or sends their `repr`.
    ("return b'a\\xffbc'", 200, "application/octet-stream", "a\u{fffd}bc"),
    ("return b'xyz', 200", 200, "application/octet-stream", "xyz"),
    ("return bytearray(b'xyz'), 200, {'Content-Type':'image/png'}", 200, "image/png", "xyz"),
    ("return iter([b'\\xff', 'x'])", 200, "text/html", "\u{fffd}x"),
    // A text that is not UTF-8 keeps what can be kept; InfluxDB 3 sends nothing.
    ("return 'a\\ud800'", 200, "text/html", "a?"),
];

const REFUSED: [(&str, &str); 12] = [
    ("return None", "Unsupported return type from Python function"),
    ("return 42", "Unsupported return type from Python function"),
    ("return True", "Unsupported return type from Python function"),
    ("return 1.5", "Unsupported return type from Python function"),
    ("async def f(): pass\nreturn f()", "Unsupported return type from Python function"),
    ("return 'a',200,'notadict'", "expected a dictionary in header item"),
    ("return 'a',200,{'X-A':1}", "TypeError: 'int' object is not an instance of 'str'"),
    ("return {'a': object()}", "TypeError: Object of type object is not JSON serializable"),
    // InfluxDB 3 sends an empty value, or its handler dies.
    ("return 'a',200,{'X-A':'a\\nb'}", "the value of header 'X-A' contains a line break or another control character"),
    ("return 'a',200,{'X A':'1'}", "invalid header name 'X A'"),
    ("return 'a',200,{'':'1'}", "invalid header name ''"),
    ("return 'a',200,{'Xé':'1'}", "invalid header name 'Xé'"),
];

on_every_python! {
    async fn every_form_of_a_response(python) {
        let mut world = World::start(python).await;
        for (body, status, content_type, text) in FORMS {
            let ended = world.respond(body).await;
            assert_eq!(ended.parts(), (status, content_type, text.to_owned()), "{body}");
        }
        let ended = world.respond("return 'x', 200, {'X-A': '1', 'X-B': '2'}").await;
        let headers: Vec<_> = ended.response().headers.iter().map(|header| (header.key.as_str(), header.value.as_str())).collect();
        assert_eq!(headers, [("X-A", "1"), ("X-B", "2"), ("content-type", "text/html")]);
    }

    async fn every_refusal(python) {
        let mut world = World::start(python).await;
        for (body, message) in REFUSED {
            let ended = world.respond(body).await;
            assert_eq!((ended.failure().kind(), ended.failure().message.as_str()), (FailureKind::Response, message), "{body}");
            assert!(ended.logs.is_empty(), "{:?}", ended.logs);
        }
    }

    async fn what_a_generator_raises_is_the_plugins_exception(python) {
        let mut world = World::start(python).await;
        let ended = world.respond("def g():\n    yield 'a'\n    raise ValueError('late')\nreturn g()").await;
        assert_eq!((ended.failure().kind(), ended.failure().message.as_str()), (FailureKind::Exception, "ValueError: late"));
        assert_eq!(ended.streamed.map(|(_, parts)| parts), Some(vec![Bytes::from_static(b"a")]), "what was yielded has left");
        // Before the first bytes there is no response yet, so the failure is all that there is.
        let ended = world.respond("def g():\n    yield ''\n    raise ValueError('early')\nreturn g()").await;
        assert_eq!(ended.failure().message, "ValueError: early");
        assert!(ended.streamed.is_none());
    }

    async fn an_iterator_is_sent_as_it_yields(python) {
        let mut world = World::start(python).await;
        let ended = world.respond("def g():\n    yield 'a'\n    yield ''\n    yield 7\n    yield b'x' * 2500\nreturn g(), 201, {'X-A': ['1', '2']}").await;
        let (head, parts) = ended.streamed.as_ref().unwrap();
        let headers: Vec<_> = head.headers.iter().map(|header| (header.key.as_str(), header.value.as_str())).collect();
        assert_eq!((head.status_code, headers), (201, vec![("X-A", "1"), ("X-A", "2"), ("content-type", "text/html")]));
        let sizes: Vec<_> = parts.iter().map(Bytes::len).collect();
        assert_eq!(sizes, [1, 1000, 1000, 500], "nothing empty, nothing above the limit of a part");
        let ended = world.respond("return iter([])").await;
        assert!(ended.streamed.is_none(), "nothing was yielded");
        assert_eq!(ended.parts(), (200, "text/html", String::new()));
    }

    async fn a_generator_waits_for_its_client_and_is_closed_when_that_goes_away(python) {
        let mut world = World::start(python).await;
        world.load_request("def g():\n    n = 0\n    try:\n        while True:\n            yield 'x'\n            n += 1\n    finally:\n        print('yielded', n)\nreturn g()").await;
        let id = world.invoke(request_event(), false).await;
        let mut parts = 0;
        while parts < LIMITS.response_parts_unread_max {
            parts += u32::from(matches!(world.fact().await, Fact::ResponsePart(_)));
        }
        world.cancel(id, FailureKind::Cancelled).await;
        let ended = world.end_of(id).await;
        assert_eq!(ended.failure().kind(), FailureKind::Cancelled);
        assert_eq!(ended.messages(), ["yielded 4"], "the fifth is still waiting");
    }

    async fn repeated_names_are_kept(python) {
        let mut world = World::start(python).await;
        let echo = "q, h = query_parameters, request_headers\nreturn [q, q.get_all('a'), q.get_all('z'), h, h.method, isinstance(q, dict)]";
        assert_eq!(world.respond(echo).await.body(), r#"[{"a": "2", "b": "x y"}, ["1", "2"], [], {"x-test": "Abc"}, "POST", true]"#);
        let ended = world.respond("return 'x', 200, [('Set-Cookie', 'a=1'), ('Set-Cookie', 'b=2')]").await;
        let cookies: Vec<_> = ended.response().headers.iter().filter(|header| header.key == "Set-Cookie").map(|header| header.value.as_str()).collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
    }

    async fn a_body_beyond_the_limit_is_refused_by_name(python) {
        let mut world = World::start(python).await;
        for body in ["return 'x' * (1024*1024 + 1)", "return ('x' * 1024,) * 10**6"] {
            let ended = world.respond(body).await;
            assert_eq!(ended.failure().kind(), FailureKind::Limit);
            assert!(ended.failure().message.starts_with("response_bytes_max of 1048576 bytes exceeded: 104"), "{:?}", ended.failure());
        }
        assert_eq!(world.respond("return 'x' * (1024*1024)").await.body().len(), 1024 * 1024);
    }
}
