//! Every bound of the environments.

use std::time::Duration;

/// Oldest minor version of Python 3 that the worker package supports.
pub(super) const PYTHON_MINOR_MIN: u32 = 10;

/// Newest minor version of Python 3 that is looked for by its own name (`python3.14`).
pub(super) const PYTHON_MINOR_MAX: u32 = 14;

/// Builds that run at a time. Each is mostly network and disk; more of them make all of them slower.
pub(super) const PARALLEL_BUILDS_MAX: usize = 4;

/// Time in which an interpreter has to say what it is. It takes 20 ms; a network file system that has to
/// wake up takes seconds.
pub(super) const QUERY_TIMEOUT: Duration = Duration::from_secs(15);

/// Pause between two looks at a lock that another runner holds.
pub(super) const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Time in which the output of a tool that has ended still may arrive. Only a daemon that it left keeps the
/// pipes open longer, and that one is killed.
pub(super) const OUTPUT_GRACE: Duration = Duration::from_secs(1);

/// Longest line of a tool that is passed on as progress, bytes.
pub(super) const LINE_BYTES_MAX: usize = 1 << 10;

/// Bytes of a tool's output that are read at a time. Pipes give a page and more.
pub(super) const READ_BYTES: usize = 4096;

/// Bytes of each output stream of a tool that are kept, the last ones. A resolver's explanation of a
/// conflict fits, a compiler's log does not.
pub(super) const OUTPUT_TAIL_BYTES: usize = 8 << 10;

/// Bytes at the end of pip's log in which the reason of a failure is looked for. A package with many wheels has a line for each.
pub(super) const LOG_BYTES_MAX: u64 = 4 << 20;

/// Directories below the plugin directory in which other plugins are looked for: `author/plugin`, and one more.
pub(super) const PLUGIN_SEARCH_DEPTH_MAX: usize = 3;

/// Entries of the plugin directory that are looked at for them. The published library has a few hundred.
pub(super) const PLUGIN_SEARCH_ENTRIES_MAX: usize = 10_000;

/// Warnings about what one plugin wants beside packages.
pub(super) const PREREQUISITE_WARNINGS_MAX: usize = 16;

/// Packages that are built from source for one environment, at most.
pub(super) const SOURCES_MAX: usize = 32;

/// Packages that the build of one package may ask for itself.
pub(super) const BUILD_NEEDS_MAX: usize = 64;

/// Largest source package, bytes. The largest of the public index have some 100 MiB.
pub(super) const SOURCE_BYTES_MAX: u64 = 512 << 20;

/// Largest wheel that is taken from a build, bytes.
pub(super) const WHEEL_BYTES_MAX: u64 = 512 << 20;

/// Largest `pyproject.toml` of a source package, bytes.
pub(super) const PROJECT_FILE_BYTES_MAX: u64 = 1 << 20;

/// Largest file in an environment's `bin` that is looked through for the path at which it was built, bytes. Scripts have some
/// hundred; what is larger is a program.
pub(super) const SCRIPT_BYTES_MAX: u64 = 1 << 20;

/// Largest plugin file in which metadata is looked for, bytes.
pub(super) const PLUGIN_FILE_BYTES_MAX: u64 = 16 << 20;

/// Largest requirements file, bytes.
pub(super) const REQUIREMENTS_FILE_BYTES_MAX: u64 = 1 << 20;

/// Depth of directories in an environment that its size is counted to. Packages nest some ten deep.
pub(super) const DIRECTORY_DEPTH_MAX: usize = 64;

/// Tries to take hold of an environment that somebody is removing at that moment.
pub(super) const HOLD_TRIES_MAX: usize = 100;

/// Depth of directories in which plugins are looked for when an environment is imported.
pub(super) const PLUGIN_DIRECTORY_DEPTH_MAX: usize = 8;

/// Depth to which requirements files may include each other.
pub(super) const INCLUDE_DEPTH_MAX: usize = 8;
