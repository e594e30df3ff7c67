//! Kills whole process trees from outside, also those that fight back.
//!
//! One pass stops every process of the tree, again and again until no new one appears, and then kills what
//! it stopped: a process that is stopped can neither fork nor leave. What ends leaves its children to the
//! nearest reaper, which is the holder or the runner, so passes repeat until there is no child left.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::limits::FREEZE_ROUNDS_MAX;
use crate::{processes, raw};

/// What [`crate::Launcher::reap_orphans`] found in one pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Processes that were sent `SIGKILL`.
    pub killed: usize,
    /// Ended processes that were reaped.
    pub reaped: usize,
    /// Processes that were not gone at the end of the pass; call again until it is zero.
    pub remaining: usize,
}

/// Stops and then kills every living descendant of this process below the children that `root` selects.
/// Returns those that were killed. `reap` collects what has ended in the meantime: a fork bomb leaves its
/// dead by the thousand, and every walk would have to step over them.
pub(crate) fn kill_descendants(root: &dyn Fn(Pid) -> bool, reap: &mut dyn FnMut()) -> BTreeSet<Pid> {
    let mut tree = Tree { me: Pid::this(), stopped: BTreeSet::new() };
    for _ in 0..FREEZE_ROUNDS_MAX {
        reap();
        let before = tree.stopped.len();
        tree.stop(root);
        if tree.stopped.len() == before {
            break;
        }
    }
    for pid in &tree.stopped {
        tree.signal_member(*pid, Signal::SIGKILL);
    }
    tree.stopped
}

/// The part of a tree that was stopped so far.
struct Tree {
    me: Pid,
    stopped: BTreeSet<Pid>,
}

impl Tree {
    /// One walk. Each process is stopped the moment it is found and asked for its children afterwards, when
    /// it can have no further ones: whoever is faster than this walk is met again in the next.
    fn stop(&mut self, root: &dyn Fn(Pid) -> bool) {
        let mut open: Vec<Pid> = processes::children(self.me).into_iter().filter(|pid| root(*pid)).collect();
        let mut seen = BTreeSet::new();
        while let Some(pid) = open.pop() {
            let is_new = seen.insert(pid);
            if is_new && (self.stopped.contains(&pid) || self.signal_member(pid, Signal::SIGSTOP)) {
                self.stopped.insert(pid);
                open.extend(processes::children(pid));
            }
        }
    }

    /// Signals `pid` if it lives and its parent belongs to the tree. The handle is opened first and the
    /// parent read afterwards, so the process that was checked is the one that gets the signal, and an id
    /// that was given to a stranger in between does no harm.
    fn signal_member(&self, pid: Pid, signal: Signal) -> bool {
        let handle = raw::open_process(pid);
        let is_member = processes::state(pid)
            .is_some_and(|state| !state.ended && (state.parent == self.me || self.stopped.contains(&state.parent)));
        if !is_member {
            return false;
        }
        // A process that has just gone needs no signal, and one that has become another user's cannot be
        // ended from here: it stays a child, and the count of those that remain tells.
        match handle {
            Ok(handle) => drop(raw::signal_process(handle.as_fd(), signal)),
            // Container sandboxes that are older than the call refuse it.
            Err(_) => drop(raw::signal_child(pid, signal as i32)),
        }
        true
    }
}
