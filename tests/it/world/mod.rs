//! The world of the tests: a real runner in a directory of its own, and what a user can do with it and see of it.

mod client;
mod disk;
mod processes;
mod setup;
mod trigger;
mod wait;

use std::io::{BufRead, BufReader, Read};
use std::ops::Deref;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(crate) use client::{Answer, Client, Request};
pub(crate) use disk::{Disk, DiskFault, with_disk};
pub(crate) use processes::Process;
pub(crate) use processes::processes_of;
pub(crate) use setup::{Finished, Setup, bulkhead, run, run_installed};
pub(crate) use trigger::Trigger;
pub(crate) use wait::{PATIENCE, until, until_true};

/// Database that [`TestRunner::start`] makes, and in which triggers and rows are unless a test says otherwise.
pub(crate) const DB: &str = "db";

/// A runner that is up. It is killed when it is dropped, and so is everything that it has started.
pub(crate) struct TestRunner {
    setup: Setup,
    client: Client,
    child: Option<Child>,
    stderr: Output,
    readers: Vec<JoinHandle<()>>,
    /// Processes that were there when the runner was told to end.
    doomed: Vec<Process>,
}

/// What a process has written so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Output(Arc<Mutex<String>>);

impl Output {
    /// The text so far.
    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }

    /// Reads to the end, on a thread.
    fn collect(&self, from: impl Read + Send + 'static) -> JoinHandle<()> {
        let text = Arc::clone(&self.0);
        std::thread::spawn(move || {
            let mut lines = BufReader::new(from);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                text.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        })
    }
}

impl TestRunner {
    /// A runner with an empty database [`DB`].
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with more arguments for `serve`.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let runner = Setup::new().args(arguments).start();
        runner.create_database(DB);
        runner
    }

    /// The directory of the test: data, plugins and whatever else it needs lie below it.
    pub(crate) fn root(&self) -> &Path {
        self.setup.root()
    }

    /// The directory with the plugins.
    pub(crate) fn plugin_dir(&self) -> PathBuf {
        self.setup.plugin_dir()
    }

    /// The directory of the node's data.
    pub(crate) fn node_dir(&self) -> PathBuf {
        self.setup.data_dir().join("node0")
    }

    /// Writes a plugin, or writes it anew.
    pub(crate) fn plugin(&self, path: &str, code: &str) {
        self.setup.plugin(path, code);
    }

    /// Writes a file of `tests/plugins` to the plugin directory.
    pub(crate) fn fixture(&self, file: &str) {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/plugins").join(file);
        self.plugin(
            file,
            &std::fs::read_to_string(&from).unwrap_or_else(|error| panic!("{}: {error}", from.display())),
        );
    }

    /// Writes a file of `examples/plugins` to the plugin directory.
    pub(crate) fn example(&self, file: &str) {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/plugins").join(file);
        self.plugin(
            file,
            &std::fs::read_to_string(&from).unwrap_or_else(|error| panic!("{}: {error}", from.display())),
        );
    }

    /// A client that can be moved to another thread.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// The runner's process id.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.as_ref().expect("the runner is up").id()).unwrap()
    }

    /// What the runner has written to standard error since it was first started.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Sends the runner a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Waits for the end of the process.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the runner is up");
        let status = wait::until("the runner ends", || child.try_wait().unwrap());
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        status
    }

    /// Stops the runner as an operator does, and checks that it says that all is well.
    pub(crate) fn stop(&mut self) {
        self.doomed = processes_of(self.root());
        self.signal(Signal::SIGTERM);
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "exit code after SIGTERM ({status}); stderr:\n{}", self.stderr());
    }

    /// Kills the runner at once.
    pub(crate) fn kill(&mut self) {
        self.doomed = processes_of(self.root());
        self.signal(Signal::SIGKILL);
        assert_eq!(self.wait().signal(), Some(9));
    }

    /// Starts a stopped or killed runner again, on the same directories.
    pub(crate) fn restart(&mut self) {
        let arguments: Vec<String> = self.setup.arguments().to_vec();
        self.restart_as(arguments, None);
    }

    /// Starts it again with other arguments for `serve`, and with shell commands that run before.
    pub(crate) fn restart_as(&mut self, arguments: Vec<String>, shell: Option<&str>) {
        assert!(self.child.is_none(), "the runner is still up");
        self.setup.set(arguments, shell);
        self.restart_same();
    }

    /// Starts it again just as it was started before.
    pub(crate) fn restart_same(&mut self) {
        let started = self.setup.spawn(self.stderr.clone());
        self.client = started.client;
        self.child = Some(started.child);
        self.readers = started.readers;
    }

    /// Starts a stopped or killed runner again, which has to end by itself.
    pub(crate) fn start_in_vain(&self) -> Finished {
        assert!(self.child.is_none(), "the runner is still up");
        self.setup.run()
    }

    /// Flips a bit of everything in the journal of a stopped runner that reads so; the file as it is then.
    pub(crate) fn damage_journal(&self, text: &[u8]) -> Vec<u8> {
        let path = self.node_dir().join("journal.redb");
        let mut bytes = std::fs::read(&path).unwrap();
        let places: Vec<usize> = (0..bytes.len()).filter(|place| bytes[*place..].starts_with(text)).collect();
        assert!(!places.is_empty(), "it is in the journal");
        for place in places {
            bytes[place] ^= 1;
        }
        std::fs::write(&path, &bytes).unwrap();
        bytes
    }

    /// Runs the command line against this runner, with `--host` set.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Finished {
        self.setup.cli(self.client.address(), arguments, "")
    }

    /// The same, with this standard input.
    pub(crate) fn cli_with_input(&self, arguments: &[&str], input: &str) -> Finished {
        self.setup.cli(self.client.address(), arguments, input)
    }

    /// Stops the runner and checks that no process is left and that its directory can be used and removed.
    pub(crate) fn stop_leaving_nothing(mut self) {
        self.stop();
        self.assert_no_process();
        let lock = std::fs::File::options().write(true).open(self.node_dir().join("lock")).unwrap();
        lock.try_lock().expect("the data directory is free");
        drop(lock);
        std::fs::remove_dir_all(self.root()).expect("the directory can be removed");
    }

    /// Waits until no process has anything to do with this test's directory.
    pub(crate) fn assert_no_process(&self) {
        until("no process of the test is left", || {
            let mut left = processes_of(self.root());
            left.extend(self.doomed.iter().filter(|process| process.is_alive()).cloned());
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
    }
}

impl Deref for TestRunner {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for TestRunner {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; the wait tells.
            let _ = child.kill();
            let _ = child.wait();
        }
        for reader in self.readers.drain(..) {
            // Reading to the end: workers hold no end of the runner's pipes.
            let _ = reader.join();
        }
        if std::thread::panicking() {
            eprintln!("---- stderr of the runner in {}\n{}----", self.root().display(), self.stderr.text());
        }
    }
}
