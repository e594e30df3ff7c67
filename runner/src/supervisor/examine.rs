//! What of the sandbox this machine grants, found out by doing: a confined process that attacks its sandbox.

use std::fs::Permissions;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bulkhead_launcher::{
    Access, Emulation, GroupLimits, LaunchPolicy, Launched, Launcher, Network, PathGrant, ProbeResult, ProbeTargets,
    Report, ReportDecoder, Sandbox, SeccompProfile, read_probe, seccomp_filters,
};
use tempfile::TempDir;

use crate::limits;

/// Time for the probe to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// Starts of each kind that are timed. The fastest counts: whatever else the machine does only slows them down.
const TIMED_STARTS: usize = 5;

/// Processor time that the probe is limited to, thousandths: more than it needs.
const CPU_THOUSANDTHS: u32 = 1_000;

/// What was found.
#[derive(Debug)]
pub struct Examination {
    /// Layers, as the launcher reports them.
    pub enforced: Vec<String>,
    /// Layers that this machine does not grant, each with the reason.
    pub missing: Vec<String>,
    /// What the probe tried.
    pub attacks: Vec<ProbeResult>,
}

/// What a start takes: from the order to the running program.
#[derive(Debug, Clone, Copy)]
pub struct StartTimes {
    /// With a worker's sandbox.
    pub confined: Duration,
    /// Without one.
    pub unconfined: Duration,
}

/// A process to start, with what has to be there meanwhile.
struct Trial {
    policy: LaunchPolicy,
    _listener: TcpListener,
    _scratch: TempDir,
}

/// What one process reported.
struct Observed {
    enforced: Vec<String>,
    missing: Vec<String>,
    started_after: Duration,
    stdout: String,
}

/// Launches the probe in a sandbox without grants.
///
/// # Errors
/// No worker can start on this machine, and why.
pub fn examine(launcher: &Launcher, emulate: Option<Emulation>) -> Result<Examination, String> {
    let trial = trial(emulate)?;
    let Observed { enforced, missing, stdout, .. } = observe(launcher, &trial.policy)?;
    Ok(Examination { enforced, missing, attacks: read_probe(&stdout) })
}

/// Times starts with a sandbox and without.
///
/// # Errors
/// No worker can start on this machine, and why.
pub fn time_starts(launcher: &Launcher, emulate: Option<Emulation>) -> Result<StartTimes, String> {
    let Trial { mut policy, _listener, _scratch } = trial(emulate)?;
    // Not the probe, which must not attack without a sandbox.
    policy.args = vec!["--version".to_owned()];
    if let Some(group) = &mut policy.group {
        // Where it cannot be held the process would give way to others, and its start with it.
        group.cpu_thousandths = None;
    }
    let confined = fastest(launcher, &policy)?;
    policy.sandbox = None;
    policy.group = None;
    Ok(StartTimes { confined, unconfined: fastest(launcher, &policy)? })
}

fn fastest(launcher: &Launcher, policy: &LaunchPolicy) -> Result<Duration, String> {
    (0..TIMED_STARTS).try_fold(Duration::MAX, |least, _| Ok(least.min(observe(launcher, policy)?.started_after)))
}

/// This program, where a process of another user finds it: its own file, or, where that lies in a directory which others cannot
/// enter, such as the home of root, a second name for it or a copy.
fn program(scratch: &Path) -> std::io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let allows = |path: &Path, others: u32| path.metadata().is_ok_and(|found| found.mode() & others == others);
    let is_executable = allows(&own, 0o005);
    if is_executable && own.ancestors().skip(1).all(|directory| allows(directory, 0o001)) {
        return Ok(own);
    }
    let reachable = scratch.join("bulkhead");
    if !is_executable || std::fs::hard_link(&own, &reachable).is_err() {
        // The kernel leads to the file also when its path does not.
        std::fs::copy("/proc/self/exe", &reachable)?;
        std::fs::set_permissions(&reachable, Permissions::from_mode(0o755))?;
    }
    Ok(reachable)
}

/// The probe in a sandbox without grants.
fn trial(emulate: Option<Emulation>) -> Result<Trial, String> {
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| failed("a listener", &error))?;
    let address = listener.local_addr().map_err(|error| failed("a listener", &error))?;
    let victim = std::process::id().cast_signed();
    let scratch = tempfile::Builder::new().prefix("bulkhead-doctor-").tempdir();
    let scratch = scratch.map_err(|error| failed("a temporary directory", &error))?;
    open(scratch.path()).map_err(|error| failed("a temporary directory", &error))?;
    let program = program(scratch.path()).map_err(|error| failed("this program's own file", &error))?;

    let mut policy = LaunchPolicy::new(&program, "/");
    policy.args = ProbeTargets { listener: address, victim }.arguments();
    policy.resources.processes = Some(limits::WORKER_PROCESSES);
    policy.group = Some(GroupLimits {
        memory_bytes: Some(limits::WORKER_MEMORY_BYTES),
        processes: Some(limits::WORKER_PROCESSES),
        cpu_thousandths: Some(CPU_THOUSANDTHS),
        nice: Some(limits::WORKER_NICE),
        ends_together: true,
    });
    let filters =
        seccomp_filters(SeccompProfile { subprocesses: false, internet_sockets: false, forks_workers: false })
            .map_err(|error| failed("system call filters", &error))?;
    policy.sandbox = Some(Sandbox {
        paths: vec![PathGrant::new(&program, Access::Execute)],
        network: Network::None,
        subprocesses: false,
        tmp_bytes: limits::WORKER_TMP_BYTES,
        shm_bytes: limits::WORKER_SHM_BYTES,
        scratch: scratch.path().join("worker"),
        user: Some(super::free_user()),
        filters,
        emulate,
    });
    Ok(Trial { policy, _listener: listener, _scratch: scratch })
}

/// Everybody may enter it: the probe's user owns what is inside.
fn open(directory: &Path) -> std::io::Result<()> {
    std::fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o755))
}

/// Starts a process and follows it to its end.
fn observe(launcher: &Launcher, policy: &LaunchPolicy) -> Result<Observed, String> {
    let failed = |error: std::io::Error| format!("the probe: {error}");
    let (_session, theirs) = UnixStream::pair().map_err(failed)?;
    let begun = Instant::now();
    let launched = launcher.launch(policy, theirs.into()).map_err(|error| format!("the launcher: {error}"))?;
    let Launched { holder, mut control, stdout, .. } = launched;
    control.set_nonblocking(false).and_then(|()| control.set_read_timeout(Some(PATIENCE))).map_err(failed)?;
    let mut decoder = ReportDecoder::new();
    let (mut found, mut buffer) = (None, [0; 4096]);
    let mut refusal = None;
    loop {
        let read = control.read(&mut buffer).map_err(failed)?;
        decoder.push(buffer.get(..read).unwrap_or_default());
        while let Some(report) = decoder.next_report().map_err(|error| error.to_string())? {
            match report {
                Report::Started { enforced, missing, .. } => found = Some((enforced, missing, begun.elapsed())),
                Report::Failed { step, error } => refusal = Some(format!("{step}: {error}")),
                Report::Exited { .. } | Report::ChildExited { .. } => {}
            }
        }
        if read == 0 {
            break;
        }
    }
    while launcher.try_reap(holder).map_err(failed)?.is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    if let Some(sandbox) = &policy.sandbox {
        // Where there are no mount namespaces it is a directory of the disk.
        let _ = std::fs::remove_dir_all(&sandbox.scratch);
    }
    if let Some(refusal) = refusal {
        return Err(format!("no worker can start on this machine: {refusal}"));
    }
    let Some((enforced, missing, started_after)) = found else {
        return Err("no worker can start on this machine: the launcher was killed".to_owned());
    };
    let mut text = String::new();
    std::fs::File::from(stdout).read_to_string(&mut text).map_err(failed)?;
    Ok(Observed { enforced, missing, started_after, stdout: text })
}
