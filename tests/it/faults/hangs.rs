//! Plugins that do not return.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{World, until_gone};
use crate::world::{Request, Trigger};

fn pid(world: &World, trigger: &str) -> String {
    world.workers(trigger)[0]["pid"].to_string()
}

#[test]
fn a_loop_that_ignores_its_cancellation_is_killed() {
    let world = World::new(&[]);
    world.create(&world.request_trigger("stubborn").setting("timeout", json!("500ms")));
    let begun = Instant::now();
    world.engine("stubborn").is(504, r#"{"error":"plugin ran longer than its timeout of 500ms"}"#);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(world.until_ended("stubborn", 1), ["plugin ran longer than its timeout of 500ms"]);
    until_gone(&pid(&world, "stubborn"));
    world.ends_well();
}

#[test]
fn a_plugin_that_never_stops_talking_meets_its_deadline() {
    let world = World::new(&[]);
    // Also on a busy machine it has said more than it may by then.
    world.create(&world.request_trigger("chatter").setting("timeout", json!("3s")));
    let begun = Instant::now();
    world.engine("chatter").is(504, r#"{"error":"plugin ran longer than its timeout of 3s"}"#);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    until_gone(&pid(&world, "chatter"));
    world.until_logged("chatter", "log lines dropped: the limit `log_lines_per_second` is 1000");
    world.ends_well();
}

#[test]
fn a_batch_that_hangs_is_given_up_and_the_next_one_runs() {
    let world = World::new(&[]);
    world.fixture("stubborn.py");
    world.create(&Trigger::new("wal", "stubborn.py", "table:m").setting("timeout", json!("500ms")));
    world.write("m v=-1 1");
    world.write("m v=1 2");
    world.until_logged("wal", "ERROR error executing wal plugin: plugin ran longer than its timeout of 500ms");
    world.until_logged("wal", "INFO well");
    world.ends_well();
}

#[test]
fn the_operators_timeout_holds_for_a_trigger_without_its_own() {
    let world = World::new(&["--invocation-timeout", "700ms"]);
    world.add("sleeper");
    world.engine("sleeper").is(504, r#"{"error":"plugin ran longer than its timeout of 700ms"}"#);
    world.ends_well();
}

#[test]
fn an_endless_sleep_is_woken_by_an_exception() {
    let world = World::new(&[]);
    world.create(&world.request_trigger("sleeper").setting("timeout", json!("1s")));
    world.engine("sleeper").is(504, r#"{"error":"plugin ran longer than its timeout of 1s"}"#);
    world.until_logged("sleeper", "WARN woken by Cancelled");
    world.until_ended("sleeper", 1);
    world.engine("sleeper?awake=1").is(200, "awake");
    world.ends_well();
}

#[test]
fn a_plugin_that_is_being_cancelled_can_still_log() {
    let world = World::new(&[]);
    world.create(&world.request_trigger("sleeper").setting("timeout", json!("1s")));
    assert_eq!(world.engine("sleeper?last_words=1").status, 504);
    world.until_ended("sleeper", 1);
    let lines = world.logs("sleeper");
    assert!(lines.contains(&"WARN last words".to_owned()), "{lines:#?}");
}

#[test]
fn a_client_that_disconnects_cancels_its_call() {
    let world = World::with("sleeper");
    let mut connection = world.connect().unwrap();
    connection.write_all(&Request::new("GET", "/api/v3/engine/sleeper").encode(world.address())).unwrap();
    world.until_logged("sleeper", "INFO asleep");
    drop(connection);
    world.until_logged("sleeper", "WARN woken by Cancelled");
    assert_eq!(world.until_ended("sleeper", 1), ["invocation cancelled"]);
    world.engine("sleeper?awake=1").is(200, "awake");
    world.ends_well();
}

#[test]
fn disabling_a_trigger_that_hangs_ends_its_call_soon() {
    let world = World::with("stubborn");
    let client = world.client();
    let call = std::thread::spawn(move || client.engine("stubborn"));
    world.until_logged("stubborn", "starting execution of request plugin.");
    let begun = Instant::now();
    world.switch("disable", "stubborn").is(200, "");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let answer = call.join().unwrap();
    answer.is(503, r#"{"error":"invocation cancelled"}"#);
    // Every other change goes on as before; in InfluxDB 3 they hang from here on.
    world.create_database("afterwards");
    world.delete("stubborn", false).is(200, "");
    world.ends_well();
}
