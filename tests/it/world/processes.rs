//! The processes of this machine, as far as they belong to a test.

use std::fs;
use std::path::Path;

/// A process that has something to do with a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its id.
    pub(crate) pid: i32,
    /// When it started, in the kernel's ticks; ids are used again.
    started: u64,
    parent: i32,
    command: String,
    name: String,
}

impl Process {
    /// Whether it is a holder: our binary, re-executed beside a worker.
    pub(crate) fn is_holder(&self) -> bool {
        self.command.contains(" __launch")
    }

    /// Whether it is a zygote: what workers are copies of.
    pub(crate) fn is_zygote(&self) -> bool {
        self.name == "bulkhead-zygote"
    }

    /// Its command line.
    pub(crate) fn command(&self) -> &str {
        &self.command
    }

    /// Whether it has not ended.
    pub(crate) fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|(_, started)| started == self.started)
    }
}

/// All live processes whose command line, environment or working directory names `root`, and the holders beside them. An
/// ordinary user may read nothing of a holder but its parent and its command.
pub(crate) fn processes_of(root: &Path) -> Vec<Process> {
    let root = root.to_str().expect("temporary directories have plain names");
    let all: Vec<(Process, bool)> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?, root))
        .collect();
    let named: Vec<&Process> = all.iter().filter(|(_, is_named)| *is_named).map(|(process, _)| process).collect();
    let is_beside = |holder: &Process| {
        holder.is_holder() && named.iter().any(|process| process.parent == holder.pid || process.pid == holder.parent)
    };
    let belonging = all.iter().filter(|(process, is_named)| *is_named || is_beside(process));
    belonging.map(|(process, _)| process.clone()).collect()
}

/// A process other than this one, and whether it names `root`.
fn process(pid: i32, root: &str) -> Option<(Process, bool)> {
    if u32::try_from(pid) == Ok(std::process::id()) {
        return None;
    }
    let (parent, started) = stat(pid)?;
    let proc = Path::new("/proc").join(pid.to_string());
    // Whatever cannot be read has ended or is somebody else's.
    let read = |name: &str| String::from_utf8_lossy(&fs::read(proc.join(name)).unwrap_or_default()).into_owned();
    let command = read("cmdline").replace('\0', " ").trim().to_owned();
    let name = read("comm").trim().to_owned();
    let cwd = fs::read_link(proc.join("cwd")).unwrap_or_default();
    let is_named = command.contains(root) || read("environ").contains(root) || cwd.to_string_lossy().contains(root);
    Some((Process { pid, started, parent, command, name }, is_named))
}

/// Parent and time of the start of a process; nothing for one that has ended, reaped or not.
fn stat(pid: i32) -> Option<(i32, u64)> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let is_over = matches!(*fields.first()?, "Z" | "X");
    let numbers = (fields.get(1)?.parse().ok()?, fields.get(19)?.parse().ok()?);
    (!is_over).then_some(numbers)
}
