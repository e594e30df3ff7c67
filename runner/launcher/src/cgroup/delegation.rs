//! The part of the tree that was given to this process, and the making of groups in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::unistd::{AccessFlags, Pid, access, geteuid};

use super::leaf::{Group, Leaf};
use super::plan::{self, Controller};
use super::{GroupLimits, place};
use crate::raw;

/// Name of the group for the runner itself; also for `DelegateSubgroup=` of a unit.
const RUNNERS_GROUP: &str = "runner";
/// How the names of workers' groups begin; the runner's process id and a number follow.
const PREFIX: &str = "bulkhead-";
/// There where systemd manages the tree.
const SYSTEMD: &str = "/run/systemd/system";
/// How a service manager says that a group was given away: to whoever may read the one, or the other.
const DELEGATED: [&std::ffi::CStr; 2] = [c"user.delegate", c"trusted.delegate"];

/// A part of the tree of control groups in which this process may make groups.
#[derive(Debug)]
pub struct Cgroups {
    base: PathBuf,
    controllers: Vec<Controller>,
    /// Why the other controllers are not to be had.
    without: Option<String>,
    next: AtomicU64,
}

impl Cgroups {
    /// Looks for the group that was given to this process, moves the process into a group of its own in it where the kernel
    /// wants that, and removes what a runner that was killed has left there.
    ///
    /// # Errors
    /// Why workers get no groups, for people.
    pub fn discover() -> Result<Self, String> {
        let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
        let own = place::own_directory(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?)?;
        Self::in_group(&own)
    }

    /// Groups of this process's workers that are there, whoever has made them.
    #[must_use]
    pub fn of_this_process() -> Vec<PathBuf> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let own = place::own_directory(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
        let name = format!("{PREFIX}{}-", Pid::this());
        let bases = own.iter().flat_map(|own| own.ancestors().take(2));
        let entries = bases.filter_map(|base| fs::read_dir(base).ok()).flatten().flatten();
        let ours = entries.filter(|entry| entry.file_name().to_str().is_some_and(|entry| entry.starts_with(&name)));
        ours.map(|entry| entry.path()).collect()
    }

    fn in_group(own: &Path) -> Result<Self, String> {
        let parent = own.parent().filter(|_| own.file_name().is_some_and(|name| name == RUNNERS_GROUP));
        let base = parent.filter(|parent| is_ours(parent).is_ok()).unwrap_or(own);
        is_ours(base)?;
        let available = list(base, "cgroup.controllers")?;
        if available.is_empty() {
            return Err(format!(
                "none of its controllers is to be had in `{}`: they were not delegated, or belong to cgroup v1",
                base.display()
            ));
        }
        let mut enabled = list(base, "cgroup.subtree_control")?;
        let mut without = None;
        if available.iter().any(|controller| !enabled.contains(controller)) {
            make_room(base)?;
            for controller in &available {
                let switched = fs::write(base.join("cgroup.subtree_control"), format!("+{controller}"));
                if let Err(error) = switched {
                    without = Some(format!("{controller}: {error}"));
                }
            }
            enabled = list(base, "cgroup.subtree_control")?;
        }
        if enabled.is_empty() {
            let reason = without.unwrap_or_default();
            return Err(format!("its controllers cannot be switched on in `{}`: {reason}", base.display()));
        }
        let found = Self { base: base.to_owned(), controllers: enabled, without, next: AtomicU64::new(0) };
        found.sweep();
        Ok(found)
    }

    /// Makes a group with these limits. What it could not be given stands in it.
    pub(crate) fn group(&self, limits: &GroupLimits) -> Group {
        let directory = match self.make() {
            Ok(directory) => directory,
            Err(error) => {
                let missing = vec![format!("cgroup: cannot make one in `{}`: {error}", self.base.display())];
                return Group { missing, ..Group::default() };
            }
        };
        let mut held = Vec::new();
        let mut missing = Vec::new();
        for setting in plan::settings(limits) {
            let (file, value) = (setting.file, setting.value);
            let written = if self.controllers.contains(&setting.controller) {
                let path = directory.join(file);
                fs::write(&path, &value).and_then(|()| fs::read_to_string(&path)).map_err(|error| error.to_string())
            } else {
                let reason = self.without.as_deref().unwrap_or("it was not delegated, or belongs to cgroup v1");
                Err(format!("no controller `{}`: {reason}", setting.controller))
            };
            match written {
                Ok(found) if plan::keeps(&value, &found) => {
                    held.push(format!("{file}:{}", found.trim().replace(' ', "/")))
                }
                Ok(_) | Err(_) if setting.optional => {}
                Ok(found) => missing.push(format!("{file} is {} instead of {value}", found.trim())),
                Err(reason) => missing.push(reason),
            }
        }
        let enforced = if held.is_empty() { Vec::new() } else { vec![format!("cgroup={}", held.join("+"))] };
        let missing = if missing.is_empty() { Vec::new() } else { vec![format!("cgroup: {}", missing.join(", "))] };
        Group { leaf: Some(Leaf::new(directory)), enforced, missing }
    }

    /// Makes a directory of a new name. One with the name may be left from a runner that had the same process id.
    fn make(&self) -> io::Result<PathBuf> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let directory = self.base.join(format!("{PREFIX}{}-{number}", Pid::this()));
            match fs::create_dir(&directory) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|()| directory),
            }
        }
    }

    /// Removes empty groups whose runner is no more.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.base) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let runner =
                name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
            if runner.is_some_and(|pid| pid == std::process::id() || !Path::new("/proc").join(pid.to_string()).exists())
            {
                // One with somebody in it stays: its holder is about to end them.
                drop(fs::remove_dir(entry.path()));
            }
        }
    }
}

fn list(group: &Path, file: &str) -> Result<Vec<Controller>, String> {
    let path = group.join(file);
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Controller::read(&text))
}

/// Whether this process may make groups in `group`.
fn is_ours(group: &Path) -> Result<(), String> {
    for path in [group.to_owned(), group.join("cgroup.procs"), group.join("cgroup.subtree_control")] {
        access(&path, AccessFlags::W_OK).map_err(|errno| {
            let how = "a service gets it by `Delegate=memory pids cpu`";
            format!("`{}` was not delegated to this user: {}; {how}", path.display(), io::Error::from(errno))
        })?;
    }
    // Root may write everywhere, which does not make it the owner.
    let is_managed = geteuid().is_root() && Path::new(SYSTEMD).exists();
    if is_managed && !DELEGATED.iter().any(|name| raw::attribute_is(group, name, b"1")) {
        return Err(format!(
            "systemd manages `{}` and has not delegated it; a service gets it by `Delegate=memory pids cpu`",
            group.display()
        ));
    }
    Ok(())
}

/// Sees to it that nobody is in `base` itself, which would keep it from giving controllers to groups below it. The root of
/// the tree is exempt.
fn make_room(base: &Path) -> Result<(), String> {
    let is_root = !base.join("cgroup.events").exists();
    let failed = |what: &str, error: io::Error| format!("{what} in `{}`: {error}", base.display());
    let members = fs::read_to_string(base.join("cgroup.procs")).map_err(|error| failed("members", error))?;
    let me = Pid::this().to_string();
    if is_root || !members.lines().any(|_| true) {
        return Ok(());
    }
    if let Some(other) = members.lines().find(|pid| *pid != me) {
        return Err(format!(
            "process {other} is in `{}`, too, which keeps it from having groups below; start the runner in a group of its own",
            base.display()
        ));
    }
    let own = base.join(RUNNERS_GROUP);
    match fs::create_dir(&own) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed("a group for the runner", error));
        }
        _ => {}
    }
    fs::write(own.join("cgroup.procs"), me).map_err(|error| failed("moving the runner", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_delegated_is_not_used_and_the_reason_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let error = Cgroups::in_group(directory.path()).unwrap_err();
        assert!(error.contains("was not delegated") || error.contains("systemd manages"), "{error}");
    }

    /// A directory with files of these contents looks like a group.
    fn group(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    #[test]
    fn a_group_without_controllers_is_of_no_use() {
        let directory =
            group(&[("cgroup.procs", ""), ("cgroup.subtree_control", ""), ("cgroup.controllers", "hugetlb\n")]);
        if let Err(error) = is_ours(directory.path()) {
            assert!(error.contains("systemd manages"), "{error}");
            return;
        }
        let error = Cgroups::in_group(directory.path()).unwrap_err();
        assert!(error.starts_with("none of its controllers is to be had in"), "{error}");
    }

    #[test]
    fn others_in_the_group_keep_it_from_having_groups_below() {
        let directory = group(&[("cgroup.procs", "1\n"), ("cgroup.events", "populated 1\n")]);
        let error = make_room(directory.path()).unwrap_err();
        assert!(error.starts_with("process 1 is in "), "{error}");
    }

    #[test]
    fn a_limit_without_its_controller_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let cgroups = Cgroups {
            base: directory.path().to_owned(),
            controllers: vec![Controller::Pids],
            without: None,
            next: AtomicU64::new(0),
        };
        let limits = GroupLimits { processes: Some(9), cpu_thousandths: Some(500), ..GroupLimits::default() };
        let group = cgroups.group(&limits);
        assert_eq!(group.enforced, ["cgroup=pids.max:9"]);
        assert_eq!(group.missing, ["cgroup: no controller `cpu`: it was not delegated, or belongs to cgroup v1"]);
        let leaf = group.leaf.unwrap();
        assert_eq!(fs::read_to_string(leaf.directory().join("pids.max")).unwrap(), "9");
        assert_eq!(leaf.memory_kills(), 0);
    }

    #[test]
    fn groups_of_runners_that_are_gone_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let name = |pid: u32| format!("{PREFIX}{pid}-0");
        let (gone, alive) = (name(i32::MAX.cast_unsigned()), name(1));
        for name in [&gone, &alive, &"neighbour".to_owned()] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let base = directory.path().to_owned();
        Cgroups { base, controllers: Vec::new(), without: None, next: AtomicU64::new(0) }.sweep();
        assert!(!directory.path().join(gone).exists());
        assert!(directory.path().join(alive).exists() && directory.path().join("neighbour").exists());
    }
}
