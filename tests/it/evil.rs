//! Attacks, one a file in `tests/evil`. The head of each file says what it gets; here each is tried in every mode that
//! the machine offers, beside a neighbour that must not notice and things of the host that must not be touched.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::{DB, Request, Setup, TestRunner, Trigger};

/// An ordinary user for the modes in which the runner is one.
const USER: &str = "65534";
/// An interpreter that every user may use.
const SYSTEM_PYTHON: &str = "/usr/bin/python3";
/// A neighbour that takes longer than this for nothing has noticed something.
const PACE: Duration = Duration::from_secs(5);

/// How a runner runs its workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mode {
    /// Whether root gives way to an ordinary user.
    as_user: bool,
    /// Whether there are namespaces.
    has_namespaces: bool,
}

#[test]
fn evil_plugins_in_the_best_tier_of_this_user() {
    attack_all(Mode { as_user: false, has_namespaces: true });
}

#[test]
fn evil_plugins_without_namespaces() {
    attack_all(Mode { as_user: false, has_namespaces: false });
}

#[test]
fn evil_plugins_of_an_ordinary_user() {
    if is_root() {
        attack_all(Mode { as_user: true, has_namespaces: true });
    }
}

#[test]
fn evil_plugins_of_an_ordinary_user_without_namespaces() {
    if is_root() {
        attack_all(Mode { as_user: true, has_namespaces: false });
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// What is tried, and what comes of it.
#[derive(Debug)]
struct Attack {
    name: String,
    head: BTreeMap<String, String>,
}

impl Attack {
    /// Every file, by name.
    fn all() -> Vec<Self> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/evil");
        let mut attacks: Vec<Self> = std::fs::read_dir(&directory)
            .unwrap()
            .flatten()
            .filter_map(|entry| {
                let path = entry.path();
                let name = path.file_name()?.to_str()?.strip_suffix(".py")?.to_owned();
                let text = std::fs::read_to_string(&path).unwrap();
                let head = text.split("\"\"\"").nth(1).unwrap_or_else(|| panic!("{name} has no head"));
                let pairs = head.lines().skip(1).filter_map(|line| line.split_once(": "));
                Some(Self { name, head: pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect() })
            })
            .collect();
        attacks.sort_by(|a, b| a.name.cmp(&b.name));
        attacks
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.head.get(key).map(String::as_str)
    }

    /// The value for this mode.
    fn value_in(&self, mode: Mode, key: &str, without_namespaces: &str) -> Option<&str> {
        let special = (!mode.has_namespaces).then(|| self.value(without_namespaces)).flatten();
        special.or_else(|| self.value(key))
    }

    fn applies(&self, mode: Mode) -> bool {
        mode.has_namespaces || self.value("only with").is_none()
    }

    fn trigger(&self) -> Trigger {
        let mut trigger = Trigger::new(&self.name, &format!("{}.py", self.name), &format!("request:{}", self.name));
        if let Some(grant) = self.value("grant") {
            let granted: BTreeMap<String, Value> = serde_json::from_str(grant).unwrap();
            for (name, value) in granted {
                trigger = trigger.setting(&name, value);
            }
        }
        match self.value("timeout") {
            Some(timeout) => trigger.setting("timeout", timeout.into()),
            None => trigger,
        }
    }

    /// What is wrong with the answer, if anything is.
    fn complaint(&self, mode: Mode, status: u16, text: &str) -> Option<String> {
        let complaint = |expected: &str| Some(format!("{}: {status} {text:?} instead of {expected:?}", self.name));
        if let Some(failure) = self.value_in(mode, "fails with", "fails without namespaces with") {
            let well = matches!(status, 500 | 504) && text.contains(failure);
            return if well { None } else { complaint(failure) };
        }
        let any = self.value_in(mode, "expect one of", "without namespaces one of");
        if let Some(choices) = any.filter(|_| mode.has_namespaces || self.value("without namespaces").is_none()) {
            let well = status == 200 && text.split(' ').all(|word| choices.split('|').any(|choice| choice == word));
            return if well { None } else { complaint(choices) };
        }
        let expected = self.value_in(mode, "expect", "without namespaces").unwrap_or_else(|| panic!("{self:?}"));
        if status == 200 && text == expected { None } else { complaint(expected) }
    }
}

/// Things of the host that nobody inside may touch.
struct Canaries {
    victim: Child,
    listener: TcpListener,
}

impl Canaries {
    fn new(mode: Mode) -> Self {
        let mut command = if mode.as_user { as_user("sleep") } else { Command::new("sleep") };
        let victim = command.arg("1000").spawn().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { victim, listener }
    }

    fn are_well(&mut self) {
        assert!(self.victim.try_wait().unwrap().is_none(), "somebody has killed the victim");
        assert_eq!(self.listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "somebody has connected");
    }
}

impl Drop for Canaries {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

fn as_user(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups", program]);
    command
}

fn start(mode: Mode) -> TestRunner {
    let mut setup =
        Setup::with_own_environments().env("BULKHEAD_TEST_SECRET", "hush").env("BULKHEAD_OTHER_SECRET", "hush, too");
    // Without namespaces a worker with another user goes through the directories of the host.
    setup.open_to_everybody();
    if !mode.has_namespaces {
        setup = setup.args(&["--sandbox-emulate", "container"]);
    }
    if is_root() && Path::new(SYSTEM_PYTHON).exists() && (mode.as_user || !mode.has_namespaces) {
        setup = setup.args(&["--python", SYSTEM_PYTHON]);
    }
    if mode.as_user {
        let id = USER.parse().ok();
        for directory in [setup.root().to_owned(), setup.plugin_dir(), setup.data_dir()] {
            std::os::unix::fs::chown(directory, id, id).unwrap();
        }
        setup = setup.shell(&format!("exec setpriv --reuid {USER} --regid {USER} --clear-groups -- \"$0\" \"$@\""));
    }
    let runner = setup.start();
    runner.create_database(DB);
    runner
}

fn attack_all(mode: Mode) {
    let runner = start(mode);
    // Not below `/tmp`, of which a worker has its own.
    // Not below `/tmp`, of which every worker has its own and no permission is missing.
    let secret = tempfile::Builder::new().prefix("secret").tempfile_in("/var/tmp").unwrap();
    std::fs::write(secret.path(), "secret").unwrap();
    std::fs::set_permissions(secret.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let mut canaries = Canaries::new(mode);
    runner.fixture("neighbour.py");
    runner.create(&Trigger::new("neighbour", "neighbour.py", "request:neighbour"));
    let neighbour = runner.engine("neighbour");
    assert_eq!(neighbour.status, 200, "{}; {}", neighbour.text(), runner.stderr());

    let mut complaints = Vec::new();
    for attack in Attack::all().into_iter().filter(|attack| attack.applies(mode)) {
        runner.evil(&attack.name);
        runner.create(&attack.trigger());
        let request = Request::new("GET", &format!("/api/v3/engine/{}", attack.name))
            .query("secret", secret.path().to_str().unwrap())
            .query("data", runner.root().join("data").to_str().unwrap())
            .query("victim", &canaries.victim.id().to_string())
            .query("port", &canaries.listener.local_addr().unwrap().port().to_string());
        let answer = runner.send(&request);
        complaints.extend(attack.complaint(mode, answer.status, &answer.text()));
        if let Some(words) = attack.value("hint") {
            // The failure is logged before it is answered.
            let lines = runner.logs(&attack.name);
            if !lines.iter().any(|line| line.contains(words)) {
                complaints.push(format!("{}: no {words:?} in {lines:#?}", attack.name));
            }
        }
        let begun = Instant::now();
        runner.engine("neighbour").is(200, &neighbour.text());
        assert!(begun.elapsed() < PACE, "the neighbour noticed {}", attack.name);
        canaries.are_well();
        runner.delete(&attack.name, true).is(200, "");
    }
    assert!(complaints.is_empty(), "in {mode:?}:\n{}", complaints.join("\n"));

    let homes = runner.node_dir().join("homes");
    crate::world::until_true("only the neighbour has temporary files", || {
        std::fs::read_dir(&homes).map_or(true, |entries| entries.count() <= 1)
    });
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(runner.root().to_str().unwrap()), "a mount is left: {mounts}");
    runner.stop_leaving_nothing();
}
