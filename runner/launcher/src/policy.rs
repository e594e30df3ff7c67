//! What a worker is started with: the one typed message that goes from the runner to the launcher.

use std::collections::BTreeMap;
use std::ffi::{CString, NulError};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cgroup::GroupLimits;
use crate::limits;
use crate::sandbox::Sandbox;

/// Everything that decides how one worker is started. It is complete: nothing of the runner's own
/// environment, descriptors or limits reaches the worker unless it stands here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchPolicy {
    /// Absolute path of the program.
    pub program: PathBuf,
    /// Its arguments, without the program's own name.
    pub args: Vec<String>,
    /// The complete environment, by name.
    pub env: BTreeMap<String, String>,
    /// Absolute path of the directory that the program starts in.
    pub cwd: PathBuf,
    /// Resource limits of each process of the worker.
    pub resources: ResourceLimits,
    /// File mode creation mask.
    pub umask: u32,
    /// Least niceness, -20 to 19; a runner that is nicer itself, and `None`, keep the runner's.
    pub nice: Option<i32>,
    /// Preference of the out-of-memory killer, -1000 to 1000; `None` keeps the runner's. Missing
    /// permission is reported, not an error.
    pub oom_score_adj: Option<i32>,
    /// What the worker with all that it starts may use, where the runner was given control groups; what stands above holds
    /// without them, too.
    pub group: Option<GroupLimits>,
    /// Whether the program makes processes of its own that the runner treats as workers, each left to this process's reaper:
    /// their ends are then reported, as [`crate::Report::ChildExited`].
    pub reports_children: bool,
    /// What confines it beyond its limits; `None` leaves it with the runner's own rights.
    pub sandbox: Option<Sandbox>,
}

impl LaunchPolicy {
    /// A policy for `program` in `cwd` with no arguments, an empty environment and the defaults of
    /// [`limits`].
    pub fn new(program: impl Into<PathBuf>, cwd: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            cwd: cwd.into(),
            resources: ResourceLimits::default(),
            umask: limits::UMASK,
            nice: None,
            oom_score_adj: Some(limits::OOM_SCORE_ADJ),
            group: None,
            reports_children: false,
            sandbox: None,
        }
    }

    /// Checks what the kernel would refuse later with a poorer message.
    ///
    /// # Errors
    /// Names the field that cannot work and why.
    pub fn check(&self) -> Result<(), PolicyError> {
        for (field, path) in [("program", &self.program), ("cwd", &self.cwd)] {
            if !path.is_absolute() {
                return Err(PolicyError::NotAbsolute { field, path: path.clone() });
            }
        }
        let mut granted = self.sandbox.iter().flat_map(|sandbox| &sandbox.paths);
        if let Some(grant) = granted.find(|grant| !grant.path.is_absolute()) {
            return Err(PolicyError::NotAbsolute { field: "sandbox.paths", path: grant.path.clone() });
        }
        if let Some(name) = self.env.keys().find(|name| name.is_empty() || name.contains('=')) {
            return Err(PolicyError::EnvironmentName { name: name.clone() });
        }
        self.arguments()?;
        self.environment()?;
        c_path("cwd", &self.cwd)?;
        Ok(())
    }

    /// The argument vector, the program's path first.
    pub(crate) fn arguments(&self) -> Result<Vec<CString>, PolicyError> {
        let args = self.args.iter().map(|argument| c_string("args", argument.as_bytes()));
        std::iter::once(c_path("program", &self.program)).chain(args).collect()
    }

    /// The environment as `NAME=value`.
    pub(crate) fn environment(&self) -> Result<Vec<CString>, PolicyError> {
        self.env.iter().map(|(name, value)| c_string("env", format!("{name}={value}").as_bytes())).collect()
    }
}

/// Limits of each process of a worker (`setrlimit`); `None` keeps what the runner has. A value above the
/// runner's own hard limit is lowered to it. The defaults are those of [`limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceLimits {
    /// Size of a core dump, bytes. Default [`limits::CORE_BYTES`].
    pub core_bytes: Option<u64>,
    /// Open files. Default [`limits::OPEN_FILES`].
    pub open_files: Option<u64>,
    /// Size of one written file, bytes. Default [`limits::FILE_BYTES`].
    pub file_bytes: Option<u64>,
    /// Processes and threads. Default `None`: the kernel counts per user, so without a user or a user
    /// namespace for each worker the limit would let one worker starve the others.
    pub processes: Option<u64>,
    /// Address space, bytes. Default [`limits::ADDRESS_SPACE_BYTES`].
    pub address_space_bytes: Option<u64>,
    /// Private writable memory, bytes. Default [`limits::DATA_BYTES`].
    pub data_bytes: Option<u64>,
    /// The same as it is at the start; whoever watches the process may raise it to [`Self::data_bytes`]. Default `None`: it
    /// is that from the start.
    pub data_bytes_at_start: Option<u64>,
    /// Locked memory, bytes. Default [`limits::LOCKED_MEMORY_BYTES`].
    pub locked_memory_bytes: Option<u64>,
    /// CPU time over the life of the process, seconds. Default `None`: a worker lives for many calls,
    /// and each call has its own deadline.
    pub cpu_seconds: Option<u64>,
}

impl Default for ResourceLimits {
    fn default() -> Self {
        Self {
            core_bytes: Some(limits::CORE_BYTES),
            open_files: Some(limits::OPEN_FILES),
            file_bytes: Some(limits::FILE_BYTES),
            processes: None,
            address_space_bytes: Some(limits::ADDRESS_SPACE_BYTES),
            data_bytes: Some(limits::DATA_BYTES),
            data_bytes_at_start: None,
            locked_memory_bytes: Some(limits::LOCKED_MEMORY_BYTES),
            cpu_seconds: None,
        }
    }
}

/// A policy that cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A path is relative.
    #[error("`{field}` must be an absolute path, got `{}`", path.display())]
    NotAbsolute {
        /// Field of the policy.
        field: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// An environment variable's name is empty or holds `=`.
    #[error("`{name}` cannot be the name of an environment variable: it is empty or holds `=`")]
    EnvironmentName {
        /// The name.
        name: String,
    },
    /// A text holds a NUL byte, which ends a C string.
    #[error("`{field}` holds a NUL byte: {source}")]
    Nul {
        /// Field of the policy.
        field: &'static str,
        /// Position of the byte.
        source: NulError,
    },
    /// The policy does not fit in [`limits::POLICY_BYTES_MAX`].
    #[error(
        "the launch policy has {bytes} bytes and may have {max} (limit POLICY_BYTES_MAX); shorten arguments or environment"
    )]
    TooLarge {
        /// Size, bytes.
        bytes: usize,
        /// The limit, bytes.
        max: usize,
    },
    /// The policy is not JSON of this type, or a path in it is not UTF-8.
    #[error("the launch policy cannot be encoded or decoded: {0}")]
    Json(#[from] serde_json::Error),
}

fn c_path(field: &'static str, path: &Path) -> Result<CString, PolicyError> {
    c_string(field, path.as_os_str().as_bytes())
}

fn c_string(field: &'static str, bytes: &[u8]) -> Result<CString, PolicyError> {
    CString::new(bytes).map_err(|source| PolicyError::Nul { field, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_survives_its_journey() {
        let mut policy = LaunchPolicy::new("/bin/true", "/");
        policy.args = vec!["ä \" \\".into()];
        policy.env.insert("A".into(), "line\nbreak".into());
        policy.resources.cpu_seconds = Some(3);
        let json = serde_json::to_vec(&policy).unwrap();
        assert_eq!(serde_json::from_slice::<LaunchPolicy>(&json).unwrap(), policy);
    }

    #[test]
    fn what_the_kernel_would_refuse_is_named() {
        let message = |change: fn(&mut LaunchPolicy)| {
            let mut policy = LaunchPolicy::new("/bin/true", "/");
            change(&mut policy);
            policy.check().unwrap_err().to_string()
        };
        assert_eq!(message(|p| p.program = "python".into()), "`program` must be an absolute path, got `python`");
        assert_eq!(message(|p| p.cwd = "x".into()), "`cwd` must be an absolute path, got `x`");
        assert!(message(|p| p.args.push("a\0b".into())).starts_with("`args` holds a NUL byte"));
        assert!(message(|p| drop(p.env.insert("A=B".into(), String::new()))).contains("`A=B` cannot be the name"));
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let json = r#"{"core_bytes":null,"open_files":null,"file_bytes":null,"processes":null,"address_space_bytes":null,
            "data_bytes":null,"data_bytes_at_start":null,"locked_memory_bytes":null,"cpu_seconds":null,"turbo":1}"#;
        assert!(serde_json::from_str::<ResourceLimits>(json).unwrap_err().to_string().contains("turbo"));
    }
}
