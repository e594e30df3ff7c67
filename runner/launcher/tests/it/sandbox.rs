//! What a confined worker can see and do, in the best tier of this machine and in the one without namespaces.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bulkhead_launcher::{
    Access, Emulation, Endpoint, LaunchPolicy, Network, PathGrant, Report, Sandbox, SeccompProfile, Step,
    describe_exit, receive_with, seccomp_filters,
};
use nix::unistd::geteuid;
use tempfile::TempDir;

use crate::support::{Worker, alive, python, wait_until};

/// A directory that everybody may enter, for a worker that has another user.
fn directory() -> TempDir {
    let directory = tempfile::Builder::new().prefix("bulkhead-sandbox-").tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// A Python script in a sandbox with these grants. The interpreter is the system's, which everybody may use.
struct Case {
    policy: LaunchPolicy,
    directory: TempDir,
}

impl Case {
    fn new(script: &str) -> Self {
        Self::with(script, |_| ())
    }

    fn with(script: &str, change: impl FnOnce(&mut Sandbox)) -> Self {
        let directory = directory();
        let mut policy = python(script);
        policy.program = "/usr/bin/python3".into();
        policy.args = vec!["-I".into(), "-c".into(), script.into()];
        let mut sandbox = Sandbox {
            paths: Vec::new(),
            network: Network::None,
            subprocesses: false,
            tmp_bytes: 8 << 20,
            shm_bytes: 8 << 20,
            scratch: directory.path().join("scratch"),
            user: geteuid().is_root().then(fresh_user),
            filters: Vec::new(),
            emulate: None,
        };
        change(&mut sandbox);
        let profile = SeccompProfile {
            subprocesses: sandbox.subprocesses,
            internet_sockets: sandbox.network != Network::None,
            forks_workers: false,
        };
        sandbox.filters = seccomp_filters(profile).unwrap();
        policy.sandbox = Some(sandbox);
        Self { policy, directory }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Runs it in this machine's best tier and in the one without namespaces, which must give the same.
    #[track_caller]
    fn prints(&self, expected: &str) {
        for emulate in [None, Some(Emulation::Container)] {
            self.prints_under(emulate, expected);
        }
    }

    #[track_caller]
    fn prints_under(&self, emulate: Option<Emulation>, expected: &str) {
        let mut policy = self.policy.clone();
        policy.sandbox.as_mut().unwrap().emulate = emulate;
        let remains = Worker::launch(&policy).remains();
        assert_eq!(remains.stdout, expected, "under {emulate:?}: {remains:?}");
        assert_eq!(describe_exit(remains.status()).to_string(), "exit code 0", "under {emulate:?}: {remains:?}");
    }
}

/// A user that nobody else has.
fn fresh_user() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    0x7800_0000 + std::process::id() * 256 % 0x0100_0000 + NEXT.fetch_add(1, Ordering::Relaxed) % 256
}

/// Python that says what becomes of a call.
const TRY: &str = r"
import os, sys
def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
        print('done')
    except OSError as error:
        print(type(error).__name__)
";

#[test]
fn a_start_that_is_given_up_says_so_and_not_that_something_has_ended() {
    for _ in 0..5 {
        let case = Case::new("print('started')");
        let worker = Worker::launch(&case.policy);
        // Mostly before process 1 is ready.
        worker.close_control_for_writing();
        match worker.remains().report {
            Report::Failed { step: Step::Namespaces, error } => {
                assert_eq!(error, "the runner has given up the start before process 1 was ready");
            }
            // It had become ready, and was killed before the program ran.
            Report::Failed { step: Step::Exec, error } => {
                assert_eq!(error, "the worker died before it could execute the program");
            }
            Report::Exited { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    Case::new("print('a neighbour')").prints("a neighbour\n");
}

#[test]
fn what_was_not_granted_is_not_there() {
    let secret = directory();
    fs::write(secret.path().join("secret"), "secret").unwrap();
    let script = format!("{TRY}attempt(open, {:?})", secret.path().join("secret"));
    let case = Case::new(&script);
    case.prints_under(None, "FileNotFoundError\n");
    case.prints_under(Some(Emulation::Container), "PermissionError\n");
}

#[test]
fn a_granted_file_can_be_read_and_not_written_also_by_its_links_name() {
    let files = directory();
    let (file, link) = (files.path().join("file"), files.path().join("link"));
    fs::write(&file, "text").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let script = format!("print(open({link:?}).read())\ntry: open({file:?}, 'a')\nexcept OSError: print('refused')");
    let case = Case::with(&script, |sandbox| sandbox.paths.push(PathGrant::new(&link, Access::Read)));
    case.prints("text\nrefused\n");
    assert_eq!(fs::read_to_string(&file).unwrap(), "text");
}

#[test]
fn a_directory_can_be_granted_for_writing_and_keeps_its_owner() {
    let files = directory();
    let script = format!("open({:?}, 'w').write('written')\nprint('done')", files.path().join("new"));
    let case = Case::with(&script, |sandbox| sandbox.paths.push(PathGrant::new(files.path(), Access::Write)));
    case.prints_under(None, "done\n");
    assert_eq!(fs::read_to_string(files.path().join("new")).unwrap(), "written");
    let owner = |path: &Path| std::os::unix::fs::MetadataExt::uid(&fs::metadata(path).unwrap());
    assert_eq!(owner(&files.path().join("new")), owner(files.path()));
}

#[test]
fn what_is_granted_in_the_other_temporary_directory_is_there_and_nothing_comes_into_being_outside() {
    let files = tempfile::Builder::new().prefix("bulkhead-sandbox-").tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(files.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(files.path().join("in"), "text").unwrap();
    let (read, written) = (files.path().join("in"), files.path().join("out"));
    let script = format!("print(open({read:?}).read())\nopen({written:?}, 'w').write('new')");
    let case = Case::with(&script, |sandbox| sandbox.paths.push(PathGrant::new(files.path(), Access::Write)));
    case.prints_under(None, "text\n");
    assert_eq!(fs::read_to_string(written).unwrap(), "new");
    let name = files.path().file_name().unwrap();
    assert!(!Path::new("/tmp").join(name).exists());
}

#[test]
fn a_granted_path_that_is_not_there_is_named() {
    let case = Case::with("", |sandbox| sandbox.paths.push(PathGrant::new("/nowhere/data", Access::Read)));
    match Worker::launch(&case.policy).remains().report {
        Report::Failed { step: Step::Root, error } => {
            assert_eq!(error, "`/nowhere/data` was granted and cannot be used: No such file or directory (os error 2)");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn temporary_files_have_a_place_of_a_bounded_size_and_nothing_is_executed_there() {
    let script = format!(
        "{TRY}import tempfile
with tempfile.NamedTemporaryFile(dir='/tmp') as file: file.write(b'x')
def fill():
    with open('/tmp/big', 'wb') as file:
        for _ in range(64): file.write(bytes(1 << 20))
attempt(fill)
os.unlink('/tmp/big')
import shutil; shutil.copy('/bin/true', '/tmp/true'); os.chmod('/tmp/true', 0o755)
attempt(os.execv, '/tmp/true', ['true'])
print(os.environ['HOME'], os.environ['TMPDIR'], sorted(os.listdir('/dev')), os.path.exists('/etc/shadow'))"
    );
    Case::new(&script).prints_under(
        None,
        "OSError\nPermissionError\n/tmp /tmp ['fd', 'full', 'null', 'random', 'shm', 'stderr', 'stdin', 'stdout', 'urandom', 'zero'] False\n",
    );
}

#[test]
fn without_namespaces_temporary_files_lie_in_the_scratch_directory() {
    let script = format!(
        "{TRY}import tempfile
with tempfile.NamedTemporaryFile() as file: print(os.path.dirname(file.name) == os.environ['TMPDIR'] == os.environ['HOME'])
attempt(open, '/tmp/elsewhere-of-bulkhead', 'w')"
    );
    let case = Case::new(&script);
    case.prints_under(Some(Emulation::Container), "True\nPermissionError\n");
    assert!(case.path().join("scratch").is_dir());
}

#[test]
fn the_kernel_confirms_what_is_reported() {
    let script = "print(*[line.split(':')[1].strip() for line in open('/proc/self/status') \
                  if line.startswith(('NoNewPrivs', 'CapEff', 'CapPrm', 'CapBnd', 'Seccomp:'))])";
    let case = Case::new(script);
    let zeros = "0000000000000000";
    case.prints_under(None, &format!("{zeros} {zeros} {zeros} 1 2\n"));
    let mut worker = Worker::launch(&case.policy);
    let (_, enforced) = worker.started();
    for layer in [
        "mount_namespace",
        "pid_namespace",
        "network_namespace",
        "root=own,read_only",
        "no_new_privs",
        "seccomp=allow_list",
        "proc=own",
    ] {
        assert!(enforced.iter().any(|name| name == layer), "{layer} is not in {enforced:?}");
    }
    assert!(enforced.iter().any(|name| name.starts_with("landlock=")), "{enforced:?}");
    worker.remains();
}

#[test]
fn what_the_environment_denies_is_reported_as_missing() {
    for emulation in [Emulation::Container, Emulation::RestrictNamespaces] {
        let case = Case::with("", |sandbox| sandbox.emulate = Some(emulation));
        let mut worker = Worker::launch(&case.policy);
        let Some(Report::Started { enforced, missing, .. }) = worker.report() else { panic!("not started") };
        assert!(
            missing.iter().any(|layer| layer == "namespaces: clone: Operation not permitted (os error 1)"),
            "{missing:?}"
        );
        assert!(!enforced.iter().any(|layer| layer.ends_with("_namespace")), "{enforced:?}");
        worker.remains();
    }
}

#[test]
fn below_the_minimum_nothing_starts_and_the_remedy_is_told() {
    let case = Case::with("print('ran')", |sandbox| sandbox.emulate = Some(Emulation::ContainerWithoutLandlock));
    let remains = Worker::launch(&case.policy).remains();
    assert_eq!(remains.stdout, "");
    let Report::Failed { step: Step::Minimum, error } = remains.report else { panic!("{remains:?}") };
    assert!(error.contains("neither a mount namespace nor Landlock") && error.contains("lsm=landlock"), "{error}");
}

#[test]
fn without_landlock_the_own_root_is_enough() {
    let case = Case::new(&format!("{TRY}attempt(open, '/etc/shadow')"));
    case.prints_under(Some(Emulation::NoLandlock), "FileNotFoundError\n");
}

#[test]
fn neither_forks_nor_programs_nor_sockets_unless_granted() {
    let script = format!(
        "{TRY}import socket, subprocess, threading
attempt(os.fork)
attempt(subprocess.run, ['/bin/true'])
attempt(socket.socket)
thread = threading.Thread(target=print, args=('threads go',)); thread.start(); thread.join()
a, b = socket.socketpair(); a.send(b'pairs go'); print(b.recv(9).decode())"
    );
    Case::new(&script).prints("PermissionError\nPermissionError\nPermissionError\nthreads go\npairs go\n");
}

#[test]
fn granted_subprocesses_run_in_the_same_sandbox() {
    let script = "import subprocess; print(subprocess.run(['/bin/sh', '-c', 'cat /etc/shadow; echo $?'], capture_output=True, text=True).stdout.strip())";
    Case::with(script, |sandbox| sandbox.subprocesses = true).prints("1\n");
}

#[test]
fn system_calls_that_nobody_needs_are_refused() {
    let script = r"
import ctypes, platform
libc = ctypes.CDLL(None, use_errno=True)
calls = {'x86_64': {'ptrace': 101, 'mount': 165, 'bpf': 321, 'unshare': 272, 'keyctl': 250, 'memfd_create': 319, 'io_uring_setup': 425, 'userfaultfd': 323, 'nonsense': 9999, 'x32 getpid': 0x40000000 + 39},
         'aarch64': {'ptrace': 117, 'mount': 40, 'bpf': 280, 'unshare': 97, 'keyctl': 219, 'memfd_create': 279, 'io_uring_setup': 425, 'userfaultfd': 282, 'nonsense': 9999, 'x32 getpid': 9998}}
for name, number in calls[platform.machine()].items():
    result = libc.syscall(number, 0, 0, 0, 0, 0, 0)
    print(name, result, ctypes.get_errno())
";
    let refused = ["ptrace", "mount", "bpf", "unshare", "keyctl", "memfd_create", "io_uring_setup", "userfaultfd"];
    let mut expected: String = refused.iter().map(|name| format!("{name} -1 1\n")).collect();
    expected.push_str("nonsense -1 38\nx32 getpid -1 38\n");
    Case::new(script).prints(&expected);
}

#[test]
fn process_1_reports_codes_signals_and_what_it_had_to_kill() {
    let exits = |script: &str, expected: &str| {
        let case = Case::with(script, |sandbox| sandbox.subprocesses = true);
        let remains = Worker::launch(&case.policy).remains();
        assert_eq!(describe_exit(remains.status()).to_string(), expected, "{remains:?}");
        remains
    };
    exits("import sys; sys.exit(7)", "exit code 7");
    exits("import os; os.abort()", "signal 6 (SIGABRT)");
    exits("import os, signal; os.kill(os.getpid(), signal.SIGRTMIN + 3)", "signal 37 (SIGRTMIN+3)");
    let family =
        "import os, time\nfor _ in range(3):\n    if os.fork() == 0:\n        os.setsid(); time.sleep(60)\nos._exit(3)";
    assert_eq!(exits(family, "exit code 3").killed_descendants(), 3);
}

#[test]
fn the_niceness_of_a_worker_is_never_that_of_the_runners_session() {
    // Where the scheduler knows sessions.
    let own = || fs::read_to_string("/proc/self/autogroup").ok();
    let before = own();
    let mut case = Case::new("");
    case.policy.nice = Some(19);
    case.policy.args = Vec::new();
    // They end before anybody can look for them.
    for program in ["/usr/bin/true", "/usr/bin/not-there"].repeat(10) {
        case.policy.program = program.into();
        let remains = Worker::launch(&case.policy).remains();
        let is_exit = matches!(remains.report, Report::Exited { .. });
        assert_eq!(is_exit, program.ends_with("true"), "{remains:?}");
    }
    assert_eq!(own(), before);
}

#[test]
fn the_end_of_the_runner_is_the_end_of_everything_inside() {
    let script = "import os, time\nos.fork() or os.setsid(); print('up', flush=True); time.sleep(60)";
    let case = Case::with(script, |sandbox| sandbox.subprocesses = true);
    let mut worker = Worker::launch(&case.policy);
    worker.started();
    let token = worker.token.clone();
    wait_until("both are up", || alive(&token).len() == 2);
    worker.drop_control();
}

#[test]
fn a_named_endpoint_is_reached_through_the_runner_and_nothing_else_is() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let script = format!(
        "{TRY}import socket
connection = socket.create_connection(('database.example', 5432), 10)
connection.sendall(b'ping'); print(connection.recv(9).decode())
attempt(socket.create_connection, ('127.0.0.1', {}), 10)
attempt(socket.create_connection, ('192.0.2.1', 80), 10)",
        elsewhere.local_addr().unwrap().port()
    );
    let endpoint = Endpoint { host: "database.example".into(), port: 5432 };
    let case = Case::with(&script, |sandbox| sandbox.network = Network::Named(vec![endpoint]));
    let worker = Worker::launch(&case.policy);
    let [listener] = <[OwnedFd; 1]>::try_from(first_fds(&worker)).unwrap();
    let listener = TcpListener::from(listener);
    let (mut connection, _) = listener.accept().unwrap();
    let mut ping = [0; 4];
    connection.read_exact(&mut ping).unwrap();
    assert_eq!(&ping, b"ping");
    connection.write_all(b"pong").unwrap();
    let stdout = worker.remains().stdout;
    assert_eq!(stdout, "pong\nConnectionRefusedError\nOSError\n");
}

/// The descriptors that come with the first report.
fn first_fds(worker: &Worker) -> Vec<OwnedFd> {
    let control = &worker.launched.control;
    let mut fds = [nix::poll::PollFd::new(control.as_fd(), nix::poll::PollFlags::POLLIN)];
    assert_eq!(nix::poll::poll(&mut fds, 30_000u16).unwrap(), 1);
    let (_, fds) = receive_with(control, &mut [0; 16384]).unwrap();
    fds
}

#[test]
fn what_only_its_owner_may_read_can_be_granted() {
    let files = directory();
    let file = files.path().join("private");
    fs::write(&file, "text").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let case = Case::with(&format!("print(open({file:?}).read())"), |sandbox| {
        sandbox.paths.push(PathGrant::new(&file, Access::Read));
    });
    case.prints_under(None, "text\n");
}
