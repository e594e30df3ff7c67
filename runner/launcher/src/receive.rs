//! Reading a socket together with the descriptors that come along.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::raw;
use crate::sandbox::network::ENDPOINTS_MAX;

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
