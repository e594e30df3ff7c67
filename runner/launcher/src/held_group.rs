//! A worker's group in the hands of its holder: the worker is born in it, and it goes when the last of them has gone.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::Duration;

use nix::sched::CloneFlags;
use nix::unistd::Pid;

use crate::cgroup::Group;
use crate::patience::fork_patiently;
use crate::raw;
use crate::start::StartReport;

/// Pause before another attempt to remove a group whose last process is just leaving.
const REMOVE_PAUSE: Duration = Duration::from_millis(2);
/// Attempts; the runner removes what is left after them.
const REMOVE_ATTEMPTS: u32 = 50;

/// The group, as the holder knows it.
#[derive(Debug, Default)]
pub(crate) struct HeldGroup {
    group: Group,
    /// Ends for memory that were reported.
    reported: u64,
}

impl HeldGroup {
    pub(crate) fn new(group: Group) -> Self {
        Self { group, reported: 0 }
    }

    /// Forks into these namespaces and into the group; `None` in the child, which has what holds for it in its report.
    pub(crate) fn fork(&self, namespaces: CloneFlags, report: &mut StartReport) -> io::Result<Option<Pid>> {
        // The child makes the one of control groups when it is in its group, which is then the root of what it sees.
        let namespaces = namespaces - CloneFlags::CLONE_NEWCGROUP;
        let directory = self.group.leaf.as_ref().and_then(|leaf| File::open(leaf.directory()).ok());
        // Containers' profiles have no clone3. Where it fails for the sake of namespaces, so does the other one.
        let born = directory.and_then(|directory| raw::fork_into(namespaces, Some(directory.as_fd())).ok());
        let pid = match born {
            Some(pid) => pid,
            None => fork_patiently(|| raw::fork_into(namespaces, None))?,
        };
        if pid.is_none() {
            let entered = match &self.group.leaf {
                Some(leaf) if born.is_none() => leaf.enter(),
                _ => Ok(()),
            };
            self.note(entered, report);
        }
        Ok(pid)
    }

    fn note(&self, entered: io::Result<()>, report: &mut StartReport) {
        report.missing.extend(self.group.missing.iter().cloned());
        match entered {
            Ok(()) => report.enforced.extend(self.group.enforced.iter().cloned()),
            Err(error) => {
                let lost = self.group.enforced.iter().filter_map(|word| Some(word.split_once('=')?.0));
                report.missing.extend(lost.map(|layer| format!("{layer}: the worker cannot enter its group: {error}")));
            }
        }
    }

    /// Processes that the kernel has ended for their memory since the last question.
    pub(crate) fn new_memory_kills(&mut self) -> u64 {
        let all = self.group.leaf.as_ref().map_or(0, crate::cgroup::Leaf::memory_kills);
        let new = all.saturating_sub(self.reported);
        self.reported = all;
        new
    }

    /// Removes the group, whose members have ended.
    pub(crate) fn remove(&self) {
        let Some(leaf) = &self.group.leaf else { return };
        for _ in 0..REMOVE_ATTEMPTS {
            if leaf.remove().is_ok() {
                return;
            }
            sleep(REMOVE_PAUSE);
        }
    }
}
