//! Who is whose child, read from `/proc`.

use std::fs;
use std::io;

use nix::unistd::Pid;

/// The state of a process, as far as killing it is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessState {
    /// Its parent.
    pub(crate) parent: Pid,
    /// It has ended and waits to be reaped.
    pub(crate) ended: bool,
}

/// Reads parent and state; `None` once the process is gone.
pub(crate) fn state(pid: Pid) -> Option<ProcessState> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Direct children of `pid`, those that have ended included. Kernels without `CONFIG_PROC_CHILDREN` do not
/// list them, so there every process is asked for its parent.
pub(crate) fn children(pid: Pid) -> Vec<Pid> {
    listed_children(pid).unwrap_or_else(|_| scan(pid))
}

/// The kernel's own list, a file a thread: a child belongs to the thread that forked it.
fn listed_children(pid: Pid) -> io::Result<Vec<Pid>> {
    let mut children = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let list = match fs::read_to_string(task?.path().join("children")) {
            Ok(list) => list,
            // Either the kernel has no such file or the thread has just ended. The first thread of a
            // process stays until the process is reaped, so its file tells the two apart.
            Err(error) if fs::exists(format!("/proc/{pid}/task/{pid}/children"))? => {
                debug_assert_ne!(error.kind(), io::ErrorKind::PermissionDenied);
                continue;
            }
            Err(error) => return Err(error),
        };
        children.extend(list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw));
    }
    Ok(children)
}

/// The children of `parent` among all processes of the machine.
fn scan(parent: Pid) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid::from_raw);
    pids.filter(|pid| state(*pid).is_some_and(|state| state.parent == parent)).collect()
}

/// `pid (name) state parent ...`; the name is the plugin's to choose and may hold anything, so the fields
/// are counted from its last parenthesis.
fn parse_stat(stat: &str) -> Option<ProcessState> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split_ascii_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X" | "x");
    let parent = Pid::from_raw(fields.next()?.parse().ok()?);
    Some(ProcessState { parent, ended })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_the_fields() {
        let state = parse_stat("12 (x) Z 1 (y) S 7 12 12 0").unwrap();
        assert_eq!(state, ProcessState { parent: Pid::from_raw(7), ended: false });
        assert!(parse_stat("12 (x) Z 1 1").unwrap().ended);
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn list_and_scan_agree_about_this_process() {
        let me = Pid::this();
        let parent = state(me).unwrap().parent;
        assert!(scan(parent).contains(&me));
        if let Ok(listed) = listed_children(parent) {
            assert!(listed.contains(&me));
        }
    }
}
