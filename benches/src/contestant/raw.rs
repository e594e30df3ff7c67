//! The floor: a byte message to a Python child and back over a socketpair, with blocking calls on both sides; the child as it is,
//! and in the sandbox of a worker.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bulkhead::supervisor::free_user;
use bulkhead_launcher::{
    Access, LaunchPolicy, Launched, Launcher, Network, PathGrant, Sandbox, SeccompProfile, seccomp_filters,
};
use futures_util::future::BoxFuture;

use crate::Error;
use crate::contest::Contestant;
use crate::python;

/// Bytes of a message, about those of a no-op call.
const MESSAGE_BYTES: usize = 64;

/// A child that echoes.
pub(crate) struct RawEcho {
    socket: Arc<Mutex<UnixStream>>,
    child: Echo,
}

/// Who echoes. Dropping a launched one ends it.
enum Echo {
    Child(Child),
    Launched { _process: Launched },
}

/// Bytes of `/tmp` and `/dev/shm` in its sandbox, which it does not use.
const SCRATCH_BYTES: u64 = 1 << 20;

impl RawEcho {
    /// Starts the child.
    #[expect(clippy::disallowed_methods, reason = "the rung is about a child without a launcher around it")]
    pub(crate) fn start() -> Result<Self, Error> {
        let (ours, theirs) = UnixStream::pair()?;
        let child = Command::new(python::PROGRAM.unwrap_or("python3"))
            .args(["-I", "-c", python::ECHO])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()?;
        Ok(Self { socket: Arc::new(Mutex::new(ours)), child: Echo::Child(child) })
    }

    /// Starts the child in a sandbox without any grant, whose directory for temporary files would be `scratch`.
    pub(crate) fn confined(scratch: &Path) -> Result<Self, Error> {
        let (ours, theirs) = UnixStream::pair()?;
        let program = Path::new(python::PROGRAM.unwrap_or("/usr/bin/python3")).canonicalize()?;
        let prefix = program.parent().and_then(Path::parent).unwrap_or(Path::new("/usr"));
        let profile = SeccompProfile { subprocesses: false, internet_sockets: false, forks_workers: false };
        let mut policy = LaunchPolicy::new(&program, "/");
        policy.args = vec!["-I".to_owned(), "-c".to_owned(), python::ECHO.replace("fileno=0", "fileno=3")];
        policy.sandbox = Some(Sandbox {
            paths: vec![PathGrant::new(prefix, Access::Execute)],
            network: Network::None,
            subprocesses: false,
            tmp_bytes: SCRATCH_BYTES,
            shm_bytes: SCRATCH_BYTES,
            scratch: scratch.to_owned(),
            user: Some(free_user()),
            filters: seccomp_filters(profile)?,
            emulate: None,
        });
        let process = Launcher::of_this_binary()?.launch(&policy, theirs.into())?;
        Ok(Self { socket: Arc::new(Mutex::new(ours)), child: Echo::Launched { _process: process } })
    }
}

impl Contestant for RawEcho {
    fn batch(&mut self, calls: usize) -> BoxFuture<'_, Result<Vec<Duration>, Error>> {
        let socket = Arc::clone(&self.socket);
        let body = move || {
            let mut socket = socket.lock().unwrap_or_else(PoisonError::into_inner);
            (0..calls).map(|_| round_trip(&mut socket)).collect::<std::io::Result<Vec<_>>>()
        };
        // One hop to a thread that may block, outside of the times.
        Box::pin(async { Ok(tokio::task::spawn_blocking(body).await??) })
    }
}

fn round_trip(socket: &mut UnixStream) -> std::io::Result<Duration> {
    let mut message = [7; MESSAGE_BYTES];
    let begun = Instant::now();
    socket.write_all(&message)?;
    socket.read_exact(&mut message)?;
    Ok(begun.elapsed())
}

impl Drop for RawEcho {
    fn drop(&mut self) {
        if let Echo::Child(child) = &mut self.child {
            // A child that has ended by itself is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
