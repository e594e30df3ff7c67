//! A changed plugin is picked up without a restart.

use crate::world::{TestRunner, Trigger, until};

fn answering(text: &str) -> String {
    format!(
        "import os, uuid\ndef process_request(api, query, headers, body, args=None):\n    return '{text} ' + os.environ.setdefault('LIFE', uuid.uuid4().hex)\n"
    )
}

#[test]
fn a_changed_file_answers_at_the_next_call_in_the_same_worker() {
    let runner = TestRunner::start();
    runner.plugin("hello.py", &answering("first"));
    runner.create(&Trigger::new("hello", "hello.py", "request:hello"));
    let first = runner.engine("hello").text();
    let pid = first.strip_prefix("first ").unwrap().to_owned();
    for text in ["second", "third", "fourth"] {
        runner.plugin("hello.py", &answering(text));
        runner.engine("hello").is(200, &format!("{text} {pid}"));
    }
}

#[test]
fn a_file_that_breaks_and_is_mended_breaks_and_mends_its_trigger() {
    let runner = TestRunner::start();
    runner.plugin("hello.py", &answering("good"));
    runner.create(&Trigger::new("hello", "hello.py", "request:hello"));
    assert_eq!(runner.engine("hello").status, 200);
    runner.plugin("hello.py", "def (");
    runner.engine("hello").contains(500, "SyntaxError: invalid syntax");
    assert_eq!(runner.trigger("hello")["state"], "failed");
    runner.plugin("hello.py", &answering("mended"));
    runner.engine("hello").contains(200, "mended ");
    assert_eq!(runner.trigger("hello")["state"], "active");
}

#[test]
fn a_file_that_was_broken_from_the_start_works_once_it_is_good() {
    let runner = TestRunner::start();
    runner.plugin("hello.py", "def (");
    runner.plugin("copy.py", "def process_writes(api, batches):\n    this is no Python\n");
    runner.create(&Trigger::new("hello", "hello.py", "request:hello").unchecked());
    runner.create(&Trigger::new("copy", "copy.py", "table:m").unchecked());
    runner.engine("hello").contains(500, "SyntaxError");
    let reason = runner.until_state("hello", "failed");
    assert!(reason.contains("SyntaxError"), "{reason}");
    runner.write("m v=1 1");
    runner.until_state("copy", "failed");
    runner.plugin("hello.py", &answering("good"));
    runner.plugin("copy.py", super::COPY);
    runner.engine("hello").contains(200, "good ");
    runner.write("m v=2 2");
    until("the new code has run", || (runner.count("m_seen") > 0).then_some(()));
    assert_eq!(runner.trigger("copy")["state"], "active");
}

#[test]
fn a_directory_plugin_is_imported_once_a_version() {
    let runner = TestRunner::start();
    let init = "from .part import TEXT\nn = 0\ndef process_request(api, query, headers, body, args=None):\n    global n\n    n += 1\n    return TEXT + str(n)\n";
    runner.plugin("json/__init__.py", init);
    runner.plugin("json/part.py", "TEXT = 'one '\n");
    runner.create(&Trigger::new("multi", "json", "request:multi"));
    runner.engine("multi").is(200, "one 1");
    runner.engine("multi").is(200, "one 2");
    runner.plugin("json/part.py", "TEXT = 'other '\n");
    runner.engine("multi").is(200, "other 1");
}

#[test]
fn two_directories_of_one_name_are_two_plugins() {
    let runner = TestRunner::start();
    for place in ["ma", "mb"] {
        runner.plugin(&format!("{place}/same/__init__.py"), "from .part import process_request\n");
        let code = format!("def process_request(api, query, headers, body, args=None):\n    return '{place}'\n");
        runner.plugin(&format!("{place}/same/part.py"), &code);
        runner.create(&Trigger::new(place, &format!("{place}/same"), &format!("request:{place}")));
    }
    for place in ["ma", "mb", "ma"] {
        runner.engine(place).is(200, place);
    }
}
