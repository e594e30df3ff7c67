//! Requirements in the settings of a trigger.

use serde_json::json;

use super::{VERSION, asking_for, environment, wheel, world};
use crate::world::{DB, Trigger};

#[test]
fn a_trigger_may_ask_for_packages_besides_its_plugin() {
    let (mut runner, wheels) = world(&[]);
    wheel(&wheels, "1.0");
    wheel(&wheels, "2.0");
    runner.plugin("user.py", VERSION);
    runner.create(&Trigger::new("user", "user.py", "request:user").setting("requirements", json!(["Tiny ==1.0"])));
    let other = Trigger::new("other", "user.py", "request:other").setting("requirements", json!(["tiny==2.0"]));
    runner.create(&other);
    runner.engine("user").is(200, "1.0");
    runner.engine("other").is(200, "2.0");
    assert_eq!(runner.engine("neighbour").status, 200);
    assert_ne!(environment(&runner, "user"), environment(&runner, "other"), "the same code in two environments");

    let answer = runner.cli(&["update", "trigger", "-d", DB, "-t", "user", "--requirements", "tiny==2.0"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(0), "Trigger 'user' runs with tiny==2.0\n"), "{answer:?}");
    runner.engine("user").is(200, "2.0");
    runner.stop();
    runner.restart();
    runner.engine("user").is(200, "2.0");

    std::fs::write(runner.root().join("more.txt"), "tiny==1.0  # the old one\n").unwrap();
    let answer = runner.cli(&["update", "trigger", "-d", DB, "-t", "user", "--requirements", "more.txt"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    runner.engine("user").is(200, "1.0");

    let answer = runner.cli(&["update", "trigger", "-d", DB, "-t", "user", "--no-requirements"]);
    assert_eq!(answer.stdout, "Trigger 'user' runs with no packages\n", "{answer:?}");
    runner.engine("user").contains(500, "No module named 'tiny'");
    runner.engine("other").is(200, "2.0");
    runner.stop_leaving_nothing();
}

#[test]
fn requirements_that_cannot_be_met_are_refused_and_change_nothing() {
    let (runner, wheels) = world(&[]);
    wheel(&wheels, "1.0");
    runner.plugin("user.py", VERSION);
    let trigger = Trigger::new("user", "user.py", "request:user");
    let asking = |requirement: &str| trigger.clone().setting("requirements", json!([requirement]));
    runner.try_create(&asking("-r x")).contains(400, "requirements: `-r x` holds the option `-r`");
    runner.create(&asking("tiny==1.0"));
    runner.engine("user").is(200, "1.0");
    let worker = environment(&runner, "user");

    let update = |requirement: &str| {
        let answer = runner.cli(&["update", "trigger", "-d", DB, "-t", "user", "--requirements", requirement]);
        assert_eq!(answer.code, Some(1), "{answer:?}");
        answer.stderr
    };
    let refused = update("tiny==3.0");
    assert!(refused.contains("failed with exit status: 1") && refused.contains("tiny==3.0"), "{refused}");
    assert!(update("nothing.txt").contains("there is no file `"), "{refused}");
    runner.engine("user").is(200, "1.0");
    assert_eq!(environment(&runner, "user"), worker);
    let kept = runner.cli(&["env", "show", "-d", DB, "user"]);
    assert!(kept.stdout.contains("asks for      tiny==1.0  the trigger's own requirements\n"), "{kept:?}");
}

#[test]
fn everything_that_is_asked_for_is_shown_with_who_asks() {
    let (runner, wheels) = world(&[]);
    wheel(&wheels, "1.0");
    wheel(&wheels, "2.0");
    runner.plugin("user.py", &asking_for("tiny>=1"));
    runner.plugin("requirements.txt", "tiny<9\n");
    runner.create(&Trigger::new("user", "user.py", "request:user").setting("requirements", json!(["tiny!=2.0"])));
    let show = || runner.cli(&["env", "show", "--database", DB, "user"]).stdout;
    runner.engine("user").is(200, "1.0");
    let shown = show();
    let (id, plugins) = (environment(&runner, "user"), runner.plugin_dir());
    let plugins = plugins.canonicalize().unwrap();
    let plugins = plugins.display();
    for line in [
        format!("environment   {id}\n"),
        format!(
            "asks for      tiny!=2.0  the trigger's own requirements\n              tiny<9     `{plugins}/requirements.txt`\n"
        ),
        format!("              tiny>=1    `{plugins}/user.py`\n"),
        "comes to      tiny==1.0\n".to_owned(),
    ] {
        assert!(shown.contains(&line), "{line:?} in\n{shown}");
    }

    // All of it has to be met together.
    runner.create(&Trigger::new("both", "user.py", "request:both").setting("requirements", json!(["tiny<1"])));
    runner.engine("both").contains(500, "resolving requirements with ");
    runner.engine("user").is(200, "1.0");
    let unknown = runner.cli(&["env", "show", "--database", DB, "nobody"]);
    assert!(unknown.code == Some(1) && unknown.stderr.contains("not found: nobody"), "{unknown:?}");
}
