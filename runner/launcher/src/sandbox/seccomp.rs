//! System calls: a list of those that may be made, and a list of those that are refused with `EPERM`.
//!
//! What is on no list does not exist (`ENOSYS`), which is what libraries that probe expect. Calls of another
//! architecture (32 bits) end the process; those of x32 are on no list. The filters are compiled once in the runner.

mod allowed;
mod denied;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, sock_filter};

/// Flags of `clone` that make namespaces.
pub(crate) const NEW_NAMESPACES: [u64; 8] = [
    libc::CLONE_NEWNS.cast_unsigned() as u64,
    libc::CLONE_NEWCGROUP.cast_unsigned() as u64,
    libc::CLONE_NEWUTS.cast_unsigned() as u64,
    libc::CLONE_NEWIPC.cast_unsigned() as u64,
    libc::CLONE_NEWUSER.cast_unsigned() as u64,
    libc::CLONE_NEWPID.cast_unsigned() as u64,
    libc::CLONE_NEWNET.cast_unsigned() as u64,
    // CLONE_NEWTIME
    0x80,
];

/// What decides which filters a worker gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeccompProfile {
    /// Whether it may fork and start programs.
    pub subprocesses: bool,
    /// Whether it may make TCP and UDP sockets.
    pub internet_sockets: bool,
    /// Whether it makes workers: it may fork, but not start programs in a fork, and install [`worker_filters`] further on.
    pub forks_workers: bool,
}

/// The filters of a profile, in the order of their installation.
///
/// # Errors
/// The compiler refuses the lists, which it has no cause to.
pub fn seccomp_filters(profile: SeccompProfile) -> Result<Vec<Vec<u64>>, String> {
    static COMPILED: OnceLock<BTreeMap<SeccompProfile, Vec<Vec<u64>>>> = OnceLock::new();
    if let Some(compiled) = COMPILED.get() {
        return Ok(compiled.get(&profile).cloned().unwrap_or_default());
    }
    let mut all = BTreeMap::new();
    for subprocesses in [false, true] {
        for internet_sockets in [false, true] {
            for forks_workers in [false, true] {
                let profile = SeccompProfile { subprocesses, internet_sockets, forks_workers };
                all.insert(profile, compile(profile).map_err(|error| error.to_string())?);
            }
        }
    }
    Ok(COMPILED.get_or_init(|| all).get(&profile).cloned().unwrap_or_default())
}

fn compile(profile: SeccompProfile) -> Result<Vec<Vec<u64>>, seccompiler::BackendError> {
    let errno = |errno: i32| SeccompAction::Errno(errno.cast_unsigned());
    let allowed = allowed::calls().map(|call| (call, Vec::new())).collect();
    let allowed = SeccompFilter::new(allowed, errno(libc::ENOSYS), SeccompAction::Allow, architecture())?;
    let denied = denied::rules(profile)?;
    let denied = SeccompFilter::new(denied, SeccompAction::Allow, errno(libc::EPERM), architecture())?;
    // Of two filters that both refuse, the one that came last chooses the error.
    [allowed, denied].into_iter().map(|filter| BpfProgram::try_from(filter).map(|program| encode(&program))).collect()
}

/// Filters that a process with [`SeccompProfile::forks_workers`] installs on itself before it runs anybody's code, and the
/// one that each of its forks installs before it becomes a worker: after it the two lists are those of a worker that was
/// executed.
///
/// # Errors
/// The compiler refuses the lists, which it has no cause to.
pub fn worker_filters() -> Result<[Vec<u64>; 2], String> {
    let eperm = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let compile = |rules| {
        SeccompFilter::new(rules, SeccompAction::Allow, eperm.clone(), architecture())
            .and_then(BpfProgram::try_from)
            .map(|program| encode(&program))
            .map_err(|error| error.to_string())
    };
    let before = denied::before_imports();
    let after = denied::after_fork().map_err(|error| error.to_string())?;
    Ok([compile(before)?, compile(after)?])
}

/// Installs programs for good.
pub(crate) fn install(filters: &[Vec<u64>]) -> Result<(), String> {
    for filter in filters {
        seccompiler::apply_filter(&decode(filter)).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The architecture that this program was compiled for.
pub(crate) fn architecture() -> TargetArch {
    #[cfg(target_arch = "x86_64")]
    return TargetArch::x86_64;
    #[cfg(target_arch = "aarch64")]
    return TargetArch::aarch64;
    #[cfg(target_arch = "riscv64")]
    return TargetArch::riscv64;
}

fn encode(program: &[sock_filter]) -> Vec<u64> {
    let word = |line: &sock_filter| {
        u64::from(line.code) << 48 | u64::from(line.jt) << 40 | u64::from(line.jf) << 32 | u64::from(line.k)
    };
    program.iter().map(word).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "each part is cut out of its place in the word")]
fn decode(words: &[u64]) -> BpfProgram {
    let line = |word: &u64| sock_filter {
        code: (word >> 48) as u16,
        jt: (word >> 40) as u8,
        jf: (word >> 32) as u8,
        k: *word as u32,
    };
    words.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_survives_its_journey() {
        let words = vec![0x0123_4567_89ab_cdef, 0xffff_0000_ffff_0000];
        assert_eq!(encode(&decode(&words)), words);
    }

    #[test]
    fn every_profile_compiles_and_fits_the_kernel() {
        for subprocesses in [false, true] {
            for internet_sockets in [false, true] {
                let forks_workers = !subprocesses;
                let filters =
                    seccomp_filters(SeccompProfile { subprocesses, internet_sockets, forks_workers }).unwrap();
                assert_eq!(filters.len(), 2);
                // BPF_MAXINSNS
                assert!(filters.iter().all(|filter| !filter.is_empty() && filter.len() <= 4096));
            }
        }
    }

    #[test]
    fn what_is_refused_by_name_is_not_merely_unknown() {
        let profile = SeccompProfile { subprocesses: false, internet_sockets: false, forks_workers: false };
        let denied = denied::rules(profile).unwrap();
        for call in [libc::SYS_ptrace, libc::SYS_bpf, libc::SYS_mount, libc::SYS_socket, libc::SYS_memfd_create] {
            assert!(denied.get(&call).is_some_and(Vec::is_empty), "{call}");
        }
    }
}
