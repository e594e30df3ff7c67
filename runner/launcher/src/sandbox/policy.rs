//! What the runner grants a worker.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Everything that a worker may reach outside of its own memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// Files and directories, beyond what every program needs of the system.
    pub paths: Vec<PathGrant>,
    /// The network.
    pub network: Network,
    /// Whether it may start other programs and fork.
    pub subprocesses: bool,
    /// Size of its `/tmp`, bytes.
    pub tmp_bytes: u64,
    /// Size of its `/dev/shm`, bytes.
    pub shm_bytes: u64,
    /// Directory that stands in for `/tmp` where there is no mount namespace. It is made by the launcher, for this
    /// worker alone, and removed by the runner.
    pub scratch: PathBuf,
    /// User and group that the worker changes to, for a runner that is root; nobody else may use it.
    pub user: Option<u32>,
    /// Programs of [`crate::seccomp_filters`], in the order of their installation.
    pub filters: Vec<Vec<u64>>,
    /// Denies the launcher itself what an environment denies, so that the tiers can be tested anywhere.
    pub emulate: Option<Emulation>,
}

/// A file or directory that a worker may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathGrant {
    /// Absolute path. It may be, or lead through, a symbolic link, which is there for the worker too.
    pub path: PathBuf,
    /// What it may do there.
    pub access: Access,
    /// Whether the worker can do without it when it is not there.
    pub optional: bool,
}

impl PathGrant {
    /// A grant of something that has to be there.
    pub fn new(path: impl Into<PathBuf>, access: Access) -> Self {
        Self { path: path.into(), access, optional: false }
    }
}

/// What a worker may do with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Read files and list directories.
    Read,
    /// The same, and execute programs.
    Execute,
    /// Read, write, create and remove, but not execute.
    Write,
    /// All of it: for what is made and tried there, and is nobody else's.
    WriteAndExecute,
}

impl Access {
    /// Whether it lets change what is there.
    #[must_use]
    pub fn writes(self) -> bool {
        matches!(self, Self::Write | Self::WriteAndExecute)
    }
}

/// What a worker may reach over the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Nothing.
    None,
    /// These endpoints by name, through listeners in an otherwise empty network namespace whose connections the runner
    /// accepts and forwards.
    Named(Vec<Endpoint>),
    /// Whatever the runner can reach.
    Host,
}

/// A port of a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// An environment to imitate: the launcher installs the same denials on itself before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Emulation {
    /// The default seccomp profile of container engines, which Kubernetes calls `RuntimeDefault`: no namespaces,
    /// no mounts.
    Container,
    /// `RestrictNamespaces=true` of systemd: no namespaces.
    RestrictNamespaces,
    /// A kernel without Landlock.
    NoLandlock,
    /// Both of [`Self::Container`] and [`Self::NoLandlock`], which is below the required minimum.
    ContainerWithoutLandlock,
    /// A container engine that grants namespaces and masks parts of `/proc`: the kernel then refuses a fresh one.
    MaskedProc,
}
