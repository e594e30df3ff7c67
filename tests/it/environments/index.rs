//! Where packages come from: what the operator decides, and who gets to know of it.

use std::path::PathBuf;

use serde_json::json;

use super::loopback::{BASIC, Index, PASSWORD};
use super::{NEIGHBOUR, VERSION, asking_for, wheel};
use crate::world::{DB, Request, Setup, TestRunner, Trigger, run};

/// A runner with its own directory of wheels, which its tools do not know of by themselves.
fn world(prepare: impl FnOnce(Setup, &str) -> Setup) -> (TestRunner, PathBuf) {
    let setup = Setup::with_own_environments();
    let wheels = setup.root().join("wheels");
    std::fs::create_dir(&wheels).unwrap();
    let setup = prepare(setup, wheels.to_str().unwrap());
    let runner = setup.start();
    runner.create_database(DB);
    runner.plugin("neighbour.py", NEIGHBOUR);
    runner.create(&Trigger::new("neighbour", "neighbour.py", "request:neighbour"));
    (runner, wheels)
}

/// Answers with everything that a plugin can get hold of: its environment, files of its virtual environment, other processes.
const SPY: &str = "\
import glob, os
def process_request(api, query, headers, body, args=None):
    import tiny
    found = [f'{name}={value}' for name, value in os.environ.items()]
    for root, _, files in os.walk(os.environ['VIRTUAL_ENV']):
        paths = [os.path.join(root, name) for name in files]
        found += [open(path, errors='replace').read() for path in paths if os.path.getsize(path) < 1 << 20]
    for path in glob.glob('/proc/*/environ') + glob.glob('/proc/*/cmdline'):
        try:
            found.append(open(path, errors='replace').read())
        except OSError:
            pass
    return '\\n'.join(found)
";

#[test]
fn credentials_of_an_index_reach_the_index_and_nobody_else() {
    let root = tempfile::tempdir().unwrap();
    wheel(root.path(), "1.0");
    let index = Index::serve(root.path().to_owned());
    let url = index.url();
    let (runner, _) = world(|setup, _| {
        setup.env("BULKHEAD_INDEX_URL", &url).args(&["--log-filter", "debug", "--package-manager", "pip"])
    });
    runner.plugin("user.py", &format!("# /// script\n# dependencies = [\"tiny==1.0\"]\n# ///\n{SPY}"));
    let spying = Trigger::new("user", "user.py", "request:user").setting("allow_env", json!(["BULKHEAD_INDEX_URL"]));
    runner.create(&spying);
    let spied = runner.engine("user");
    assert_eq!(spied.status, 200, "{}", spied.text());
    assert!(spied.text().contains("VIRTUAL_ENV="), "{}", spied.text());
    let sent = index.asked();
    assert!(sent.iter().any(|(path, sent)| path.starts_with("/files/tiny-1.0") && sent == BASIC), "{sent:?}");

    // A failure shows the tool's words, without the password.
    runner.plugin("missing.py", &asking_for("tiny==9"));
    runner.create(&Trigger::new("missing", "missing.py", "request:missing"));
    let failed = runner.engine("missing");
    failed.contains(500, "tiny==9");
    let shown = runner.cli(&["env", "show", "-d", DB, "user"]);
    let listed = runner.cli(&["show", "system", "-d", DB, "table", "processing_engine_logs"]);
    let mut kept = String::new();
    for entry in walk(&runner.root().join("data")) {
        kept.push_str(&String::from_utf8_lossy(&std::fs::read(entry).unwrap_or_default()));
    }
    let texts = [
        ("the plugin", spied.text()),
        ("an answer", failed.text()),
        ("the log", runner.stderr()),
        ("plugins' logs", format!("{:?}", runner.all_logs())),
        ("the command line", format!("{}{}{}{}", shown.stdout, shown.stderr, listed.stdout, listed.stderr)),
        ("the disk", kept),
    ];
    for (what, text) in texts {
        assert!(!text.contains(PASSWORD), "{what} shows the password:\n{text}");
    }
    runner.stop_leaving_nothing();
}

fn walk(directory: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path()),
            Ok(kind) if kind.is_file() => vec![entry.path()],
            _ => Vec::new(),
        })
        .collect()
}

#[test]
fn an_air_gapped_server_takes_its_packages_from_a_directory() {
    let (runner, wheels) =
        world(|setup, wheels| setup.args(&["--offline", "--require-hashes", "--find-links", wheels]));
    wheel(&wheels, "1.0");
    runner.plugin("user.py", &asking_for("tiny"));
    runner.create(&Trigger::new("user", "user.py", "request:user"));
    runner.engine("user").is(200, "1.0");
    let shown = runner.send(
        &Request::new("GET", "/api/v3/configure/plugin_environment").query("db", DB).query("trigger_name", "user"),
    );
    assert!(shown.json()["lock"].as_str().unwrap().contains("--hash=sha256:"), "{}", shown.text());

    let refused = |name: &str, head: &str, reason: &str| {
        runner.plugin(&format!("{name}.py"), &format!("{head}\n{VERSION}"));
        runner.create(&Trigger::new(name, &format!("{name}.py"), &format!("request:{name}")));
        runner.engine(name).contains(500, reason);
    };
    refused(
        "far",
        "# /// script\n# dependencies = [\"tiny @ https://127.0.0.1:1/tiny-1.0-py3-none-any.whl\"]\n# ///",
        "this server is offline",
    );
    runner.plugin("own.requirements.txt", "--index-url http://127.0.0.1:1/simple\ntiny\n");
    refused("own", "", "this server decides where packages come from");
    runner.engine("user").is(200, "1.0");
}

#[test]
fn packages_are_installed_by_the_operators_lists() {
    let lists = ["--allow-package", "tin*", "--deny-package", "tinder"];
    let (runner, wheels) = world(|setup, wheels| setup.args(&["--offline", "--find-links", wheels]).args(&lists));
    wheel(&wheels, "1.0");
    runner.plugin("user.py", &asking_for("tiny"));
    runner.create(&Trigger::new("user", "user.py", "request:user"));
    runner.engine("user").is(200, "1.0");
    let install = |package: &str| {
        let body = json!({ "packages": [package] });
        runner.post_json("/api/v3/configure/plugin_environment/install_packages", &body)
    };
    install("requests").contains(403, "the package `requests` is not among those that this server allows");
    install("Tinder").contains(403, "the package `tinder` is denied on this server");
    assert_eq!(install("tiny").status, 200);
}

#[test]
fn nothing_is_built_where_only_wheels_are_wanted() {
    let (runner, wheels) = world(|setup, wheels| setup.args(&["--offline", "--only-wheels", "--find-links", wheels]));
    // Its build would leave a file in the directory of the test.
    let script = format!("open({:?}, 'w').close()\nraise SystemExit(7)\n", runner.root().join("built"));
    let archive = "import io, sys, tarfile\nwith tarfile.open(sys.argv[1], 'w:gz') as tar:\n    for name, text in [('setup.py', sys.argv[2]), ('PKG-INFO', 'Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n')]:\n        info = tarfile.TarInfo('tiny-1.0/' + name)\n        info.size = len(text)\n        tar.addfile(info, io.BytesIO(text.encode()))\n";
    let mut make = std::process::Command::new("python3");
    make.args(["-c", archive]).arg(wheels.join("tiny-1.0.tar.gz")).arg(script);
    assert!(make.status().unwrap().success());
    runner.plugin("user.py", &asking_for("tiny==1.0"));
    runner.create(&Trigger::new("user", "user.py", "request:user"));
    runner.until_state("user", "failed");
    assert_eq!(runner.engine("neighbour").status, 200);
    assert!(!runner.root().join("built").exists(), "nothing of it has run");
}

#[test]
fn settings_that_make_no_sense_stop_the_start_and_show_no_password() {
    let start = |arguments: &[&str]| {
        let setup = Setup::with_own_environments().args(arguments);
        let ended = setup.run();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        ended.stderr
    };
    let refused = start(&["--index-url", "ftp://u:s3cr3t@h/simple"]);
    assert!(refused.contains("`ftp://***@h/simple` is not the URL of an index"), "{refused}");
    let refused = start(&["--find-links", "/nowhere/at/all"]);
    assert!(refused.contains("directory of wheels `/nowhere/at/all`: No such file"), "{refused}");
}

#[test]
fn a_test_without_a_server_takes_its_packages_from_a_directory_too() {
    let directory = tempfile::tempdir().unwrap();
    wheel(directory.path(), "1.0");
    let plugin = directory.path().join("user.py");
    std::fs::write(&plugin, asking_for("tiny==1.0")).unwrap();
    let (plugin, wheels) = (plugin.to_str().unwrap(), directory.path().to_str().unwrap());
    let ended = run(&["test", "request", "--local", "--offline", "--find-links", wheels, plugin]);
    assert!(ended.code == Some(0) && ended.stdout.contains("1.0"), "{ended:?}");
    let ended = run(&["test", "request", "--local", "--package-manager", "disabled", plugin]);
    assert!(ended.code == Some(1) && format!("{ended:?}").contains("disabled on this server"), "{ended:?}");
}
