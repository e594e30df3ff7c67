//! Compiles the protobuf packages with protox, a protobuf compiler in Rust: no `protoc` to install.

const FILES: [&str; 5] = [
    "bulkhead/types/v1/event.proto",
    "bulkhead/types/v1/effect.proto",
    "bulkhead/runner/v1/runner_service.proto",
    "bulkhead/host/v1/host_service.proto",
    "bulkhead/worker/v1/worker_service.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = protox::compile(FILES, ["."])?;
    tonic_prost_build::configure()
        // `Bytes` instead of `Vec<u8>`: an Arrow payload is received without a copy.
        .bytes(".")
        // Sorted maps, so that the same message always encodes to the same bytes.
        .btree_map(".")
        .compile_fds(descriptors)?;
    for file in FILES {
        println!("cargo:rerun-if-changed={file}");
    }
    Ok(())
}
