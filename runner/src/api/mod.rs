//! What the runner serves: InfluxDB 3's HTTP API, and gRPC for hosts that delegate.

pub mod grpc;
pub mod http;
