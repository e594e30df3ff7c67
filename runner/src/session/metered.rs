//! The socket of a session with a meter on what comes in.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bulkhead_proto::transport::SessionSocket;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::meter::{FrameMeter, WireViolation};

/// What was wrong with a connection, once something was.
#[derive(Debug, Clone, Default)]
pub struct Verdict(Arc<OnceLock<WireViolation>>);

impl Verdict {
    /// What was wrong.
    #[must_use]
    pub fn violation(&self) -> Option<&WireViolation> {
        self.0.get()
    }
}

/// A socket whose reads fail for good with the first violation.
#[derive(Debug)]
pub(super) struct Metered {
    socket: SessionSocket,
    meter: FrameMeter,
    verdict: Verdict,
}

impl Metered {
    pub(super) fn new(socket: SessionSocket) -> (Self, Verdict) {
        let verdict = Verdict::default();
        (Self { socket, meter: FrameMeter::default(), verdict: verdict.clone() }, verdict)
    }
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(context, buffer))?;
        let new = buffer.filled().get(before..).unwrap_or_default();
        if let Err(violation) = this.meter.take_in(new, Instant::now()) {
            buffer.set_filled(before);
            // The first one counts.
            let _ = this.verdict.0.set(violation.clone());
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, violation)));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}
