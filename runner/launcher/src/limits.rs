//! Every bound of the launcher, and the defaults of a worker's resource limits.
//!
//! The defaults of a worker were measured with numpy, pandas and pyarrow loaded; the numbers behind them
//! stand beside each.

use std::time::Duration;

/// Largest policy that the launcher reads, bytes. Arguments and environment have to fit in the kernel's
/// own limit for `execve` (2 MiB with the usual stack limit); JSON escapes may double them.
pub const POLICY_BYTES_MAX: usize = 4 << 20;

/// Largest control message, bytes, its newline included. The longest one is an error text.
pub const CONTROL_MESSAGE_BYTES_MAX: usize = 16 << 10;

/// Longest error text inside a control message, bytes. JSON may write one byte as six (`\u0000`), and
/// the rest of the message takes less than a kilobyte.
pub const ERROR_TEXT_BYTES_MAX: usize = 2 << 10;

/// How often one pass looks for processes that appeared while it was stopping the others. A fork bomb
/// that outruns so many rounds is met again in the next pass, with most of it stopped.
pub const FREEZE_ROUNDS_MAX: usize = 16;

/// Pause between two passes of the holder while killed processes have not ended yet, milliseconds.
/// Their end wakes it earlier; the pause covers those that were missed.
pub const SWEEP_PAUSE_MS: u16 = 20;

/// Time after which the holder reports the end of its worker although descendants are still there, for
/// instance in an uninterruptible read of a dead file server. It goes on killing afterwards.
pub const SWEEP_REPORT_AFTER: Duration = Duration::from_secs(5);

/// Core dumps: none. They hold the plugin's data, and a crash loop would fill the disk.
pub const CORE_BYTES: u64 = 0;

/// Open files of one process. Pipe and socket buffers are kernel memory that no other limit here sees,
/// so the number stays low.
pub const OPEN_FILES: u64 = 256;

/// Largest file that a process may write, bytes.
pub const FILE_BYTES: u64 = 256 << 20;

/// Memory that may be locked, bytes: none, locked pages are out of reach of the kernel's reclaim.
pub const LOCKED_MEMORY_BYTES: u64 = 0;

/// Private writable memory, bytes: a budget of 512 MiB and 256 MiB for what libraries reserve and never
/// touch. At this value Python, numpy, pandas and Arrow raise `MemoryError` and go on.
pub const DATA_BYTES: u64 = (512 + 256) << 20;

/// Address space, bytes. Generous, because Arrow's allocator alone reserves 1 GiB; it is there for the
/// page-table bomb (64 GiB mapped and touched sparsely costs 131 MB of page tables at 10 MB resident).
pub const ADDRESS_SPACE_BYTES: u64 = 8 << 30;

/// Score that makes the kernel's out-of-memory killer choose a worker before the runner (the maximum).
pub const OOM_SCORE_ADJ: i32 = 1000;

/// Files that a worker creates are for its own user only.
pub const UMASK: u32 = 0o077;

/// Niceness of a worker whose processor time is to be limited and cannot be: with it the kernel gives it about a tenth of the
/// share of a process of the usual niceness, where both want to run.
pub const NICE_INSTEAD_OF_CPU_LIMIT: i32 = 10;

/// Pause between two attempts to give a worker's session its weight, milliseconds: how often the kernel lets somebody do so.
pub const SESSION_WEIGHT_PAUSE_MS: u16 = 100;

/// Attempts to give a worker's session its weight: a minute of them, for hundreds of workers that start at the same time.
pub const SESSION_WEIGHT_TRIES: u32 = 600;
