//! What every dynamically linked program needs of the system, and nothing that tells about this machine's people.

use super::policy::Access;

/// Programs, libraries, time zones, locales. Links among them (`/bin` to `usr/bin`) are links for the worker too.
pub(crate) const TREES: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store"];

/// Parts of `/etc` that libraries read. Users, groups and host names are made up instead, see [`super::etc`].
pub(crate) const ETC: [&str; 14] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld-musl-x86_64.path",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/mime.types",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/alternatives",
    "/etc/crypto-policies",
];

/// What a worker that may use the host's network needs to find names.
pub(crate) const ETC_NETWORK: [&str; 4] = ["/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/gai.conf"];

/// Facts about the processors, for libraries that choose their number of threads.
pub(crate) const SYS: [&str; 2] = ["/sys/devices/system/cpu", "/sys/kernel/mm/transparent_hugepage"];

/// Parts of the host's `/proc` for a worker that has none of its own: itself, and facts about the machine.
pub(crate) const PROC: [&str; 9] = [
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/loadavg",
    "/proc/uptime",
    "/proc/version",
    "/proc/filesystems",
    "/proc/sys/vm/overcommit_memory",
];

/// Devices that are sources or sinks of bytes and nothing else.
pub(crate) const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// The lists as (path, access), for one that may use the host's network or not.
pub(crate) fn readable(host_network: bool) -> impl Iterator<Item = (&'static str, Access)> {
    let network = ETC_NETWORK.into_iter().filter(move |_| host_network);
    let plain = ETC.into_iter().chain(network).chain(SYS).map(|path| (path, Access::Read));
    TREES.into_iter().map(|path| (path, Access::Execute)).chain(plain)
}
