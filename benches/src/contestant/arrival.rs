//! What a call begins with.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::Error;

/// Something that arrives from outside, through the runtime's I/O driver, as a request or a write does in a server. A call that
/// began in the tail of the one before, or after a yield, would find the runtime in another state than a server's.
pub(crate) struct Arrival {
    world: UnixStream,
    door: UnixStream,
}

impl Arrival {
    /// A world that is silent.
    pub(crate) fn new() -> Result<Self, Error> {
        let (world, door) = UnixStream::pair()?;
        Ok(Self { world, door })
    }

    /// Sends something and waits until it has arrived.
    pub(crate) async fn next(&mut self) -> Result<(), Error> {
        self.world.write_all(b"!").await?;
        // With room for more than there is, so that the socket is known to be empty afterwards and the next wait is one.
        match self.door.read(&mut [0; 2]).await? {
            1 => Ok(()),
            count => Err(format!("{count} bytes arrived instead of one").into()),
        }
    }
}
