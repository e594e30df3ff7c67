//! What a trigger is granted, and what an operator sees of the sandbox.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use crate::world::{DB, Setup, TestRunner, Trigger, run, until};

/// A runner with one plugin of this body.
fn with_plugin(body: &str) -> TestRunner {
    let runner = TestRunner::start();
    let code: String = body.lines().map(|line| format!("    {line}\n")).collect();
    runner.plugin("p.py", &format!("def process_request(api, query, headers, body, args=None):\n{code}"));
    runner
}

fn trigger() -> Trigger {
    Trigger::new("p", "p.py", "request:p")
}

#[test]
fn a_file_beside_the_plugin_is_read_once_it_was_granted() {
    let runner = with_plugin("import os\nreturn open(os.path.join(os.environ['PLUGIN_DIR'], 'config.toml')).read()");
    runner.plugin("config.toml", "threshold = 7");
    runner.create(&trigger());
    runner.engine("p").contains(500, "FileNotFoundError");
    let hint = runner.until_logged("p", "would grant");
    assert_eq!(
        hint,
        format!(
            "WARN `{}` lies outside of what was granted to this trigger; `--allow-read=config.toml` would grant reading it",
            runner.plugin_dir().join("config.toml").display()
        )
    );
    let granted = [
        "create",
        "trigger",
        "-d",
        DB,
        "--path",
        "p.py",
        "--trigger-spec",
        "request:q",
        "--allow-read",
        "config.toml",
        "q",
    ];
    assert_eq!(runner.cli(&granted).code, Some(0));
    runner.engine("q").is(200, "threshold = 7");
}

#[test]
fn a_plugin_that_catches_what_it_is_denied_finds_the_grant_in_its_log_once() {
    let body = "import urllib.request\ntry:\n    urllib.request.urlopen('http://localhost:9/')\nexcept OSError as error:\n    \
                api.error('not sent:', error)\nreturn 'went on'";
    let runner = with_plugin(body);
    runner.create(&trigger());
    for _ in 0..3 {
        runner.engine("p").is(200, "went on");
    }
    runner.until_logged("p", "`--allow-net=HOST:PORT` would grant one host");
    let hints = runner.logs("p").iter().filter(|line| line.contains("--allow-net")).count();
    assert_eq!(hints, 1, "{:?}", runner.logs("p"));
}

#[test]
fn a_variable_that_a_plugin_looks_for_in_vain_is_named_in_its_log_once() {
    // A library that looks for variables of its own is not the plugin.
    let body = "import os, urllib.request\nurllib.request.getproxies()\n\
                return [os.getenv('TOKEN'), os.environ.get('LEVEL', 'low'), 'MODE' in os.environ, 'HOME' in os.environ, \
                os.getenv('NOWHERE')]";
    let runner = with_plugin(body);
    runner.create(&trigger().setting("allow_env", json!(["NOWHERE"])));
    for _ in 0..2 {
        runner.engine("p").is(200, "[null, \"low\", false, true, null]");
    }
    let hint = |name| {
        format!(
            "INFO the environment variable {name} was not granted to this trigger; `--allow-env={name}` would grant it"
        )
    };
    let without_value = "INFO the environment variable NOWHERE was granted, but the server has none of that name";
    runner.until_logged("p", "NOWHERE");
    let told: Vec<String> = runner.logs("p").into_iter().filter(|line| line.contains("environment variable")).collect();
    assert_eq!(told, [hint("TOKEN"), hint("LEVEL"), hint("MODE"), without_value.to_owned()]);
}

#[test]
fn a_directory_is_written_to_once_it_was_granted_and_outlives_the_worker() {
    let runner = with_plugin("open(query['file'], 'a').write('line')\nreturn 'written'");
    let directory = runner.root().join("exports");
    std::fs::create_dir(&directory).unwrap();
    runner.create(&trigger().setting("allow_write", json!([directory])));
    let file = directory.join("out.csv");
    runner.engine(&format!("p?file={}", file.display())).is(200, "written");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "line");
    runner.stop_leaving_nothing();
}

#[test]
fn a_secret_file_is_there_for_the_trigger_that_it_was_granted_to_and_for_no_other() {
    let runner = with_plugin("return open(query['file']).read()");
    let secrets = runner.root().join("secrets");
    std::fs::create_dir(&secrets).unwrap();
    let (token, other) = (secrets.join("token"), secrets.join("other"));
    for file in [&token, &other] {
        std::fs::write(file, "hush").unwrap();
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    std::fs::set_permissions(&secrets, std::fs::Permissions::from_mode(0o700)).unwrap();
    runner.create(&trigger().setting("allow_read", json!([token])));
    runner.create(&Trigger::new("q", "p.py", "request:q"));
    runner.engine(&format!("p?file={}", token.display())).is(200, "hush");
    runner.engine(&format!("p?file={}", other.display())).contains(500, "FileNotFoundError");
    runner.engine(&format!("q?file={}", token.display())).contains(500, "FileNotFoundError");
    assert!(!runner.stderr().contains("hush"), "{}", runner.stderr());
}

#[test]
fn a_host_is_reached_by_name_once_it_was_granted() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        let (mut connection, _) = server.accept().unwrap();
        let mut request = [0; 4];
        connection.read_exact(&mut request).unwrap();
        connection.write_all(&request.map(|byte| byte.to_ascii_uppercase())).unwrap();
    });
    let runner = with_plugin(
        "import socket\nconnection = socket.create_connection(('localhost', int(query['port'])), 20)\nconnection.sendall(b'ping')\nreturn connection.recv(4).decode()",
    );
    runner.create(&trigger().setting("allow_net", json!([format!("localhost:{port}")])));
    runner.engine(&format!("p?port={port}")).is(200, "PING");
    serving.join().unwrap();
    runner.stop_leaving_nothing();
}

#[test]
fn where_hosts_cannot_be_told_apart_they_are_not_granted_one_by_one() {
    let runner = Setup::without_namespaces().start();
    runner.create_database(DB);
    runner.plugin(
        "p.py",
        "import socket\ndef process_request(api, query, headers, body, args=None):\n    \
                           return socket.create_connection(('127.0.0.1', int(query['port'])), 20).recv(5).decode()",
    );
    for hosts in [json!(["localhost:80"]), json!(["*.example.org"]), json!(["192.0.2.1:80"])] {
        let refused = runner.try_create(&trigger().setting("allow_net", hosts));
        refused.contains(400, "hosts cannot be granted one by one on this machine");
        refused.contains(400, "grant all of the network with --allow-net, or none");
    }
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || server.accept().unwrap().0.write_all(b"hello").unwrap());
    runner.create(&trigger().setting("allow_net", json!(true)));
    runner.engine(&format!("p?port={port}")).is(200, "hello");
    serving.join().unwrap();
}

/// Asks the worker's proxy, and connects through it.
const PROXIED: &str = "\
import os, socket, urllib.error, urllib.request
del os.environ['no_proxy'], os.environ['NO_PROXY']
def get(url):
    try:
        return urllib.request.urlopen(url, timeout=20).read().decode()
    except urllib.error.HTTPError as error:
        return f'{error.code} {error.read().decode().strip()}'
proxy = os.environ['http_proxy'].removeprefix('http://').split(':')
tunnel = socket.create_connection((proxy[0], int(proxy[1])), 20)
tunnel.sendall(f'CONNECT localhost:{query[\"port\"]} HTTP/1.1\\r\\n\\r\\n'.encode())
status = tunnel.recv(100).decode().splitlines()[0]
tunnel.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
through = tunnel.makefile().read().splitlines()[-1]
return '|'.join([get(f'http://localhost:{query[\"port\"]}/'), get('http://other.example.net/'), status, through])";

#[test]
fn a_domain_is_granted_through_a_proxy_that_refuses_all_others() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut connection, _) = server.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                connection.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            connection.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello").unwrap();
        }
    });
    let runner = with_plugin(PROXIED);
    runner.create(&trigger().setting("allow_net", json!([format!("localhost:{port}"), "*.example.org"])));
    let refused =
        "`other.example.net:80` was not granted to this trigger; grant it with --allow-net=other.example.net:80";
    let expected = format!("hello|403 {refused}|HTTP/1.1 200 Connection established|hello");
    runner.engine(&format!("p?port={port}")).is(200, &expected);
    runner.until_logged("p", refused);
    serving.join().unwrap();
    runner.stop_leaving_nothing();
}

#[test]
fn programs_run_once_they_were_granted() {
    let runner = with_plugin(
        "import subprocess\nreturn subprocess.run(['/bin/echo', 'hello'], capture_output=True, text=True).stdout.strip()",
    );
    runner.create(&trigger());
    runner.engine("p").contains(500, "PermissionError");
    runner.until_logged("p", "`--allow-run` would grant them");
    runner.create(&Trigger::new("q", "p.py", "request:q").setting("allow_run", json!(true)));
    runner.engine("q").is(200, "hello");
}

#[test]
fn everything_can_be_granted_and_that_is_said_aloud() {
    let runner = with_plugin("return open(query['file']).read()");
    let file = runner.root().join("file");
    std::fs::write(&file, "text").unwrap();
    let all = ["create", "trigger", "-d", DB, "--path", "p.py", "--trigger-spec", "request:p", "--allow-all", "p"];
    let created = runner.cli(&all);
    assert!(created.stderr.contains("warning: --allow-all takes the sandbox's walls down"), "{created:?}");
    runner.engine(&format!("p?file={}", file.display())).is(200, "text");
    assert!(runner.stderr().contains("trigger db/p runs with --allow-all"), "{}", runner.stderr());
    runner.stop_leaving_nothing();
}

#[test]
fn grants_that_make_no_sense_are_refused() {
    let runner = with_plugin("return 'x'");
    for (name, value, words) in [
        ("allow_net", json!(["https://example.org"]), "without a scheme"),
        ("allow_net", json!(["*"]), "write it as host, host:port or *.domain"),
        ("allow_net", json!(["*.org"]), "write it as host, host:port or *.domain"),
        ("allow_read", json!(["../x"]), "inside of it"),
        ("allow_env", json!([""]), "not the name of an environment variable"),
        ("memory", json!("lots"), "write it as 64MB"),
        ("max_procs", json!(1), "at least 4"),
        ("cpu", json!("lots"), "write it as 0.5 or 2"),
        ("cpu", json!(0.001), "cpu in thousandths is 1; it must be at least 10"),
    ] {
        runner.try_create(&trigger().setting(name, value)).contains(400, words);
    }
    runner.create(&trigger().setting("allow_read", json!(["missing.toml"])));
    runner.engine("p").contains(500, "missing.toml` was granted and cannot be used: No such file");
}

#[test]
fn a_limit_of_processor_time_is_held_by_the_kernel_or_the_author_reads_that_it_is_not() {
    let runner = with_plugin(
        "import time\nbegun, used = time.monotonic(), time.process_time()\nwhile time.monotonic() - begun < 1: pass\n\
         return str(time.process_time() - used)",
    );
    let create = ["create", "trigger", "-d", DB, "--path", "p.py", "--trigger-spec", "request:p", "--cpu", "0.2", "p"];
    let created = runner.cli(&create);
    assert_eq!(created.code, Some(0));
    let answer = runner.engine("p");
    let got: f64 = answer.text().parse().unwrap();
    let worker = &runner.workers("p")[0];
    let (enforced, missing) = (worker["enforced"].as_str().unwrap(), worker["missing"].as_str().unwrap());
    if enforced.contains("cpu=0.2") {
        assert!(got < 0.5 && created.stderr.is_empty(), "{got} seconds of one, {}", created.stderr);
        return;
    }
    let words = "cpu: a limit of processor time needs the cgroup controller `cpu`";
    assert!(created.stderr.contains(&format!("warning: {words}")), "{}", created.stderr);
    assert!(missing.contains(words) && enforced.contains("nice=10"), "{worker}");
    runner.until_logged("p", &format!("WARN {words}"));
}

#[test]
fn the_kernel_is_asked_what_confines_a_live_worker() {
    let runner = with_plugin("return 'x'");
    runner.create(&trigger());
    runner.engine("p").is(200, "x");
    let worker = &runner.workers("p")[0];
    let view = worker["kernel_view"].as_str().unwrap();
    for fact in ["CapEff=0000000000000000", "CapBnd=0000000000000000", "NoNewPrivs=1", "Seccomp=2", "NSpid=4"] {
        assert!(view.contains(fact), "{fact} is not in {view}");
    }
    assert!(view.contains("mnt+pid+ipc+uts+cgroup+net"), "{view}");
    assert!(view.contains(" cgroup="), "{view}");
    assert!(worker["enforced"].as_str().unwrap().contains("landlock="), "{worker}");
}

#[test]
fn workers_stand_back_behind_the_server_as_far_as_its_operator_says() {
    let niceness = "return open('/proc/self/stat').read().rpartition(')')[2].split()[16]";
    let runner = with_plugin(niceness);
    runner.create(&trigger());
    // Whoever runs the tests may have said to be nice to others.
    let own = bulkhead_niceness();
    runner.engine("p").is(200, &own.max(5).to_string());
    assert!(runner.workers("p")[0]["enforced"].as_str().unwrap().contains(&format!("nice={}", own.max(5))));

    let runner = Setup::new().args(&["--worker-nice", "19"]).start();
    runner.create_database(DB);
    runner.plugin("p.py", &format!("def process_request(api, query, headers, body, args=None):\n    {niceness}\n"));
    runner.create(&trigger());
    runner.engine("p").is(200, "19");
}

#[test]
fn the_session_of_workers_weighs_as_little_as_they_do() {
    // The kernel lets others set such a weight ten times a second, all of them together, and many tests start workers.
    if !Path::new("/proc/self/autogroup").exists() || !is_privileged() {
        return;
    }
    let runner = with_plugin("return open('/proc/self/autogroup').read()");
    let words = format!(" nice {}\n", bulkhead_niceness().max(5));
    // One worker is a copy, the other is executed.
    for (name, spec, is_executed) in [("copy", "request:copy", false), ("executed", "request:executed", true)] {
        runner.create(&Trigger::new(name, "p.py", spec).setting("allow_run", json!(is_executed)));
        until(&format!("{name} weighs{words}"), || match runner.engine(name).text() {
            text if text.ends_with(&words) => Ok(()),
            text => Err(text),
        });
    }
}

/// Whether this process has `CAP_SYS_ADMIN`, capability 21.
fn is_privileged() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
    u64::from_str_radix(effective, 16).unwrap() & (1 << 21) != 0
}

/// The niceness of this process, which servers that it starts have, too.
fn bulkhead_niceness() -> i32 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    stat.rsplit(')').next().unwrap().split_whitespace().nth(16).unwrap().parse().unwrap()
}

#[test]
fn a_plugin_that_is_replaced_by_another_file_is_picked_up() {
    let runner = with_plugin("return 'old'");
    runner.create(&trigger());
    runner.engine("p").is(200, "old");
    runner.plugin("p.py.new", "def process_request(api, query, headers, body, args=None):\n    return 'new'\n");
    std::fs::rename(runner.plugin_dir().join("p.py.new"), runner.plugin_dir().join("p.py")).unwrap();
    runner.engine("p").is(200, "new");
}

#[test]
fn below_the_minimum_no_worker_starts_and_the_caller_reads_why() {
    let runner = Setup::new().args(&["--sandbox-emulate", "container-without-landlock"]).start();
    runner.create_database(DB);
    runner.plugin("p.py", "def process_request(api, query, headers, body, args=None):\n    return 'ran'\n");
    runner.create(&trigger());
    let answer = runner.engine("p");
    answer.contains(500, "neither a mount namespace nor Landlock");
    answer.contains(500, "bulkhead doctor");
}

#[test]
fn the_doctor_finds_this_machine_well_and_names_what_is_missing_elsewhere() {
    let here = run(&["doctor"]);
    assert_eq!(here.code, Some(0), "{here:?}");
    for words in [
        "enforced   namespaces",
        "enforced   landlock",
        "enforced   seccomp",
        "refused    become root",
        "The required minimum is met",
    ] {
        assert!(here.stdout.contains(words), "{words} is not in\n{}", here.stdout);
    }
    assert!(!here.stdout.contains("SUCCEEDED"), "{}", here.stdout);

    let nowhere = run(&["doctor", "--sandbox-emulate", "container-without-landlock"]);
    assert_eq!(nowhere.code, Some(1), "{nowhere:?}");
    assert!(nowhere.stderr.contains("no worker can start on this machine: required minimum"), "{nowhere:?}");
}

#[test]
fn an_operator_sets_a_ceiling_and_limits_for_those_that_name_none() {
    let setup = Setup::new();
    let file = setup.root().join("permissions.toml");
    let policy = "[defaults]\nmemory = '96MB'\ncpu = 0.5\n[ceiling]\nallow_net = ['*.example.org']\nallow_read = ['config']\nmemory = '128MB'\ncpu = 1.5\n";
    std::fs::write(&file, policy).unwrap();
    let mut runner = setup.args(&["--permissions", file.to_str().unwrap()]).start();
    runner.create_database(DB);
    runner.plugin("p.py", "def process_request(api, query, headers, body, args=None):\n    return 'ran'\n");
    for (name, value, flag) in [
        ("allow_all", json!(true), "--allow-all"),
        ("allow_run", json!(true), "--allow-run"),
        ("allow_net", json!(true), "--allow-net"),
        ("allow_net", json!(["example.com"]), "--allow-net=example.com"),
        ("allow_read", json!(["/etc"]), "--allow-read=/etc"),
        ("allow_write", json!(["config"]), "--allow-write=config"),
        ("allow_env", json!(["HOME"]), "--allow-env=HOME"),
        ("memory", json!("1GB"), "--memory=1073741824"),
        ("cpu", json!(2), "--cpu=2"),
    ] {
        let words = format!("{flag} is more than this server's operator allows a trigger");
        runner.try_create(&trigger().setting(name, value)).contains(403, &words);
    }
    runner.create(&trigger().setting("memory", json!("128MB")));
    runner.engine("p").is(200, "ran");
    runner.plugin(
        "q.py",
        "def process_request(api, query, headers, body, args=None):\n    return len(bytearray(2**30))\n",
    );
    runner.create(&Trigger::new("q", "q.py", "request:q"));
    runner.engine("q").contains(500, "MemoryError");
    let enforced = runner.workers("q")[0]["enforced"].as_str().unwrap().to_owned();
    assert!(enforced.contains(&format!("data_bytes={}", (96 + 256) << 20)), "{enforced}");

    // What was granted before there was a ceiling, or under a higher one, does not run under this one.
    std::fs::write(&file, "[ceiling]\nmemory = '64MB'\n").unwrap();
    runner.stop();
    runner.restart();
    runner.engine("p").contains(500, "--memory=134217728 is more than this server's operator allows a trigger");

    std::fs::write(&file, "[ceiling]\nmemry = 1\n").unwrap();
    let refused = run(&["serve", "--permissions", file.to_str().unwrap()]);
    assert!(refused.code != Some(0) && refused.stderr.contains("memry"), "{refused:?}");
}

#[test]
fn a_layer_that_the_machine_does_not_grant_is_said_at_start_and_counted() {
    let runner = TestRunner::start_with(&["--sandbox-emulate", "container"]);
    let lost = "WARN bulkhead::supervisor::registry: sandbox: workers run without a layer on this machine: namespaces";
    assert!(runner.stderr().contains(lost), "{}", runner.stderr());
    let metrics = runner.get("/metrics").text();
    assert!(metrics.contains("bulkhead_sandbox_lost_layer{layer=\"namespaces\"} 1\n"), "{metrics}");
}
