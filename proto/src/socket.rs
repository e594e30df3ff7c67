//! The socket of a session.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// One end of a session's socketpair for the runtime that it was made in.
///
/// It asks the kernel for news of its send buffer only while a write waits. A Unix socket tells its peer of every read that
/// made room; an end that always listens for that is woken once more for each message, for nothing.
#[derive(Debug)]
pub struct SessionSocket {
    incoming: AsyncFd<UnixStream>,
    /// The same socket under a second number, registered while a write waits for room.
    outgoing: Option<AsyncFd<UnixStream>>,
}

impl SessionSocket {
    /// Takes over one end of a socketpair. To be called while a runtime is entered.
    ///
    /// # Errors
    /// When the kernel refuses to make it non-blocking or to watch it.
    pub fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { incoming: watch(socket, Interest::READABLE)?, outgoing: None })
    }

    fn poll_write_with(
        &mut self,
        context: &mut Context<'_>,
        mut write: impl FnMut(&UnixStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match write(self.incoming.get_ref()) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => {
                    self.outgoing = None;
                    return Poll::Ready(result);
                }
            }
            let outgoing = match &self.outgoing {
                Some(outgoing) => outgoing,
                None => {
                    let again = self.incoming.get_ref().try_clone()?;
                    self.outgoing.insert(watch(again, Interest::WRITABLE)?)
                }
            };
            ready!(outgoing.poll_write_ready(context))?.clear_ready();
        }
    }
}

#[expect(
    deprecated,
    reason = "what replaces it is unsafe, for descriptors that are closed early; a socket of the standard library is not"
)]
fn watch(socket: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    AsyncFd::with_interest(socket, interest)
}

impl AsyncRead for SessionSocket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut readiness = ready!(self.incoming.poll_read_ready(context))?;
            let room = buffer.initialize_unfilled();
            match readiness.try_io(|socket| socket.get_ref().read(room)) {
                Ok(Ok(count)) => {
                    // Less than there was room for: the socket is empty, and the next read would only find that out.
                    if count > 0 && count < room.len() {
                        readiness.clear_ready();
                    }
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for SessionSocket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_with(context, |mut socket| socket.write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_with(context, |mut socket| socket.write_vectored(parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.incoming.get_ref().shutdown(std::net::Shutdown::Write))
    }
}
