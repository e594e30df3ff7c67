//! `bulkhead doctor`: what of the sandbox this machine grants, found out by doing, and a dozen attacks on it.

use bulkhead_launcher::{Cgroups, Launcher, ProbeResult};
use clap::Args;

use super::output::{CliError, say};
use super::serve::EmulationName;
use crate::supervisor::{Examination, examine, time_starts};

/// `doctor`.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Imitates an environment that grants less than this machine.
    #[arg(long, value_enum, value_name = "ENVIRONMENT", hide = true)]
    sandbox_emulate: Option<EmulationName>,
}

/// A layer with the beginnings of its words in the launcher's report, and how to get it where it is missing.
struct Layer {
    name: &'static str,
    enforced: &'static [&'static str],
    missing: &'static [&'static str],
    remedy: &'static str,
}

const LAYERS: [Layer; 12] = [
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
        missing: &["proc:"],
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
        missing: &["cgroup:"],
        remedy: "run the server as a service with `Delegate=memory pids cpu` (deploy/bulkhead.service), or try it with \
                 `systemd-run --pipe -p 'Delegate=memory pids cpu' bulkhead doctor`; until then rlimits and a watchdog limit memory",
    },
    Layer { name: "cpu limit", enforced: &["cpu="], missing: &["cpu:"], remedy: "as for cgroup" },
];

/// Runs the command.
pub(super) async fn run(args: DoctorArgs) -> Result<(), CliError> {
    let launcher = Launcher::of_this_binary().map_err(|error| CliError::new(error.to_string()))?;
    let launcher = launcher.with_cgroups(Cgroups::discover());
    let emulate = args.sandbox_emulate.map(EmulationName::emulation);
    let found = tokio::task::spawn_blocking(move || {
        let examination = examine(&launcher, emulate)?;
        Ok((examination, time_starts(&launcher, emulate)?))
    });
    let found: Result<_, String> = found.await.map_err(|error| CliError::new(error.to_string()))?;
    let (examination, times) = found.map_err(CliError::new)?;
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
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    let sandbox = times.confined.saturating_sub(times.unconfined);
    say(format!(
        "\nStart of a confined process: {:.1} ms, its sandbox {:.1} ms of that",
        ms(times.confined),
        ms(sandbox)
    ));
    verdict(&examination)
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

/// An error when an attack succeeded that no tier lets through.
fn verdict(examination: &Examination) -> Result<(), CliError> {
    let succeeded = examination.attacks.iter().filter(|result| result.refused.is_none());
    let succeeded: Vec<&str> = succeeded.map(|result| result.attack.as_str()).collect();
    if examination.attacks.is_empty() {
        return Err(CliError::new("the probe said nothing"));
    }
    if succeeded.is_empty() {
        say("The required minimum is met: files, system calls and user of a worker are confined.");
        return Ok(());
    }
    Err(CliError::new(format!("the sandbox let attacks through: {}", succeeded.join(", "))))
}

fn kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}
