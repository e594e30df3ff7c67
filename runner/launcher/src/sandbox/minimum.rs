//! Below which a worker does not start: its files, its system calls and its user have to be confined.

use super::Tier;

/// What is missing of the required minimum, and how to get it; nothing when all of it is there.
pub(crate) fn check_minimum(tier: Tier, has_landlock: bool, is_root: bool) -> Result<(), String> {
    if is_root {
        return Err("the worker would run as root: the runner is root and may not change the worker's user; \
             give it CAP_SETUID and CAP_SETGID, or run it as an ordinary user"
            .to_owned());
    }
    if tier == Tier::Plain && !has_landlock {
        return Err("nothing would confine the worker's files: the kernel grants neither a mount namespace nor Landlock; \
             allow unprivileged user namespaces, or boot with `lsm=landlock,...`; `bulkhead doctor` tells which is nearer"
            .to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wall_around_the_files_is_enough_and_none_is_not() {
        assert!(check_minimum(Tier::Namespaces, false, false).is_ok());
        assert!(check_minimum(Tier::Plain, true, false).is_ok());
        assert!(check_minimum(Tier::Plain, false, false).unwrap_err().contains("lsm=landlock"));
        assert!(check_minimum(Tier::Namespaces, true, true).unwrap_err().contains("CAP_SETUID"));
    }
}
