//! Registering triggers: the three kinds, with files that are sent along.

use bulkhead_proto::runner::v1 as wire;
use bulkhead_proto::runner::v1::trigger_spec::Kind;
use bulkhead_proto::runner::v1::{ErrorAction, TriggerState};
use bulkhead_proto::types::v1::FailureKind;
use tonic::Code;

use super::client::{
    all_tables, call, cron, derive, every, failure, files, json, name, one_table, path, request, response, seconds,
    sent, tick, trigger, with_arguments, writing_to,
};
use super::{Delegation, make_file, soon, text, until_file};

const PACKAGE: [(&str, &str); 2] = [
    (
        "answers/__init__.py",
        "from .words import word\n\ndef process_request(local, query, headers, body, args=None):\n    return word()\n",
    ),
    ("answers/words.py", "def word():\n    return 'from a package'\n"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_says_what_it_is() {
    let delegation = Delegation::start();
    let runner = delegation.client().await.runner().await;
    assert_eq!(runner.version, env!("CARGO_PKG_VERSION"));
    for layer in ["no_new_privs", "capabilities=none"] {
        assert!(runner.isolation.iter().any(|it| it.starts_with(layer)), "{runner:?}");
    }
    // Each layer is in force, or there is a reason why it is not.
    for layer in ["landlock", "seccomp", "cgroup", "cpu"] {
        let here = |layers: &[String], end| layers.iter().any(|it| it.starts_with(&format!("{layer}{end}")));
        assert!(here(&runner.isolation, '=') != here(&runner.isolation_missing, ':'), "{layer}: {runner:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_as_a_trigger_wants_it_is_said_when_it_is_registered() {
    const MANIFEST: &str = "\
[plugin]
name = \"answers\"
version = \"1.0.0\"

[[dependencies.plugins]]
name = \"geo-lookup\"
version = \">=1.0.0\"
";
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    let with_manifest = [&PACKAGE[..], &[("answers/manifest.toml", MANIFEST)]].concat();
    assert_eq!(client.warnings(trigger("plain", files("answers", &PACKAGE), path("plain"))).await, [""; 0]);
    let asked = trigger("wanting", files("answers", &with_manifest), path("wanting"));
    // Also when it is registered already.
    for _ in 0..2 {
        let warnings = client.warnings(asked.clone()).await;
        let is_said = warnings.iter().any(|it| it.contains("asks for the plugin geo-lookup >=1.0.0, which is not in"));
        assert!(warnings.len() == 1 && is_said, "{warnings:?}");
    }
    assert_eq!(response(client.call("wanting", &[], b"").await).body, "from a package");
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_of_all_kinds_are_registered_as_they_are_asked_for() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    let ticks = wire::TickPolicy {
        missed: wire::MissedTicks::CatchUp.into(),
        catch_up_max: 5,
        jitter: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
    };
    let daily = wire::CronTrigger {
        expression: "0 0 3 * * *".to_owned(),
        time_zone: "Europe/Berlin".to_owned(),
        ticks: Some(ticks),
    };
    for (trigger_name, source, kind) in [
        ("all", derive(), all_tables()),
        ("one", derive(), one_table("weather")),
        ("period", tick(), every(prost_types::Duration { seconds: 3600, nanos: 500_000_000 })),
        ("cron", tick(), cron("0 0 3 * * *")),
        ("path", request(), path("a/b")),
        ("daily", tick(), Kind::Cron(daily)),
        ("together", derive(), Kind::Wal(wire::WalTrigger { coalesce_rows: Some(500), ..Default::default() })),
    ] {
        let mut asked = with_arguments(trigger(trigger_name, source, kind), &[("k", "v")]);
        asked.error_policy =
            Some(wire::ErrorPolicy { action: ErrorAction::Retry.into(), attempts_max: 3, ..Default::default() });
        asked.allow_concurrent = true;
        asked.timeout = Some(seconds(30));
        let created = client.create(asked.clone()).await;
        let mut got = client.get(trigger_name).await;
        // The first one may be looked at while its environment is built.
        let built = async {
            while got.state() == TriggerState::Building {
                tokio::time::sleep(super::PAUSE).await;
                got = client.get(trigger_name).await;
            }
        };
        soon("the environment of a trigger", built).await;
        assert_eq!(wire::Trigger { state: got.state, state_message: String::new(), ..created }, got);
        // What comes back is what was asked for, without the content of the files.
        let expected = wire::Trigger {
            source: asked.source.map(|source| wire::PluginSource { files: Default::default(), ..source }),
            state: TriggerState::Active.into(),
            ..asked
        };
        assert_eq!(got, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_trigger_may_do_is_registered_and_holds() {
    const LIMITS: &str = "\
import os, resource
def process_request(local, query, headers, body, args=None):
    return {'files': resource.getrlimit(resource.RLIMIT_NOFILE)[0], 'home': sorted(os.listdir('/srv'))}
";
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    let permissions = wire::Permissions {
        all: false,
        net: Some(wire::NetPermission { all: true, hosts: Vec::new() }),
        read_paths: vec!["/srv".to_owned()],
        write_paths: vec!["/var/tmp".to_owned()],
        environment_variables: vec!["BULKHEAD_TEST_SECRET".to_owned()],
        subprocesses: true,
        memory_bytes: Some(128 << 20),
        processes_max: Some(40),
        files_max: Some(99),
        tmp_bytes: Some(1 << 20),
        cpu_thousandths: Some(500),
    };
    let asked = |permissions| {
        let permissions = Some(permissions);
        wire::Trigger { permissions, ..trigger("p", sent("limits.py", LIMITS), path("p")) }
    };
    for (faulty, words) in [
        (wire::Permissions { cpu_thousandths: Some(0), ..permissions.clone() }, "cpu in thousandths"),
        (wire::Permissions { files_max: Some(1), ..permissions.clone() }, "max_files"),
        (wire::Permissions { read_paths: vec!["../x".to_owned()], ..permissions.clone() }, "allow_read"),
    ] {
        let (code, text) = client.refusal(asked(faulty)).await;
        assert!(code == Code::InvalidArgument && text.contains(words), "{code:?} {text}");
    }
    client.create(asked(permissions.clone())).await;
    assert_eq!(client.get("p").await.permissions, Some(permissions));
    let answer = response(client.call("p", &[], b"").await);
    let entries = std::fs::read_dir("/srv").unwrap().count();
    assert_eq!(json(&answer)["files"], 99);
    assert_eq!(json(&answer)["home"].as_array().map(Vec::len), Some(entries));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_registration_changes_nothing_and_another_content_is_refused() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    let asked = trigger("again", request(), path("again"));
    // Meanwhile its environment may be built.
    let settled = |trigger: wire::Trigger| wire::Trigger { state: 0, state_message: String::new(), ..trigger };
    let created = settled(client.create(asked.clone()).await);
    assert_eq!(settled(client.create(asked.clone()).await), created);
    assert_eq!(client.list(0, "").await.0, [name("again")]);

    let other_code = wire::Trigger { source: Some(sent("request.py", "x = 1\n")), ..asked.clone() };
    let other_path = wire::Trigger { spec: trigger("", request(), path("other")).spec, ..asked.clone() };
    let other_arguments = with_arguments(asked.clone(), &[("k", "v")]);
    for other in [other_code, other_path, other_arguments] {
        let (code, message) = client.refusal(other).await;
        assert_eq!(code, Code::AlreadyExists, "{message}");
        assert!(message.contains(&name("again")), "{message}");
    }
    let (code, message) = client.refusal(trigger("thief", request(), path("/again"))).await;
    assert_eq!(code, Code::AlreadyExists, "{message}");
    assert_eq!(settled(client.get("again").await), created);
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_that_cannot_be_are_refused_with_the_reason() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    let named = |text: &str| wire::Trigger { name: text.to_owned(), ..trigger("x", request(), path("x")) };
    let long = name(&"x".repeat(256));
    let names = ["", "x", "db/x", "databases/db", "databases//triggers/x", "databases/db/triggers/", &long];
    for text in names.into_iter().chain([name("a\nb").as_str()]) {
        let (code, message) = client.refusal(named(text)).await;
        assert_eq!(code, Code::InvalidArgument, "{text:?}: {message}");
        assert!(message.contains("trigger name"), "{text:?}: {message}");
    }

    let mut without_spec = trigger("x", request(), path("x"));
    without_spec.spec = None;
    let specs = [
        every(seconds(0)),
        every(seconds(-1)),
        every(prost_types::Duration { seconds: 0, nanos: 500_000 }),
        every(seconds(400 * 24 * 3600)),
        cron("now and then"),
        cron(""),
        one_table(""),
        path(""),
    ];
    for asked in specs.into_iter().map(|kind| trigger("x", request(), kind)).chain([without_spec]) {
        let spec = asked.spec.clone();
        let (code, message) = client.refusal(asked).await;
        assert_eq!(code, Code::InvalidArgument, "{spec:?}: {message}");
    }

    let code = include_str!("../../plugins/grpc_request.py");
    for (file, entry) in [
        ("../x.py", "../x.py"),
        ("/tmp/x.py", "/tmp/x.py"),
        ("a/../../x.py", "x.py"),
        ("", "x.py"),
        ("x.py", "../x.py"),
        ("x.py", "/etc/hostname"),
        ("package/words.py", "package"),
    ] {
        let (refused, message) = client.refusal(trigger("x", files(entry, &[(file, code)]), path("x"))).await;
        assert_eq!(refused, Code::InvalidArgument, "{file:?} {entry:?}: {message}");
    }
    let without_source = wire::Trigger { source: None, ..trigger("x", request(), path("x")) };
    assert_eq!(client.refusal(without_source).await.0, Code::InvalidArgument);

    for entry in ["nope.py", "nope"] {
        let (missing, message) = client.refusal(trigger("x", files(entry, &[("x.py", code)]), path("x"))).await;
        assert_eq!(missing, Code::NotFound, "{message}");
        assert!(message.contains(entry), "{message}");
        // The same with nothing sent along: then the plugin directory counts.
        assert_eq!(client.refusal(trigger("x", files(entry, &[]), path("x"))).await.0, Code::NotFound);
    }
    let big = "#".repeat(9 << 20);
    let (refused, message) = client.refusal(trigger("x", files("x.py", &[("x.py", &big)]), path("x"))).await;
    assert_eq!(refused, Code::ResourceExhausted, "{message}");
    assert!(message.contains("plugin_upload_bytes_max"), "{message}");
    assert!(client.list(0, "").await.0.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_are_files_or_packages_that_were_sent_or_lie_in_the_plugin_directory() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    delegation
        .runner
        .plugin("local.py", "def process_request(local, query, headers, body, args=None):\n    return 'local'\n");
    client.create(trigger("package", files("answers", &PACKAGE), path("package"))).await;
    client.create(trigger("local", files("local.py", &[]), path("local"))).await;
    assert_eq!(response(client.call("package", &[], b"").await).body, "from a package");
    assert_eq!(response(client.call("local", &[], b"").await).body, "local");
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_are_listed_by_name_in_pages() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    for trigger_name in ["e", "b", "d", "a", "c"] {
        client.create(wire::Trigger { disabled: true, ..trigger(trigger_name, derive(), all_tables()) }).await;
    }
    let mut other = trigger("", derive(), all_tables());
    other.name = "databases/another/triggers/z".to_owned();
    client.create(wire::Trigger { disabled: true, ..other }).await;

    let (mut listed, mut pages, mut token) = (Vec::new(), Vec::new(), String::new());
    loop {
        let (page, next) = client.list(4, &token).await;
        pages.push(page.len());
        listed.extend(page);
        token = next;
        if token.is_empty() {
            break;
        }
        // A trigger that comes in between, before the place reached, shifts nothing.
        let early =
            wire::Trigger { name: "databases/aaa/triggers/early".to_owned(), ..trigger("", derive(), all_tables()) };
        client.create(wire::Trigger { disabled: true, ..early }).await;
    }
    assert_eq!(pages, [4, 2]);
    let mut expected = vec!["databases/another/triggers/z".to_owned()];
    expected.extend(["a", "b", "c", "d", "e"].map(name));
    assert_eq!(listed, expected);
    assert_eq!(client.list(0, "").await.0.len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_a_trigger_tells_what_is_wrong_with_it() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    client.create(trigger("broken", sent("broken.py", "def process_request(:\n"), path("broken"))).await;
    let loading = failure(client.call("broken", &[], b"").await);
    assert_eq!(loading.kind(), FailureKind::Load, "{loading:?}");
    let broken = client.get("broken").await;
    assert_eq!((broken.state(), broken.state_message.as_str()), (TriggerState::Failed, loading.message.as_str()));

    let off = client.create(wire::Trigger { disabled: true, ..trigger("off", request(), path("off")) }).await;
    assert_eq!(off.state(), TriggerState::Disabled);
    let status = client.try_call(call("off", &[("do", "echo")], b"")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");

    let mut disabling = trigger("disabling", derive(), all_tables());
    disabling.error_policy =
        Some(wire::ErrorPolicy { action: ErrorAction::Disable.into(), attempts_max: 0, ..Default::default() });
    client.create(with_arguments(disabling, &[("fail", "yes")])).await;
    let mut stream = client.stream().await;
    stream.send(super::rows::commit("db", 1, "weather", &[1.0])).await;
    stream.acks_up_to("db", 1).await;
    let disabling = async {
        loop {
            let trigger = client.get("disabling").await;
            if trigger.state() == TriggerState::Disabled {
                break trigger;
            }
            tokio::time::sleep(super::PAUSE).await;
        }
    };
    let disabled = super::soon("it is disabled", disabling).await;
    assert!(disabled.state_message.contains("asked to fail"), "{disabled:?}");
    assert!(disabled.disabled);

    assert_eq!(client.try_get(&name("nobody")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(client.try_get("nobody").await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enabled_trigger_is_deleted_by_force_only() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    client.create(trigger("on", request(), path("on"))).await;
    client.create(wire::Trigger { disabled: true, ..trigger("off", request(), path("off")) }).await;
    let refused = client.try_delete(&name("on"), false, None).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    client.try_delete(&name("off"), false, None).await.expect("it is disabled");
    assert_eq!(json(&response(client.call("on", &[("do", "echo")], b"").await))["query"]["do"], "echo");
    client.try_delete(&name("on"), true, None).await.expect("by force");
    assert!(client.list(0, "").await.0.is_empty());
    for code in [
        client.try_delete(&name("on"), true, None).await.unwrap_err().code(),
        client.try_call(call("on", &[("do", "echo")], b"")).await.unwrap_err().code(),
    ] {
        assert_eq!(code, Code::NotFound);
    }
    assert_eq!(client.try_delete("on", true, None).await.unwrap_err().code(), Code::InvalidArgument);
    // Name and path are free again.
    client.create(trigger("new", request(), path("on"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_lets_a_call_end_within_the_drain_timeout_and_cancels_it_without_one() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    for (trigger_name, drain) in [("drained", Some(seconds(100))), ("cut", None)] {
        client.create(writing_to(trigger(trigger_name, request(), path(trigger_name)), &delegation.file(""))).await;
        let [started, gate, stopped] =
            ["started", "gate", "stopped"].map(|file| delegation.file(&format!("{trigger_name}.{file}")));
        let query = [("do", "wait"), ("started", text(&started)), ("gate", text(&gate)), ("stopped", text(&stopped))];
        let (mut calls, mut deletes) = (client.clone(), client.clone());
        let called = async { calls.call(trigger_name, &query, b"").await };
        let deleted = async {
            until_file(&started).await;
            let deleted = name(trigger_name);
            let mut deletion = std::pin::pin!(deletes.try_delete(&deleted, true, drain));
            if drain.is_some() {
                // It is on its way once the trigger is no longer listed.
                let gone = async { while client.try_get(&deleted).await.is_ok() {} };
                tokio::select! {
                    biased;
                    result = &mut deletion => panic!("the deletion did not wait: {result:?}"),
                    () = soon("the trigger is unlisted", gone) => {}
                }
                make_file(&gate);
            }
            deletion.await.expect("the deletion");
        };
        let (answer, ()) = tokio::join!(called, deleted);
        if drain.is_some() {
            assert_eq!(response(answer).body, "waited");
            assert!(!stopped.exists());
        } else {
            let cut = failure(answer);
            assert_eq!(cut.kind(), FailureKind::Cancelled, "{cut:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn file_names_that_cannot_be_are_the_senders_mistake() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    let long = format!("{}.py", "x".repeat(300));
    for sent in [&[("a.py", ""), ("a.py/b.py", "")][..], &[("a\0.py", "")], &[("a.py/", "")], &[(&long, "")]] {
        let (code, message) = client.refusal(trigger("x", files("a.py", sent), path("x"))).await;
        assert_eq!(code, Code::InvalidArgument, "{sent:?}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_in_which_nothing_can_run_is_refused() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    for timeout in [seconds(0), prost_types::Duration { seconds: 0, nanos: 500_000 }] {
        let asked = wire::Trigger { timeout: Some(timeout), ..trigger("x", request(), path("x")) };
        let (code, message) = client.refusal(asked).await;
        assert_eq!(code, Code::InvalidArgument, "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_drains_holds_no_other_change() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    client.create(writing_to(trigger("drained", request(), path("drained")), &delegation.file(""))).await;
    let [started, gate, stopped] = ["started", "gate", "stopped"].map(|file| delegation.file(file));
    let query = [("do", "wait"), ("started", text(&started)), ("gate", text(&gate)), ("stopped", text(&stopped))];
    let (mut calls, mut deletes, drained) = (client.clone(), client.clone(), name("drained"));
    let called = async { response(calls.call("drained", &query, b"").await).body };
    let deleted = async {
        until_file(&started).await;
        deletes.try_delete(&drained, true, Some(seconds(30))).await.expect("the deletion");
    };
    let created = async {
        until_file(&started).await;
        let gone = async { while client.try_get(&drained).await.is_ok() {} };
        soon("the trigger is unlisted", gone).await;
        client.create(trigger("other", request(), path("other"))).await;
        // Had it waited for the end of the drain, the call would have been cut by now.
        make_file(&gate);
    };
    let (body, (), ()) = tokio::join!(called, deleted, created);
    assert_eq!(body, "waited");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_hears_how_the_environment_of_a_trigger_is_made() {
    let wheels = tempfile::tempdir().unwrap();
    let delegation = Delegation::start_with(&["--offline", "--find-links", wheels.path().to_str().unwrap()]);
    let mut client = delegation.client().await;
    let code =
        "def process_request(local, query, headers, body, args=None):\n    import tiny\n    return tiny.VERSION\n";
    let source = files("user.py", &[("user.py", code), ("user.requirements.txt", "tiny\n")]);
    client.create(trigger("user", source, path("user"))).await;
    let refused = client.prepare("user").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains("resolving requirements with "), "{refused}");

    crate::environments::wheel(wheels.path(), "1.0");
    let (lines, environment) = client.prepare("user").await.unwrap();
    assert_eq!(environment.packages, ["tiny==1.0"]);
    for words in ["resolving requirements ", "building environment ", " is ready after "] {
        assert!(lines.iter().any(|line| line.contains(words)), "{words}: {lines:?}");
    }
    let (lines, again) = client.prepare("user").await.unwrap();
    assert_eq!((lines, again.id), (Vec::new(), environment.id), "what is there needs no words");
    assert_eq!(client.prepare("nobody").await.unwrap_err().code(), Code::NotFound);
}
