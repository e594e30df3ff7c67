//! `bulkhead doctor`: what of the sandbox this machine grants, found out by doing, and a dozen attacks on it.

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use bulkhead_launcher::{
    Access, LaunchPolicy, Launched, Launcher, Network, PathGrant, ProbeResult, ProbeTargets, Report, ReportDecoder,
    Sandbox, SeccompProfile, read_probe, seccomp_filters,
};
use clap::Args;

use super::output::{CliError, say};
use super::serve::EmulationName;
use crate::limits;

/// `doctor`.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Imitates an environment that grants less than this machine.
    #[arg(long, value_enum, value_name = "ENVIRONMENT", hide = true)]
    sandbox_emulate: Option<EmulationName>,
}

/// Time for the probe to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A layer with the beginnings of its words in the launcher's report, and how to get it where it is missing.
struct Layer {
    name: &'static str,
    enforced: &'static [&'static str],
    missing: &'static [&'static str],
    remedy: &'static str,
}

const LAYERS: [Layer; 11] = [
    Layer {
        name: "namespaces",
        enforced: &["mount_namespace", "pid_namespace", "network_namespace"],
        missing: &["namespaces"],
        remedy: "run as root, or allow unprivileged user namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns=0 or deploy/apparmor); \
                 in a container use deploy/kubernetes; in a systemd unit do not set RestrictNamespaces",
    },
    Layer { name: "root directory", enforced: &["root=own"], missing: &["root"], remedy: "comes with namespaces" },
    Layer {
        name: "own /proc",
        enforced: &["proc=own"],
        missing: &["proc"],
        remedy: "in Kubernetes `procMount: Unmasked`",
    },
    Layer {
        name: "user",
        enforced: &["user=", "user_namespace"],
        missing: &["user"],
        remedy: "comes with root or a user namespace",
    },
    Layer { name: "capabilities", enforced: &["capabilities=none"], missing: &["capabilities"], remedy: "" },
    Layer { name: "no new privileges", enforced: &["no_new_privs"], missing: &["no_new_privs"], remedy: "" },
    Layer {
        name: "landlock",
        enforced: &["landlock="],
        missing: &["landlock"],
        remedy: "Linux 6.12 or newer, booted with landlock among the `lsm=` modules",
    },
    Layer { name: "seccomp", enforced: &["seccomp="], missing: &["seccomp"], remedy: "" },
    Layer { name: "memory limit", enforced: &["data_bytes="], missing: &["data_bytes"], remedy: "" },
    Layer {
        name: "processes limit",
        enforced: &["processes="],
        missing: &["processes"],
        remedy: "comes with a user for each worker (root) or a user namespace",
    },
    Layer {
        name: "cgroup",
        enforced: &["cgroup="],
        missing: &["cgroup"],
        remedy: "not used by this version; memory and processes are limited for each process",
    },
];

/// Runs the command.
pub(super) async fn run(args: DoctorArgs) -> Result<(), CliError> {
    let examination = tokio::task::spawn_blocking(move || examine(args.sandbox_emulate));
    let examination = examination.await.map_err(|error| CliError::new(error.to_string()))??;
    say(format!("Sandbox of this machine (Linux {}, user {})\n", kernel(), nix::unistd::geteuid()));
    for layer in &LAYERS {
        say(layer.line(&examination));
    }
    say("\nAttacks from inside, with nothing granted");
    for ProbeResult { attack, refused } in &examination.attacks {
        match refused {
            Some(reason) => say(format!("  refused    {attack}: {reason}")),
            None => say(format!("  SUCCEEDED  {attack}")),
        }
    }
    say(format!("\nStart of a confined process: {:.1} ms", examination.started_after.as_secs_f64() * 1e3));
    examination.verdict()
}

/// What was found.
struct Examination {
    enforced: Vec<String>,
    missing: Vec<String>,
    attacks: Vec<ProbeResult>,
    started_after: Duration,
}

impl Layer {
    /// The layer's state, what the kernel said, and the remedy where something is missing.
    fn line(&self, examination: &Examination) -> String {
        let starting = |words: &[String], beginnings: &[&str]| -> Vec<String> {
            words.iter().filter(|word| beginnings.iter().any(|start| word.starts_with(start))).cloned().collect()
        };
        let enforced = starting(&examination.enforced, self.enforced);
        let missing = starting(&examination.missing, self.missing);
        let (state, words) = match (enforced.is_empty(), missing.is_empty()) {
            (false, true) => ("enforced", enforced.join(", ")),
            (false, false) => ("partial", format!("{}; {}", enforced.join(", "), missing.join(", "))),
            (true, false) => ("MISSING", missing.join(", ")),
            (true, true) => ("MISSING", String::new()),
        };
        let mut line = format!("  {state:<9}  {:<18} {words}", self.name);
        if state != "enforced" && !self.remedy.is_empty() {
            line.push_str(&format!("\n{:33}to get it: {}", "", self.remedy));
        }
        line
    }
}

impl Examination {
    /// An error when an attack succeeded that no tier lets through.
    fn verdict(&self) -> Result<(), CliError> {
        let succeeded: Vec<&str> = self
            .attacks
            .iter()
            .filter(|result| result.refused.is_none())
            .map(|result| result.attack.as_str())
            .collect();
        if self.attacks.is_empty() {
            return Err(CliError::new("the probe said nothing"));
        }
        if succeeded.is_empty() {
            say("The required minimum is met: files, system calls and user of a worker are confined.");
            return Ok(());
        }
        Err(CliError::new(format!("the sandbox let attacks through: {}", succeeded.join(", "))))
    }
}

/// Launches the probe in a sandbox without grants.
fn examine(emulate: Option<EmulationName>) -> Result<Examination, CliError> {
    let failed = |what: &str, error: &dyn std::fmt::Display| CliError::new(format!("{what}: {error}"));
    let program = std::env::current_exe().map_err(|error| failed("this program's own path", &error))?;
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| failed("a listener", &error))?;
    let listener = listener.local_addr().map(|address| (listener, address));
    let (_listener, address) = listener.map_err(|error| failed("a listener", &error))?;
    let victim = std::process::id().cast_signed();
    let scratch = tempfile::Builder::new().prefix("bulkhead-doctor-").tempdir();
    let scratch = scratch.map_err(|error| failed("a temporary directory", &error))?;
    open(scratch.path()).map_err(|error| failed("a temporary directory", &error))?;

    let mut policy = LaunchPolicy::new(&program, "/");
    policy.args = ProbeTargets { listener: address, victim }.arguments();
    policy.resources.processes = Some(limits::WORKER_PROCESSES);
    let filters = seccomp_filters(SeccompProfile { subprocesses: false, internet_sockets: false })
        .map_err(|error| failed("system call filters", &error))?;
    policy.sandbox = Some(Sandbox {
        paths: vec![PathGrant::new(&program, Access::Execute)],
        network: Network::None,
        subprocesses: false,
        tmp_bytes: limits::WORKER_TMP_BYTES,
        shm_bytes: limits::WORKER_SHM_BYTES,
        scratch: scratch.path().join("worker"),
        user: Some(crate::supervisor::free_user()),
        filters,
        emulate: emulate.map(EmulationName::emulation),
    });
    let launcher = Launcher::of_this_binary().map_err(|error| failed("the launcher", &error))?;
    let (_session, theirs) = UnixStream::pair().map_err(|error| failed("a socket", &error))?;
    let begun = Instant::now();
    let launched = launcher.launch(&policy, theirs.into()).map_err(|error| failed("the launcher", &error))?;
    observe(&launcher, launched, begun)
}

/// Everybody may enter it: the probe's user owns what is inside.
fn open(directory: &Path) -> std::io::Result<()> {
    std::fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o755))
}

/// Follows the probe to its end.
fn observe(launcher: &Launcher, launched: Launched, begun: Instant) -> Result<Examination, CliError> {
    let failed = |error: std::io::Error| CliError::new(format!("the probe: {error}"));
    let Launched { holder, mut control, stdout, .. } = launched;
    control.set_nonblocking(false).and_then(|()| control.set_read_timeout(Some(PATIENCE))).map_err(failed)?;
    let mut decoder = ReportDecoder::new();
    let (mut found, mut buffer) = (None, [0; 4096]);
    let mut refusal = None;
    loop {
        let read = control.read(&mut buffer).map_err(failed)?;
        decoder.push(buffer.get(..read).unwrap_or_default());
        while let Some(report) = decoder.next_report().map_err(|error| CliError::new(error.to_string()))? {
            match report {
                Report::Started { enforced, missing, .. } => found = Some((enforced, missing, begun.elapsed())),
                Report::Failed { step, error } => refusal = Some(format!("{step}: {error}")),
                Report::Exited { .. } => {}
            }
        }
        if read == 0 {
            break;
        }
    }
    while launcher.try_reap(holder).map_err(failed)?.is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    if let Some(refusal) = refusal {
        return Err(CliError::new(format!("no worker can start on this machine: {refusal}")));
    }
    let Some((enforced, missing, started_after)) = found else {
        return Err(CliError::new("no worker can start on this machine: the launcher was killed"));
    };
    let mut text = String::new();
    std::fs::File::from(stdout).read_to_string(&mut text).map_err(failed)?;
    Ok(Examination { enforced, missing, attacks: read_probe(&text), started_after })
}

fn kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}
