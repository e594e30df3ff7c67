//! Packages of which there is only the source: they are built in a sandbox, whatever their build code tries.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::loopback::{Index, PASSWORD};
use super::{NEIGHBOUR, TINY, VERSION, Wheel};
use crate::world::{DB, Request, Setup, TestRunner, Trigger, until};

/// Code of the build backends.
const BACKENDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/sources");

/// Makes the source package `name` 1.0, which is built by a file of `tests/sources`.
fn source(directory: &Path, (name, version): (&str, &str), backend: &str, targets: &str) {
    let backend = std::fs::read_to_string(Path::new(BACKENDS).join(format!("{backend}.py"))).unwrap();
    let metadata = format!("Name: {name}\nVersion: {version}\n");
    let project = "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n";
    let script = "import io, sys, tarfile
with tarfile.open(sys.argv[1], 'w:gz') as archive:
    for name, text in zip(('backend.py', 'PKG-INFO', 'pyproject.toml', 'targets'), sys.argv[3:]):
        info = tarfile.TarInfo(f'{sys.argv[2]}/{name}')
        info.size = len(text.encode())
        archive.addfile(info, io.BytesIO(text.encode()))
";
    let top = format!("{name}-{version}");
    let mut make = Command::new("python3");
    make.args(["-c", script]).arg(directory.join(format!("{top}.tar.gz"))).arg(top);
    // The first lines tell the honest one its name.
    let metadata = format!("Metadata-Version: 2.1\n{metadata}");
    make.args([backend.as_str(), &metadata, project, targets]);
    assert!(make.status().unwrap().success());
}

fn helper(directory: &Path) {
    Wheel { name: "tinyhelper", version: "1.5", ..TINY }.make(directory);
}

/// The tools that are there.
fn tools() -> Vec<&'static str> {
    let has_uv =
        std::env::var("PATH").is_ok_and(|path| path.split(':').any(|place| Path::new(place).join("uv").exists()));
    if has_uv { vec!["pip", "uv"] } else { vec!["pip"] }
}

/// A runner whose packages come from an index that demands a password, and its files.
fn world(arguments: &[&str]) -> (TestRunner, Index, tempfile::TempDir) {
    let files = tempfile::tempdir().unwrap();
    let index = Index::serve(files.path().to_owned());
    let setup = Setup::with_own_environments().env("BULKHEAD_INDEX_URL", &index.url()).args(arguments);
    let runner = setup.start();
    runner.create_database(DB);
    runner.plugin("neighbour.py", NEIGHBOUR);
    runner.create(&Trigger::new("neighbour", "neighbour.py", "request:neighbour"));
    assert_eq!(runner.engine("neighbour").status, 200);
    (runner, index, files)
}

/// Creates the trigger `name`, whose plugin asks for `requirement` of a package of this name.
fn asks(runner: &TestRunner, name: &str, requirement: &str) {
    let code = VERSION.replace("tiny", name);
    runner.plugin(&format!("{name}.py"), &format!("# /// script\n# dependencies = [\"{requirement}\"]\n# ///\n{code}"));
    runner.create(&Trigger::new(name, &format!("{name}.py"), &format!("request:{name}")));
}

/// The lock of the trigger `honest`.
fn locked(runner: &TestRunner) -> String {
    let path = "/api/v3/configure/plugin_environment";
    let shown = runner.send(&Request::new("GET", path).query("db", DB).query("trigger_name", "honest"));
    shown.json()["lock"].as_str().unwrap().to_owned()
}

#[test]
fn a_package_without_a_wheel_is_built_in_the_sandbox() {
    for tool in tools() {
        let (mut runner, index, files) = world(&["--package-manager", tool]);
        helper(files.path());
        source(files.path(), ("honest", "1.0"), "honest", "");
        asks(&runner, "honest", "honest");
        runner.engine("honest").is(200, "1.0 made by a program with 1.5");
        assert!(index.asked().iter().any(|(path, _)| path == "/files/honest-1.0.tar.gz"), "{tool}");

        // The lock names the source, and another environment of the same lock is built of it again.
        let shown = locked(&runner);
        let hash = Command::new("sha256sum").arg(files.path().join("honest-1.0.tar.gz")).output().unwrap().stdout;
        let hash = String::from_utf8(hash).unwrap().split(' ').next().unwrap().to_owned();
        assert!(shown.contains(&format!("--hash=sha256:{hash}")), "{tool}: {shown}");
        source(files.path(), ("honest", "2.0"), "honest", "");
        runner.stop();
        let environments = runner.root().join("data/environments");
        for entry in std::fs::read_dir(&environments).unwrap().flatten() {
            if entry.path().join("bulkhead.json").exists() {
                std::fs::remove_dir_all(entry.path()).unwrap();
            }
        }
        runner.restart();
        runner.engine("honest").is(200, "1.0 made by a program with 1.5");
        runner.stop_leaving_nothing();
    }
}

#[test]
fn sources_may_be_asked_for_by_address_and_a_changed_one_is_not_built() {
    let (mut runner, _index, files) = world(&["--package-manager", "pip"]);
    helper(files.path());
    source(files.path(), ("honest", "1.0"), "honest", "");
    let address = format!("honest @ file://{}/honest-1.0.tar.gz", files.path().display());
    asks(&runner, "honest", &address);
    runner.engine("honest").is(200, "1.0 made by a program with 1.5");
    let shown = locked(&runner);
    assert!(shown.contains(&format!("{address} \\\n    --hash=sha256:")), "{shown}");

    runner.stop();
    source(files.path(), ("honest", "1.0"), "honest", "another file");
    let environment = std::fs::read_dir(runner.root().join("data/environments")).unwrap().flatten();
    for entry in environment.filter(|entry| entry.path().join("bulkhead.json").exists()) {
        std::fs::remove_dir_all(entry.path()).unwrap();
    }
    runner.restart();
    runner.engine("honest").contains(500, "a file is not the one that was locked");
    assert_eq!(runner.engine("neighbour").status, 200);
}

/// What an attack is told, and what its failure has to say.
struct Attack {
    name: &'static str,
    targets: String,
    says: &'static str,
}

fn attack(arguments: &[&str]) {
    let (runner, index, files) = world(&[&["--package-manager", "pip", "--log-filter", "debug"], arguments].concat());
    let secret = runner.root().join("secret.txt");
    std::fs::write(&secret, "the secret of the runner").unwrap();
    let written = runner.root().join("written.txt");
    let paths = |paths: &[PathBuf]| paths.iter().map(|path| format!("{}\n", path.display())).collect::<String>();
    let plugin = runner.root().join("plugins/neighbour.py");
    let journal = runner.root().join("data/environments/packages.txt");
    let attacks = [
        Attack { name: "evil_files", targets: paths(&[secret, plugin.clone()]), says: "secret.txt: " },
        Attack { name: "evil_environment", targets: String::new(), says: "LOOKED" },
        Attack { name: "evil_network", targets: index.address().to_owned(), says: "no page: " },
        Attack { name: "evil_writes", targets: paths(&[written.clone(), plugin, journal]), says: "written.txt: " },
        Attack { name: "evil_forks", targets: String::new(), says: "" },
    ];
    // An ordinary user's processes cannot be counted for one build where there are no namespaces.
    let counts = is_root() || arguments.is_empty();
    let neighbour = runner.engine("neighbour").text();
    for Attack { name, targets, says } in attacks.into_iter().filter(|attack| counts || attack.name != "evil_forks") {
        source(files.path(), (name, "1.0"), name, &targets);
        asks(&runner, name, &format!("{name}==1.0"));
        let answer = runner.engine(name);
        answer.contains(500, &format!("building `{}` in the sandbox failed with ", name.replace('_', "-")));
        answer.contains(500, says);
        let text = answer.text();
        for sign in ["GOT", PASSWORD, "BULKHEAD_", "the secret of"] {
            assert!(!text.contains(sign), "{name} has come to something ({sign}):\n{text}");
        }
        runner.engine("neighbour").is(200, &neighbour);
    }
    assert!(!written.exists());
    let left = std::fs::read_dir(runner.root().join("data/environments")).unwrap().flatten();
    let left: Vec<_> = left.filter(|entry| entry.path().join("source").exists()).collect();
    assert!(left.is_empty(), "{left:?}");
    runner.stop_leaving_nothing();
}

#[test]
fn build_code_gets_at_nothing() {
    attack(&[]);
}

#[test]
fn nor_does_it_where_there_are_no_namespaces() {
    if !is_root() || reachable() {
        attack(&["--sandbox-emulate", "container"]);
    }
}

/// Without namespaces a worker of root has another user, who has to reach the interpreter by its path.
fn reachable() -> bool {
    let script = "import os, sys; path = os.path.realpath(sys.executable)
while path != '/':
    path = os.path.dirname(path)
    if not os.stat(path).st_mode & 1: sys.exit(1)
";
    Command::new("python3").args(["-c", script]).status().unwrap().success()
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

#[test]
fn a_build_that_hangs_is_ended_and_nothing_of_it_stays() {
    // On a busy machine it takes longer to come to where it hangs.
    assert!([12, 36, 100].into_iter().any(hangs_within), "it never came to where it hangs");
}

/// Whether a build that hangs had come to it when it was ended, after so many seconds.
fn hangs_within(limit: u32) -> bool {
    let arguments = ["--package-manager", "pip", "--environment-build-timeout", &format!("{limit}s")];
    let (runner, _index, files) = world(&arguments);
    source(files.path(), ("evil_hang", "1.0"), "evil_hang", "");
    asks(&runner, "evil_hang", "evil_hang==1.0");
    let neighbour = runner.engine("neighbour").text();
    let client = runner.client();
    let waiting = std::thread::spawn(move || client.engine("evil_hang"));
    until("it is built", || (waiting.is_finished() || runner.stderr().contains("in the sandbox")).then_some(()));
    runner.engine("neighbour").is(200, &neighbour);
    let answer = waiting.join().unwrap();
    answer.contains(500, &format!("was not done after {limit} s, the limit for a build"));
    let left = std::fs::read_dir(runner.root().join("data/environments")).unwrap().flatten();
    let left: Vec<_> = left.filter(|entry| entry.path().join("source").exists()).collect();
    assert!(left.is_empty(), "{left:?}");
    runner.stop_leaving_nothing();
    let text = answer.text();
    text.contains("building `evil-hang` in the sandbox") && text.contains("hangs from now on")
}
