//! The interpreter that all contestants run, and the sources that they are given.

/// Program of the interpreter that the build found; workers and the raw child run it too.
pub(crate) const PROGRAM: Option<&str> = option_env!("BENCH_PYTHON");

/// Its version, such as `3.12.1`.
pub(crate) const VERSION: Option<&str> = option_env!("BENCH_PYTHON_VERSION");

/// Why the incumbent cannot be measured in this build.
#[cfg(not(libpython))]
pub(crate) fn no_libpython() -> String {
    format!("no shared libpython found: {}", option_env!("BENCH_NO_LIBPYTHON").unwrap_or("the build looked for none"))
}

/// A plugin: its file name, and its source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plugin {
    /// File name.
    pub(crate) file: &'static str,
    /// Text of the file.
    pub(crate) source: &'static str,
}

macro_rules! plugin {
    ($file:literal) => {
        Plugin { file: $file, source: include_str!(concat!("../python/", $file)) }
    };
}

/// A request plugin that does nothing.
pub(crate) const NOOP_REQUEST: Plugin = plugin!("noop_request.py");
/// What it answers.
pub(crate) const NOOP_ANSWER: &[u8] = b"ok";
/// A WAL plugin that does not look at its rows.
pub(crate) const UNTOUCHED: Plugin = plugin!("untouched.py");
/// A WAL plugin that sums a field.
pub(crate) const SUM_FIELD: Plugin = plugin!("sum_field.py");
/// The same by way of Arrow, with a library that has to be installed.
pub(crate) const SUM_ARROW: Plugin = plugin!("sum_arrow.py");
/// A request plugin that builds lines with the worker's `LineBuilder`.
pub(crate) const LINES: Plugin = plugin!("lines.py");
/// The same with the incumbent's, which is Python.
pub(crate) const LINES_IN_PYTHON: Plugin = Plugin {
    file: "lines_in_python.py",
    source: concat!(include_str!("../python/line_builder.py"), include_str!("../python/lines.py")),
};
/// What [`SUM_FIELD`] and [`SUM_ARROW`] write, up to the sum.
pub(crate) const SUM_LINE: &str = "sums total=";
/// The child of the raw rung.
pub(crate) const ECHO: &str = include_str!("../python/echo.py");
/// The incumbent's `LineBuilder`, of which it runs the source at every call.
#[cfg(libpython)]
pub(crate) const LINE_BUILDER: &str = include_str!("../python/line_builder.py");
