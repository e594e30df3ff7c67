//! Whatever ends first takes the rest along.

use std::os::fd::AsFd;

use bulkhead_launcher::{Exit, LaunchPolicy, Order, Report, describe_exit};
use nix::poll::{PollFd, PollFlags, poll};

use crate::support::{Worker, python, shell, wait_until};

/// A daemon as the book has it (two forks and a session), deaf to everything, and a grandchild that stays.
const DAEMONS: &str = r"
import os, signal, time
ready = os.pipe()
def stay():
    os.write(ready[1], b'.')
    while True: time.sleep(60)
for number in range(1, 32):
    if number not in (9, 17, 19): signal.signal(number, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() != 0: os._exit(0)
    os.setsid()
    if os.fork() == 0: os.setpgid(0, 0)
    stay()
if os.fork() == 0: stay()
os.wait()
while len(os.read(ready[0], 1)) == 1 and (up := globals().get('up', 0) + 1) < 3: pass
print('up', flush=True)
";

/// [`DAEMONS`], after which the worker goes on with `rest`: four processes with the worker.
fn daemons(rest: &str) -> LaunchPolicy {
    python(&format!("{DAEMONS}{rest}"))
}

fn is_killed(status: i32) -> bool {
    matches!(describe_exit(status), Exit::Signal { number: 9, .. })
}

#[test]
fn daemons_die_with_the_worker() {
    let remains = Worker::launch(&daemons("import sys; sys.exit(3)")).remains();
    assert_eq!(describe_exit(remains.status()), Exit::Code(3));
    assert_eq!(remains.killed_descendants(), 3);
}

#[test]
fn an_order_kills_the_whole_tree() {
    let mut worker = Worker::launch(&daemons("time.sleep(60)"));
    worker.started();
    wait_for_output(&worker);
    worker.order(Order::Kill);
    let remains = worker.remains();
    assert!(is_killed(remains.status()));
    assert_eq!(remains.killed_descendants(), 3);
}

#[test]
fn the_end_of_the_control_socket_kills_the_whole_tree() {
    let mut worker = Worker::launch(&daemons("time.sleep(60)"));
    worker.started();
    wait_for_output(&worker);
    worker.drop_control();
}

#[test]
fn half_an_end_kills_and_still_reports() {
    let mut worker = Worker::launch(&daemons("time.sleep(60)"));
    worker.started();
    worker.close_control_for_writing();
    assert!(is_killed(worker.remains().status()));
}

#[test]
fn an_end_before_the_start_leaves_nothing() {
    let worker = Worker::launch(&shell("sleep 60"));
    worker.close_control_for_writing();
    let remains = worker.remains();
    assert!(matches!(remains.report, Report::Failed { .. } | Report::Exited { .. }), "{remains:?}");
}

#[test]
fn a_signal_reaches_the_worker_alone() {
    let mut worker = Worker::launch(&python(
        "import faulthandler, time, sys\nfaulthandler.enable()\ndef hanging():\n    print('up', flush=True)\n    time.sleep(60)\nhanging()",
    ));
    worker.started();
    wait_for_output(&worker);
    worker.order(Order::Signal { number: 6 });
    let remains = worker.remains();
    assert_eq!(describe_exit(remains.status()).to_string(), "signal 6 (SIGABRT)");
    assert!(remains.stderr.contains("in hanging"), "{}", remains.stderr);
}

/// Waits until the worker has written something.
fn wait_for_output(worker: &Worker) {
    let ready = poll(&mut [PollFd::new(worker.launched.stdout.as_fd(), PollFlags::POLLIN)], 30_000u16).unwrap();
    assert_eq!(ready, 1);
}

#[test]
fn a_stopped_worker_can_be_killed() {
    let mut worker = Worker::launch(&shell("kill -STOP $$"));
    let (pid, _) = worker.started();
    wait_until("the worker has stopped", || {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") T "))
    });
    worker.order(Order::Kill);
    assert!(is_killed(worker.remains().status()));
}

#[test]
fn signals_to_everybody_in_sight_do_not_end_the_holder() {
    // The holder is the parent. What can be refused is refused, and the exit code arrives.
    let remains =
        Worker::launch(&shell("for s in INT TERM HUP QUIT USR1 PIPE ALRM TSTP; do kill -$s $PPID; done; exit 5"))
            .remains();
    assert_eq!(describe_exit(remains.status()), Exit::Code(5));
}

#[test]
fn a_fork_bomb_is_over_when_its_worker_is() {
    // It keeps itself to some dozens of processes, each of which forks and leaves its parent all the time.
    let script = r"
import os, signal, sys, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
def bomb():
    os.setsid()
    while True:
        if os.fork() != 0:
            time.sleep(0.002)
            os._exit(0)
for _ in range(24):
    if os.fork() == 0: bomb()
time.sleep(0.2)
sys.exit(4)
";
    let remains = Worker::launch(&python(script)).remains();
    assert_eq!(describe_exit(remains.status()), Exit::Code(4));
    assert!(remains.killed_descendants() > 0);
}

#[test]
fn a_deep_tree_of_reapers_is_over_too() {
    let script = r"
import ctypes, os, sys, time
PR_SET_CHILD_SUBREAPER = 36
ready = os.pipe()
for depth in range(20):
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    if os.fork() != 0:
        if depth == 0:
            os.read(ready[0], 1)
            sys.exit(6)
        time.sleep(60)
os.write(ready[1], b'.')
time.sleep(60)
";
    let remains = Worker::launch(&python(script)).remains();
    assert_eq!(describe_exit(remains.status()), Exit::Code(6));
    assert_eq!(remains.killed_descendants(), 20);
}

#[test]
fn many_workers_at_once_each_get_their_own_end() {
    let workers: Vec<_> = (0..20).map(|code| Worker::launch(&shell(&format!("sleep 60 & exit {code}")))).collect();
    for (code, worker) in workers.into_iter().enumerate() {
        assert_eq!(describe_exit(worker.remains().status()).to_string(), format!("exit code {code}"));
    }
}
