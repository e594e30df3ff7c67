//! What a worker finds around itself.

use bulkhead_launcher::{LaunchPolicy, describe_exit};
use std::io::{Read, Write};

use crate::support::{Worker, python, shell};

fn output(policy: &LaunchPolicy) -> String {
    let remains = Worker::launch(policy).remains();
    assert_eq!(describe_exit(remains.status()).to_string(), "exit code 0", "{}", remains.stderr);
    remains.stdout
}

#[test]
fn the_environment_is_what_was_given_and_nothing_else() {
    let mut policy = LaunchPolicy::new("/usr/bin/env", "/");
    policy.env.insert("B".into(), "two words".into());
    policy.env.insert("A".into(), "ünïcode".into());
    assert_eq!(output(&policy), "A=ünïcode\nB=two words\n");
}

#[test]
fn only_the_four_descriptors_are_open() {
    // A descriptor that the runner forgot to close at exec must not get through either.
    let forgotten = std::fs::File::open("/dev/null").unwrap();
    nix::fcntl::fcntl(&forgotten, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    // The listing itself opens the descriptor 4 and shows it.
    let script =
        "import os; print(sorted(int(fd) for fd in os.listdir('/proc/self/fd')), os.readlink('/proc/self/fd/0'))";
    assert_eq!(output(&python(script)), "[0, 1, 2, 3, 4] /dev/null\n");
}

#[test]
fn descriptor_3_is_the_session() {
    let script = "import socket; s = socket.socket(fileno=3); s.sendall(b'hello ' + s.recv(5)); s.close()";
    let mut worker = Worker::launch(&python(script));
    worker.session.write_all(b"world").unwrap();
    let mut text = String::new();
    worker.session.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello world");
    assert_eq!(worker.remains().status(), 0);
}

#[test]
fn standard_input_is_empty() {
    assert_eq!(output(&shell("cat; echo end")), "end\n");
}

#[test]
fn the_worker_leads_its_own_session_without_a_terminal() {
    let script = "import os; p = os.getpid(); print(os.getsid(0) == p, os.getpgid(0) == p); open('/dev/tty')";
    let remains = Worker::launch(&python(script)).remains();
    assert_eq!(remains.stdout, "True True\n");
    assert!(remains.stderr.contains("'/dev/tty'"), "{}", remains.stderr);
}

#[test]
fn privileges_cannot_be_gained_and_signals_are_as_by_default() {
    // Python ignores SIGPIPE and SIGXFSZ for itself, so a shell looks.
    let status = output(&shell("cat /proc/self/status"));
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("missing").trim().to_owned();
    assert_eq!(field("NoNewPrivs:"), "1");
    // The C library keeps the signals 32 and 33 for itself and lets nobody change them; whoever started the
    // tests may ignore them.
    let of_the_c_library = 0b11 << 31;
    for set in ["SigBlk:", "SigIgn:", "SigCgt:"] {
        assert_eq!(u64::from_str_radix(&field(set), 16).unwrap() & !of_the_c_library, 0, "{set}");
    }
}

#[test]
fn limits_mask_directory_and_scores_apply_and_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut policy = python(
        "import os, resource as r\n\
         for n in ('CORE', 'NOFILE', 'FSIZE', 'DATA', 'CPU', 'MEMLOCK', 'AS'): print(n, *r.getrlimit(getattr(r, 'RLIMIT_' + n)))\n\
         print(oct(os.umask(0)), os.getcwd(), open('/proc/self/oom_score_adj').read().strip(), os.nice(0))",
    );
    policy.cwd = dir.path().canonicalize().unwrap();
    policy.umask = 0o027;
    policy.nice = Some(5);
    policy.resources.open_files = Some(99);
    policy.resources.cpu_seconds = Some(50);
    let mut worker = Worker::launch(&policy);
    let (_, enforced) = worker.started();
    let stdout = worker.remains().stdout;
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(
        lines[..5],
        ["CORE 0 0", "NOFILE 99 99", "FSIZE 268435456 268435456", "DATA 805306368 805306368", "CPU 50 52"]
    );
    assert_eq!(lines[7], format!("0o27 {} 1000 5", policy.cwd.display()));
    for layer in [
        "no_new_privs",
        "open_files=99",
        "core_bytes=0",
        "umask=027",
        "oom_score_adj=1000",
        "nice=5",
        "subreaper",
        "descriptors",
    ] {
        assert!(enforced.iter().any(|name| name == layer), "{layer} is not in {enforced:?}");
    }
}

#[test]
fn a_limit_above_the_runners_own_is_lowered_and_reported_as_it_is() {
    let mut policy = shell("ulimit -n");
    policy.resources.open_files = Some(u64::MAX / 2);
    let mut worker = Worker::launch(&policy);
    let (_, enforced) = worker.started();
    let stdout = worker.remains().stdout;
    assert!(enforced.contains(&format!("open_files={}", stdout.trim())), "{stdout} {enforced:?}");
}

#[test]
fn the_memory_limit_is_an_exception_in_python() {
    let remains = Worker::launch(&python("bytearray(1 << 30)")).remains();
    assert!(remains.stderr.contains("MemoryError"), "{}", remains.stderr);
}

#[test]
fn the_cpu_limit_names_its_signal() {
    let mut policy = python("while True: pass");
    policy.resources.cpu_seconds = Some(1);
    let exit = describe_exit(Worker::launch(&policy).remains().status()).to_string();
    assert_eq!(exit, "signal 24 (SIGXCPU)");
}

#[test]
fn a_priority_that_is_not_granted_is_reported_as_missing() {
    let mut policy = shell("true");
    policy.oom_score_adj = Some(5000);
    let mut worker = Worker::launch(&policy);
    let Some(bulkhead_launcher::Report::Started { missing, .. }) = worker.report() else { panic!("not started") };
    assert_eq!(missing, ["oom_score_adj=5000: Invalid argument (os error 22)"]);
    assert_eq!(worker.remains().status(), 0);
}
