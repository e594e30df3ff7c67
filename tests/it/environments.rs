//! Virtual environments: what a plugin asks for, from wheels made on the spot.

mod errors;
mod import;
mod index;
mod locks;
mod loopback;
mod manifests;
mod readiness;
mod real;
mod settings;
mod sources;
mod switch;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::world::{DB, Process, Setup, TestRunner, Trigger, processes_of, until, until_true};

/// Answers with the version of the package `tiny`.
const VERSION: &str = "\
def process_request(api, query, headers, body, args=None):
    import tiny
    return tiny.VERSION
";
const NEIGHBOUR: &str = "\
import os
def process_request(api, query, headers, body, args=None):
    try:
        import tiny
    except ModuleNotFoundError:
        return str(os.getpid())
";

/// A runner whose tools know no index, only the wheels of the returned directory.
fn world(arguments: &[&str]) -> (TestRunner, PathBuf) {
    let setup = Setup::with_own_environments().args(arguments);
    let wheels = setup.root().join("wheels");
    std::fs::create_dir(&wheels).unwrap();
    let path = wheels.to_str().unwrap().to_owned();
    let runner = setup
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", &path)
        .env("UV_NO_INDEX", "1")
        .env("UV_OFFLINE", "1")
        .env("UV_FIND_LINKS", &path)
        .start();
    runner.create_database(DB);
    runner.plugin("neighbour.py", NEIGHBOUR);
    runner.create(&Trigger::new("neighbour", "neighbour.py", "request:neighbour"));
    (runner, wheels)
}

/// Makes a wheel of the package `tiny`.
pub(crate) fn wheel(directory: &Path, version: &str) {
    wheel_with(directory, version, "");
}

/// The same, with this code in it.
fn wheel_with(directory: &Path, version: &str, code: &str) {
    Wheel { version, code, ..TINY }.make(directory);
}

/// A wheel with one module.
struct Wheel<'a> {
    name: &'a str,
    version: &'a str,
    /// For which machines it is.
    tag: &'a str,
    /// What it needs.
    needs: &'a [&'a str],
    code: &'a str,
}

const TINY: Wheel<'static> = Wheel { name: "tiny", version: "1.0", tag: "py3-none-any", needs: &[], code: "" };

impl Wheel<'_> {
    fn make(&self, directory: &Path) {
        let Self { name, version, tag, needs, code } = self;
        let info = format!("{name}-{version}.dist-info");
        let needs: String = needs.iter().map(|need| format!("Requires-Dist: {need}\n")).collect();
        let files = [
            (format!("{name}.py"), format!("VERSION = '{version}'\n{code}")),
            (format!("{info}/METADATA"), format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")),
            (
                format!("{info}/WHEEL"),
                format!("Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n"),
            ),
            (format!("{info}/RECORD"), format!("{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")),
        ];
        let mut script = "import sys, zipfile\nwheel = zipfile.ZipFile(sys.argv[1], 'w')\n".to_owned();
        for (name, text) in files {
            writeln!(script, "wheel.writestr({name:?}, {text:?})").unwrap();
        }
        script.push_str("wheel.close()\n");
        let path = directory.join(format!("{name}-{version}-{tag}.whl"));
        assert!(Command::new("python3").args(["-c", &script]).arg(path).status().unwrap().success());
    }
}

/// The plugin that answers with the version, asking for `requirement` in its head.
fn asking_for(requirement: &str) -> String {
    format!("# /// script\n# dependencies = [\"{requirement}\"]\n# ///\n{VERSION}")
}

fn environment(runner: &TestRunner, trigger: &str) -> String {
    runner.workers(trigger)[0]["environment"].as_str().unwrap().to_owned()
}

#[test]
fn a_plugin_that_asks_in_its_head_gets_an_environment_of_its_own() {
    let (runner, wheels) = world(&[]);
    wheel(&wheels, "1.0");
    runner.plugin("tiny_user.py", &asking_for("tiny==1.0"));
    runner.plugin("also.py", &asking_for("Tiny ==1.0"));
    runner.create(&Trigger::new("user", "tiny_user.py", "request:user"));
    runner.create(&Trigger::new("also", "also.py", "request:also"));
    runner.engine("user").is(200, "1.0");
    runner.engine("also").is(200, "1.0");
    let pid = runner.engine("neighbour");
    assert!(
        pid.status == 200 && pid.text().parse::<u32>().is_ok(),
        "the neighbour has no such package: {}",
        pid.text()
    );
    assert_ne!(environment(&runner, "user"), environment(&runner, "neighbour"));
    assert_eq!(environment(&runner, "user"), environment(&runner, "also"), "equal needs share one");
    runner.stop_leaving_nothing();
}

#[test]
fn a_directory_plugin_may_have_its_requirements_in_a_file() {
    let (runner, wheels) = world(&[]);
    wheel(&wheels, "1.0");
    runner.plugin("multi/__init__.py", VERSION);
    runner.plugin("multi/requirements.txt", "# what it needs\ntiny>=1.0\n");
    runner.create(&Trigger::new("multi", "multi", "request:multi"));
    runner.engine("multi").is(200, "1.0");
    assert_eq!(runner.engine("neighbour").status, 200);
    assert_ne!(environment(&runner, "multi"), environment(&runner, "neighbour"));
}

#[test]
fn two_plugins_use_two_versions_of_a_package_side_by_side() {
    let (runner, wheels) = world(&[]);
    for (name, version) in [("old", "1.0"), ("new", "2.0")] {
        wheel(&wheels, version);
        runner.plugin(&format!("{name}.py"), &asking_for(&format!("tiny=={version}")));
        runner.create(&Trigger::new(name, &format!("{name}.py"), &format!("request:{name}")));
    }
    for _ in 0..2 {
        runner.engine("old").is(200, "1.0");
        runner.engine("new").is(200, "2.0");
    }
    let alive = runner.query("SELECT count(*) AS n FROM system.workers WHERE state <> 'ended'");
    assert_eq!(alive[0]["n"], 2);
}

#[test]
fn a_requirement_that_cannot_be_met_fails_its_trigger_with_the_tools_words_and_no_other() {
    let (mut runner, wheels) = world(&[]);
    let neighbour = runner.engine("neighbour").text();
    runner.plugin("user.py", &asking_for("tiny==3.0"));
    runner
        .plugin("wal.py", &format!("{}\ndef process_writes(api, batches, args=None): pass\n", asking_for("tiny==3.0")));
    runner.create(&Trigger::new("user", "user.py", "request:user"));
    runner.create(&Trigger::new("wal", "wal.py", "table:m"));
    runner.write("m v=1 1");
    runner.engine("user").contains(500, "resolving requirements with ");
    for trigger in ["user", "wal"] {
        let reason = runner.until_state(trigger, "failed");
        // pip and uv both name the package that they looked for.
        assert!(reason.contains("failed with exit status: 1") && reason.contains("tiny==3.0"), "{reason}");
        runner.until_logged(trigger, "tiny==3.0");
    }
    runner.engine("neighbour").is(200, &neighbour);

    // Once it can be met, the next event finds it.
    wheel(&wheels, "3.0");
    until("the environment is built", || (runner.engine("user").text() == "3.0").then_some(()));
    assert_eq!(runner.trigger("user")["state"], "active");
    runner.stop();
    runner.restart();
    runner.engine("user").is(200, "3.0");
}

#[test]
fn without_a_package_manager_only_plain_plugins_run() {
    let (runner, wheels) = world(&["--package-manager", "disabled"]);
    wheel(&wheels, "1.0");
    runner.plugin("user.py", &asking_for("tiny==1.0"));
    runner.create(&Trigger::new("user", "user.py", "request:user"));
    runner
        .engine("user")
        .contains(500, "installing packages is disabled on this server and the plugin asks for `tiny==1.0`");
    assert_eq!(runner.engine("neighbour").status, 200);
}

#[test]
fn requirements_that_make_no_sense_are_told() {
    let (runner, _) = world(&[]);
    let check = |name: &str, head: &str, reason: &str| {
        runner.plugin(&format!("{name}.py"), &format!("{head}\n{VERSION}"));
        runner.create(&Trigger::new(name, &format!("{name}.py"), &format!("request:{name}")));
        runner.engine(name).contains(500, reason);
        assert!(runner.until_state(name, "failed").contains(reason));
    };
    check("open", "# /// script\n# dependencies = []", "has no end");
    check("toml", "# /// script\n# dependencies = [\n# ///", "is not valid TOML");
    check("python", "# /// script\n# requires-python = \">=3.99\"\n# ///", "found no CPython");
}

const INSTALL: &str = "/api/v3/configure/plugin_environment/install_packages";

#[test]
fn installed_packages_are_there_for_every_plugin_at_once_and_after_a_restart() {
    let (mut runner, wheels) = world(&[]);
    wheel(&wheels, "1.0");
    wheel(&wheels, "2.0");
    runner.plugin("user.py", VERSION);
    runner.create(&Trigger::new("user", "user.py", "request:user"));
    runner.plugin("own.py", &asking_for("tiny==1.0"));
    runner.create(&Trigger::new("own", "own.py", "request:own"));
    runner.engine("own").is(200, "1.0");

    assert_eq!(runner.engine("user").status, 500);
    let hint = runner.until_logged("user", "the module tiny is not in this trigger's environment");
    assert!(hint.contains("`bulkhead install package tiny`"), "{hint}");
    let update = format!("environment `{}`; ", environment(&runner, "user"));
    assert!(hint.contains(&update) && hint.contains("--trigger-name user --requirements tiny`"), "{hint}");

    let installed = runner.post_json(INSTALL, &json!({ "packages": ["Tiny >= 1.0"] }));
    assert_eq!((installed.status, &installed.json()["packages"]), (200, &json!(["tiny==2.0"])), "{}", installed.text());
    runner.engine("user").is(200, "2.0");
    runner.engine("own").is(200, "1.0");
    runner.stop();
    runner.restart();
    runner.engine("user").is(200, "2.0");

    // In place of the one of the same name.
    let answer = runner.cli(&["install", "package", "tiny==1.0"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(0), "Every plugin has: tiny==1.0\n"), "{}", answer.stderr);
    runner.engine("user").is(200, "1.0");
    runner.stop_leaving_nothing();
}

#[test]
fn an_installation_that_fails_says_why_and_changes_nothing() {
    let (runner, wheels) = world(&[]);
    wheel(&wheels, "1.0");
    runner.plugin("user.py", VERSION);
    runner.create(&Trigger::new("user", "user.py", "request:user"));
    let requirements = runner.plugin_dir().join("more.txt");
    std::fs::write(&requirements, "tiny==1.0\n").unwrap();
    let location = json!({ "requirements_location": "more.txt" });
    let path = "/api/v3/configure/plugin_environment/install_requirements";
    assert_eq!(runner.post_json(path, &location).status, 200);
    runner.engine("user").is(200, "1.0");
    let worker = environment(&runner, "user");

    runner.post_json(INSTALL, &json!({ "packages": ["tiny==3.0"] })).contains(400, "tiny==3.0");
    runner
        .post_json(INSTALL, &json!({ "packages": ["--version"] }))
        .contains(400, "error installing python packages: ");
    runner.post_json(INSTALL, &json!({ "packages": "tiny" })).contains(400, "invalid type: string \"tiny\"");
    let nothing = json!({ "requirements_location": "nothing.txt" });
    runner.post_json(path, &nothing).contains(400, "there is no file `");
    let refused = runner.cli(&["install", "package", "tiny==3.0"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("tiny==3.0"), "{}", refused.stderr);

    runner.engine("user").is(200, "1.0");
    assert_eq!(environment(&runner, "user"), worker);
}

#[test]
fn where_installing_is_disabled_the_answer_is_the_incumbents() {
    let (runner, wheels) = world(&["--package-manager", "disabled"]);
    wheel(&wheels, "1.0");
    let text = "Package installation has been disabled. Contact your administrator for more information.";
    runner.post_json(INSTALL, &json!({ "packages": ["tiny"] })).is(403, text);
    assert_eq!(runner.engine("neighbour").status, 200);
}

#[test]
fn environments_are_listed_and_those_that_nobody_uses_can_be_removed() {
    let (runner, wheels) = world(&["--worker-idle-timeout", "1h"]);
    wheel(&wheels, "1.0");
    runner.plugin("user.py", &asking_for("tiny==1.0"));
    runner.create(&Trigger::new("user", "user.py", "request:user"));
    runner.engine("user").is(200, "1.0");
    assert_eq!(runner.engine("neighbour").status, 200);
    let (used, plain) = (environment(&runner, "user"), environment(&runner, "neighbour"));
    let data = runner.root().join("data").to_str().unwrap().to_owned();
    let env = |arguments: &[&str]| {
        let finished = crate::world::run(&[&["env"], arguments, &["--data-dir", &data]].concat());
        (finished.code, format!("{}{}", finished.stdout, finished.stderr))
    };

    let (code, list) = env(&["list"]);
    let line = list.lines().find(|line| line.starts_with(&used)).unwrap_or_else(|| panic!("{list}"));
    assert!(code == Some(0) && line.contains(" MiB ") && line.contains(" now  tiny==1.0"), "{list}");
    let (_, shown) = env(&["show", &used]);
    assert!(shown.contains("asked for     tiny==1.0\ninstalled     tiny==1.0"), "{shown}");

    let (code, refused) = env(&["rm", &used]);
    assert!(code == Some(1) && refused.contains("is in use"), "{refused}");
    assert!(env(&["gc", "--grace", "0s"]).1.contains("0 environments removed"));
    runner.engine("user").is(200, "1.0");

    // Its worker goes, and with it the hold.
    runner.delete("user", true).is(200, "");
    runner.until_ended("user", 1);
    let (code, removed) = env(&["gc", "--grace", "0s"]);
    assert!(code == Some(0) && removed.contains(&format!("removed environment {used} (")), "{removed}");
    assert!(!runner.root().join("data").join("environments").join(&used).exists());
    assert!(runner.root().join("data").join("environments").join(&plain).exists(), "the neighbour's worker runs in it");
    assert_eq!(runner.engine("neighbour").status, 200);

    // The same packages come back when they are needed again.
    runner.create(&Trigger::new("user", "user.py", "request:user"));
    runner.engine("user").is(200, "1.0");
    assert_eq!(environment(&runner, "user"), used);
}

#[test]
fn a_package_that_starts_threads_when_it_is_imported_is_imported_by_each_worker() {
    let (runner, wheels) = world(&[]);
    wheel_with(
        &wheels,
        "1.0",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n",
    );
    let code = "# /// script\n# dependencies = [\"tiny==1.0\"]\n# ///\nimport threading\nimport tiny\ndef process_request(api, query, headers, body, args=None):\n    return str(threading.active_count())\n";
    runner.plugin("p.py", code);
    runner.create(&Trigger::new("p", "p.py", "request:p"));
    // A copy of a process would have lost the thread.
    runner.engine("p").is(200, "2");
    let worker = &runner.workers("p")[0];
    assert!(!worker["enforced"].as_str().unwrap().contains("zygote"), "{worker}");
    runner.until_logged("p", "what it imports starts threads");
    runner.engine("neighbour").is(200, &runner.engine("neighbour").text());
    runner.stop_leaving_nothing();
}

#[test]
fn an_import_that_never_ends_goes_with_its_trigger() {
    let (runner, wheels) = world(&[]);
    wheel_with(&wheels, "1.0", "import time\nwhile True:\n    time.sleep(1)\n");
    let code = "# /// script\n# dependencies = [\"tiny==1.0\"]\n# ///\nimport tiny\ndef process_request(api, query, headers, body, args=None):\n    return 'never'\n";
    runner.plugin("p.py", code);
    runner.create(&Trigger::new("p", "p.py", "request:p"));
    let client = runner.client();
    let waiting = std::thread::spawn(move || client.engine("p"));
    let zygotes = || processes_of(runner.root()).into_iter().filter(Process::is_zygote).collect::<Vec<_>>();
    until_true("it imports", || !zygotes().is_empty());
    let zygote = zygotes().remove(0);
    runner.delete("p", true).is(200, "");
    waiting.join().unwrap();
    until_true("nothing imports any more", || !zygote.is_alive());
    runner.engine("neighbour").is(200, &runner.engine("neighbour").text());
    runner.stop_leaving_nothing();
}
