//! Finds the interpreter that all contestants run, and its libpython.
//!
//! The workspace's `pyo3` is an extension's: it links no libpython, and every package must agree on that. So the library is
//! named here, for the executables of this package alone, and late on the linker's command line, where `--as-needed` keeps it.

use std::process::Command;

/// Prints a line each: program, version, whether libpython is shared, its directory, its name.
const QUERY: &str = "
import sys, sysconfig
variable = sysconfig.get_config_var
print(getattr(sys, '_base_executable', None) or sys.executable)
print('.'.join(map(str, sys.version_info[:3])))
print(variable('Py_ENABLE_SHARED') or 0)
print(variable('LIBDIR') or '')
print('python' + (variable('LDVERSION') or ''))
print(variable('LDLIBRARY') or '')
";

/// What an interpreter says of itself.
struct Interpreter {
    program: String,
    version: String,
    is_shared: bool,
    directory: String,
    library: String,
    file: String,
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PYO3_PYTHON");
    println!("cargo::rerun-if-env-changed=PATH");
    println!("cargo::rustc-check-cfg=cfg(libpython)");
    let python = std::env::var("PYO3_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let interpreter = match ask(&python) {
        Ok(interpreter) => interpreter,
        Err(reason) => {
            without_library(&format!("`{python}` {reason}"));
            return;
        }
    };
    println!("cargo::rustc-env=BENCH_PYTHON={}", interpreter.program);
    println!("cargo::rustc-env=BENCH_PYTHON_VERSION={}", interpreter.version);
    if !interpreter.is_shared || !interpreter.file.contains(".so") {
        without_library(&format!("`{}` was built without a shared libpython", interpreter.program));
        return;
    }
    let library = format!("{}/{}", interpreter.directory, interpreter.file);
    if !std::path::Path::new(&library).exists() {
        without_library(&format!("`{library}` is missing; the development package of Python brings it"));
        return;
    }
    println!("cargo::rerun-if-changed={library}");
    println!("cargo::rustc-cfg=libpython");
    for argument in ["-L", &interpreter.directory, &format!("-l{}", interpreter.library)] {
        println!("cargo::rustc-link-arg={argument}");
    }
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", interpreter.directory);
}

/// The benches build without it; they say then what they cannot measure, and why.
fn without_library(reason: &str) {
    println!("cargo::warning=no shared libpython: {reason}; the embedded interpreter will not be measured");
    println!("cargo::rustc-env=BENCH_NO_LIBPYTHON={reason}");
}

#[expect(clippy::disallowed_methods, reason = "a build script starts what it asks; no runner is near")]
fn ask(python: &str) -> Result<Interpreter, String> {
    let output = Command::new(python).args(["-I", "-c", QUERY]).output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines().map(str::to_owned);
    let mut next = || lines.next().ok_or_else(|| format!("does not answer like a Python ({})", output.status));
    Ok(Interpreter {
        program: next()?,
        version: next()?,
        is_shared: next()? == "1",
        directory: next()?,
        library: next()?,
        file: next()?,
    })
}
