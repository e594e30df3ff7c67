//! Whose rights a worker has: its own user's, and no capability.

use std::io;

use nix::unistd::{Gid, Uid, fchown, getegid, geteuid, setgroups, setresgid, setresuid};

use crate::raw;
use crate::start::StartReport;

/// Highest capability number that is asked for; kernels refuse those that they do not have.
const CAPABILITIES_MAX: u32 = 63;

/// Changes to `user` (when there is one) and gives every capability up for good.
pub(crate) fn adopt(user: Option<u32>, report: &mut StartReport) -> Result<(), String> {
    // The bounding set needs a privilege that the rest gives up. Without it, `no_new_privs` already makes sure that
    // nothing comes back.
    let dropped = (0..=CAPABILITIES_MAX).filter(|capability| raw::drop_from_bounding_set(*capability).is_ok()).count();
    if let Some(id) = user.filter(|_| geteuid().is_root()) {
        change_user(id).map_err(|error| format!("cannot change to user {id}: {error}"))?;
        report.enforced.push(format!("user={id}"));
    }
    raw::drop_capabilities().map_err(|error| format!("cannot give up capabilities: {error}"))?;
    report.enforced.push(if dropped > 0 { "capabilities=none,bounding=none" } else { "capabilities=none" }.to_owned());
    Ok(())
}

fn change_user(id: u32) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
    // Its standard output and error can be opened by name (`/dev/stderr`) by their owner only.
    let _ = fchown(io::stdout(), Some(user), Some(group));
    let _ = fchown(io::stderr(), Some(user), Some(group));
    setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)?;
    if geteuid() != user || getegid() != group {
        return Err(io::Error::other("the kernel accepted the call and did not obey"));
    }
    Ok(())
}
