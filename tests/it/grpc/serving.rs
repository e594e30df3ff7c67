//! The socket, the HTTP API beside it, and what outlives the process.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use bulkhead_proto::runner::v1 as wire;

use super::client::{all_tables, derive, files, json, path, request, response, trigger, with_arguments};
use super::host::{Reply, answer};
use super::{Delegation, connect, rows, socket_of, soon};
use crate::world::{Client as Http, Request, Setup, until_true};

#[tokio::test(flavor = "multi_thread")]
async fn the_http_api_of_a_delegating_runner_has_plugins_and_no_data() {
    let delegation = Delegation::start();
    let http = delegation.runner.client();
    http.get("/health").is(200, "OK");
    let explained = "this runner holds no data: it serves a host over gRPC; write and administer databases there";
    http.send(&Http::write_request("db", "weather value=1")).contains(501, explained);
    http.get("/api/v3/configure/database?format=json").contains(501, explained);
    http.post_json("/api/v3/configure/database", &serde_json::json!({ "db": "db" })).contains(501, explained);

    let mut client = delegation.client().await;
    client.create(with_arguments(trigger("r", request(), path("a/b")), &[("k", "v")])).await;
    let asked = Request::new("POST", "/api/v3/engine/a/b").query("do", "echo").header("x-two", "2").body("hi");
    let answered = http.send(&asked);
    assert_eq!((answered.status, answered.header("x-answer")), (201, "42"));
    let seen = answered.json();
    assert_eq!(
        (&seen["query"]["do"], &seen["headers"]["x-two"], &seen["body"]),
        (&"echo".into(), &"2".into(), &"6869".into())
    );
    assert_eq!(seen["args"]["k"], "v");
    http.get("/api/v3/engine/a/b?do=fail").contains(500, "Python function call failed: ValueError: the plugin gave up");
    http.get("/api/v3/engine/nobody").is(404, r#"{"error":"not found"}"#);
    http.get("/api/v3/engine/a/b?do=write").is(200, "returned");
    assert_eq!(delegation.host.lines(), ["later x=1i"]);

    // A person's query goes to the host as well, on nobody's behalf.
    delegation.host.on_query(|_| Reply::Done(answer(&[rows::values(&[7.0])])));
    let rows = http.query_in("db", "SELECT value FROM weather");
    assert_eq!(rows[0]["value"], 7.0);
    assert_eq!(delegation.host.queries()[0].trigger, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_and_their_files_outlive_the_runner() {
    let mut delegation = Delegation::start();
    let mut client = delegation.client().await;
    let package = files(
        "p",
        &[
            ("p/__init__.py", "from .request import process_request\n"),
            ("p/request.py", include_str!("../../plugins/grpc_request.py")),
        ],
    );
    client.create(with_arguments(trigger("package", package, path("p")), &[("k", "v")])).await;
    client.create(trigger("rows", derive(), all_tables())).await;
    client.create(wire::Trigger { disabled: true, ..trigger("off", request(), path("off")) }).await;
    client.call("package", &[("do", "echo")], b"").await;
    let names = client.list(0, "").await.0;
    let before = [client.get("package").await, client.get("rows").await, client.get("off").await];
    for by_force in [false, true] {
        if by_force {
            delegation.runner.kill()
        } else {
            delegation.runner.stop()
        }
        delegation.runner.restart();
        client = delegation.client().await;
        assert_eq!(client.list(0, "").await.0, names);
        assert_eq!([client.get("package").await, client.get("rows").await, client.get("off").await], before);
        let seen = json(&response(client.call("package", &[("do", "echo")], b"").await));
        assert_eq!(seen["args"]["k"], "v");
        let mut stream = client.stream().await;
        let number = 1 + u64::from(by_force);
        stream.send(rows::commit("db", number, "weather", &[1.0])).await;
        stream.acks_up_to("db", number).await;
        delegation.host.until_applied(usize::try_from(number).unwrap());
    }
    assert_eq!(delegation.host.lines().len(), 2);
    drop(client);
    delegation.runner.stop_leaving_nothing();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_belongs_to_its_owner_and_to_one_runner() {
    let mut delegation = Delegation::start();
    let mut client = delegation.client().await;
    let socket = delegation.socket();
    let metadata = std::fs::symlink_metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);

    // A second runner is refused, and the first one does not notice.
    let address = format!("unix:{}", socket.display());
    let second = Setup::new().args(&["--grpc-bind", &address]);
    let refused = second.run();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains(&format!("{}: another process listens there", socket.display())), "{refused:?}");
    client.runner().await;
    connect(&socket).await;

    // A socket that a killed runner left behind is replaced.
    delegation.runner.kill();
    assert!(socket.exists());
    delegation.runner.restart();
    delegation.client().await.runner().await;

    // With a host connected, but with nothing under way, a stop takes the socket along.
    delegation.runner.stop();
    assert!(!socket.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_takes_the_socket_along_while_a_host_streams() {
    let mut delegation = Delegation::start();
    let mut client = delegation.client().await;
    client.create(trigger("all", derive(), all_tables())).await;
    let mut stream = client.stream().await;
    stream.send(rows::commit("db", 1, "weather", &[1.0])).await;
    stream.acks_up_to("db", 1).await;
    delegation.runner.stop();
    assert!(!matches!(stream.next().await, Ok(Some(_))));
    assert!(!delegation.socket().exists(), "the socket is left behind");
    delegation.runner.assert_no_process();
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_cannot_be_are_refused() {
    let setup = Setup::new();
    let file = socket_of(setup.root());
    std::fs::write(&file, "precious").unwrap();
    let taken = format!("unix:{}", file.display());
    let refused = setup.args(&["--grpc-bind", &taken]).run();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains(file.to_str().unwrap()), "{refused:?}");

    for (arguments, expected) in [
        (&["--grpc-bind", "0.0.0.0:7007"][..], "loopback"),
        (&["--grpc-bind", "unix:"], "the socket path is empty"),
        (&["--grpc-bind", "somewhere"], "neither"),
        (&["--host", "grpc"], "--host-address"),
        (&["--host", "grpc", "--host-address", "nowhere"], "neither"),
    ] {
        let refused = Setup::new().args(arguments).run();
        assert_eq!(refused.code, Some(2), "{arguments:?}: {refused:?}");
        assert!(refused.stderr.contains(expected), "{arguments:?}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_serves_hosts_on_a_loopback_port_too() {
    // The port is free for the moment; another process may take it, and then the next one is tried.
    let mut tries = 0;
    let (runner, address) = loop {
        tries += 1;
        assert!(tries < 20, "no port is free");
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let runner = Setup::new().args(&["--grpc-bind", &address.to_string()]).start();
        until_true("it serves or complains", || {
            std::net::TcpStream::connect(address).is_ok() || runner.stderr().contains("gRPC address")
        });
        if !runner.stderr().contains("gRPC address") {
            break (runner, address);
        }
    };
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    let channel = soon("a connection", endpoint.connect()).await.unwrap();
    let mut calls = wire::runner_service_client::RunnerServiceClient::new(channel);
    let answer = calls.get_runner(wire::GetRunnerRequest {}).await.unwrap().into_inner();
    assert_eq!(answer.version, env!("CARGO_PKG_VERSION"));
    drop((calls, runner));
}
