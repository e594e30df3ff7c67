//! Holder or runner killed: the second and the third net. The runner here is a process of its own.
#![expect(clippy::disallowed_methods, reason = "the tests start the process that plays the runner")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use bulkhead_launcher::LaunchPolicy;

use crate::support::{alive, fixture, python, token, wait_until};

/// A runner process of the fixture, and the token of its worker.
struct Runner {
    process: Child,
    output: BufReader<ChildStdout>,
    token: String,
}

impl Runner {
    fn start(scenario: &str, policy: &LaunchPolicy) -> Self {
        let token = token();
        let mut command = Command::new(fixture());
        command.args(["runner", scenario, &token]).arg(&policy.program).args(&policy.args).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, output, token }
    }

    fn grown_to(&self, processes: usize) {
        wait_until(&format!("{processes} processes run"), || alive(&self.token).len() >= processes);
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn nothing_is_left(&self) {
        wait_until("nothing is left", || alive(&self.token).is_empty());
    }
}

const FAMILY: &str = r"
import os, signal, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: time.sleep(60)
    time.sleep(60)
";

#[test]
fn nothing_survives_a_runner_that_was_killed() {
    let mut runner = Runner::start("wait", &python(&format!("{FAMILY}time.sleep(60)")));
    runner.grown_to(3);
    runner.kill();
    runner.nothing_is_left();
}

#[test]
fn nothing_survives_even_if_the_holder_was_stopped_first() {
    let mut runner = Runner::start(
        "wait",
        &python(&format!("os_stop = 19\n{FAMILY}os.kill(os.getppid(), os_stop)\ntime.sleep(60)")),
    );
    runner.grown_to(3);
    let mut started = String::new();
    runner.output.read_line(&mut started).unwrap();
    runner.kill();
    runner.nothing_is_left();
}

#[test]
fn a_worker_that_kills_its_holder_is_swept_with_all_its_family() {
    let mut runner =
        Runner::start("sweep", &python(&format!("{FAMILY}os.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(60)")));
    let mut text = String::new();
    runner.output.read_to_string(&mut text).unwrap();
    assert!(runner.process.wait().unwrap().success(), "{text}");
    assert!(text.ends_with("holder: signal 9 (SIGKILL)\n"), "{text}");
    assert_eq!(alive(&runner.token), [] as [i32; 0]);
}
