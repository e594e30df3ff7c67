//! The files of the Python package, for the runner to lay out beside the extension.

/// Name of the package, and of its directory.
pub const NAME: &str = "bulkhead_worker";

/// File name under which the extension belongs into the package's directory.
pub const EXTENSION_FILE: &str = "_native.abi3.so";

/// File in the package's directory that the interpreter is started with.
pub const BOOTSTRAP_FILE: &str = "bootstrap.py";

/// File descriptor on which the worker finds its end of the socketpair.
pub const SESSION_FD: i32 = 3;

/// Exit code of a worker that does not speak the runner's protocol, or was sent what is none.
pub const EXIT_PROTOCOL: i32 = 70;

/// Exit code of a worker whose session ended before it was told to finish.
pub const EXIT_SESSION_LOST: i32 = 74;

/// What authors of plugins get: types for editors and type checkers, and a pytest plugin. Path below their directory, and content.
pub const AUTHOR_FILES: &[(&str, &str)] = &[
    // The module's own text says what a stub would.
    ("bulkhead_worker/__init__.pyi", include_str!("../python/bulkhead_worker/__init__.py")),
    ("bulkhead_worker/_native.pyi", include_str!("../python/bulkhead_worker/_native.pyi")),
    ("bulkhead_worker/batches.pyi", include_str!("../python/authors/batches.pyi")),
    ("bulkhead_worker/py.typed", include_str!("../python/bulkhead_worker/py.typed")),
    // Where pyright looks for names that are there without an import.
    ("__builtins__.pyi", "from bulkhead_worker import LineBuilder as LineBuilder\n"),
    ("bulkhead_testing.py", include_str!("../python/authors/bulkhead_testing.py")),
];

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../python/bulkhead_worker/", $name)))),+]
    };
}

/// Every file of the package but the extension: path inside the package's directory, and content.
pub const FILES: &[(&str, &str)] = files![
    "__init__.py",
    "_native.pyi",
    "batches.py",
    "bootstrap.py",
    "cache_codec.py",
    "capture.py",
    "check.py",
    "directory.py",
    "entry.py",
    "environ.py",
    "failure.py",
    "handlers.py",
    "log_handler.py",
    "logs.py",
    "main.py",
    "plugin.py",
    "py.typed",
    "request.py",
    "response.py",
    "single.py",
    "zygote.py",
];
