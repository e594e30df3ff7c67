//! The calls that are refused with `EPERM`: whole calls that somebody may try, and forms of those that are allowed.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use super::{NEW_NAMESPACES, SeccompProfile};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Refused in every form.
const WHOLE: &[i64] = &[
    // Namespaces, mounts, roots.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Users and capabilities.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    // Large or young parts of the kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_fanotify_init,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_mbind,
    libc::SYS_set_mempolicy,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // Memory that is in no account.
    libc::SYS_memfd_create,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_shmdt,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semctl,
    libc::SYS_semtimedop,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    // The machine.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    // A second filter could hide this one's errors.
    libc::SYS_seccomp,
];

/// Further ones of this architecture.
#[cfg(target_arch = "x86_64")]
const WHOLE_HERE: &[i64] = &[libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt, libc::SYS_kexec_file_load];
/// Further ones of this architecture.
#[cfg(not(target_arch = "x86_64"))]
const WHOLE_HERE: &[i64] = &[];

/// Names of `prctl` that would undo a layer: the parent-death signal, memory layout, debuggers, ambient capabilities,
/// filters.
const PRCTL: [u64; 6] = [
    libc::PR_SET_PDEATHSIG.cast_unsigned() as u64,
    libc::PR_SET_MM.cast_unsigned() as u64,
    libc::PR_SET_PTRACER.cast_unsigned() as u64,
    libc::PR_CAP_AMBIENT.cast_unsigned() as u64,
    libc::PR_SET_SECCOMP.cast_unsigned() as u64,
    libc::PR_SET_CHILD_SUBREAPER.cast_unsigned() as u64,
];

/// `TIOCSTI` and `TIOCLINUX`: input forged for a terminal.
const IOCTLS: [u64; 2] = [0x5412, 0x541C];

/// Kinds of sockets that carry streams and datagrams of TCP and UDP.
const SOCKET_KIND_MASK: u64 = 0xf;

/// The rules of a profile. A call without conditions is refused whatever its arguments are.
pub(super) fn rules(profile: SeccompProfile) -> Result<Rules, BackendError> {
    let mut rules: Rules = WHOLE.iter().chain(WHOLE_HERE).map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_prctl, each(0, &PRCTL)?);
    if profile.forks_workers {
        rules.remove(&libc::SYS_seccomp);
        let parent_death = libc::PR_SET_PDEATHSIG.cast_unsigned() as u64;
        let others: Vec<u64> = PRCTL.into_iter().filter(|option| *option != parent_death).collect();
        rules.insert(libc::SYS_prctl, each(0, &others)?);
    }
    rules.insert(libc::SYS_ioctl, each(1, &IOCTLS)?);
    rules.insert(libc::SYS_personality, vec![rule(vec![differs(0, 0xffff_ffff)?])?]);
    set_user_id_bits(&mut rules)?;
    sockets(&mut rules, profile)?;
    processes(&mut rules, profile)?;
    Ok(rules)
}

/// Modes with the set-user-id or set-group-id bit, and devices.
fn set_user_id_bits(rules: &mut Rules) -> Result<(), BackendError> {
    #[cfg(target_arch = "x86_64")]
    let calls = [
        (libc::SYS_chmod, 1),
        (libc::SYS_fchmod, 1),
        (libc::SYS_fchmodat, 2),
        (libc::SYS_fchmodat2, 2),
        (libc::SYS_mknod, 1),
        (libc::SYS_mknodat, 2),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let calls = [(libc::SYS_fchmod, 1), (libc::SYS_fchmodat, 2), (libc::SYS_fchmodat2, 2), (libc::SYS_mknodat, 2)];
    for (call, argument) in calls {
        let mut forms =
            vec![rule(vec![masked(argument, 0o4000, 0o4000)?])?, rule(vec![masked(argument, 0o2000, 0o2000)?])?];
        let kind = u64::from(libc::S_IFMT);
        for device in [libc::S_IFCHR, libc::S_IFBLK] {
            forms.push(rule(vec![masked(argument, kind, u64::from(device))?])?);
        }
        rules.insert(call, forms);
    }
    Ok(())
}

/// Named Unix sockets lead out of every namespace but the file system's, and datagram pairs can be sent to them.
fn sockets(rules: &mut Rules, profile: SeccompProfile) -> Result<(), BackendError> {
    let unix = libc::AF_UNIX.cast_unsigned() as u64;
    let mut pairs = vec![rule(vec![differs(0, unix)?])?];
    let stream = libc::SOCK_STREAM.cast_unsigned() as u64;
    for kind in (0..=SOCKET_KIND_MASK).filter(|kind| *kind != stream) {
        pairs.push(rule(vec![masked(1, SOCKET_KIND_MASK, kind)?])?);
    }
    rules.insert(libc::SYS_socketpair, pairs);
    if !profile.internet_sockets {
        for call in
            [libc::SYS_socket, libc::SYS_connect, libc::SYS_bind, libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4]
        {
            rules.insert(call, Vec::new());
        }
        return Ok(());
    }
    let [inet, inet6] = [libc::AF_INET, libc::AF_INET6].map(|family| u64::from(family.cast_unsigned()));
    let datagram = libc::SOCK_DGRAM.cast_unsigned() as u64;
    let mut forms = vec![rule(vec![differs(0, inet)?, differs(0, inet6)?])?];
    for kind in (0..=SOCKET_KIND_MASK).filter(|kind| ![stream, datagram].contains(kind)) {
        forms.push(rule(vec![masked(1, SOCKET_KIND_MASK, kind)?])?);
    }
    let [tcp, udp] = [libc::IPPROTO_TCP, libc::IPPROTO_UDP].map(|protocol| u64::from(protocol.cast_unsigned()));
    forms.push(rule(vec![differs(2, 0)?, differs(2, tcp)?, differs(2, udp)?])?);
    rules.insert(libc::SYS_socket, forms);
    Ok(())
}

/// Threads are always allowed, namespaces never, and processes as the profile says.
fn processes(rules: &mut Rules, profile: SeccompProfile) -> Result<(), BackendError> {
    let mut clone = Vec::new();
    for flag in NEW_NAMESPACES {
        // The lowest byte of the flags is the signal at exit, of which CLONE_NEWTIME's bit is a part; only `clone3`
        // has that flag.
        if flag != 0x80 {
            clone.push(rule(vec![masked(0, flag, flag)?])?);
        }
    }
    if profile.forks_workers && !profile.subprocesses {
        // The forks that come before a program is executed share their parent's memory; a worker's does not.
        let shares = libc::CLONE_VM.cast_unsigned() as u64;
        let threads = libc::CLONE_THREAD.cast_unsigned() as u64;
        clone.push(rule(vec![masked(0, shares | threads, shares)?])?);
    } else if !profile.subprocesses {
        clone.push(rule(vec![masked(0, libc::CLONE_THREAD.cast_unsigned() as u64, 0)?])?);
    }
    if !profile.subprocesses {
        rules.insert(libc::SYS_execveat, Vec::new());
        #[cfg(target_arch = "x86_64")]
        for call in [libc::SYS_fork, libc::SYS_vfork] {
            rules.insert(call, Vec::new());
        }
    }
    rules.insert(libc::SYS_clone, clone);
    Ok(())
}

/// What a process that forks workers gives up once its interpreter runs.
pub(super) fn before_imports() -> Rules {
    Rules::from([(libc::SYS_execve, Vec::new()), (libc::SYS_execveat, Vec::new())])
}

/// What each of its forks gives up further on.
pub(super) fn after_fork() -> Result<Rules, BackendError> {
    let mut rules = Rules::from([(libc::SYS_seccomp, Vec::new())]);
    rules.insert(libc::SYS_clone, vec![rule(vec![masked(0, libc::CLONE_THREAD.cast_unsigned() as u64, 0)?])?]);
    rules.insert(libc::SYS_prctl, each(0, &PRCTL)?);
    Ok(rules)
}

/// One rule for each value of an argument, of which the kernel looks at 32 bits.
fn each(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, BackendError> {
    let equal =
        |value: &u64| rule(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, *value)?]);
    values.iter().map(equal).collect()
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions)
}

fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value)
}

fn differs(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value)
}
