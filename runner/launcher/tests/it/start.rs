//! How a worker starts, and how a start fails.

use bulkhead_launcher::{Exit, LaunchError, LaunchPolicy, Launcher, Report, Step, describe_exit};
use std::os::unix::net::UnixStream;

use crate::support::{Worker, python, shell};

/// The step and the text of a start that must fail.
fn failure(policy: &LaunchPolicy) -> (Step, String) {
    match Worker::launch(policy).remains().report {
        Report::Failed { step, error } => (step, error),
        other => panic!("it did not fail: {other:?}"),
    }
}

#[test]
fn the_exit_code_is_reported() {
    let mut worker = Worker::launch(&shell("exit 7"));
    let (worker_pid, _) = worker.started();
    assert!(worker_pid > 1);
    let remains = worker.remains();
    assert_eq!(describe_exit(remains.status()), Exit::Code(7));
    assert_eq!(remains.killed_descendants(), 0);
}

#[test]
fn the_signal_is_reported_as_such() {
    let remains = Worker::launch(&shell("kill -SEGV $$")).remains();
    assert!(matches!(describe_exit(remains.status()), Exit::Signal { name, core: false, .. } if name == "SIGSEGV"));
}

#[test]
fn a_real_time_signal_is_not_lost() {
    let remains = Worker::launch(&python("import os, signal; os.kill(os.getpid(), signal.SIGRTMIN + 3)")).remains();
    assert_eq!(describe_exit(remains.status()).to_string(), "signal 37 (SIGRTMIN+3)");
}

#[test]
fn usage_is_reported() {
    let remains = Worker::launch(&python("b = bytearray(50 << 20); sum(range(3_000_000))")).remains();
    let Report::Exited { usage, .. } = remains.report else { panic!("{remains:?}") };
    assert!(usage.max_rss_bytes > 50 << 20, "{usage:?}");
    assert!(usage.cpu().as_micros() > 0);
}

#[test]
fn a_missing_program_is_named() {
    let (step, error) = failure(&LaunchPolicy::new("/nowhere/python", "/"));
    assert_eq!(step, Step::Exec);
    assert_eq!(error, "cannot execute `/nowhere/python`: No such file or directory (os error 2)");
}

#[test]
fn a_program_that_may_not_be_executed_is_named() {
    let (step, error) = failure(&LaunchPolicy::new("/etc/passwd", "/"));
    assert_eq!(step, Step::Exec);
    assert!(error.contains("`/etc/passwd`: Permission denied") && error.contains("must be executable"), "{error}");
}

#[test]
fn a_missing_interpreter_is_told_from_a_missing_file() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("script");
    std::fs::write(&script, "#!/nowhere/interpreter\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (_, error) = failure(&LaunchPolicy::new(script, "/"));
    assert!(error.ends_with("its interpreter or loader is missing"), "{error}");
}

#[test]
fn a_missing_working_directory_is_named() {
    let (step, error) = failure(&LaunchPolicy::new("/bin/true", "/nowhere"));
    assert_eq!(
        (step, error.as_str()),
        (Step::WorkingDirectory, "cannot enter `/nowhere`: No such file or directory (os error 2)")
    );
}

#[test]
fn an_endless_path_still_gives_a_bounded_report() {
    let (step, error) = failure(&LaunchPolicy::new(format!("/{}", "ä/".repeat(30_000)), "/"));
    assert_eq!(step, Step::Exec);
    assert!(error.len() <= bulkhead_launcher::limits::ERROR_TEXT_BYTES_MAX);
}

#[test]
fn a_big_policy_arrives_whole() {
    let mut policy = python("import os, sys; print(len(os.environ['BIG']), len(sys.argv[1]))");
    // One argument may have 128 KiB at most; together they exceed every pipe's buffer.
    policy.args.push("a".repeat(120_000));
    policy.env.extend((0..8).map(|index| (format!("BIG{index}"), "\n".repeat(100_000))));
    policy.env.insert("BIG".into(), "\n".repeat(100_000));
    assert_eq!(Worker::launch(&policy).remains().stdout, "100000 120000\n");
}

#[test]
fn a_policy_over_the_limit_is_refused_before_anything_starts() {
    let mut policy = shell("true");
    policy.args.push("a".repeat(bulkhead_launcher::limits::POLICY_BYTES_MAX));
    let (_, session) = UnixStream::pair().unwrap();
    let error = Launcher::new(crate::support::fixture()).unwrap().launch(&policy, session.into()).unwrap_err();
    assert!(error.to_string().contains("limit POLICY_BYTES_MAX"), "{error}");
}

#[test]
fn a_missing_launcher_is_named() {
    let (_, session) = UnixStream::pair().unwrap();
    let error = Launcher::new("/nowhere/bulkhead".into()).unwrap().launch(&shell("true"), session.into()).unwrap_err();
    assert!(matches!(error, LaunchError::Spawn { .. }));
    assert_eq!(
        error.to_string(),
        "cannot execute the launcher `/nowhere/bulkhead`: No such file or directory (os error 2)"
    );
}

#[test]
fn by_hand_it_explains_itself() {
    #[expect(clippy::disallowed_methods, reason = "the test plays the user at the terminal")]
    let output = std::process::Command::new(crate::support::fixture()).arg("__launch").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be used by hand"));
}
