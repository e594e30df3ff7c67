//! Plugins and clients that want too much.

use serde_json::json;

use super::World;
use crate::world::until;

#[test]
fn fifty_megabytes_of_output_are_bounded_and_said_to_be() {
    let world = World::with("flood");
    for how in ["long", "short", "raw"] {
        world.engine(&format!("flood?how={how}")).is(200, how);
        world.neighbour_is_well();
    }
    world.until_logged("flood", "log lines dropped: the limit `log_lines_per_second` is 1000");
    let sizes = world
        .query("SELECT max(octet_length(log_text)) AS longest, count(*) AS lines FROM system.processing_engine_logs");
    assert!(sizes[0]["longest"].as_u64().unwrap() < 17_000, "{sizes:?}");
    assert!(sizes[0]["lines"].as_u64().unwrap() <= 10_000, "{sizes:?}");
    let workers = world.workers("flood");
    assert_eq!(workers.len(), 1, "{workers:?}");
    world.ends_well();
}

#[test]
fn memory_beyond_the_limit_is_an_error_in_python() {
    let world = World::new(&["--worker-memory-mib", "256"]);
    world.add("memory");
    let pid = world.engine("memory?how=not").text();
    for how in ["once", "slowly"] {
        world.engine(&format!("memory?how={how}")).contains(500, "MemoryError");
        world.neighbour_is_well();
    }
    world.engine("memory?how=not").is(200, &pid);
    world.ends_well();
}

#[test]
fn requests_beyond_the_queue_are_refused_and_the_neighbour_answers() {
    let world = World::new(&[]);
    world.create(&world.request_trigger("gate").setting("allow_read", json!(["."])));
    let requests: Vec<_> = (0..300)
        .map(|_| {
            let client = world.client();
            std::thread::spawn(move || client.engine("gate"))
        })
        .collect();
    until("those beyond the queue are answered", || {
        let answered = requests.iter().filter(|request| request.is_finished()).count();
        if answered == 300 - 256 { Ok(()) } else { Err(format!("{answered} answered")) }
    });
    world.neighbour_is_well();
    std::fs::write(world.plugin_dir().join("go"), "").unwrap();
    let (mut served, mut refused) = (0, 0);
    for request in requests {
        let answer = request.join().unwrap();
        match answer.status {
            200 => served += 1,
            _ => {
                let text = "trigger 'gate' has 256 requests waiting, which is the limit `request_queue_max`";
                answer.is(503, &format!(r#"{{"error":"{text}"}}"#));
                assert_eq!(answer.header("retry-after"), "1");
                refused += 1;
            }
        }
    }
    assert_eq!((served, refused), (256, 44));
    world.engine("gate").is(200, "gone through");
    world.ends_well();
}
