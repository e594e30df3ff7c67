//! Which namespaces a worker gets, and who it is inside of them.

use std::fs;
use std::os::fd::OwnedFd;

use nix::sched::CloneFlags;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Uid};

use super::policy::Network;
use crate::raw;

/// The namespaces of a worker. A runner that is root needs no user namespace: it gives each worker a user instead.
pub(crate) fn wanted(is_root: bool, network: &Network) -> CloneFlags {
    let mut flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    flags.set(CloneFlags::CLONE_NEWUSER, !is_root);
    flags.set(CloneFlags::CLONE_NEWNET, *network != Network::Host);
    flags
}

/// Their names for the report.
pub(crate) fn names(flags: CloneFlags) -> impl Iterator<Item = String> {
    let all = [
        (CloneFlags::CLONE_NEWUSER, "user_namespace"),
        (CloneFlags::CLONE_NEWNS, "mount_namespace"),
        (CloneFlags::CLONE_NEWPID, "pid_namespace"),
        (CloneFlags::CLONE_NEWIPC, "ipc_namespace"),
        (CloneFlags::CLONE_NEWUTS, "uts_namespace"),
        (CloneFlags::CLONE_NEWCGROUP, "cgroup_namespace"),
        (CloneFlags::CLONE_NEWNET, "network_namespace"),
    ];
    all.into_iter().filter(move |(flag, _)| flags.contains(*flag)).map(|(_, name)| name.to_owned())
}

/// Maps the one user and group of this process to themselves in its new user namespace, and nobody else.
pub(crate) fn map_self(user: Uid, group: Gid) -> Result<(), String> {
    let write =
        |file: &str, text: String| fs::write(file, text).map_err(|error| format!("cannot write {file}: {error}"));
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    write("/proc/self/gid_map", format!("{group} {group} 1"))
}

/// A user namespace that says: what belongs to `owner` on disk belongs to `user` here. It is for a mount to be seen
/// through; nobody lives in it. Needs the privilege to change users, and the `/proc` of its own pid namespace.
pub(crate) fn owner_map(owner: (u32, u32), user: u32) -> Result<OwnedFd, String> {
    let failed = |what: &str, error: std::io::Error| format!("cannot map a directory's owner ({what}): {error}");
    let (reader, writer) = std::io::pipe().map_err(|error| failed("pipe", error))?;
    let Some(child) = raw::fork_into(CloneFlags::CLONE_NEWUSER, None).map_err(|error| failed("clone", error))? else {
        drop(writer);
        // Holds the namespace until its parent has taken it over, or is gone.
        let mut reader = reader;
        let _ = std::io::Read::read(&mut reader, &mut [0; 1]);
        raw::exit_at_once();
    };
    let mapped = fs::write(format!("/proc/{child}/uid_map"), format!("{} {user} 1", owner.0))
        .and_then(|()| fs::write(format!("/proc/{child}/gid_map"), format!("{} {user} 1", owner.1)))
        .and_then(|()| fs::File::open(format!("/proc/{child}/ns/user")));
    // It can only have ended already.
    let _ = kill(child, Signal::SIGKILL);
    while let Ok(None) = raw::try_wait(Some(child)) {
        std::thread::yield_now();
    }
    drop((reader, writer));
    mapped.map(OwnedFd::from).map_err(|error| failed("map", error))
}
