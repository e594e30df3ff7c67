//! A dozen small attacks that need no interpreter: what `bulkhead doctor` runs in a sandbox without any grant.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::sys::signal::kill;
use nix::unistd::{Pid, Uid, chroot, setuid};

/// First argument that turns the binary into a probe: `main` calls [`probe_main`] when it sees it.
pub const PROBE_ARGUMENT: &str = "__probe";

/// What a probe is told about the host: something that it must not reach.
#[derive(Debug, Clone, Copy)]
pub struct ProbeTargets {
    /// A listener of the host.
    pub listener: SocketAddr,
    /// A process of the host.
    pub victim: i32,
}

impl ProbeTargets {
    /// The arguments of the probe.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        vec![PROBE_ARGUMENT.to_owned(), self.listener.to_string(), self.victim.to_string()]
    }
}

/// The result of one attack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeResult {
    /// What was tried.
    pub attack: String,
    /// Why it failed; nothing when it succeeded, which it should not have.
    pub refused: Option<String>,
}

/// Reads what a probe has written.
#[must_use]
pub fn read_probe(output: &str) -> Vec<ProbeResult> {
    let result = |line: &str| {
        let (attack, refused) = line.split_once('\t')?;
        let refused = (!refused.is_empty()).then(|| refused.to_owned());
        Some(ProbeResult { attack: attack.to_owned(), refused })
    };
    output.lines().filter_map(result).collect()
}

/// Tries every attack and writes a line for each. It exits with success whatever comes of them.
#[must_use]
pub fn probe_main() -> ExitCode {
    let mut arguments = std::env::args().skip(2);
    let listener = arguments.next().and_then(|text| text.parse().ok());
    let victim = arguments.next().and_then(|text| text.parse().ok());
    let (Some(listener), Some(victim)) = (listener, victim) else { return ExitCode::FAILURE };
    let mut stdout = io::stdout().lock();
    for (attack, result) in attacks(ProbeTargets { listener, victim }) {
        let refused = result.err().map(|error| error.to_string()).unwrap_or_default();
        if writeln!(stdout, "{attack}\t{refused}").is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn attacks(targets: ProbeTargets) -> Vec<(&'static str, io::Result<()>)> {
    let victim = Pid::from_raw(targets.victim);
    let written = "/usr/bulkhead-doctor-was-here";
    vec![
        ("read the host's passwords", File::open("/etc/shadow").map(drop)),
        ("list home directories", fs::read_dir("/home").map(drop).and(fs::read_dir("/root").map(drop))),
        ("write to the system", fs::write(written, "").and_then(|()| fs::remove_file(written))),
        (
            "connect to a server of this machine",
            TcpStream::connect_timeout(&targets.listener, Duration::from_secs(2)).map(drop),
        ),
        (
            "send a datagram",
            UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"x", "127.0.0.1:9")).map(drop),
        ),
        ("make a Unix socket", UnixListener::bind("/tmp/bulkhead-doctor.sock").map(drop)),
        ("see another process", kill(victim, None).map_err(io::Error::from)),
        ("read another process's environment", fs::read(format!("/proc/{victim}/environ")).map(drop)),
        (
            "mount a file system",
            mount(None::<&str>, "/tmp", Some("tmpfs"), MsFlags::empty(), None::<&str>).map_err(io::Error::from),
        ),
        ("make a namespace", unshare(CloneFlags::CLONE_NEWUSER).map_err(io::Error::from)),
        ("change the root directory", chroot("/tmp").map_err(io::Error::from)),
        ("become root", setuid(Uid::from_raw(0)).map_err(io::Error::from)),
        (
            "make memory outside of every account",
            memfd_create(OsStr::new("x"), MFdFlags::empty()).map(drop).map_err(io::Error::from),
        ),
        ("raise a limit", setrlimit(Resource::RLIMIT_NOFILE, RLIM_INFINITY, RLIM_INFINITY).map_err(io::Error::from)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_as_they_are_written() {
        let results = read_probe("a b\tdenied\nc\t\nnoise\n");
        assert_eq!(results.len(), 2);
        assert_eq!(results[0], ProbeResult { attack: "a b".into(), refused: Some("denied".into()) });
        assert_eq!(results[1].refused, None);
    }
}
