//! Bulkhead's wire: the protobuf packages and the code generated from them.
//!
//! The packages, by who talks to whom:
//! - [`types`]: events that go into a plugin, effects and outcomes that come out;
//! - [`runner`]: the API that a host server uses to delegate plugin execution;
//! - [`host`]: the API that the runner uses to reach back into the host;
//! - [`worker`]: the session between the runner and one worker process.

#![deny(missing_docs)]

mod socket;

/// Version of `bulkhead.worker.v1` that this build speaks. Both ends ship together; the number is
/// compared at the start of a session so that a stale worker package is refused by name.
pub const WORKER_PROTOCOL_VERSION: u32 = 2;

/// The connection between runner and worker: HTTP/2 on a socketpair, with the same sizes on both ends.
pub mod transport {
    pub use crate::socket::SessionSocket;

    /// Largest HTTP/2 frame, bytes. At 1 MiB an Arrow payload of 1 MB crosses in about a third of the
    /// time that the protocol's default of 16 KiB takes; larger frames were not faster.
    pub const FRAME_BYTES_MAX: u32 = 1 << 20;
    /// Flow-control window of one stream, bytes. It is memory that the receiver promises to buffer.
    pub const STREAM_WINDOW_BYTES: u32 = 16 << 20;
    /// Flow-control window of the connection, bytes.
    pub const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
    /// Largest single message, bytes. Payloads are split by rows to stay well below.
    pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
    /// Size at which a payload is split into several messages, bytes. One message of 100 MB was seen to
    /// take more than twice the time of the same bytes in parts of this size.
    pub const PAYLOAD_PART_BYTES: usize = 8 << 20;
    /// Variables that a worker tells its plugin has looked for in vain: more than any author reads about.
    pub const VARIABLES_MISSING_MAX: usize = 32;
    /// Longest name of such a variable, bytes; longer ones are not told.
    pub const VARIABLE_NAME_BYTES_MAX: usize = 256;
}

/// Events and effects, `bulkhead.types.v1`.
pub mod types {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("bulkhead.types.v1");
    }
}

/// The runner's API for host servers, `bulkhead.runner.v1`.
pub mod runner {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("bulkhead.runner.v1");
    }
}

/// The host's API for the runner, `bulkhead.host.v1`.
pub mod host {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("bulkhead.host.v1");
    }
}

/// The session between runner and worker, `bulkhead.worker.v1`.
pub mod worker {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("bulkhead.worker.v1");
    }
}
