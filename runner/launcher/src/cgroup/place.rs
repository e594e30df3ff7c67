//! Where this process's control group lies in the file system. Pure.

use std::path::{Component, Path, PathBuf};

/// The directory of the group that `/proc/self/cgroup` names, as the mounts of `/proc/self/mountinfo` show it.
///
/// # Errors
/// Why there is none, for people.
pub(super) fn own_directory(cgroup: &str, mountinfo: &str) -> Result<PathBuf, String> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::")).map(Path::new);
    let path = path.ok_or("the kernel has no cgroup v2")?;
    let mut mounts = mountinfo.lines().filter_map(mount_of_version_2).peekable();
    if mounts.peek().is_none() {
        return Err("cgroup v2 is not mounted".to_owned());
    }
    let below = |(root, point): (PathBuf, PathBuf)| {
        let rest = path.strip_prefix(root).ok()?;
        // A group outside of this process's cgroup namespace is named by `..`.
        rest.components().all(|part| matches!(part, Component::Normal(_))).then(|| point.join(rest))
    };
    mounts.find_map(below).ok_or_else(|| format!("the cgroup `{}` is not visible here", path.display()))
}

/// Root and mount point of a line, if it is one of cgroup v2.
fn mount_of_version_2(line: &str) -> Option<(PathBuf, PathBuf)> {
    let (before, after) = line.split_once(" - ")?;
    if after.split(' ').next()? != "cgroup2" {
        return None;
    }
    let mut fields = before.split(' ').skip(3);
    Some((unescape(fields.next()?), unescape(fields.next()?)))
}

/// Spaces and the like are written as octal numbers.
fn unescape(field: &str) -> PathBuf {
    let mut text = field.to_owned();
    for (escape, plain) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        text = text.replace(escape, plain);
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
25 1 0:21 / /proc rw - proc proc rw
30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate
31 25 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
";

    #[test]
    fn the_group_is_found_below_the_mount() {
        let unit = "0::/system.slice/bulkhead.service\n";
        let expected = Path::new("/sys/fs/cgroup/system.slice/bulkhead.service");
        assert_eq!(own_directory(unit, MOUNTS).unwrap(), expected);
        let both = "9:name=systemd:/x\n4:memory:/y\n0::/\n";
        assert_eq!(own_directory(both, MOUNTS).unwrap(), Path::new("/sys/fs/cgroup"));
    }

    #[test]
    fn a_part_of_the_tree_may_be_mounted_and_its_name_may_have_spaces() {
        let mounts = "9 1 0:26 /docker/a /mnt/a\\040b rw - cgroup2 cgroup2 rw\n";
        assert_eq!(own_directory("0::/docker/a/x\n", mounts).unwrap(), Path::new("/mnt/a b/x"));
        let error = own_directory("0::/other\n", mounts).unwrap_err();
        assert_eq!(error, "the cgroup `/other` is not visible here");
    }

    #[test]
    fn a_group_outside_of_the_namespace_is_out_of_reach() {
        let error = own_directory("0::/../sibling\n", MOUNTS).unwrap_err();
        assert_eq!(error, "the cgroup `/../sibling` is not visible here");
    }

    #[test]
    fn without_version_2_there_is_none() {
        assert_eq!(own_directory("4:memory:/y\n", MOUNTS).unwrap_err(), "the kernel has no cgroup v2");
        assert_eq!(own_directory("0::/\n", "").unwrap_err(), "cgroup v2 is not mounted");
    }
}
