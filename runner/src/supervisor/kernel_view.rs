//! What the kernel says about the confinement of a process, read anew each time: verify, do not trust.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// Fields of `/proc/PID/status` that show a layer.
const FIELDS: [&str; 8] = ["Uid", "CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp", "Seccomp_filters", "NSpid"];
/// Namespaces, as files of `/proc/PID/ns`.
const NAMESPACES: [&str; 7] = ["user", "mnt", "pid", "ipc", "uts", "cgroup", "net"];

/// Fields as `Name=value`, and which namespaces differ from the runner's; nothing for a process that is gone. Landlock
/// shows itself nowhere; the launcher reports what the kernel answered when the rules were set.
#[must_use]
pub fn kernel_view(pid: i32) -> Option<String> {
    let proc = Path::new("/proc").join(pid.to_string());
    let status = fs::read_to_string(proc.join("status")).ok()?;
    let mut words: Vec<String> = FIELDS.iter().filter_map(|name| field(&status, name)).collect();
    let link = |path: &Path, name: &str| fs::read_link(path.join("ns").join(name)).ok();
    let own: Vec<&str> = NAMESPACES
        .into_iter()
        .filter(|name| {
            let (theirs, ours) = (link(&proc, name), link(Path::new("/proc/self"), name));
            theirs.is_some() && theirs != ours
        })
        .collect();
    words.extend(group(&proc).map(|group| format!("cgroup={group}")));
    words.push(format!("namespaces={}", if own.is_empty() { "none".to_owned() } else { own.join("+") }));
    Some(words.join(" "))
}

/// Its control group of version 2, without what stands above it.
fn group(proc: &Path) -> Option<String> {
    let groups = fs::read_to_string(proc.join("cgroup")).ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("/").to_owned())
}

/// `Name:<tab>value`, as `Name=value`; only the first of several values.
fn field(status: &str, name: &str) -> Option<String> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let values: Vec<&str> = value.split_whitespace().collect();
    let shown = if name == "NSpid" { values.last()? } else { values.first()? };
    Some(format!("{name}={shown}"))
}

/// What a process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessUsage {
    /// Resident memory, bytes.
    pub resident_bytes: u64,
    /// CPU time, in the program and in the kernel.
    pub cpu: Duration,
}

/// What a process uses at this moment; nothing for one that is gone.
#[must_use]
pub fn process_usage(pid: i32) -> Option<ProcessUsage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before the fields may hold spaces and parentheses.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    let ticks = number(11)? + number(12)?;
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    let cpu = Duration::from_secs_f64(ticks as f64 / per_second as f64);
    Some(ProcessUsage { resident_bytes: number(21)? * u64::try_from(page).ok()?, cpu })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_the_namespaces_that_it_has() {
        let view = kernel_view(std::process::id().cast_signed()).unwrap();
        assert!(view.contains("NoNewPrivs=") && view.ends_with("namespaces=none"), "{view}");
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        let usage = process_usage(std::process::id().cast_signed()).unwrap();
        assert!(usage.resident_bytes > 1 << 20, "{usage:?}");
        assert_eq!(process_usage(-1), None);
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let status = "Seccomp_filters:\t3\nSeccomp:\t2\nUid:\t7\t8\t9\t9\nNSpid:\t500\t2\n";
        assert_eq!(field(status, "Seccomp").unwrap(), "Seccomp=2");
        assert_eq!(field(status, "Uid").unwrap(), "Uid=7");
        assert_eq!(field(status, "NSpid").unwrap(), "NSpid=2");
    }
}
