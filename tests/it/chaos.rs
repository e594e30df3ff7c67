//! A plan of faults that a seed decides, against a model of what has to come of it: every acknowledged row is worked on, every effect
//! is there exactly once and in order, and nothing is left.
//!
//! Some seeds run with the other tests. `.ci/chaos` runs many, for as long as one likes, and prints the seed of a failure.

mod pace;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::world::{Client, DB, Disk, DiskFault, PATIENCE, TestRunner, Trigger, processes_of, with_disk};

/// Rows with these numbers end their worker, hang or raise, the first times that they are seen; the file beside the plugin counts.
const UNSTEADY: &str = "\
import os, time, uuid
def process_writes(api, batches, args=None):
    target = args['target']
    for batch in batches:
        for row in batch['rows']:
            number = int(row['v'])
            fault = number % 23
            if fault in (3, 5, 7) and api.cache.get(f'{target}-{number}') is None and os.urandom(1)[0] < 128:
                if fault == 3:
                    os._exit(9)
                if fault == 5:
                    time.sleep(1000)
                raise ValueError(f'{number} is unlucky')
            line = LineBuilder(target).tag('call', uuid.uuid4().hex).int64_field('v', number)
            line.int64_field('at', time.time_ns()).int64_field('rows', len(batch['rows']))
            api.write(line)
";

/// What happened to the rows.
#[derive(Default)]
struct Model {
    next: u64,
    acknowledged: BTreeSet<u64>,
    /// Whether the client knows: a row that was not acknowledged may be there all the same.
    tried: BTreeSet<u64>,
}

struct Chaos {
    runner: TestRunner,
    disk: Disk,
    chance: Rng,
    model: Model,
    steps: Vec<String>,
}

const TARGETS: [&str; 3] = ["plain", "overlapping", "together"];

impl Chaos {
    fn new(seed: u64) -> Self {
        let (runner, disk) = with_disk(&["--snapshot-bytes", "40000", "--shutdown-timeout", "2s"]);
        runner.plugin("unsteady.py", UNSTEADY);
        let trigger = |name: &str| {
            Trigger::new(name, "unsteady.py", "table:m")
                .arguments(json!({ "target": name }))
                .on_error("retry")
                .setting("attempts_max", json!(1000))
                .setting("backoff_initial", json!("1ms"))
                .setting("backoff_cap", json!("20ms"))
                .setting("timeout", json!("700ms"))
        };
        runner.create(&trigger(TARGETS[0]));
        runner.create(&trigger(TARGETS[1]).run_async());
        runner.create(&trigger(TARGETS[2]).setting("coalesce_rows", json!(40)));
        Self { runner, disk, chance: Rng::with_seed(seed), model: Model::default(), steps: Vec::new() }
    }

    fn write(&mut self) {
        let numbers: Vec<u64> = (0..self.chance.u64(1..7)).map(|more| self.model.next + more).collect();
        self.model.next += numbers.len() as u64;
        let lines: Vec<String> = numbers.iter().map(|number| format!("m v={number}i {}", number + 1)).collect();
        self.model.tried.extend(&numbers);
        match self.runner.client().try_send(&Client::write_request(DB, &lines.join("\n"))) {
            Ok(answer) if answer.status == 204 => self.model.acknowledged.extend(numbers),
            Ok(answer) => assert_eq!(answer.status, 500, "{}", answer.text()),
            Err(error) => panic!("the runner is up, but it does not answer: {error}"),
        }
    }

    /// Kills a worker of some trigger, as the kernel does when memory runs out.
    fn kill_worker(&mut self) {
        let sql = "SELECT pid FROM system.workers WHERE state <> 'ended' AND pid IS NOT NULL";
        let rows = self.runner.client().try_get_rows(sql).unwrap_or_default();
        let workers: Vec<i64> = rows.iter().filter_map(|row| row["pid"].as_i64()).collect();
        if workers.is_empty() {
            return;
        }
        let chosen = workers[self.chance.usize(0..workers.len())];
        // It may have ended meanwhile, and its number belong to somebody else.
        let ours = processes_of(self.runner.root());
        if ours.iter().any(|process| i64::from(process.pid) == chosen) {
            let _ = kill(Pid::from_raw(i32::try_from(chosen).unwrap()), Signal::SIGKILL);
        }
    }

    fn step(&mut self) {
        let step = match self.chance.u8(0..100) {
            0..=64 => {
                self.write();
                "write"
            }
            65..=76 => {
                self.kill_worker();
                "kill a worker"
            }
            77..=82 => {
                self.runner.kill();
                self.disk.recovers();
                self.runner.restart_same();
                "kill the runner"
            }
            83..=84 => {
                self.runner.stop();
                self.disk.recovers();
                self.runner.restart_same();
                "stop the runner"
            }
            85..=94 => {
                let faults = [DiskFault::Full, DiskFault::FailingSync, DiskFault::ReadOnly, DiskFault::SlowSync(60)];
                self.disk.fails(faults[self.chance.usize(0..faults.len())]);
                "break the disk"
            }
            _ => {
                self.disk.recovers();
                "mend the disk"
            }
        };
        self.steps.push(step.to_owned());
    }

    /// What is wrong with a target, or nothing.
    fn wrong(&self, target: &str) -> Result<(), String> {
        let rows = |sql: &str| self.runner.client().try_get_rows(sql).unwrap_or_default();
        let numbers = |sql: &str| -> Vec<u64> { rows(sql).iter().map(|row| row["v"].as_u64().unwrap()).collect() };
        let written: BTreeSet<u64> = numbers("SELECT v FROM m").into_iter().collect();
        let done = numbers(&format!("SELECT v FROM {target} ORDER BY at, v"));
        let once: BTreeSet<u64> = done.iter().copied().collect();
        if let Some(lost) = self.model.acknowledged.difference(&written).next() {
            return Err(format!("row {lost} was acknowledged and is gone"));
        }
        if let Some(invented) = written.difference(&self.model.tried).next() {
            return Err(format!("row {invented} was never written"));
        }
        if once.len() != done.len() {
            return Err(format!("{} effects of {} rows in {target}", done.len(), once.len()));
        }
        if once != written {
            let missing: Vec<_> = written.symmetric_difference(&once).take(10).collect();
            return Err(format!(
                "{} of {} rows have their effect in {target}; not {missing:?}",
                once.len(),
                written.len()
            ));
        }
        let is_in_order = target == "overlapping" || done.is_sorted();
        if is_in_order { Ok(()) } else { Err(format!("{target} is out of order: {done:?}")) }
    }

    fn ends_well(mut self) {
        self.disk.recovers();
        let begun = Instant::now();
        for target in TARGETS {
            // Breakers and waits of faults at the end may last some time.
            while let Err(wrong) = self.wrong(target) {
                let logs = || self.runner.logs(target).into_iter().rev().take(20).collect::<Vec<_>>();
                assert!(begun.elapsed() < 4 * PATIENCE, "{wrong}; steps {:?}; log {:#?}", self.steps, logs());
                std::thread::sleep(Duration::from_millis(50));
            }
            let letters = self.runner.get("/api/v3/configure/dead_letter?db=db").json();
            assert_eq!(letters, json!([]), "nothing is given up");
        }
        self.runner.stop();
        self.runner.assert_no_process();
    }
}

fn run(seed: u64, steps: usize) {
    eprintln!("chaos seed {seed}");
    let mut chaos = Chaos::new(seed);
    for _ in 0..steps {
        chaos.step();
    }
    chaos.ends_well();
}

/// How long `.ci/chaos` asks for.
pub(crate) fn asked_for() -> Option<Duration> {
    let seconds = std::env::var("BULKHEAD_CHAOS_SECONDS").ok()?;
    Some(Duration::from_secs(seconds.parse().expect("BULKHEAD_CHAOS_SECONDS is a number")))
}

/// The seed to begin with: the one that `.ci/chaos` was given, or any.
pub(crate) fn first_seed() -> u64 {
    let given = std::env::var("BULKHEAD_CHAOS_SEED").ok().map(|seed| seed.parse().expect("a number"));
    given.unwrap_or_else(|| fastrand::u64(..1_000_000))
}

#[test]
fn a_first_seed_keeps_the_promises() {
    run(1, 40);
}

#[test]
fn a_second_seed_keeps_the_promises() {
    run(2, 40);
}

#[test]
fn new_seeds_keep_the_promises() {
    let begun = Instant::now();
    let mut seed = first_seed();
    loop {
        run(seed, if asked_for().is_some() { 200 } else { 40 });
        seed += 1;
        if asked_for().is_none_or(|duration| begun.elapsed() > duration) {
            return;
        }
    }
}
