//! How much memory a worker holds, read from `/proc` by whoever watches it.
//!
//! There are two looks. The quick one is an upper bound that costs a microsecond or two: everything resident, pages of
//! library files included, and what lies in the worker's own temporary file systems. The exact one counts what is really
//! the worker's: private and shared memory, swap, page tables, and temporary files, which are memory although no process
//! has them mapped. Forked processes share pages, which the sum of them would count again and again; each page is divided
//! among those that have it before a tree is said to hold too much.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use nix::libc;
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use nix::unistd::Pid;

use crate::{processes, raw};

/// Size of a page as `statm` counts them, bytes. Kernels of other page sizes make the quick look see less; the exact look
/// does not use it.
const PAGE_BYTES: u64 = 4096;
/// Processes of one tree that are looked at; those beyond it are new in the next look.
const PROCESSES_MAX: usize = 1_000;

/// One worker, looked at again and again.
#[derive(Debug)]
pub struct MemoryGauge {
    worker: Pid,
    /// Kept open: reading it again costs a third of opening it.
    statm: Option<File>,
    may_fork: bool,
    /// Its own `/tmp` and `/dev/shm`, kept open for the same reason.
    temporary: Vec<File>,
}

/// What [`MemoryGauge::quick`] has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryGlance {
    /// More than the worker holds, bytes.
    pub bytes_max: u64,
    /// Private memory of the worker's own process that it has reserved and not touched, bytes.
    pub untouched_bytes: u64,
}

/// What [`MemoryGauge::exact`] has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse {
    /// Memory that exists because of the worker, bytes.
    pub bytes: u64,
    /// Processes that were counted.
    pub processes: usize,
}

impl MemoryGauge {
    /// A gauge of the process `worker`. `may_fork` says whether it can have descendants, `own_root` whether its `/tmp`
    /// and `/dev/shm` are its own.
    #[must_use]
    pub fn new(worker: i32, may_fork: bool, own_root: bool) -> Self {
        let statm = File::open(format!("/proc/{worker}/statm")).ok();
        let own = if own_root { ["tmp", "dev/shm"].as_slice() } else { &[] };
        let temporary = own.iter().filter_map(|directory| own_tmpfs(worker, directory)).collect();
        Self { worker: Pid::from_raw(worker), statm, may_fork, temporary }
    }

    /// An upper bound of what the worker holds, bytes; `None` once it is gone.
    #[must_use]
    pub fn quick(&self) -> Option<MemoryGlance> {
        let own = self.statm.as_ref().and_then(Pages::read)?;
        let forked: u64 = self.forked().into_iter().filter_map(Pages::of).map(|pages| pages.resident).sum();
        let bytes_max = (own.resident + forked).saturating_mul(PAGE_BYTES).saturating_add(self.temporary_files());
        let private = own.resident.saturating_sub(own.shared);
        Some(MemoryGlance { bytes_max, untouched_bytes: own.data.saturating_sub(private).saturating_mul(PAGE_BYTES) })
    }

    /// What the worker holds; `None` once it is gone. `limit` is the value beyond which it matters enough to be sure.
    #[must_use]
    pub fn exact(&self, limit: u64) -> Option<MemoryUse> {
        let own = Status::of(self.worker)?;
        let others: Vec<(Pid, Status)> =
            self.forked().into_iter().filter_map(|pid| Some((pid, Status::of(pid)?))).collect();
        let files = self.temporary_files();
        let sum = |field: fn(&Status) -> u64| field(&own) + others.iter().map(|(_, status)| field(status)).sum::<u64>();
        let overhead = sum(|status| status.page_tables) + sum(|status| status.swap);
        // A temporary file that is mapped is in both counts, so the larger one is taken.
        let mut bytes = sum(|status| status.private) + overhead + sum(|status| status.shared).max(files);
        if bytes > limit && !others.is_empty() {
            let pids = std::iter::once(self.worker).chain(others.iter().map(|(pid, _)| *pid));
            let shares: Vec<Share> = pids.filter_map(Share::of).collect();
            let shared: u64 = shares.iter().map(|share| share.shared).sum();
            bytes = shares.iter().map(|share| share.private).sum::<u64>() + overhead + shared.max(files);
        }
        Some(MemoryUse { bytes, processes: others.len() + 1 })
    }

    /// Lets the worker's process have `bytes` of private memory, or as much as it was started with if that is less: at the
    /// limit its program is told so by the failure of the very call that asks for more. Where the kernel does not let one
    /// process set another's limits nothing changes.
    pub fn limit_private(&self, bytes: u64) {
        drop(raw::set_data_limit(self.worker, bytes));
    }

    /// Descendants of the worker.
    fn forked(&self) -> Vec<Pid> {
        let mut found = Vec::new();
        if !self.may_fork {
            return found;
        }
        // Whatever lost its parent fell to the worker's reaper, so the tree begins there.
        let Some(reaper) = processes::state(self.worker).map(|state| state.parent) else { return found };
        let mut open = processes::children(reaper);
        while let Some(pid) = open.pop().filter(|_| found.len() < PROCESSES_MAX) {
            open.extend(processes::children(pid));
            if pid != self.worker {
                found.push(pid);
            }
        }
        found
    }

    /// What lies in the worker's own `/tmp` and `/dev/shm`, bytes.
    fn temporary_files(&self) -> u64 {
        let used = |directory: &File| {
            let status = fstatfs(directory).ok()?;
            let blocks = status.blocks().saturating_sub(status.blocks_free());
            Some(blocks.saturating_mul(u64::try_from(status.block_size()).unwrap_or(PAGE_BYTES)))
        };
        self.temporary.iter().filter_map(used).sum()
    }
}

/// A directory of a worker's own root that is a file system in memory. Nothing in it can be reached through the handle.
fn own_tmpfs(worker: i32, directory: &str) -> Option<File> {
    let handle = File::options()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(format!("/proc/{worker}/root/{directory}"))
        .ok()?;
    fstatfs(&handle).is_ok_and(|status| status.filesystem_type() == TMPFS_MAGIC).then_some(handle)
}

/// Numbers of pages in `statm`.
struct Pages {
    resident: u64,
    /// Resident, of files and shared memory.
    shared: u64,
    /// Private and writable, resident or not.
    data: u64,
}

impl Pages {
    fn of(pid: Pid) -> Option<Self> {
        Self::read(&File::open(format!("/proc/{pid}/statm")).ok()?)
    }

    fn read(statm: &File) -> Option<Self> {
        let mut buffer = [0; 128];
        let read = statm.read_at(&mut buffer, 0).ok()?;
        let text = std::str::from_utf8(buffer.get(..read)?).ok()?;
        let mut numbers = text.split_ascii_whitespace().skip(1).map_while(|number| number.parse().ok());
        let (resident, shared) = (numbers.next()?, numbers.next()?);
        let data = numbers.nth(2)?;
        // A process that has ended and was not reaped yet has no pages.
        (resident > 0).then_some(Self { resident, shared, data })
    }
}

/// Sizes in `/proc/PID/status`, bytes.
#[derive(Debug, PartialEq, Eq)]
struct Status {
    private: u64,
    shared: u64,
    page_tables: u64,
    swap: u64,
}

impl Status {
    fn of(pid: Pid) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        Some(Self {
            private: size(text, "RssAnon:")?,
            shared: size(text, "RssShmem:")?,
            page_tables: size(text, "VmPTE:")?,
            swap: size(text, "VmSwap:").unwrap_or(0),
        })
    }
}

/// A process's share of the pages that it has, bytes.
struct Share {
    private: u64,
    shared: u64,
}

impl Share {
    fn of(pid: Pid) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        // Kernels before 5.9 do not tell kinds apart; file pages are then counted, too.
        let private = size(&text, "Pss_Anon:").or_else(|| size(&text, "Pss:"))?;
        Some(Self { private, shared: size(&text, "Pss_Shmem:").unwrap_or(0) })
    }
}

/// The size on the line that begins with `name`, bytes; the kernel writes KiB.
fn size(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kibibytes.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_bytes() {
        let text = "Name:\tx\nRssAnon:\t    12 kB\nRssShmem:\t 3 kB\nVmPTE:\t  1 kB\n";
        let status = Status::parse(text).unwrap();
        assert_eq!(status, Status { private: 12 << 10, shared: 3 << 10, page_tables: 1 << 10, swap: 0 });
        assert_eq!(Status::parse("RssAnon:\t x kB\n"), None);
    }

    #[test]
    fn this_process_holds_what_it_has_touched() {
        let gauge = MemoryGauge::new(std::process::id().cast_signed(), false, false);
        let before = gauge.exact(u64::MAX).unwrap();
        let hoard = vec![1_u8; 64 << 20];
        let after = gauge.exact(u64::MAX).unwrap();
        assert!(after.bytes >= before.bytes + (48 << 20), "{before:?} {after:?}");
        assert!(gauge.quick().unwrap().bytes_max >= 64 << 20);
        assert_eq!(hoard.last(), Some(&1));
    }

    #[test]
    fn a_process_that_is_gone_holds_nothing() {
        assert_eq!(MemoryGauge::new(i32::MAX, true, true).exact(0), None);
        assert_eq!(MemoryGauge::new(i32::MAX, true, true).quick(), None);
    }
}
