//! The one place that runs external programs: the interpreter, uv and pip.
//!
//! A tool gets a cleared environment (what passes stands in `tool_environment`), its own process group, a deadline, and
//! bounded memory for its output. However the call ends, the group is killed.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout, timeout_at};

use super::limits::OUTPUT_GRACE;
use super::output_tail::Tail;
use super::progress::News;
use super::redactor::Redactor;
use super::tool_environment;

/// Tools that run now. The runner adopts what killed workers leave and kills every child that it does not
/// know; these it knows by [`is_tool_process`]. The lock is held while a tool is started, so that none is
/// seen before it is entered.
static RUNNING: Mutex<BTreeSet<Pid>> = Mutex::new(BTreeSet::new());

/// Whether the child `pid` of this process is a tool that is in use here.
#[must_use]
pub fn is_tool_process(pid: Pid) -> bool {
    running().contains(&pid)
}

/// A program and its arguments.
#[derive(Debug)]
pub(super) struct Tool {
    program: PathBuf,
    args: Vec<OsString>,
    cwd: PathBuf,
    env: Vec<(&'static str, OsString)>,
    stdin: Option<File>,
    /// Who hears its lines.
    heard_by: Option<(News, Redactor)>,
    /// Whether it hears nothing of the indexes that the runner's environment names.
    own_indexes: bool,
}

/// What a tool has left.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) status: ExitStatus,
    /// The end of its standard output.
    pub(super) stdout: String,
    /// The end of its standard error.
    pub(super) stderr: String,
}

/// A tool that did not come to its own end.
#[derive(Debug, thiserror::Error)]
pub(super) enum ToolError {
    #[error("cannot start: {0}")]
    Start(io::Error),
    #[error("cannot wait: {0}")]
    Wait(io::Error),
    #[error("took too long")]
    Timeout {
        /// The end of what it wrote.
        output: String,
    },
}

impl Tool {
    pub(super) fn new(program: impl Into<PathBuf>, cwd: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            cwd: cwd.into(),
            env: Vec::new(),
            stdin: None,
            heard_by: None,
            own_indexes: false,
        }
    }

    pub(super) fn args<A: AsRef<OsStr>>(&mut self, args: impl IntoIterator<Item = A>) -> &mut Self {
        self.args.extend(args.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets a variable of its environment.
    pub(super) fn env(&mut self, name: &'static str, value: impl Into<OsString>) -> &mut Self {
        self.env.push((name, value.into()));
        self
    }

    /// Lets others hear its lines, cleaned of credentials.
    pub(super) fn heard_by(&mut self, news: News, redactor: Redactor) {
        self.heard_by = Some((news, redactor));
    }

    /// Keeps from it which indexes the runner's environment names.
    pub(super) fn without_inherited_indexes(&mut self) {
        self.own_indexes = true;
    }

    /// Gives it an empty file as standard input whose lock it then shares: `flock` belongs to the opened file,
    /// so the lock lasts until the tool is gone, also when the runner was killed and the tool goes on.
    pub(super) fn hold(&mut self, lock: &File) -> io::Result<&mut Self> {
        self.stdin = Some(lock.try_clone()?);
        Ok(self)
    }

    /// Runs it to its end or to the deadline. Dropping the future kills it.
    pub(super) async fn run(mut self, deadline: Instant) -> Result<Output, ToolError> {
        let heard_by = self.heard_by.take();
        let say = |line: &str| {
            if let Some((news, redactor)) = &heard_by {
                news.say(&redactor.clean(line));
            }
        };
        let (mut child, group) = self.start().map_err(ToolError::Start)?;
        let (mut stdout, mut stderr) = (Tail::default(), Tail::default());
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let ended = {
            let reading = async { tokio::join!(stdout.fill(out, say), stderr.fill(err, say)) };
            tokio::pin!(reading);
            let mut all_read = false;
            let waiting = timeout_at(deadline, async {
                loop {
                    tokio::select! {
                        status = child.wait() => return status,
                        _ = &mut reading, if !all_read => all_read = true,
                    }
                }
            });
            let ended = waiting.await;
            // Whoever still holds the pipes is a daemon that the tool has left, or the tool itself.
            drop(group);
            if !all_read {
                drop(timeout(OUTPUT_GRACE, reading).await);
            }
            ended
        };
        match ended {
            Ok(Ok(status)) => Ok(Output { status, stdout: stdout.text(), stderr: stderr.text() }),
            Ok(Err(error)) => Err(ToolError::Wait(error)),
            Err(_) => {
                // It was killed above; this reaps it.
                drop(child.wait().await);
                Err(ToolError::Timeout { output: format!("{}{}", stdout.text(), stderr.text()) })
            }
        }
    }

    fn start(self) -> io::Result<(Child, Group)> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that runs tools: cleared environment, deadline, bounded output"
        )]
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(&self.cwd).process_group(0);
        command
            .env_clear()
            .env("LANG", "C.UTF-8")
            .envs(std::env::vars_os().filter(|(name, _)| {
                tool_environment::passes(name) && !(self.own_indexes && tool_environment::names_index(name))
            }))
            .envs(self.env);
        command.stdin(self.stdin.map_or_else(Stdio::null, Stdio::from)).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = running();
        let child = command.spawn()?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the process has no id"))?;
        running.insert(pid);
        Ok((child, Group(pid)))
    }
}

/// The process group of a running tool. Dropping it kills whatever is left of the group.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        // Usually the group is empty and there is nothing to kill.
        let _ = killpg(self.0, Signal::SIGKILL);
        running().remove(&self.0);
    }
}

fn running() -> MutexGuard<'static, BTreeSet<Pid>> {
    // A set of numbers is whole at every moment, so a panic elsewhere has not spoilt it.
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::limits::OUTPUT_TAIL_BYTES;
    use super::*;

    fn shell(script: &str) -> Tool {
        let mut tool = Tool::new("/bin/sh", "/");
        tool.args(["-c", script]);
        tool
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    fn is_alive(pid: &str) -> bool {
        std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| !stat.contains(") Z "))
    }

    async fn dies(pid: &str) {
        let begin = Instant::now();
        while is_alive(pid) {
            assert!(begin.elapsed() < Duration::from_secs(20), "{pid} lives on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn output_and_exit_status_are_given() {
        let output = shell("echo out; echo err >&2; exit 3").run(soon()).await.unwrap();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str(), output.status.code()), ("out\n", "err\n", Some(3)));
    }

    #[tokio::test]
    async fn a_flood_leaves_its_end() {
        let output = shell("seq 1 200000; echo end").run(soon()).await.unwrap();
        assert!(output.stdout.len() <= OUTPUT_TAIL_BYTES + 6);
        assert!(output.stdout.starts_with("[...]\n1") && output.stdout.ends_with("200000\nend\n"));
    }

    #[tokio::test]
    async fn the_deadline_kills_the_whole_group_and_keeps_its_words() {
        let deadline = Instant::now() + Duration::from_millis(500);
        let error = shell("sleep 60 & echo $!; echo busy >&2; wait").run(deadline).await.unwrap_err();
        let ToolError::Timeout { output } = error else { panic!("{error}") };
        let (pid, words) = output.split_once('\n').unwrap();
        assert_eq!(words, "busy\n");
        dies(pid).await;
    }

    #[tokio::test]
    async fn a_daemon_that_keeps_the_pipe_open_does_not_hold_the_caller() {
        let output = shell("sleep 60 & echo $!").run(soon()).await.unwrap();
        assert!(output.status.success());
        dies(&output.stdout).await;
    }

    #[tokio::test]
    async fn dropping_the_future_kills_the_tool() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_owned();
        let run = shell(&format!("echo $$ > {}; sleep 60", path.display())).run(soon());
        let started = async {
            loop {
                let pid = std::fs::read_to_string(&path).unwrap();
                if pid.ends_with('\n') {
                    return pid;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let pid = tokio::select! { pid = started => pid, _ = run => panic!("it ended") };
        dies(&pid).await;
    }

    #[tokio::test]
    async fn a_tool_is_known_while_it_runs() {
        let output = shell("cat /proc/self/stat").run(soon()).await.unwrap();
        let shell: i32 = output.stdout.split(' ').nth(4).unwrap().parse().unwrap();
        assert!(!is_tool_process(Pid::from_raw(shell)));
        let (mut child, group) = self::shell("read line").start().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
        assert!(is_tool_process(pid));
        drop(group);
        child.wait().await.unwrap();
        assert!(!is_tool_process(pid));
    }
}
