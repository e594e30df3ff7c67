//! What still works inside of the sandbox: Python's own library, with namespaces and without. Packages are in
//! `environments/real.rs` and `triggers/arrow.rs`.

pub(crate) mod tls;

use std::process::Command;

use serde_json::json;

use crate::world::{DB, Setup, TestRunner, Trigger};
use tls::TlsServer;

fn runner(setup: Setup, change: impl Fn(Trigger) -> Trigger) -> TestRunner {
    let runner = setup.start();
    runner.create_database(DB);
    runner.fixture("inside.py");
    runner.create(&change(Trigger::new("p", "inside.py", "request:p")));
    runner
}

/// What the interpreter of the tests says outside of any sandbox, in the environment that workers have.
fn outside(code: &str) -> String {
    let mut python = Command::new("python3");
    python.args(["-c", code]).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    String::from_utf8(python.output().unwrap().stdout).unwrap().trim().to_owned()
}

#[test]
fn files_databases_zones_certificates_and_locales_work() {
    let berlin = "import zoneinfo; print('Europe/Berlin' in zoneinfo.available_timezones())";
    let from_system = if outside(berlin) == "True" { "2026-07-01T12:00:00+02:00" } else { "ZoneInfoNotFoundError" };
    let trusted = outside("import ssl; print(ssl.create_default_context().cert_store_stats()['x509_ca'])");
    for setup in [Setup::new(), Setup::without_namespaces()] {
        let runner = runner(setup, |trigger| trigger);
        for (what, expected) in [
            ("database", "3 X"),
            ("temporary", "['copy'] False"),
            ("zones&from=system", from_system),
            ("zones&from=nowhere", "ZoneInfoNotFoundError"),
            ("trust", trusted.as_str()),
            ("language", "UTF-8 utf-8 Thursday Ä 1.5"),
        ] {
            runner.engine(&format!("p?what={what}")).is(200, expected);
        }
        runner.stop_leaving_nothing();
    }
}

#[test]
fn programs_and_processes_work_where_they_were_granted() {
    let granted = |trigger: Trigger| trigger.setting("allow_run", json!(true));
    let runner = runner(Setup::new(), granted);
    runner.engine("p?what=program").is(200, "TEXT 3 42");
    runner.engine("p?what=processes").is(200, "said [0, 1, 4, 9] 14 7");
    runner.stop_leaving_nothing();

    let runner = self::runner(Setup::without_namespaces(), granted);
    runner.engine("p?what=program").is(200, "TEXT 3 42");
    // Python keeps locks between processes in /dev/shm, which is not the worker's own here.
    runner.engine("p?what=processes").contains(500, "PermissionError");
    runner.stop_leaving_nothing();
}

#[test]
fn a_server_is_reached_by_tls_and_only_a_certificate_that_is_trusted_counts() {
    let server = TlsServer::start();
    let runner = runner(Setup::new(), |trigger| {
        let granted = trigger.setting("allow_net", json!([format!("localhost:{}", server.port())]));
        granted.setting("allow_read", json!([server.certificate()]))
    });
    let url = format!("https://localhost:{}/", server.port());
    runner.engine(&format!("p?what=fetch&url={url}&trust={}", server.certificate().display())).is(200, "hello by TLS");
    runner.engine(&format!("p?what=fetch&url={url}")).contains(200, "self-signed certificate");
}
