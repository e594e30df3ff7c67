//! The worker before it becomes the plugin's interpreter: the steps that it applies to itself.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::libc::rlim_t;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, execve, geteuid, getppid, setsid};

use crate::control::Step;
use crate::patience::explain;
use crate::policy::{LaunchPolicy, ResourceLimits};
use crate::raw;
use crate::sandbox::root::Place;
use crate::sandbox::{Access, Sandbox, Tier, check_minimum, identity, landlock, seccomp};
use crate::start::{FIRST_OWN_FD, StartReport, StartWriter};

/// Seconds between the signal `SIGXCPU` of a worker that has used up its CPU time, which names the cause
/// of its end, and `SIGKILL` for one that ignores it.
const CPU_GRACE_SECONDS: u64 = 2;

/// Why a step could not be taken.
pub(crate) struct StepError {
    /// The step.
    pub(crate) step: Step,
    /// What, which and why, as a fragment.
    pub(crate) error: String,
}

impl StepError {
    /// For `map_err`: the step failed with this.
    pub(crate) fn at<E: ToString>(step: Step) -> impl FnOnce(E) -> Self {
        move |error| Self { step, error: error.to_string() }
    }

    /// No process could be had, in words that say what to do.
    pub(crate) fn no_fork(error: io::Error) -> Self {
        Self { step: Step::Fork, error: explain(&error) }
    }
}

/// Takes every step in order and executes the program; comes back only with the step that failed.
///
/// The order is part of the contract: each step may need what the next one takes away. Where there are namespaces,
/// process 1 has made them, built the root directory and changed the user before it forked
/// ([`crate::sandbox::init`]); otherwise the change of user comes here, after the working directory. It clears the
/// parent-death signal, so [`die_with`] runs again. Landlock comes after `NoNewPrivileges`, and seccomp last before
/// `Exec`.
pub(crate) fn apply(
    policy: &LaunchPolicy,
    confinement: Confinement<'_>,
    start: &StartWriter,
) -> Result<Infallible, StepError> {
    let Confinement { parent, tier, sandbox, places, mut report } = confinement;

    at(Step::Session, own_session(parent))?;
    report.enforced.extend(["session".to_owned(), "parent_death_signal".to_owned()]);

    if tier == Tier::Plain {
        set_priority(policy, &mut report);
    }

    umask(Mode::from_bits_truncate(policy.umask));
    report.enforced.push(format!("umask={:03o}", policy.umask));

    let entered = std::env::set_current_dir(&policy.cwd);
    at(Step::WorkingDirectory, entered.map_err(|error| format!("cannot enter `{}`: {error}", policy.cwd.display())))?;

    let mut resources = policy.resources;
    if sandbox.is_some() && tier == Tier::Plain && !geteuid().is_root() && resources.processes.take().is_some() {
        // The kernel counts a user's processes and threads together, and this user's are the runner's, too.
        if report.group_has("pids.max") {
            report.enforced.push("processes=cgroup".into());
        } else {
            report
                .missing
                .push("processes: all workers have the same user, so the number cannot be limited for one".into());
        }
    }
    report.enforced.extend(at(Step::ResourceLimits, set_limits(&resources))?);

    if let (Some(sandbox), Tier::Plain) = (sandbox, tier) {
        at(Step::Identity, identity::adopt(sandbox.user, &mut report))?;
        at(Step::Session, die_with(parent))?;
    }

    at(Step::NoNewPrivileges, prctl::set_no_new_privs())?;
    if !at(Step::NoNewPrivileges, prctl::get_no_new_privs())? {
        return Err(StepError {
            step: Step::NoNewPrivileges,
            error: "the kernel accepted the call and did not obey".into(),
        });
    }
    report.enforced.push("no_new_privs".into());

    at(Step::Descriptors, raw::close_on_exec_from(FIRST_OWN_FD))?;
    report.enforced.push("descriptors".into());

    let arguments = at(Step::Exec, policy.arguments())?;
    let environment = at(Step::Exec, environment(policy, sandbox, tier))?;
    if let Some(sandbox) = sandbox {
        confine(sandbox, tier, places, &mut report)?;
        report.enforced.push("seccomp=allow_list".into());
        at(Step::Seccomp, start.applied(&report))?;
        at(Step::Seccomp, seccomp::install(&sandbox.filters))?;
    } else {
        at(Step::Exec, start.applied(&report))?;
    }

    // Last, so that a signal that is pending ends the worker as such and not a half-made one.
    raw::default_signals();
    at(Step::Signals, SigSet::empty().thread_set_mask())?;

    let Err(errno) = execve(&arguments[0], &arguments, &environment);
    Err(StepError { step: Step::Exec, error: exec_error(&policy.program, errno.into()) })
}

/// What was done for the worker before it was forked.
pub(crate) struct Confinement<'a> {
    /// Holder, or process 1 of its pid namespace.
    pub(crate) parent: Pid,
    pub(crate) tier: Tier,
    pub(crate) sandbox: Option<&'a Sandbox>,
    /// Paths that it may use.
    pub(crate) places: &'a [Place],
    /// What is enforced already.
    pub(crate) report: StartReport,
}

/// Landlock, and the comparison with the required minimum. What is installed after them cannot be left out.
fn confine(sandbox: &Sandbox, tier: Tier, places: &[Place], report: &mut StartReport) -> Result<(), StepError> {
    let own: [&Path; 2] = [Path::new("/tmp"), Path::new("/dev/shm")];
    let scratch = match tier {
        Tier::Namespaces => own.to_vec(),
        Tier::Plain => vec![sandbox.scratch.as_path()],
    };
    let rules = landlock::Rules { tier, places, network: &sandbox.network, scratch: &scratch };
    let has_landlock = at(Step::Landlock, landlock::restrict(&rules, report))?;
    // A worker of root that is granted everything is what its trigger's maker has asked for, in so many words.
    let has_everything = places.iter().any(|place| place.path == Path::new("/") && place.access == Access::Write);
    let is_root = geteuid().is_root() && !has_everything;
    at(Step::Minimum, check_minimum(tier, has_landlock, is_root))
}

/// Temporary files go where the tier has room for them.
fn environment(policy: &LaunchPolicy, sandbox: Option<&Sandbox>, tier: Tier) -> Result<Vec<CString>, String> {
    let mut environment = policy.environment().map_err(|error| error.to_string())?;
    let Some(sandbox) = sandbox else { return Ok(environment) };
    let directory = if tier == Tier::Plain { sandbox.scratch.as_os_str().as_bytes() } else { b"/tmp" };
    for name in ["HOME", "TMPDIR"] {
        let mut variable = format!("{name}=").into_bytes();
        environment.retain(|other| !other.as_bytes().starts_with(&variable));
        variable.extend_from_slice(directory);
        environment.push(CString::new(variable).map_err(|error| error.to_string())?);
    }
    Ok(environment)
}

/// Own session and process group, so that a signal to the group reaches nobody else, and no terminal.
fn own_session(parent: Pid) -> Result<(), String> {
    setsid().map_err(|errno| format!("cannot make a session: {errno}"))?;
    // The holder is not dumpable, which keeps the worker's hands off it; the copy in this process would
    // only keep it from its own files in /proc.
    prctl::set_dumpable(true).map_err(|errno| format!("cannot become dumpable: {errno}"))?;
    die_with(parent)
}

/// Ties this process to its parent. The check comes second: a parent that died before it is seen by it, one
/// that dies after it sends the signal.
fn die_with(parent: Pid) -> Result<(), String> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|errno| format!("cannot set the parent-death signal: {errno}"))?;
    if getppid() == parent { Ok(()) } else { Err("the holder has died".into()) }
}

/// Best effort: without permission the worker is a worse neighbour, not an unsafe one.
pub(crate) fn set_priority(policy: &LaunchPolicy, report: &mut StartReport) {
    if let Some(score) = policy.oom_score_adj {
        let file = Path::new("/proc/self/oom_score_adj");
        let written = fs::write(file, score.to_string()).and_then(|()| fs::read_to_string(file));
        report.note("oom_score_adj", score, written.map(|text| text.trim() == score.to_string()));
    }
    if let Some(nice) = policy.nice.map(|nice| nice.max(raw::niceness())) {
        report.note("nice", nice, raw::set_niceness(nice).map(|()| true));
    }
}

/// Sets each limit that the policy has, and says what the kernel answers when asked for it.
fn set_limits(limits: &ResourceLimits) -> Result<Vec<String>, String> {
    let table = [
        ("core_bytes", Resource::RLIMIT_CORE, limits.core_bytes),
        ("open_files", Resource::RLIMIT_NOFILE, limits.open_files),
        ("file_bytes", Resource::RLIMIT_FSIZE, limits.file_bytes),
        ("processes", Resource::RLIMIT_NPROC, limits.processes),
        ("data_bytes", Resource::RLIMIT_DATA, limits.data_bytes),
        ("locked_memory_bytes", Resource::RLIMIT_MEMLOCK, limits.locked_memory_bytes),
        ("cpu_seconds", Resource::RLIMIT_CPU, limits.cpu_seconds),
        ("address_space_bytes", Resource::RLIMIT_AS, limits.address_space_bytes),
    ];
    let mut enforced = Vec::new();
    let failed =
        |name: &'static str, wanted: u64| move |errno: nix::Error| format!("cannot set `{name}` to {wanted}: {errno}");
    for (name, resource, wanted) in table {
        let Some(wanted) = wanted else { continue };
        let value = set_limit(resource, wanted).map_err(failed(name, wanted))?;
        enforced.push(format!("{name}={value}"));
    }
    if let Some(wanted) = limits.data_bytes_at_start {
        let set = getrlimit(Resource::RLIMIT_DATA)
            .and_then(|(_, most)| setrlimit(Resource::RLIMIT_DATA, wanted.min(most), most));
        set.map_err(failed("data_bytes_at_start", wanted))?;
    }
    Ok(enforced)
}

fn set_limit(resource: Resource, wanted: u64) -> nix::Result<rlim_t> {
    let (_, inherited) = getrlimit(resource)?;
    let soft = wanted.min(inherited);
    let grace = if resource == Resource::RLIMIT_CPU { CPU_GRACE_SECONDS } else { 0 };
    setrlimit(resource, soft, soft.saturating_add(grace).min(inherited))?;
    Ok(getrlimit(resource)?.0)
}

fn at<T, E: ToString>(step: Step, result: Result<T, E>) -> Result<T, StepError> {
    result.map_err(StepError::at(step))
}

fn exec_error(program: &Path, error: io::Error) -> String {
    // The kernel says `no such file` also for a script or binary whose own interpreter is missing.
    let hint = match error.kind() {
        io::ErrorKind::NotFound if program.exists() => "; the file is there, so its interpreter or loader is missing",
        io::ErrorKind::PermissionDenied => {
            "; the file must be executable, on a file system that is not mounted `noexec`"
        }
        _ => "",
    };
    format!("cannot execute `{}`: {error}{hint}", program.display())
}
