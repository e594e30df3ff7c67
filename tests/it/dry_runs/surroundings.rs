//! What a tried plugin has around it: a cache of tests, and grants.

use serde_json::{Value, json};

use crate::world::{DB, TestRunner, Trigger};

const COUNTER: &str = "\
def process_request(api, query, headers, body, args=None):
    count = api.cache.get('count', default=0) + 1
    api.cache.put('count', count)
    if 'fail' in query:
        raise ValueError('after the change')
    shared = api.cache.get('count', use_global=True)
    return {'count': count, 'shared': shared}
";

fn counted(runner: &TestRunner, cache_name: Option<&str>) -> Value {
    let mut body = json!({ "filename": "counter.py", "database": DB });
    if let Some(name) = cache_name {
        body["cache_name"] = json!(name);
    }
    let answer = runner.post_json("/api/v3/plugin_test/request", &body);
    serde_json::from_str(answer.json()["response"]["body"].as_str().unwrap_or("null")).unwrap()
}

#[test]
fn a_test_finds_what_earlier_ones_with_the_same_cache_have_cached() {
    let runner = TestRunner::start();
    runner.plugin("counter.py", COUNTER);
    runner.create(&Trigger::new("counter", "counter.py", "request:counter"));
    let count = |name: Option<&str>| counted(&runner, name)["count"].clone();
    assert_eq!([count(None), count(None), count(Some("_shared_test"))], [1, 2, 3]);
    assert_eq!([count(Some("other")), count(Some("other"))], [1, 2]);
    let failing =
        json!({ "filename": "counter.py", "database": DB, "cache_name": "other", "query_parameters": { "fail": "1" } });
    let failed = runner.post_json("/api/v3/plugin_test/request", &failing).json();
    assert_eq!(failed["errors"], json!(["error executing plugin: ValueError: after the change"]));
    assert_eq!(count(Some("other")), 4, "as after the exception of a trigger's plugin");
    let test = ["test", "request_plugin", "-d", DB, "--cache-name", "other", "--json", "counter.py"];
    assert!(runner.cli(&test).stdout.contains(r#"\"count\": 5"#));
    runner.engine("counter").is(200, r#"{"count": 1, "shared": null}"#);
    assert_eq!(counted(&runner, Some("third")), json!({ "count": 1, "shared": null }));
    let unnamed = json!({ "filename": "counter.py", "database": DB, "cache_name": "" });
    runner.post_json("/api/v3/plugin_test/request", &unnamed).contains(400, "the name of a cache has 1 to 255 bytes");
}

const READER: &str = "\
def process_request(api, query, headers, body, args=None):
    return open(query['path']).read()
";

#[test]
fn a_test_may_do_what_it_is_granted_as_a_trigger_may() {
    let runner = TestRunner::start();
    runner.plugin("reader.py", READER);
    let secret = runner.root().join("secret");
    std::fs::write(&secret, "told").unwrap();
    let path = secret.to_str().unwrap();
    let read = |settings: Value| {
        let parameters = json!({ "path": path });
        let mut body = json!({ "filename": "reader.py", "database": DB, "query_parameters": parameters });
        if !settings.is_null() {
            body["trigger_settings"] = settings;
        }
        runner.post_json("/api/v3/plugin_test/request", &body)
    };
    let denied = read(Value::Null).json();
    assert!(denied["errors"][0].as_str().unwrap().contains("Error"), "{denied}");
    assert_eq!(denied["response"], Value::Null);
    assert_eq!(read(json!({ "allow_read": [path] })).json()["response"]["body"], "told");
    read(json!({ "allow_net": ["http://x"] })).contains(400, "cannot be granted with allow_net");
    let query = format!("path={path}");
    let test = ["test", "request_plugin", "-d", DB, "--query", &query, "--json", "reader.py"];
    let denied = runner.cli(&test);
    assert_eq!(denied.code, Some(1), "{denied:?}");
    let granted = runner.cli(&[&test[..], &["--allow-read", path]].concat());
    assert!(granted.code == Some(0) && granted.stdout.contains("\"body\": \"told\""), "{granted:?}");
}
