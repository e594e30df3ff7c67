//! The example of a host server, `examples/small-host`, does what its README says.

use super::socket_of;
use crate::world::Setup;

#[path = "../../../examples/small-host/src/main.rs"]
#[expect(dead_code, reason = "the test calls what the example's `main` calls")]
mod small_host;

#[tokio::test(flavor = "multi_thread")]
async fn the_small_host_delegates_its_plugins() {
    let setup = Setup::new();
    let (host, runner) = (setup.root().join("host.sock"), socket_of(setup.root()));
    let addresses = [format!("unix:{}", runner.display()), format!("unix:{}", host.display())];
    let arguments = ["--grpc-bind", &addresses[0], "--host", "grpc", "--host-address", &addresses[1]];
    let mut running = setup.args(&arguments).start();
    // It fails unless every plugin has done its part.
    small_host::run(host.clone(), runner).await.unwrap();
    assert!(!host.exists(), "the example takes its socket along");
    running.stop();
}
