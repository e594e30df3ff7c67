//! The floor: a byte message to a Python child and back over a socketpair, with blocking calls on both sides.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use crate::Error;
use crate::contest::Contestant;
use crate::python;

/// Bytes of a message, about those of a no-op call.
const MESSAGE_BYTES: usize = 64;

/// A child that echoes.
pub(crate) struct RawEcho {
    socket: Arc<Mutex<UnixStream>>,
    child: Child,
}

impl RawEcho {
    /// Starts the child.
    #[expect(clippy::disallowed_methods, reason = "the rung is about a child without a launcher around it")]
    pub(crate) fn start() -> Result<Self, Error> {
        let (ours, theirs) = UnixStream::pair()?;
        let child = Command::new(python::PROGRAM.unwrap_or("python3"))
            .args(["-I", "-c", python::ECHO])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()?;
        Ok(Self { socket: Arc::new(Mutex::new(ours)), child })
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
        // A child that has ended by itself is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
