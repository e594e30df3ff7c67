//! The attacks of `tests/evil`, as `bulkhead selftest --evil` makes them, in every mode that the machine offers. The head of
//! each file says what comes of it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::world::bulkhead;

/// An ordinary user for the modes in which the runner is one.
const USER: &str = "65534";
/// An interpreter that every user may use.
const SYSTEM_PYTHON: &str = "/usr/bin/python3";

/// How a runner runs its workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mode {
    /// Whether root gives way to an ordinary user.
    as_user: bool,
    /// What is imitated.
    terrain: Terrain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Terrain {
    /// As the machine is.
    Best,
    /// A container without namespaces.
    WithoutNamespaces,
    /// A container with namespaces in which workers get no `/proc`.
    WithoutProc,
    /// A kernel without Landlock, which does not keep the copies of a zygote apart either.
    WithoutLandlock,
}

#[test]
fn evil_plugins_in_the_best_tier_of_this_user() {
    attack_all(Mode { as_user: false, terrain: Terrain::Best });
}

#[test]
fn evil_plugins_without_namespaces() {
    attack_all(Mode { as_user: false, terrain: Terrain::WithoutNamespaces });
}

#[test]
fn evil_plugins_of_an_ordinary_user() {
    if is_root() {
        attack_all(Mode { as_user: true, terrain: Terrain::Best });
    }
}

#[test]
fn evil_plugins_of_an_ordinary_user_without_namespaces() {
    if is_root() {
        attack_all(Mode { as_user: true, terrain: Terrain::WithoutNamespaces });
    }
}

#[test]
fn evil_plugins_without_proc() {
    attack_all(Mode { as_user: false, terrain: Terrain::WithoutProc });
}

#[test]
fn evil_plugins_without_landlock() {
    attack_all(Mode { as_user: false, terrain: Terrain::WithoutLandlock });
}

#[test]
fn an_attack_that_does_not_exist_is_no_success() {
    let output = bulkhead(&["selftest", "--evil", "no_such_attack"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "error: no attack has such a name\n");
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn attack_all(mode: Mode) {
    let mut arguments = vec!["selftest", "--evil"];
    match mode.terrain {
        Terrain::Best => {}
        Terrain::WithoutNamespaces => arguments.extend(["--sandbox-emulate", "container"]),
        Terrain::WithoutProc => arguments.extend(["--sandbox-emulate", "masked-proc"]),
        Terrain::WithoutLandlock => arguments.extend(["--sandbox-emulate", "no-landlock"]),
    }
    if is_root() && Path::new(SYSTEM_PYTHON).exists() && (mode.as_user || mode.terrain == Terrain::WithoutNamespaces) {
        arguments.extend(["--python", SYSTEM_PYTHON]);
    }
    let own = bulkhead(&arguments);
    let installed = mode.as_user.then(Installed::new);
    let mut command = installed.as_ref().map_or(own, |installed| installed.given_up(&arguments));
    command.env("BULKHEAD_TEST_SECRET", "hush").env("BULKHEAD_OTHER_SECRET", "hush, too");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "in {mode:?}:\n{complained}\n{said}");
    assert!(said.contains("Nothing was left behind."), "{said}");
    let tried = said.lines().filter(|line| line.starts_with("  pass  ")).count();
    let least = if mode.terrain == Terrain::WithoutNamespaces { 80 } else { 95 };
    assert!(tried >= least, "{tried} attacks in {mode:?}: {said}");
}

/// The program where an ordinary user finds it, wherever the build lies.
struct Installed(tempfile::TempDir);

impl Installed {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("bulkhead-it-installed-").tempdir().unwrap();
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let built = Path::new(env!("CARGO_BIN_EXE_bulkhead"));
        for name in ["bulkhead", "libbulkhead_python_worker.so"] {
            let (from, to) = (built.with_file_name(name), directory.path().join(name));
            let from = if from.exists() { from } else { built.with_file_name("deps").join(name) };
            // A second name takes no room, but only within one file system.
            if std::fs::hard_link(&from, &to).is_err() {
                std::fs::copy(&from, &to).unwrap();
            }
        }
        Self(directory)
    }

    /// The command of an ordinary user.
    fn given_up(&self, arguments: &[&str]) -> Command {
        let own = bulkhead(arguments);
        let mut command = Command::new("setpriv");
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"]);
        command.arg(self.0.path().join("bulkhead")).args(own.get_args()).env_clear();
        command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    }
}
