//! Directories and arguments of a runner, before it starts, and the command line.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Client, Output, PATIENCE, TestRunner};

/// An interpreter that every user may use.
const SYSTEM_PYTHON: &str = "/usr/bin/python3";

/// Bytes of the stacks of the runner's threads: half of what they have otherwise, so that what grows is seen before it is too much.
const STACK_BYTES: &str = "1048576";

/// Where a runner is to live, and how.
pub(crate) struct Setup {
    directory: TempDir,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    shell: Option<String>,
}

/// A runner that has said where it listens.
pub(super) struct Started {
    pub(super) client: Client,
    pub(super) child: Child,
    pub(super) readers: Vec<JoinHandle<()>>,
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Its exit code; none when a signal ended it.
    pub(crate) code: Option<i32>,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
}

/// The binary with these arguments, in an environment with the little that it needs.
pub(crate) fn bulkhead(arguments: &[&str]) -> Command {
    cleared(Command::new(env!("CARGO_BIN_EXE_bulkhead")), arguments)
}

fn cleared(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments).env_clear().env("RUST_MIN_STACK", STACK_BYTES);
    for name in ["PATH", "HOME", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

impl Setup {
    /// An empty directory; its plain environment is shared with other tests, so that it is built once.
    pub(crate) fn new() -> Self {
        let setup = Self::with_own_environments();
        // A directory that cannot be shared, as on somebody else's build, only costs time.
        if let Some(shared) = shared_environments() {
            std::os::unix::fs::symlink(shared, setup.data_dir().join("environments")).unwrap();
        }
        setup
    }

    /// An empty directory that shares nothing.
    pub(crate) fn with_own_environments() -> Self {
        let directory = tempfile::Builder::new().prefix("bulkhead-it-").tempdir().unwrap();
        let setup = Self { directory, arguments: Vec::new(), environment: Vec::new(), shell: None };
        std::fs::create_dir_all(setup.plugin_dir()).unwrap();
        std::fs::create_dir_all(setup.data_dir()).unwrap();
        setup
    }

    /// A directory for a runner in a container that grants no namespaces. Its workers then reach only what every user of the
    /// machine does: the directory is open, and the interpreter is the system's.
    pub(crate) fn without_namespaces() -> Self {
        let setup = Self::with_own_environments().args(&["--sandbox-emulate", "container"]);
        std::fs::set_permissions(setup.root(), Permissions::from_mode(0o755)).unwrap();
        let is_root = nix::unistd::geteuid().is_root();
        if is_root && Path::new(SYSTEM_PYTHON).exists() { setup.args(&["--python", SYSTEM_PYTHON]) } else { setup }
    }

    /// With more arguments for `serve`.
    pub(crate) fn args(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// With a variable in the runner's environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With shell commands that run before.
    pub(crate) fn shell(mut self, before: &str) -> Self {
        self.shell = Some(before.to_owned());
        self
    }

    /// The directory of the test.
    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    /// The directory with the plugins.
    pub(crate) fn plugin_dir(&self) -> PathBuf {
        self.root().join("plugins")
    }

    /// The data directory.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.root().join("data")
    }

    /// Writes a plugin.
    pub(crate) fn plugin(&self, path: &str, code: &str) {
        let path = self.plugin_dir().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, code).unwrap();
    }

    pub(super) fn arguments(&self) -> &[String] {
        &self.arguments
    }

    pub(super) fn set(&mut self, arguments: Vec<String>, shell: Option<&str>) {
        self.arguments = arguments;
        self.shell = shell.map(str::to_owned);
    }

    /// Starts a runner.
    pub(crate) fn start(self) -> TestRunner {
        let stderr = Output::default();
        let Started { client, child, readers } = self.spawn(stderr.clone());
        TestRunner { setup: self, client, child: Some(child), stderr, readers, doomed: Vec::new() }
    }

    /// Starts a runner that has to end by itself.
    pub(crate) fn run(&self) -> Finished {
        finish(self.command().stdin(Stdio::null()), "")
    }

    fn command(&self) -> Command {
        let path = |path: PathBuf| path.to_str().unwrap().to_owned();
        let (data, plugins) = (path(self.data_dir()), path(self.plugin_dir()));
        let mut arguments = vec!["serve", "--data-dir", &data, "--plugin-dir", &plugins];
        if !self.arguments.iter().any(|argument| argument == "--http-bind") {
            arguments.extend(["--http-bind", "127.0.0.1:0"]);
        }
        arguments.extend(self.arguments.iter().map(String::as_str));
        let mut command = match &self.shell {
            None => bulkhead(&arguments),
            Some(before) => {
                let script = format!("{before}; exec \"$0\" \"$@\"");
                let mut all = vec!["-c", &script, env!("CARGO_BIN_EXE_bulkhead")];
                all.extend(arguments);
                cleared(Command::new("sh"), &all)
            }
        };
        // Holders have an empty environment and keep the directory, by which their test is known.
        command.current_dir(self.root());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(super) fn spawn(&self, stderr: Output) -> Started {
        let mut child =
            self.command().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut readers = vec![stderr.collect(child.stderr.take().unwrap())];
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let Some(address) = announced(&mut stdout) else {
            let status = child.wait().unwrap();
            readers.drain(..).for_each(|reader| reader.join().unwrap());
            panic!("the runner did not start ({status}); stderr:\n{}", stderr.text());
        };
        // Nothing else is of interest, but a full pipe would hold the runner.
        readers.push(Output::default().collect(stdout));
        Started { client: Client::new(address), child, readers }
    }

    /// Runs the command line with `--host` set to `server`.
    pub(super) fn cli(&self, server: SocketAddr, arguments: &[&str], input: &str) -> Finished {
        let mut command = bulkhead(arguments);
        command.current_dir(self.root()).args(["--host", &format!("http://{server}")]);
        finish(&mut command, input)
    }
}

/// Runs a command to its end, which has to come by itself.
fn finish(command: &mut Command, input: &str) -> Finished {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that does not read its input has closed it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let (stdout, stderr) = (Output::default(), Output::default());
    let readers = [stdout.collect(child.stdout.take().unwrap()), stderr.collect(child.stderr.take().unwrap())];
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{command:?} did not end; stdout:\n{}stderr:\n{}", stdout.text(), stderr.text());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    Finished { code: status.code(), stdout: stdout.text(), stderr: stderr.text() }
}

/// Runs a copy of the binary, as an installation has it, to its end.
pub(crate) fn run_installed(program: &Path, arguments: &[&str]) -> Finished {
    finish(&mut cleared(Command::new(program), arguments), "")
}

/// Runs the binary to its end.
pub(crate) fn run(arguments: &[&str]) -> Finished {
    finish(&mut bulkhead(arguments), "")
}

/// Reads lines until one tells where the runner listens.
fn announced(stdout: &mut BufReader<ChildStdout>) -> Option<SocketAddr> {
    let mut line = String::new();
    while stdout.read_line(&mut line).unwrap() > 0 {
        if let Some(address) = line.trim_end().strip_prefix("bulkhead listens on http://") {
            return Some(address.parse().unwrap());
        }
        line.clear();
    }
    None
}

/// A directory for environments that outlives the test.
fn shared_environments() -> Option<PathBuf> {
    let user = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").ok()?);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("environments-of-{user}"));
    std::fs::create_dir_all(&path).ok()?;
    Some(path)
}
