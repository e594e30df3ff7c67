//! A server does not wait for builds: its triggers become ready one by one.

use super::loopback::Index;
use super::{NEIGHBOUR, asking_for, wheel};
use crate::world::{DB, Setup, Trigger, until};

const PLAIN: usize = 195;
const ASKING: usize = 5;

#[test]
fn two_hundred_triggers_are_there_before_their_environments() {
    let wheels = tempfile::tempdir().unwrap();
    wheel(wheels.path(), "1.0");
    wheel(wheels.path(), "2.0");
    let index = Index::serve(wheels.path().to_owned());
    index.close(true);
    let mut runner = Setup::with_own_environments().env("BULKHEAD_INDEX_URL", &index.url()).start();
    runner.create_database(DB);
    runner.plugin("plain.py", NEIGHBOUR);
    runner.plugin("one.py", &asking_for("tiny==1.0"));
    runner.plugin("two.py", &asking_for("tiny==2.0"));
    for number in 0..PLAIN {
        let name = format!("plain{number}");
        runner.create(&Trigger::new(&name, "plain.py", &format!("request:{name}")).unchecked());
    }
    for number in 0..ASKING {
        let (name, plugin) = (format!("asking{number}"), if number == 0 { "two.py" } else { "one.py" });
        runner.create(&Trigger::new(&name, plugin, &format!("request:{name}")).unchecked());
    }
    for _ in 0..2 {
        // The index keeps both builds waiting, and nobody else.
        assert_eq!(runner.engine("plain7").status, 200);
        for number in 0..ASKING {
            runner.until_state(&format!("asking{number}"), "building");
        }
        assert_eq!(runner.trigger("plain7")["state"], "active");
        let shown = runner.cli(&["show", "triggers", "-d", DB]);
        assert!(shown.stdout.contains("its environment is being built"), "{shown:?}");
        let lines = runner.stderr();
        runner.stop();
        runner.restart();
        let since = runner.stderr().len() - lines.len();
        assert!(since > 0, "it says that it starts");
    }
    index.close(false);
    for number in 0..ASKING {
        until("it is ready", || (runner.trigger(&format!("asking{number}"))["state"] == "active").then_some(()));
    }
    runner.engine("asking0").is(200, "2.0");
    runner.engine("asking1").is(200, "1.0");
    let built = runner.stderr().matches("resolving requirements").count();
    assert!(built <= 3 * 2, "one build for each set of requirements in each of three starts: {built}");
    runner.stop_leaving_nothing();
}

#[test]
fn a_call_that_comes_too_early_waits_for_its_environment() {
    let wheels = tempfile::tempdir().unwrap();
    wheel(wheels.path(), "1.0");
    let index = Index::serve(wheels.path().to_owned());
    index.close(true);
    let runner = Setup::with_own_environments().env("BULKHEAD_INDEX_URL", &index.url()).start();
    runner.create_database(DB);
    runner.plugin("user.py", &asking_for("tiny==1.0"));
    runner.create(&Trigger::new("user", "user.py", "request:user"));
    runner.until_state("user", "building");
    let client = runner.client();
    let early = std::thread::spawn(move || client.engine("user"));
    until("the tool waits for the index", || (!index.asked().is_empty()).then_some(()));
    index.close(false);
    early.join().unwrap().is(200, "1.0");
}

#[test]
fn a_build_has_a_deadline() {
    let wheels = tempfile::tempdir().unwrap();
    let index = Index::serve(wheels.path().to_owned());
    index.close(true);
    let setup = Setup::with_own_environments().env("BULKHEAD_INDEX_URL", &index.url());
    let runner = setup.args(&["--environment-build-timeout", "2s"]).start();
    runner.create_database(DB);
    runner.plugin("user.py", &asking_for("tiny==1.0"));
    runner.create(&Trigger::new("user", "user.py", "request:user"));
    let reason = runner.until_state("user", "failed");
    assert!(reason.contains("was not done after 2 s, the limit for a build"), "{reason}");
    runner.stop_leaving_nothing();
}
