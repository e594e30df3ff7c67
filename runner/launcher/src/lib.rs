//! Starts one confined process tree, holds it, and leaves nothing of it behind.
//!
//! Three processes take part:
//!
//! ```text
//! runner ──posix_spawn──▶ holder ──fork, steps, exec──▶ worker ──▶ whatever the plugin starts
//!   ▲  control socket (orders, reports, lifeline)  │
//!   └──────────────────────────────────────────────┘
//! ```
//!
//! - The **runner** calls [`Launcher::launch`], which starts the runner's own binary again with
//!   [`LAUNCH_ARGUMENT`]. Nothing but that happens between fork and exec of the threaded runner.
//! - The **holder** is that binary inside [`launcher_main`]: one thread, no heap to speak of, one poll
//!   loop. It is the reaper of all that its worker starts, also of daemons.
//! - The **worker** is the holder's only direct child: it applies the [`LaunchPolicy`] to itself step by
//!   step (`worker::apply` is the ordered list) and executes the program.
//!
//! With a [`Sandbox`] in its policy the worker is confined further, layer by layer. Where the kernel grants namespaces, a
//! fourth process stands between holder and worker: process 1 of the worker's pid namespace, which reaps, reports the
//! worker's wait status, and takes everything along when it ends.
//!
//! Whatever ends first takes the rest along:
//!
//! | what ends | how the rest learns of it |
//! | --- | --- |
//! | worker | the holder kills and reaps every descendant, reports [`Report::Exited`], exits |
//! | runner | the control socket ends; the holder does the same |
//! | holder | the worker's parent-death signal; everything else becomes a child of the runner, which sweeps it with [`Launcher::reap_orphans`] |
//!
//! All `unsafe` of the crate stands in one private file, `raw.rs`.

mod cgroup;
mod control;
mod entry;
mod exit;
mod first_process;
mod fork;
mod held_group;
mod holder;
mod launch;
pub mod limits;
mod memory;
mod patience;
mod policy;
mod probe;
mod processes;
mod raw;
mod receive;
mod sandbox;
mod session_weight;
mod start;
mod sweep;
mod worker;

pub use cgroup::{Cgroups, GroupLimits, Leaf};
pub use control::{ControlError, Order, Report, ReportDecoder, Step, Usage, encode_order};
pub use entry::launcher_main;
pub use exit::{Exit, describe_exit};
pub use fork::{ForkedProcess, ProcessKiller};
pub use launch::{LaunchError, Launched, Launcher};
pub use memory::{MemoryGauge, MemoryGlance, MemoryUse};
pub use nix::unistd::Pid;
pub use policy::{LaunchPolicy, PolicyError, ResourceLimits};
pub use probe::{PROBE_ARGUMENT, ProbeResult, ProbeTargets, probe_main, read_probe};
pub use receive::{pass_senders, receive_with, receive_with_sender, send_with};
pub use sandbox::{
    Access, Emulation, Endpoint, Network, PathGrant, Sandbox, SeccompProfile, seccomp_filters, worker_filters,
};
pub use sweep::Swept;

/// First argument that turns the binary into a launcher: `main` calls [`launcher_main`] when it sees it,
/// before it does anything else.
pub const LAUNCH_ARGUMENT: &str = "__launch";
