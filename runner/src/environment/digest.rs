//! The name of an environment.

use sha2::{Digest, Sha256};

use super::interpreter::Interpreter;
use super::lock::Lock;
use super::requirements::Requirements;

/// Changes when environments are built differently, so that old ones are not taken for new ones.
const FORMAT: &str = "bulkhead environment 2";

/// The same for requests.
const REQUEST_FORMAT: &str = "bulkhead requirements 1";

/// Hexadecimal digits of the name. 64 bits: nobody gains from a collision with his own environment, and
/// short names keep paths below the limit of `#!` lines (127 bytes on old kernels).
const DIGITS: usize = 16;

/// Digest of everything that decides what is in the environment.
pub(super) fn environment_id(interpreter: &Interpreter, lock: &Lock) -> String {
    digest(FORMAT, interpreter, &lock.lines())
}

/// Digest of what is asked for, and where it is looked for: it names the lock that was made for it.
pub(super) fn request_id(interpreter: &Interpreter, requirements: &Requirements, places: &[String]) -> String {
    digest(REQUEST_FORMAT, interpreter, &[requirements.packages(), places].concat())
}

fn digest(format: &str, interpreter: &Interpreter, lines: &[String]) -> String {
    let mut hasher = Sha256::new();
    let executable = interpreter.base_executable.to_string_lossy();
    let fixed = [format, &interpreter.version, &executable, &interpreter.platform];
    for field in fixed.into_iter().chain(lines.iter().map(String::as_str)) {
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
        request_id(&interpreter(), &Requirements::from_packages(packages).unwrap(), &[])
    }

    #[test]
    fn the_name_is_stable_across_releases() {
        // If this changes, every user's environments are built again: change FORMAT and mean it.
        assert_eq!(environment_id(&interpreter(), &Lock::default()), "5310067facd18e7d");
        assert_eq!(
            environment_id(&interpreter(), &Lock::parse("numpy==2.1.0 --hash=sha256:aa").unwrap()),
            "db00c6126d7a436e"
        );
        assert_eq!(id(&["requests<3", "numpy"]), "f751beb265b9a850");
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
        assert_ne!(request_id(&other, &none, &[]), id(&[]));
        other = interpreter();
        other.base_executable = "/opt/python3.12".into();
        assert_ne!(request_id(&other, &none, &[]), id(&[]));
        assert_ne!(id(&["ab", "c"]), id(&["a", "bc"]));
        assert_ne!(request_id(&interpreter(), &none, &["index https://h/simple".to_owned()]), id(&[]));
    }
}
