//! Locks: what is resolved stays until somebody makes it anew.

use serde_json::json;

use super::{asking_for, environment, wheel, world};
use crate::world::{DB, Request, Trigger, until};

#[test]
fn a_lock_is_made_anew_compared_and_taken_into_use() {
    let (mut runner, wheels) = world(&[]);
    wheel(&wheels, "1.0");
    runner.plugin("user.py", &asking_for("tiny"));
    runner.plugin("twin.py", &asking_for("tiny"));
    runner.create(&Trigger::new("user", "user.py", "request:user"));
    runner.create(&Trigger::new("twin", "twin.py", "request:twin"));
    runner.engine("user").is(200, "1.0");
    runner.engine("twin").is(200, "1.0");
    assert_eq!(environment(&runner, "user"), environment(&runner, "twin"));
    wheel(&wheels, "2.0");
    runner.stop();
    runner.restart();
    runner.engine("user").is(200, "1.0");

    let env = |what: &str| {
        let answer = runner.cli(&["env", what, "--database", DB, "user"]);
        assert_eq!(answer.code, Some(0), "{answer:?}");
        answer.stdout
    };
    assert_eq!(env("diff"), "- tiny==1.0\n+ tiny==2.0\n");
    assert_eq!(env("lock"), "- tiny==1.0\n+ tiny==2.0\n");
    runner.engine("user").is(200, "1.0");
    let locked = runner.cli(&["env", "show", "--database", DB, "--lock", "user"]).stdout;
    assert!(locked.starts_with("tiny==1.0 \\\n    --hash=sha256:"), "what is in use: {locked}");

    assert_eq!(env("sync"), "Trigger 'user' runs with tiny==2.0\n");
    runner.engine("user").is(200, "2.0");
    until("who asks for the same has come along", || (runner.engine("twin").text() == "2.0").then_some(()));
    assert_eq!(env("diff"), "");
    let directory = runner.root().join("data/environments").join(environment(&runner, "twin"));
    runner.stop();
    let kept = std::fs::read_to_string(directory.join("lock.txt"));
    assert!(kept.is_err() || kept.unwrap().contains("--hash=sha256:"), "the lock lies with the environment");
    runner.restart();
    runner.engine("user").is(200, "2.0");
}

#[test]
fn a_lock_that_cannot_be_built_changes_nothing() {
    let (runner, wheels) = world(&[]);
    wheel(&wheels, "1.0");
    runner.plugin("user.py", &asking_for("tiny"));
    runner.create(&Trigger::new("user", "user.py", "request:user"));
    runner.engine("user").is(200, "1.0");
    wheel(&wheels, "2.0");
    let run = |what: &str| runner.cli(&["env", what, "--database", DB, "user"]);
    assert_eq!(run("lock").code, Some(0));
    std::fs::remove_file(wheels.join("tiny-2.0-py3-none-any.whl")).unwrap();
    let failed = run("sync");
    assert!(failed.code == Some(1) && failed.stderr.contains("tiny==2.0"), "{failed:?}");
    runner.engine("user").is(200, "1.0");
    assert_eq!(runner.workers("user").len(), 1, "its worker goes on");
}

#[test]
fn who_waits_for_a_build_hears_how_it_goes() {
    let (runner, wheels) = world(&[]);
    wheel(&wheels, "1.0");
    let answer = runner.cli(&["install", "package", "tiny==1.0"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(0), "Every plugin has: tiny==1.0\n"), "{answer:?}");
    for part in ["  resolving requirements ", "  building environment ", " is ready after "] {
        assert!(answer.stderr.contains(part), "{part:?} in {}", answer.stderr);
    }
    let refused = runner.cli(&["install", "package", "tiny==3.0"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("[400 Bad Request]"), "{refused:?}");

    let install = |package: &str| {
        let path = "/api/v3/configure/plugin_environment/install_packages";
        let request = Request::new("POST", path).header("accept", "application/x-ndjson");
        let answer = runner.send(&request.json(&json!({ "packages": [package] })));
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"));
        let lines: Vec<serde_json::Value> =
            answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines
    };
    let lines = install("tiny>=1");
    let (last, told) = lines.split_last().unwrap();
    assert!(
        told.iter().any(|line| line["progress"].as_str().is_some_and(|text| text.starts_with("resolving"))),
        "{told:?}"
    );
    assert_eq!((&last["status"], &last["answer"]["packages"]), (&json!(200), &json!(["tiny==1.0"])));
    let lines = install("tiny==3.0");
    let last = lines.last().unwrap();
    assert!(last["status"] == 400 && last["error"].as_str().unwrap().contains("tiny==3.0"), "{last}");
}
