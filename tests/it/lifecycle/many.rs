//! Starting with as many triggers as there may be.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::{TestRunner, Trigger, until_true};

/// Triggers beside the two that run, together the limit.
const SLEEPING: usize = 9_998;

/// Time for a start with all of them, also in a build without optimisation on a machine that others use: far from what it takes.
const START_MAX: Duration = Duration::from_secs(30);

fn resident_megabytes(runner: &TestRunner) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", runner.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

fn until_ticks(runner: &TestRunner, wanted: u64) {
    until_true(&format!("there are {wanted} ticks"), || runner.count("ticks") >= wanted);
}

#[test]
fn ten_thousand_schedules_start_and_sleep_and_delay_nobody() {
    let mut runner = TestRunner::start();
    runner.fixture("once.py");
    let trigger = |name: &str, spec: &str| Trigger::new(name, "once.py", spec).arguments(json!({ "target": name }));
    runner.create(&trigger("yearly", "cron:0 0 0 29 2 *"));
    runner.create(&trigger("ticks", "every:1s"));
    until_ticks(&runner, 1);
    runner.kill();

    // As if all had been created one by one.
    let catalog = runner.node_dir().join("objects/catalog");
    let newest = fs::read_dir(&catalog).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    let mut document: Value = serde_json::from_slice(&fs::read(&newest).unwrap()).unwrap();
    let triggers = document["triggers"].as_array_mut().unwrap();
    let model = triggers.iter().find(|trigger| trigger["name"] == "yearly").unwrap().clone();
    triggers.extend((0..SLEEPING).map(|number| {
        let mut copy = model.clone();
        copy["name"] = json!(format!("sleeping-{number:05}"));
        copy
    }));
    fs::write(&newest, document.to_string()).unwrap();

    let begun = Instant::now();
    runner.restart();
    let started = begun.elapsed();
    let before = runner.count("ticks");
    until_ticks(&runner, before + 2);
    let ticking = begun.elapsed();
    let megabytes = resident_megabytes(&runner);
    eprintln!("10,000 schedules: started in {started:?}, ticking after {ticking:?}, {megabytes} MB");
    assert!(started < START_MAX, "{started:?}");
    assert!(megabytes < 1_000, "{megabytes} MB");
    let count = runner.query("SELECT count(*) AS n FROM system.processing_engine_triggers WHERE state = 'active'");
    assert_eq!(count[0]["n"], SLEEPING + 2);
    let live = runner.query("SELECT count(*) AS n FROM system.workers WHERE state <> 'ended'");
    assert_eq!(live[0]["n"], 1, "what sleeps has no worker");
    assert_eq!(runner.get("/metrics").status, 200);
    assert_eq!(runner.try_create(&trigger("too-many", "every:1h")).status, 422);
    runner.stop_leaving_nothing();
}
