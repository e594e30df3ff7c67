//! Plugins that clients bring: uploads, updates, and the repository.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::json;

use crate::world::{Answer, DB, Request, Setup, TestRunner, Trigger};

const FILES: &str = "/api/v3/plugins/files";
const DIRECTORY: &str = "/api/v3/plugins/directory";

fn says(text: &str) -> String {
    format!("def process_request(api, query, headers, body, args=None):\n    return '{text}'\n")
}

fn put(runner: &TestRunner, path: &str, body: &serde_json::Value) -> Answer {
    runner.send(&Request::new("PUT", path).json(body))
}

#[test]
fn files_are_created_below_the_plugin_directory() {
    let runner = TestRunner::start();
    let create =
        |name: &str, content: &str| runner.post_json(FILES, &json!({ "plugin_name": name, "content": content }));
    create("nd/a/b.py", &says("one")).is(200, "");
    runner.create(&Trigger::new("b", "nd/a/b.py", "request:b"));
    runner.engine("b").is(200, "one");
    create("nd/a/b.py", &says("two")).is(200, "");
    runner.engine("b").is(200, "two");
    let outside = "Processing engine error: plugin error: Path traversal detected: plugin filename '../viaapi.py' attempts to \
                   access files outside the plugin directory";
    create("../viaapi.py", "x=1\n").is(400, outside);
    create("/tmp/viaapi.py", "x=1\n").contains(400, "Path traversal detected");
    let missing = runner.post_json(FILES, &json!({ "name": "x.py", "content": "x=1\n" }));
    missing.is(400, "serde json error: missing field `plugin_name` at line 1 column 33");
    runner.get(FILES).is(404, "Not found");
}

#[test]
fn the_code_of_a_trigger_is_changed_by_its_name() {
    let runner = TestRunner::start();
    runner.create_database("other");
    runner.plugin("hello.py", &says("one"));
    runner.plugin("multi/__init__.py", "from .part import process_request\n");
    runner.plugin("multi/part.py", &says("one"));
    runner.create(&Trigger::new("hello", "hello.py", "request:hello"));
    runner.create(&Trigger::new("multi", "multi", "request:multi"));
    runner.engine("multi").is(200, "one");
    put(&runner, FILES, &json!({ "plugin_name": "hello", "content": says("two") })).is(200, "");
    runner.engine("hello").is(200, "two");
    let files = json!([
        { "relative_path": "__init__.py", "content": "from .deep.code import process_request\n" },
        { "relative_path": "deep/code.py", "content": says("three") },
    ]);
    put(&runner, DIRECTORY, &json!({ "plugin_name": "multi", "files": files })).is(200, "");
    runner.engine("multi").is(200, "three");
    assert!(!runner.plugin_dir().join("multi/part.py").exists());
    let unknown = "Processing engine error: plugin error: Plugin not found: zzz";
    put(&runner, FILES, &json!({ "plugin_name": "zzz", "content": "" })).is(404, unknown);
    put(&runner, DIRECTORY, &json!({ "plugin_name": "zzz", "files": files })).is(404, unknown);
    let file = put(&runner, DIRECTORY, &json!({ "plugin_name": "hello", "files": files }));
    file.is(409, "plugin 'hello.py' is one file; a directory cannot take its place");
    let escape =
        json!([{ "relative_path": "__init__.py", "content": "" }, { "relative_path": "../x.py", "content": "" }]);
    put(&runner, DIRECTORY, &json!({ "plugin_name": "multi", "files": escape }))
        .contains(400, "Path traversal detected");
    runner.engine("multi").is(200, "three");
    runner.plugin("elsewhere.py", &says("elsewhere"));
    runner.create(&Trigger::new("hello", "elsewhere.py", "request:elsewhere").in_database("other"));
    put(&runner, FILES, &json!({ "plugin_name": "hello", "content": "" })).contains(409, "say which with `db`");
    put(&runner, FILES, &json!({ "plugin_name": "hello", "db": "other", "content": says("four") })).is(200, "");
    runner.engine("elsewhere").is(200, "four");
    runner.engine("hello").is(200, "two");
}

#[test]
fn the_command_line_uploads_and_updates() {
    let runner = TestRunner::start();
    let local = runner.root().join("local");
    std::fs::create_dir_all(local.join("multi/__pycache__")).unwrap();
    let write = |path: &str, text: &str| std::fs::write(local.join(path), text).unwrap();
    write("single.py", &says("one"));
    write("multi/__init__.py", "from .part import process_request\n");
    write("multi/part.py", &says("one"));
    write("multi/notes.txt", "not code");
    let path = |name: &str| local.join(name).display().to_string();
    for name in ["single", "multi"] {
        let source = if name == "single" { path("single.py") } else { path("multi") };
        let spec = format!("request:{name}");
        let create = ["create", "trigger", "-d", DB, "--upload", "--path", &source, "--trigger-spec", &spec, name];
        let created = runner.cli(&create);
        assert_eq!(
            (created.code, created.stdout.trim()),
            (Some(0), format!("Trigger {name} created successfully").as_str()),
            "{created:?}"
        );
        runner.engine(name).is(200, "one");
    }
    assert!(!runner.plugin_dir().join("multi/notes.txt").exists());
    write("single.py", &says("two"));
    write("multi/part.py", &says("two"));
    let update = |name: &str, source: &str| runner.cli(&["update", "trigger", "-d", DB, "-t", name, "-p", source]);
    let updated = update("single", &path("single.py"));
    assert_eq!(
        (updated.code, updated.stdout.trim()),
        (Some(0), "Trigger 'single' updated successfully"),
        "{updated:?}"
    );
    let updated = update("multi", &path("multi"));
    let text = "Trigger 'multi' updated successfully (atomic directory replacement)";
    assert_eq!((updated.code, updated.stdout.trim()), (Some(0), text), "{updated:?}");
    for name in ["single", "multi"] {
        runner.engine(name).is(200, "two");
    }
    let missing = update("single", "/nowhere/x.py");
    assert!(missing.code == Some(1) && missing.stderr.contains("File not found: /nowhere/x.py"), "{missing:?}");
}

/// Serves `answers` to one request after another, on a thread, and then goes away.
fn repository(answers: Vec<(u16, String)>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/plugins", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for (status, content) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            asked.push(String::from_utf8(head).unwrap().lines().next().unwrap().to_owned());
            let length = content.len();
            let answer =
                format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{content}");
            stream.write_all(answer.as_bytes()).unwrap();
        }
        asked
    });
    (url, served)
}

#[test]
fn a_plugin_of_the_repository_is_fetched_once_and_kept() {
    let (url, served) = repository(vec![(200, says("published")), (404, String::new())]);
    let mut runner = Setup::new().args(&["--plugin-repo", &url]).start();
    runner.create_database(DB);
    runner.create(&Trigger::new("hello", "gh:examples/hello.py", "request:hello"));
    runner.engine("hello").is(200, "published");
    assert_eq!(runner.trigger("hello")["plugin_filename"], "gh:examples/hello.py");
    let refused = runner.try_create(&Trigger::new("none", "gh:none.py", "request:none"));
    refused.contains(400, &format!("Plugin error: error fetching plugin from repository: 404 Not Found {url}/none.py"));
    assert_eq!(served.join().unwrap(), ["GET /plugins/examples/hello.py HTTP/1.1", "GET /plugins/none.py HTTP/1.1"]);
    let unreachable = runner.try_create(&Trigger::new("gone", "gh:gone.py", "request:gone"));
    unreachable.contains(502, "Plugin error: error getting plugin from repository: ");
    unreachable.contains(502, "--plugin-repo");
    for escape in ["gh:../x.py", "gh:/etc/passwd", "gh:a/../../x.py"] {
        runner.try_create(&Trigger::new("escape", escape, "request:escape")).contains(400, "Path traversal detected");
    }
    // The repository is gone by now, and the trigger does not need it.
    runner.stop();
    runner.restart();
    runner.engine("hello").is(200, "published");
}

#[test]
fn an_operator_decides_what_clients_may_bring_and_which_triggers_they_may_make() {
    let runner = TestRunner::start_with(&["--plugin-dir-only", "--restrict-plugin-triggers-to", "schedule,request"]);
    runner.plugin("hello.py", &says("hello"));
    runner.create(&Trigger::new("hello", "hello.py", "request:hello"));
    let disabled = "plugin installation is disabled; plugins must already exist in the configured plugin directory";
    runner.post_json(FILES, &json!({ "plugin_name": "x.py", "content": "" })).is(403, disabled);
    put(&runner, FILES, &json!({ "plugin_name": "hello", "content": "" })).is(403, disabled);
    runner.try_create(&Trigger::new("x", "gh:x.py", "request:x")).is(403, &format!("Plugin error: {disabled}"));
    let wal = runner.try_create(&Trigger::new("wal", "hello.py", "all_tables"));
    wal.is(400, "invalid request: server is configured to reject WalRows plugin triggers");
    runner.engine("hello").is(200, "hello");
}

#[test]
fn new_code_that_cannot_be_used_is_refused_and_the_old_goes_on() {
    let runner = TestRunner::start();
    runner.plugin("hello.py", &says("one"));
    runner.plugin("multi/__init__.py", &says("one"));
    for (name, file) in [("hello", "hello.py"), ("multi", "multi")] {
        runner.create(&Trigger::new(name, file, &format!("request:{name}")));
    }
    let hint = "\nhint: correct it, or skip this check with `--no-check` (`\"no_check\": true` in the request)";
    let broken = "x = 1\ndef (\n";
    let text =
        |file: &str| format!("Plugin error: {file}, line 2: SyntaxError: invalid syntax\n    def (\n        ^{hint}");
    let change = |name: &str| put(&runner, FILES, &json!({ "plugin_name": name, "content": broken }));
    change("hello").is(400, &text("hello.py"));
    change("multi").is(400, &text("multi/__init__.py"));
    let files = json!([
        { "relative_path": "__init__.py", "content": "from .part import process_request\n" },
        { "relative_path": "part.py", "content": broken },
    ]);
    put(&runner, DIRECTORY, &json!({ "plugin_name": "multi", "files": files })).is(400, &text("multi/part.py"));
    let other = "def process_writes(*all):\n    pass\n";
    put(&runner, FILES, &json!({ "plugin_name": "hello", "content": other }))
        .contains(400, "the file defines process_writes, which belongs to the specification");
    for name in ["hello", "multi"] {
        runner.engine(name).is(200, "one");
    }
    let left = std::fs::read_dir(runner.plugin_dir()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(
        left.into_iter().all(|name| !name.to_string_lossy().starts_with('.')),
        "nothing is left of what was refused"
    );

    let local = runner.root().join("hello.py");
    std::fs::write(&local, broken).unwrap();
    let update = ["update", "trigger", "-d", DB, "-t", "hello", "-p", local.to_str().unwrap()];
    let refused = runner.cli(&update);
    assert!(refused.code == Some(1) && refused.stderr.contains("hello.py, line 2: SyntaxError"), "{refused:?}");
    runner.engine("hello").is(200, "one");
    assert_eq!(runner.cli(&[&update[..], &["--no-check"]].concat()).code, Some(0));
    runner.engine("hello").contains(500, "SyntaxError");
}
