//! Which controllers a group has, and what is written into its files. Pure.

use std::fmt;

use super::GroupLimits;

/// Length of the period over which processor time is counted, microseconds; the kernel's own default.
const CPU_PERIOD_US: u64 = 100_000;
/// Least time that the kernel takes for a period, microseconds.
const CPU_QUOTA_US_MIN: u64 = 1_000;

/// A controller that workers are limited by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Controller {
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    /// Its name in the kernel's files.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }

    /// Those of ours that a `cgroup.controllers` or `cgroup.subtree_control` names.
    pub(super) fn read(file: &str) -> Vec<Self> {
        Self::ALL
            .into_iter()
            .filter(|controller| file.split_whitespace().any(|word| word == controller.name()))
            .collect()
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// One value of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) controller: Controller,
    pub(super) file: &'static str,
    pub(super) value: String,
    /// Whether the limit stands without it.
    pub(super) optional: bool,
}

/// What to write for these limits, in order.
pub(super) fn settings(limits: &GroupLimits) -> Vec<Setting> {
    let setting = |controller, file, value: String, optional| Setting { controller, file, value, optional };
    let mut settings = Vec::new();
    if let Some(bytes) = limits.memory_bytes {
        settings.push(setting(Controller::Memory, "memory.max", bytes.to_string(), false));
        // Kernels without swap have no such file.
        settings.push(setting(Controller::Memory, "memory.swap.max", "0".to_owned(), true));
        let together = u8::from(limits.ends_together).to_string();
        settings.push(setting(Controller::Memory, "memory.oom.group", together, true));
    }
    if let Some(processes) = limits.processes {
        settings.push(setting(Controller::Pids, "pids.max", processes.to_string(), false));
    }
    if let Some(thousandths) = limits.cpu_thousandths {
        let quota = (u64::from(thousandths) * CPU_PERIOD_US / 1_000).max(CPU_QUOTA_US_MIN);
        settings.push(setting(Controller::Cpu, "cpu.max", format!("{quota} {CPU_PERIOD_US}"), false));
    }
    if let Some(nice) = limits.nice {
        settings.push(setting(Controller::Cpu, "cpu.weight.nice", nice.to_string(), true));
    }
    settings
}

/// Whether the kernel keeps what was written. It rounds sizes down to pages.
pub(super) fn keeps(wanted: &str, found: &str) -> bool {
    let found = found.trim();
    let numbers = (wanted.parse::<u64>(), found.parse::<u64>());
    found == wanted || matches!(numbers, (Ok(wanted), Ok(found)) if found <= wanted && wanted - found < 1 << 16)
}

/// How often the kernel ended a process of a group for its memory, out of `memory.events`.
pub(super) fn memory_kills(events: &str) -> u64 {
    let count = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_are_controllers() {
        assert_eq!(Controller::read("cpuset cpu io memory hugetlb pids\n"), Controller::ALL);
        assert_eq!(Controller::read("cpuset hugetlb\n"), []);
    }

    #[test]
    fn each_limit_is_a_file() {
        let limits = GroupLimits {
            memory_bytes: Some(1 << 20),
            processes: Some(7),
            cpu_thousandths: Some(500),
            nice: Some(5),
            ends_together: true,
        };
        let written: Vec<String> =
            settings(&limits).iter().map(|setting| format!("{}={}", setting.file, setting.value)).collect();
        assert_eq!(
            written,
            [
                "memory.max=1048576",
                "memory.swap.max=0",
                "memory.oom.group=1",
                "pids.max=7",
                "cpu.max=50000 100000",
                "cpu.weight.nice=5"
            ]
        );
        assert_eq!(settings(&GroupLimits::default()), []);
        let least = GroupLimits { cpu_thousandths: Some(1), ..GroupLimits::default() };
        assert_eq!(settings(&least)[0].value, "1000 100000");
    }

    #[test]
    fn the_kernel_may_round_to_pages() {
        assert!(keeps("1048577", "1048576\n"));
        assert!(keeps("50000 100000", "50000 100000\n"));
        assert!(!keeps("1048576", "max\n"));
        assert!(!keeps("7", "8\n"));
    }

    #[test]
    fn ends_for_memory_are_counted() {
        assert_eq!(memory_kills("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n"), 2);
        assert_eq!(memory_kills(""), 0);
    }
}
