//! Control groups (version 2): limits that the kernel holds for a worker with all that it starts, exactly.
//!
//! The runner uses them where a part of the tree was given to it, and only there:
//!
//! ```text
//! bulkhead.service        delegated (`Delegate=memory pids cpu`)
//!   runner                the runner and its holders: a group with members gives no controllers to its children
//!   bulkhead-PID-N        one worker with all that it starts, or one zygote with its workers
//! ```
//!
//! A worker is born in its group (`clone3`), because moving a process into one takes the kernel some ten milliseconds. The
//! holder stays outside, so that it can tell how the worker ended, and removes the group. What a killed holder leaves is
//! removed by the runner, and what a killed runner's killed holder leaves by the next runner.

mod delegation;
mod leaf;
mod place;
mod plan;

use serde::{Deserialize, Serialize};

pub use delegation::Cgroups;
pub(crate) use leaf::Group;
pub use leaf::Leaf;

/// What a worker with all that it starts may use; `None` is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupLimits {
    /// Memory, bytes: also that of files in `/tmp`, of page tables, and of buffers in the kernel.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
    /// Processor time, thousandths of one processor.
    pub cpu_thousandths: Option<u32>,
    /// Its share of busy processors, as the niceness of a process would give it, -20 to 19. Without it a worker gets as much as
    /// the whole runner, however nice its processes are: niceness counts only among those of a group.
    pub nice: Option<i32>,
    /// Whether all processes end when one has to for the sake of memory.
    pub ends_together: bool,
}
