//! Other environments, imitated: the launcher denies itself what they deny, so that every tier can be tried anywhere.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::policy::Emulation;
use super::seccomp::{NEW_NAMESPACES, architecture};

/// Denies this process and its descendants what `emulation` denies.
pub(crate) fn apply(emulation: Emulation) -> Result<(), String> {
    let mut rules = BTreeMap::new();
    if matches!(emulation, Emulation::Container | Emulation::RestrictNamespaces | Emulation::ContainerWithoutLandlock) {
        rules.insert(libc::SYS_clone, new_namespaces().map_err(|error| error.to_string())?);
        rules.insert(libc::SYS_unshare, Vec::new());
        rules.insert(libc::SYS_setns, Vec::new());
    }
    if matches!(emulation, Emulation::Container | Emulation::ContainerWithoutLandlock) {
        for call in [
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_open_tree,
            libc::SYS_move_mount,
            libc::SYS_mount_setattr,
            libc::SYS_fsopen,
            libc::SYS_keyctl,
        ] {
            rules.insert(call, Vec::new());
        }
    }
    // Its flags are out of a filter's sight, so engines say that there is none.
    let clone3 = !rules.is_empty();
    let landlock = matches!(emulation, Emulation::NoLandlock | Emulation::ContainerWithoutLandlock);
    let mut filters = vec![filter(rules, libc::EPERM)?];
    if clone3 {
        let call = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
        filters.push(filter(call, libc::ENOSYS)?);
    }
    if landlock {
        let call = BTreeMap::from([(libc::SYS_landlock_create_ruleset, Vec::new())]);
        filters.push(filter(call, libc::ENOSYS)?);
    }
    filters
        .iter()
        .filter(|filter| !filter.is_empty())
        .try_for_each(|filter| seccompiler::apply_filter(filter).map_err(|error| error.to_string()))
}

fn new_namespaces() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let with = |flag: u64| {
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag)?;
        SeccompRule::new(vec![condition])
    };
    NEW_NAMESPACES.into_iter().map(with).collect()
}

fn filter(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) -> Result<BpfProgram, String> {
    if rules.is_empty() {
        return Ok(BpfProgram::new());
    }
    let denied = SeccompAction::Errno(errno.cast_unsigned());
    SeccompFilter::new(rules, SeccompAction::Allow, denied, architecture())
        .and_then(BpfProgram::try_from)
        .map_err(|error| error.to_string())
}
