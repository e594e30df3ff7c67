//! The worker's `/etc`: just enough for libraries that look users and hosts up.

use nix::unistd::{Gid, Uid};

/// Name of the user that a worker sees itself as.
pub(crate) const USER_NAME: &str = "plugin";
/// Name of the machine that a worker sees itself on.
pub(crate) const HOST_NAME: &str = "worker";

/// File names below `/etc` with their text. `hosts` are further lines of `/etc/hosts`; `None` when the host's own is
/// there.
pub(crate) fn files(user: Uid, group: Gid, hosts: Option<&str>) -> Vec<(&'static str, String)> {
    let mut files = vec![
        ("passwd", format!("{USER_NAME}:x:{user}:{group}::/tmp:/sbin/nologin\n")),
        ("group", format!("{USER_NAME}:x:{group}:\n")),
        (
            "nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n".to_owned(),
        ),
    ];
    if let Some(lines) = hosts {
        files.push(("hosts", format!("127.0.0.1 localhost {HOST_NAME}\n::1 localhost\n{lines}")));
    }
    files
}
