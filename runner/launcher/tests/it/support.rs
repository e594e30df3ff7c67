//! A worker as the tests see it.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bulkhead_launcher::{LaunchPolicy, Launched, Launcher, Order, Pid, Report, ReportDecoder, encode_order};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A test that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// The binary that is a launcher when told so.
pub(crate) fn fixture() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_bulkhead-launch-fixture"))
}

/// A name that no other process has in its environment.
pub(crate) fn token() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("bulkhead-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// `sh -c SCRIPT` with `PATH` and a fresh token in its environment.
pub(crate) fn shell(script: &str) -> LaunchPolicy {
    program("/bin/sh", &["-c", script])
}

/// Python with a script, wherever it is.
pub(crate) fn python(script: &str) -> LaunchPolicy {
    program("/usr/bin/env", &["python3", "-c", script])
}

fn program(program: &str, args: &[&str]) -> LaunchPolicy {
    let mut policy = LaunchPolicy::new(program, "/");
    policy.args = args.iter().map(|argument| (*argument).to_owned()).collect();
    policy.env.insert("PATH".into(), std::env::var("PATH").unwrap());
    policy.env.insert("TOKEN".into(), token());
    policy
}

/// Ids of the living processes that have the token in their environment.
pub(crate) fn alive(token: &str) -> Vec<i32> {
    let needle = format!("TOKEN={token}\0");
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // The environment of a zombie reads as empty.
    pids.filter(|pid| {
        fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| contains(&environ, needle.as_bytes()))
    })
    .collect()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Polls an observable fact for which the kernel gives no event.
pub(crate) fn wait_until(what: &str, fact: impl Fn() -> bool) {
    let begin = Instant::now();
    while !fact() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain until {what}");
        sleep(Duration::from_millis(5));
    }
}

/// A launched worker.
pub(crate) struct Worker {
    pub(crate) launched: Launched,
    pub(crate) session: UnixStream,
    pub(crate) token: String,
    launcher: Launcher,
    decoder: ReportDecoder,
}

/// All that a worker has left.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) report: Report,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Worker {
    pub(crate) fn launch(policy: &LaunchPolicy) -> Self {
        Self::launch_by(Launcher::new(fixture()).unwrap(), policy)
    }

    pub(crate) fn launch_by(launcher: Launcher, policy: &LaunchPolicy) -> Self {
        let (session, workers) = UnixStream::pair().unwrap();
        let launched = launcher.launch(policy, workers.into()).unwrap();
        let token = policy.env.get("TOKEN").cloned().unwrap_or_default();
        Self { launched, session, token, launcher, decoder: ReportDecoder::new() }
    }

    /// The next report, `None` at the end of the control socket.
    pub(crate) fn report(&mut self) -> Option<Report> {
        loop {
            if let Some(report) = self.decoder.next_report().unwrap() {
                return Some(report);
            }
            readable(&self.launched.control);
            let mut buffer = [0; 4096];
            match (&self.launched.control).read(&mut buffer).unwrap() {
                0 => return None,
                bytes => self.decoder.push(&buffer[..bytes]),
            }
        }
    }

    /// Waits until the worker runs; gives its process id and what was enforced.
    pub(crate) fn started(&mut self) -> (i32, Vec<String>) {
        match self.report() {
            Some(Report::Started { worker_pid, enforced, .. }) => (worker_pid, enforced),
            other => panic!("not started: {other:?}"),
        }
    }

    pub(crate) fn order(&mut self, order: Order) {
        (&self.launched.control).write_all(&encode_order(order).unwrap()).unwrap();
    }

    pub(crate) fn close_control_for_writing(&self) {
        self.launched.control.shutdown(Shutdown::Write).unwrap();
    }

    /// Reads everything to its end, reaps the holder, and makes sure that nothing is left.
    pub(crate) fn remains(self) -> Remains {
        self.remains_and_launcher().0
    }

    /// The same, and what can launch another one.
    pub(crate) fn remains_and_launcher(mut self) -> (Remains, Launcher) {
        let mut last = None;
        // Standard output first: a worker that fills its pipe would not end otherwise.
        let stdout = read_to_end(&self.launched.stdout);
        let stderr = read_to_end(&self.launched.stderr);
        while let Some(report) = self.report() {
            last = Some(report);
        }
        assert_eq!(self.reap(), 0, "the holder ends well");
        assert_eq!(alive(&self.token), [] as [i32; 0], "something outlived its worker");
        (Remains { report: last.expect("no report"), stdout, stderr }, self.launcher)
    }

    /// The holder's raw wait status.
    pub(crate) fn reap(&self) -> i32 {
        reap(&self.launcher, self.launched.holder)
    }

    /// Ends the lifeline without a word and waits for the holder.
    pub(crate) fn drop_control(self) {
        drop(self.launched.control);
        assert_eq!(reap(&self.launcher, self.launched.holder), 0);
        assert_eq!(alive(&self.token), [] as [i32; 0], "something outlived its runner");
    }
}

impl Remains {
    /// The worker's raw wait status.
    pub(crate) fn status(&self) -> i32 {
        match &self.report {
            Report::Exited { raw_status, .. } => *raw_status,
            other => panic!("no end: {other:?}, stderr: {}", self.stderr),
        }
    }

    pub(crate) fn killed_descendants(&self) -> u64 {
        match &self.report {
            Report::Exited { killed_descendants, .. } => *killed_descendants,
            other => panic!("no end: {other:?}"),
        }
    }
}

fn reap(launcher: &Launcher, holder: Pid) -> i32 {
    let begin = Instant::now();
    loop {
        if let Some(status) = launcher.try_reap(holder).unwrap() {
            return status;
        }
        assert!(begin.elapsed() < PATIENCE, "the holder does not end");
        sleep(Duration::from_millis(1));
    }
}

fn read_to_end(pipe: &OwnedFd) -> String {
    let mut file = fs::File::from(pipe.try_clone().unwrap());
    let mut bytes = Vec::new();
    loop {
        readable(pipe);
        let mut buffer = [0; 65536];
        match file.read(&mut buffer).unwrap() {
            0 => return String::from_utf8_lossy(&bytes).into_owned(),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

fn readable(fd: &impl AsFd) {
    let timeout = PollTimeout::try_from(PATIENCE).unwrap();
    let ready = poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], timeout).unwrap();
    assert_eq!(ready, 1, "nothing came");
}
