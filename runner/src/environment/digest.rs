//! The name of an environment.

use sha2::{Digest, Sha256};

use super::interpreter::Interpreter;
use super::requirements::Requirements;

/// Changes when environments are built differently, so that old ones are not taken for new ones.
const FORMAT: &str = "bulkhead environment 1";

/// Hexadecimal digits of the name. 64 bits: nobody gains from a collision with his own environment, and
/// short names keep paths below the limit of `#!` lines (127 bytes on old kernels).
const DIGITS: usize = 16;

/// Digest of everything that decides what is in the environment.
pub(super) fn environment_id(interpreter: &Interpreter, requirements: &Requirements) -> String {
    let mut hasher = Sha256::new();
    let executable = interpreter.base_executable.to_string_lossy();
    let fixed = [FORMAT, &interpreter.version, &executable, &interpreter.platform];
    for field in fixed.into_iter().chain(requirements.packages().iter().map(String::as_str)) {
        // The length keeps ("ab", "c") apart from ("a", "bc").
        hasher.update((field.len() as u64).to_le_bytes());
        hasher.update(field);
    }
    let mut id: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    id.truncate(DIGITS);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interpreter() -> Interpreter {
        Interpreter {
            version: "3.12.1".into(),
            base_executable: "/usr/bin/python3.12".into(),
            platform: "linux-x86_64".into(),
        }
    }

    fn id(packages: &[&str]) -> String {
        environment_id(&interpreter(), &Requirements::from_packages(packages).unwrap())
    }

    #[test]
    fn the_name_is_stable_across_releases() {
        // If this changes, every user's environments are built again: change FORMAT and mean it.
        assert_eq!(id(&[]), "f617695782377a80");
        assert_eq!(id(&["requests<3", "numpy"]), "4f0319d45fe7b136");
    }

    #[test]
    fn order_case_and_spaces_do_not_matter() {
        assert_eq!(id(&["Requests <3", "numpy"]), id(&["numpy", "requests<3", "numpy"]));
    }

    #[test]
    fn what_changes_the_contents_changes_the_name() {
        let mut other = interpreter();
        other.version = "3.12.2".into();
        let none = Requirements::default();
        assert_ne!(environment_id(&other, &none), id(&[]));
        other = interpreter();
        other.base_executable = "/opt/python3.12".into();
        assert_ne!(environment_id(&other, &none), id(&[]));
        assert_ne!(id(&["ab", "c"]), id(&["a", "bc"]));
    }
}
