//! What confines a worker beyond its resource limits, layer by layer.
//!
//! The runner says in a [`Sandbox`] what the worker is granted; everything else is taken away. Two tiers exist, and
//! the launcher takes the first that the kernel allows:
//!
//! - **namespaces:** user (unless the runner is root), mount, pid, ipc, uts, cgroup and network, with a new root that
//!   holds nothing but what was granted. A mini-init is process 1 and reports the end of the worker;
//! - **no namespaces,** as in a default container: the holder is the only parent, and Landlock the only wall
//!   around the files.
//!
//! Both go on with the worker's own user (when the runner is root), no capabilities, `no_new_privs`, Landlock and
//! seccomp. The order stands in [`crate::worker::apply`]. What was granted by the kernel goes into the start's report; a
//! worker without the required minimum ([`minimum`]) does not start.

pub(crate) mod emulate;
pub(crate) mod etc;
pub(crate) mod identity;
pub(crate) mod init;
pub(crate) mod landlock;
mod minimum;
pub(crate) mod namespaces;
pub(crate) mod network;
mod policy;
pub(crate) mod root;
pub(crate) mod seccomp;
pub(crate) mod system_paths;

pub(crate) use minimum::check_minimum;
pub use policy::{Access, Emulation, Endpoint, Network, PathGrant, Sandbox};
pub use seccomp::{SeccompProfile, seccomp_filters, worker_filters};

/// Which tier a worker runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    /// In namespaces of its own, with a root of its own.
    Namespaces,
    /// In the holder's.
    Plain,
}
