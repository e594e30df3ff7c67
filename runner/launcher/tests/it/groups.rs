//! Limits of control groups: held by the kernel where some of the tree is delegated to the tests, and otherwise told to be missing.

use bulkhead_launcher::{Cgroups, GroupLimits, LaunchPolicy, Launcher, Order, Report, describe_exit};

use crate::support::{Remains, Worker, fixture, python};

const MEMORY_BYTES: u64 = 64 << 20;

/// Has the worker in a group with all limits.
fn limited(script: &str) -> LaunchPolicy {
    let mut policy = python(script);
    // Others than the group must not be what holds it.
    policy.resources.data_bytes = None;
    policy.group = Some(GroupLimits {
        memory_bytes: Some(MEMORY_BYTES),
        processes: Some(20),
        cpu_thousandths: Some(200),
        nice: Some(5),
        ends_together: true,
    });
    policy
}

struct Run {
    enforced: Vec<String>,
    missing: Vec<String>,
    group: Option<std::path::PathBuf>,
    remains: Remains,
}

impl Run {
    fn of(launcher: Launcher, script: &str) -> (Self, Launcher) {
        let mut worker = Worker::launch_by(launcher, &limited(script));
        let group = worker.launched.group.as_ref().map(|leaf| leaf.directory().to_owned());
        let (enforced, missing) = match worker.report() {
            Some(Report::Started { enforced, missing, .. }) => (enforced, missing),
            other => panic!("not started: {other:?}"),
        };
        let (remains, launcher) = worker.remains_and_launcher();
        (Self { enforced, missing, group, remains }, launcher)
    }

    /// Whether the group has a limit in this file.
    fn has(&self, file: &str) -> bool {
        self.enforced.iter().any(|word| word.starts_with("cgroup=") && word.contains(file))
    }

    fn memory_kills(&self) -> u64 {
        match self.remains.report {
            Report::Exited { memory_kills, .. } => memory_kills,
            ref other => panic!("no end: {other:?}"),
        }
    }
}

const HOARD: &str = "
hoard = []
for _ in range(200): hoard.append(b'x' * (1 << 20))
print(len(hoard))";

const FORKS: &str = "
import os, time
made = 0
try:
    while made < 40:
        if os.fork() == 0: time.sleep(60)
        made += 1
except OSError: pass
print(made)";

/// Computes for a second of the clock and prints the processor time that it got meanwhile.
const COMPUTES: &str = "
import time
begun, used = time.monotonic(), time.process_time()
while time.monotonic() - begun < 1: pass
print(time.process_time() - used)";

#[test]
fn the_kernel_holds_a_group_to_its_limits_or_the_missing_ones_are_named() {
    let found = Cgroups::discover();
    let reason = found.as_ref().err().cloned();
    let launcher = Launcher::new(fixture()).unwrap().with_cgroups(found);
    let (hoards, launcher) = Run::of(launcher, HOARD);
    let (forks, launcher) = Run::of(launcher, FORKS);
    let (computes, _) = Run::of(launcher, COMPUTES);
    if let Some(reason) = reason {
        assert!(hoards.missing.contains(&format!("cgroup: {reason}")), "{:?}", hoards.missing);
        assert_eq!(hoards.group, None);
    }
    for run in [&hoards, &forks, &computes] {
        assert!(run.group.as_ref().is_none_or(|group| !group.exists()), "{:?} is left", run.group);
        for file in ["memory.max", "pids.max", "cpu.max"] {
            let is_missing = run.missing.iter().any(|layer| layer.starts_with("cgroup: "));
            assert!(run.has(file) || is_missing, "{file} is in neither of {:?} {:?}", run.enforced, run.missing);
        }
    }

    if hoards.has("memory.max") {
        assert_eq!(describe_exit(hoards.remains.status()).to_string(), "signal 9 (SIGKILL)");
        assert!(hoards.memory_kills() > 0);
    } else {
        assert_eq!((hoards.remains.stdout.as_str(), hoards.memory_kills()), ("200\n", 0));
    }

    let made: usize = forks.remains.stdout.trim().parse().unwrap();
    assert!(if forks.has("pids.max") { (10..20).contains(&made) } else { made == 40 }, "{made} processes");

    let got: f64 = computes.remains.stdout.trim().parse().unwrap();
    if computes.has("cpu.max") {
        assert!(computes.enforced.contains(&"cpu=0.2".to_owned()), "{:?}", computes.enforced);
        assert!(got < 0.5, "{got} seconds of one");
    } else {
        assert!(computes.missing.iter().any(|layer| layer.starts_with("cpu: ")), "{:?}", computes.missing);
        assert!(computes.enforced.contains(&"nice=10".to_owned()), "{:?}", computes.enforced);
    }
}

#[test]
fn a_worker_that_is_killed_leaves_no_group() {
    let launcher = Launcher::new(fixture()).unwrap().with_cgroups(Cgroups::discover());
    let mut worker = Worker::launch_by(launcher, &limited("import time; time.sleep(60)"));
    let group = worker.launched.group.clone();
    worker.started();
    worker.order(Order::Kill);
    worker.remains();
    assert!(group.is_none_or(|leaf| !leaf.directory().exists()));
}
