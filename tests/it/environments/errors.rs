//! What the author of a plugin reads when its environment cannot be had, and which interpreter it gets.

use super::{TINY, Wheel, asking_for, wheel, world};
use crate::world::Trigger;

#[test]
fn a_conflict_is_explained_and_a_wheel_for_other_machines_is_named() {
    let (runner, wheels) = world(&["--package-manager", "pip"]);
    Wheel { name: "one", needs: &["tiny<2"], ..TINY }.make(&wheels);
    Wheel { name: "two", needs: &["tiny>=2"], ..TINY }.make(&wheels);
    Wheel { name: "far", tag: "cp39-cp39-win_amd64", ..TINY }.make(&wheels);
    wheel(&wheels, "1.0");
    wheel(&wheels, "2.0");
    let reason = |name: &str, requirements: &str| {
        runner.plugin(&format!("{name}.py"), &asking_for(requirements));
        runner.create(&Trigger::new(name, &format!("{name}.py"), &format!("request:{name}")));
        assert_eq!(runner.engine(name).status, 500);
        runner.until_state(name, "failed")
    };
    let conflict = reason("conflict", "one\", \"two");
    assert!(conflict.contains("one 1.0 depends on tiny<2\n    two 1.0 depends on tiny>=2"), "{conflict}");
    assert!(conflict.contains("(the requirements contradict each other)"), "{conflict}");
    let far = reason("far", "far");
    assert!(
        far.contains("no wheel of `far` fits Python 3.") && far.contains("`far-1.0-cp39-cp39-win_amd64.whl`"),
        "{far}"
    );
    assert_eq!(runner.engine("neighbour").status, 200);
}

#[test]
fn each_plugin_runs_on_the_python_that_it_wants() {
    let (runner, _) = world(&[]);
    let mut found = Vec::new();
    for minor in 10..=13 {
        let name = format!("on{minor}");
        let code = format!(
            "# /// script\n# requires-python = '==3.{minor}.*'\n# ///\nimport sys\ndef process_request(api, query, headers, body, args=None):\n    return '%d.%d' % sys.version_info[:2]\n"
        );
        runner.plugin(&format!("{name}.py"), &code);
        runner.create(&Trigger::new(&name, &format!("{name}.py"), &format!("request:{name}")).unchecked());
        let answer = runner.engine(&name);
        match answer.status {
            200 => {
                answer.is(200, &format!("3.{minor}"));
                found.push(minor);
            }
            // Not every machine has all of them.
            _ => answer.contains(500, &format!("found no CPython that is 3.10 or newer and satisfies `==3.{minor}.*`")),
        }
    }
    assert!(!found.is_empty(), "there is one that runs the other tests");
    runner.stop_leaving_nothing();
}
