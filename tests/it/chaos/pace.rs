//! One trigger is stuck while writes are heavy: its lag grows on disk, and nobody else notices.

use std::time::{Duration, Instant};

use serde_json::json;

use super::asked_for;
use crate::world::{Client, DB, TestRunner, Trigger, until};

/// The time for which the trigger is stuck.
const STUCK_FOR: Duration = Duration::from_secs(60);

/// Rows of one write.
const ROWS: u64 = 1_000;

/// Memory that the runner may take beyond what it has when all is warm, bytes: what it keeps of recent commits, and room for writes
/// that are being parsed.
const GROWTH_BYTES_MAX: u64 = 256 << 20;

const SUM: &str = "\
def process_writes(api, batches, args=None):
    total = sum(row['v'] for batch in batches for row in batch['rows'])
    line = LineBuilder('sums').int64_field('rows', sum(len(batch['rows']) for batch in batches))
    api.write(line.float64_field('total', float(total)))
";

fn resident_bytes(runner: &TestRunner) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", runner.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() << 10
}

/// Writes one after another for this long, and tells how many times.
fn write_for(client: &Client, number: &mut u64, duration: Duration) -> u64 {
    let (begun, first) = (Instant::now(), *number);
    while begun.elapsed() < duration {
        let at = *number * ROWS;
        let lines: Vec<String> = (0..ROWS)
            .map(|row| format!("m,host=h{},rack=r{} v={row},w={row}i {}", row % 50, row % 7, at + row))
            .collect();
        client.write_to(DB, &lines.join("\n"));
        *number += 1;
    }
    *number - first
}

fn metric(runner: &TestRunner, sample: &str) -> f64 {
    let text = runner.get("/metrics").text();
    text.lines().find_map(|line| line.strip_prefix(sample)?.trim().parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn a_trigger_that_is_stuck_for_a_minute_of_heavy_writes_delays_nobody() {
    let mut runner = TestRunner::start_with(&["--snapshot-bytes", "4000000"]);
    runner.fixture("gate.py");
    runner.fixture("neighbour.py");
    runner.plugin("sum.py", SUM);
    runner.create(&Trigger::new("sum", "sum.py", "table:m"));
    runner.create(&Trigger::new("neighbour", "neighbour.py", "request:neighbour"));
    assert_eq!(runner.engine("neighbour").status, 200);
    let (client, mut number) = (runner.client(), 0);
    let stuck_for = asked_for().map_or(STUCK_FOR, |asked| asked.max(STUCK_FOR));

    // The pace without anything stuck.
    write_for(&client, &mut number, Duration::from_secs(3));
    let before = write_for(&client, &mut number, Duration::from_secs(8));
    runner.create(
        &Trigger::new("stuck", "gate.py", "table:m")
            .setting("allow_read", json!(["."]))
            .setting("timeout", json!("1d")),
    );
    let written_before = number;
    write_for(&client, &mut number, Duration::from_secs(1));
    runner.until_logged("stuck", "INFO waiting");

    let begun = Instant::now();
    let (mut windows, mut slowest, mut warm) = (Vec::new(), Duration::ZERO, None);
    while begun.elapsed() < stuck_for {
        windows.push(write_for(&client, &mut number, Duration::from_secs(8)));
        let asked = Instant::now();
        assert_eq!(runner.engine("neighbour").status, 200);
        slowest = slowest.max(asked.elapsed());
        // The neighbour on writes keeps up: what it has not done is of the last seconds, not of the last minute.
        let lag = metric(&runner, "bulkhead_trigger_lag_seconds{database=\"db\",trigger=\"sum\"}");
        assert!(lag < 15.0, "the neighbour is {lag} s behind");
        let resident = resident_bytes(&runner);
        let warm = *warm.get_or_insert(resident);
        assert!(resident < warm + GROWTH_BYTES_MAX, "{warm} grew to {resident}");
    }
    // Other tests share the machine, so a window may be slow; all of them are not.
    windows.sort_unstable();
    let median = windows[windows.len() / 2];
    eprintln!("writes of {ROWS} rows in 8 s: {before} without, then {windows:?}; slowest request {slowest:?}");
    assert!(median * 2 >= before, "the pace went from {before} to {median}: {windows:?}");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    let lag = metric(&runner, "bulkhead_trigger_lag_rows{database=\"db\",trigger=\"stuck\"}");
    assert!(lag >= ((number - written_before - 1) * ROWS) as f64, "{lag}");

    until("the neighbour is done", || {
        let rows = runner.query("SELECT sum(rows) AS n FROM sums")[0]["n"].as_u64().unwrap();
        if rows == number * ROWS { Ok(()) } else { Err(format!("{rows} of {}", number * ROWS)) }
    });
    // It can still be told to stop.
    runner.delete("stuck", true).is(200, "");
    runner.stop();
    runner.assert_no_process();
}
