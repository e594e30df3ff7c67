//! The worker's root directory: an empty file system with what was granted, and nothing else.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{Gid, Uid, pivot_root};

use super::policy::{Access, Emulation, Network, PathGrant, Sandbox};
use super::{etc, namespaces, system_paths};
use crate::raw;
use crate::start::StartReport;

/// Why there is no root.
pub(crate) enum RootError {
    /// The kernel does not let us build one; another tier may do.
    Refused(String),
    /// What was granted is not there; no tier can do.
    Grant(String),
}

/// A grant with its place found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The path as it was named.
    pub(crate) named: PathBuf,
    /// The same without symbolic links.
    pub(crate) path: PathBuf,
    pub(crate) access: Access,
}

/// Every path that the worker may see, shortest first, those left out that lie in another one with the same access.
pub(crate) fn places(sandbox: &Sandbox) -> Result<Vec<Place>, String> {
    let system = system_paths::readable(sandbox.network == Network::Host);
    let system = system.map(|(path, access)| PathGrant { path: path.into(), access, optional: true });
    let mut places = Vec::new();
    for grant in system.chain(sandbox.paths.iter().cloned()) {
        match grant.path.canonicalize() {
            Ok(path) => places.push(Place { named: grant.path, path, access: grant.access }),
            Err(_) if grant.optional => {}
            Err(error) => return Err(format!("`{}` was granted and cannot be used: {error}", grant.path.display())),
        }
    }
    // The strongest grant of a path comes first and the others are left out.
    places.sort_by(|a, b| depth(&a.path).cmp(&depth(&b.path)).then(a.path.cmp(&b.path)).then(b.access.cmp(&a.access)));
    Ok(places)
}

fn depth(path: &Path) -> usize {
    path.components().count()
}

/// Whether a mount of `outer` shows `inner` as it should be.
fn covers(outer: &Place, inner: &Place) -> bool {
    // What may be written to is not executable, and what is executed or imported stays as it is.
    let kind = |place: &Place| place.access.writes().then_some(place.access);
    inner.path.starts_with(&outer.path) && kind(inner) == kind(outer)
}

/// Directories of the worker's own, writable `/tmp` and `/dev/shm` that only lead to something that was granted. They
/// are made read-only, so that what is written there is not lost in silence.
fn frames(places: &[Place]) -> Vec<PathBuf> {
    let mut frames: Vec<PathBuf> = Vec::new();
    for path in places.iter().flat_map(|place| [&place.path, &place.named]) {
        for own in ["/tmp", "/dev/shm"] {
            let Some(first) = path.strip_prefix(own).ok().and_then(|below| below.components().next()) else { continue };
            let frame = Path::new(own).join(first);
            if frame != *path && !frames.contains(&frame) && !places.iter().any(|place| frame.starts_with(&place.path))
            {
                frames.push(frame);
            }
        }
    }
    frames
}

/// Whom the root is built for.
pub(crate) struct Tenant<'a> {
    /// Whom the worker sees itself as.
    pub(crate) user: Uid,
    pub(crate) group: Gid,
    /// For a worker with another user than the runner's: how to show it the directories that it may write to.
    pub(crate) owners: &'a Owners,
    /// Directory that it starts in.
    pub(crate) cwd: &'a Path,
    /// Lines of `/etc/hosts`.
    pub(crate) hosts: &'a str,
}

/// Builds the root and moves this process into it. Needs a mount namespace of its own and the right to mount.
pub(crate) fn enter(
    sandbox: &Sandbox,
    places: &[Place],
    tenant: &Tenant<'_>,
    report: &mut StartReport,
) -> Result<(), RootError> {
    let is_masked = sandbox.emulate == Some(Emulation::MaskedProc);
    let refused = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| RootError::Refused(format!("{what}: {error}"))
    };
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(|errno| refused("making mounts private")(errno.into()))?;
    if places.iter().any(|place| place.path == Path::new("/")) {
        report.missing.push("root: the whole file system was granted".to_owned());
        own_proc("/proc", is_masked, report);
        return Ok(());
    }
    // Everything is taken in hand before the first mount covers anything.
    let mut taken: Vec<(&Place, OwnedFd)> = Vec::new();
    for place in places {
        if !taken.iter().any(|(outer, _)| covers(outer, place)) {
            taken.push((place, take(place, tenant)?));
        }
    }
    let devices = devices().map_err(refused("devices"))?;
    let base = ["/tmp", "/mnt", "/var", "/usr"].into_iter().find(|path| Path::new(path).is_dir()).unwrap_or("/");
    tmpfs(base, "mode=0755,size=4m,nr_inodes=16k", MsFlags::empty()).map_err(refused("root directory"))?;
    std::env::set_current_dir(base).map_err(refused("root directory"))?;

    lay_out(sandbox, places, tenant, &devices).map_err(refused("laying out the root directory"))?;
    let frames = frames(places);
    for frame in &frames {
        let target = inside(frame);
        fs::create_dir_all(&target).map_err(refused("laying out /tmp"))?;
        tmpfs(&target, "mode=0755,size=1m,nr_inodes=4k", MsFlags::empty()).map_err(refused("laying out /tmp"))?;
    }
    for (place, mounts) in &taken {
        attach(place, mounts).map_err(|error| refused(&format!("`{}`", place.path.display()))(error))?;
    }
    for place in places {
        link(place).map_err(|error| refused(&format!("link `{}`", place.named.display()))(error))?;
    }
    fs::create_dir_all(inside(tenant.cwd)).map_err(refused("working directory"))?;
    own_proc("proc", is_masked, report);
    for frame in &frames {
        let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
        c_path(&inside(frame))
            .and_then(|target| raw::restrict_mount(&target, attributes))
            .map_err(refused("laying out /tmp"))?;
    }

    pivot_root(".", ".").map_err(|errno| refused("pivot_root")(errno.into()))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(|errno| refused("leaving the old root")(errno.into()))?;
    std::env::set_current_dir("/").map_err(refused("root directory"))?;
    raw::restrict_mount(c"/", libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV)
        .map_err(refused("making the root directory read-only"))?;
    report.enforced.push("root=own,read_only".to_owned());
    report.enforced.push(format!("tmp_bytes={}", sandbox.tmp_bytes));
    report.enforced.push(format!("shm_bytes={}", sandbox.shm_bytes));
    Ok(())
}

/// Whether any user may create files there.
pub(crate) fn is_writable_for_all(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o002 != 0)
}

/// Granted directories, each with the user namespace through which the worker sees their owner as itself.
pub(crate) type Owners = Vec<(PathBuf, OwnedFd)>;

/// Finds the owners of what `user` may write to, and of what it may read and only its owner can.
pub(crate) fn owners(places: &[Place], user: u32) -> Result<Owners, String> {
    let mut owners = Owners::new();
    for place in places.iter().filter(|place| place.path != Path::new("/")) {
        let owner = fs::metadata(&place.path).map_err(|error| format!("`{}`: {error}", place.path.display()))?;
        if !place.access.writes() && owner.mode() & 0o004 != 0 {
            continue;
        }
        match namespaces::owner_map((owner.uid(), owner.gid()), user) {
            Ok(users) => owners.push((place.path.clone(), users)),
            Err(error) if place.access.writes() => return Err(error),
            // What cannot be read says so itself when it is opened.
            Err(_) => {}
        }
    }
    Ok(owners)
}

/// A copy of the mounts at a place, restricted to its access.
fn take(place: &Place, tenant: &Tenant<'_>) -> Result<OwnedFd, RootError> {
    let refused = |error: io::Error| RootError::Refused(format!("`{}`: {error}", place.path.display()));
    let mounts = raw::copy_mounts(&c_path(&place.path).map_err(refused)?).map_err(refused)?;
    let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    let attributes = match place.access {
        // Libraries are mapped as executable, also those of a plugin.
        Access::Read | Access::Execute => attributes | libc::MOUNT_ATTR_RDONLY,
        Access::Write => attributes | libc::MOUNT_ATTR_NOEXEC,
        Access::WriteAndExecute => attributes,
    };
    raw::restrict_mounts(mounts.as_fd(), attributes).map_err(refused)?;
    if let Some((_, users)) = tenant.owners.iter().find(|(path, _)| *path == place.path) {
        let mapped = raw::map_mount_owner(mounts.as_fd(), users.as_fd());
        // What cannot be read says so itself when it is opened.
        if let (Err(error), true) = (mapped, place.access.writes()) {
            let path = place.path.display();
            return Err(RootError::Grant(format!(
                "the file system of `{path}` cannot show it to the worker's own user: {error}"
            )));
        }
    }
    Ok(mounts)
}

fn devices() -> io::Result<Vec<(&'static str, OwnedFd)>> {
    let take = |name| {
        let device = raw::copy_mounts(&c_path(&Path::new("/dev").join(name))?)?;
        raw::restrict_mounts(device.as_fd(), libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC)?;
        Ok((name, device))
    };
    system_paths::DEVICES.into_iter().map(take).collect()
}

/// What does not come from the host: `/tmp`, `/dev`, `/etc`. The current directory is the new root.
fn lay_out(sandbox: &Sandbox, places: &[Place], tenant: &Tenant<'_>, devices: &[(&str, OwnedFd)]) -> io::Result<()> {
    for directory in ["dev/shm", "etc", "proc", "tmp", "run", "var"] {
        fs::create_dir_all(directory)?;
    }
    let sized = |bytes: u64| format!("mode=1777,size={bytes},nr_inodes=16k");
    tmpfs("tmp", &sized(sandbox.tmp_bytes), MsFlags::MS_NOEXEC)?;
    tmpfs("dev/shm", &sized(sandbox.shm_bytes), MsFlags::MS_NOEXEC)?;
    // Whoever was granted something there gets a directory: the link would lead out of here until this is the root.
    let temporary = Path::new("/var/tmp");
    if places.iter().any(|place| place.path.starts_with(temporary) || place.named.starts_with(temporary)) {
        fs::create_dir("var/tmp")?;
    } else {
        symlink("/tmp", "var/tmp")?;
    }
    for (name, device) in devices {
        let target = Path::new("dev").join(name);
        File::create(&target)?;
        raw::attach_mounts(device.as_fd(), &c_path(&target)?)?;
    }
    for (name, target) in [("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        symlink(Path::new("/proc/self").join(target), Path::new("dev").join(name))?;
    }
    let hosts = (sandbox.network != Network::Host).then_some(tenant.hosts);
    for (name, text) in etc::files(tenant.user, tenant.group, hosts) {
        fs::write(Path::new("etc").join(name), text)?;
    }
    Ok(())
}

fn attach(place: &Place, mounts: &OwnedFd) -> io::Result<()> {
    let target = inside(&place.path);
    if is_directory(mounts)? {
        fs::create_dir_all(&target)?;
    } else if !target.exists() {
        target.parent().map_or(Ok(()), fs::create_dir_all)?;
        File::create(&target)?;
    }
    raw::attach_mounts(mounts.as_fd(), &c_path(&target)?)
}

/// Makes the name under which a path was granted lead to it.
fn link(place: &Place) -> io::Result<()> {
    let name = inside(&place.named);
    if place.named == place.path || fs::symlink_metadata(&name).is_ok() {
        return Ok(());
    }
    let made = name.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| symlink(&place.path, &name));
    match made {
        // A granted directory brought the name, or a link on the way to it, along; where that leads is known only once this
        // is the root.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// The `/proc` of the worker's own pid namespace. Containers that mask parts of theirs forbid it.
fn own_proc(target: &str, is_masked: bool, report: &mut StartReport) {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let mounted =
        if is_masked { Err(Errno::EPERM) } else { mount(Some("proc"), target, Some("proc"), flags, None::<&str>) };
    match mounted {
        Ok(()) => report.enforced.push("proc=own".to_owned()),
        Err(errno) => report.missing.push(format!("proc: {}; the worker has no /proc", io::Error::from(errno))),
    }
}

fn tmpfs(target: impl AsRef<Path>, options: &str, flags: MsFlags) -> io::Result<()> {
    let flags = flags | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(Some("tmpfs"), target.as_ref(), Some("tmpfs"), flags, Some(options))?)
}

/// The path below the current directory that will be `path` once this is the root.
fn inside(path: &Path) -> PathBuf {
    path.strip_prefix("/").unwrap_or(path).to_owned()
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// Whether a taken mount is a directory, asked of the mount itself: its path may be covered by now.
fn is_directory(mounts: &OwnedFd) -> io::Result<bool> {
    let status = nix::sys::stat::fstat(mounts)?;
    Ok(status.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str, access: Access) -> Place {
        Place { named: path.into(), path: path.into(), access }
    }

    #[test]
    fn a_place_inside_another_is_mounted_only_when_it_may_do_more() {
        let usr = place("/usr", Access::Execute);
        assert!(covers(&usr, &place("/usr/lib", Access::Read)));
        assert!(!covers(&usr, &place("/usr2", Access::Read)));
        assert!(!covers(&usr, &place("/usr/data", Access::Write)));
        assert!(!covers(&place("/data", Access::Write), &place("/data/plugin.py", Access::Read)));
        assert!(!covers(&place("/data", Access::Write), &place("/data/bench", Access::WriteAndExecute)));
    }

    #[test]
    fn what_only_leads_to_a_grant_in_tmp_is_a_frame() {
        let places =
            [place("/tmp/a/plugins/p.py", Access::Read), place("/tmp/b", Access::Write), place("/srv", Access::Read)];
        assert_eq!(frames(&places), [Path::new("/tmp/a")]);
    }

    #[test]
    fn a_granted_path_has_to_be_there_unless_it_is_optional() {
        let mut sandbox = Sandbox {
            paths: vec![PathGrant { path: "/nowhere".into(), access: Access::Read, optional: true }],
            network: Network::None,
            subprocesses: false,
            tmp_bytes: 0,
            shm_bytes: 0,
            scratch: "/tmp".into(),
            user: None,
            filters: Vec::new(),
            emulate: None,
        };
        let found = places(&sandbox).unwrap();
        assert!(found.iter().any(|place| place.path == Path::new("/usr")));
        assert!(found.is_sorted_by_key(|place| depth(&place.path)));
        sandbox.paths[0].optional = false;
        assert!(places(&sandbox).unwrap_err().starts_with("`/nowhere` was granted and cannot be used: "));
    }
}
