//! Reading a socket together with the descriptors that come along.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, setsockopt, sockopt};

use crate::raw;
use crate::sandbox::network::ENDPOINTS_MAX;

/// Reads once, like `read`; the process id of whoever has sent the last of these bytes comes along where the socket was told
/// to pass it on ([`pass_senders`]). The kernel vouches for it, and gives it in the reader's own pid namespace.
///
/// # Errors
/// As `recvmsg`.
pub fn receive_with_sender(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Option<i32>)> {
    let mut space = nix::cmsg_space!(UnixCredentials);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut sender = None;
    for part in message.cmsgs()? {
        match part {
            ControlMessageOwned::ScmCredentials(credentials) => sender = Some(credentials.pid()),
            // Nobody has asked for descriptors.
            ControlMessageOwned::ScmRights(received) => drop(raw::take_received(received)),
            _ => {}
        }
    }
    Ok((message.bytes, sender))
}

/// Makes a Unix socket tell who has sent what is read from it.
///
/// # Errors
/// It is none.
pub fn pass_senders(socket: impl AsFd) -> io::Result<()> {
    Ok(setsockopt(&socket, sockopt::PassCred, &true)?)
}

/// Sends bytes with descriptors, all at once.
///
/// # Errors
/// As `sendmsg`, or not all bytes could be sent at once.
pub fn send_with(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let fds: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    crate::sandbox::init::send_with(socket.as_fd().as_raw_fd(), bytes, &fds)
}

/// Reads once, like `read`; descriptors that were sent with these bytes are returned, closed at exec.
///
/// # Errors
/// As `recvmsg`; `WouldBlock` on a non-blocking socket with nothing to read.
pub fn receive_with(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; ENDPOINTS_MAX]);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut fds = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = part {
            fds.extend(raw::take_received(received));
        }
    }
    Ok((message.bytes, fds))
}
