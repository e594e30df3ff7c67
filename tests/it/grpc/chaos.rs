//! A plan of faults that a seed decides, for a host that delegates: it refuses writes, does them without being heard, goes away and
//! comes back, while workers and the runner are killed. Every acknowledged commit has its effect once, and in order.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;
use serde_json::json;
use tonic::Status;

use super::client::WalStream;
use super::host::Reply;
use super::{Delegation, rows};
use crate::world::{PATIENCE, Trigger};

/// Some numbers end their worker or raise, now and then.
const UNSTEADY: &str = "\
import os
def process_writes(api, batches, args=None):
    for batch in batches:
        for row in batch['rows']:
            number = int(row['value'])
            if number % 7 == 3 and os.urandom(1)[0] < 64:
                os._exit(9)
            if number % 7 == 5 and os.urandom(1)[0] < 128:
                raise ValueError(f'{number} is unlucky')
            api.write(LineBuilder('effect').int64_field('v', number))
";

const TRIGGER: &str = "unsteady";

struct Chaos {
    delegation: Delegation,
    chance: Rng,
    stream: WalStream,
    sent: u64,
    acknowledged: u64,
    is_away: bool,
    steps: Vec<&'static str>,
}

impl Chaos {
    async fn start(seed: u64) -> Self {
        let delegation = Delegation::start_with(&["--shutdown-timeout", "2s"]);
        delegation.runner.plugin("unsteady.py", UNSTEADY);
        let trigger = Trigger::new(TRIGGER, "unsteady.py", "all_tables")
            .on_error("retry")
            .setting("attempts_max", json!(1000))
            .setting("backoff_initial", json!("1ms"))
            .setting("backoff_cap", json!("20ms"));
        delegation.runner.create(&trigger);
        let stream = delegation.client().await.stream().await;
        let chance = Rng::with_seed(seed);
        Self { delegation, chance, stream, sent: 0, acknowledged: 0, is_away: false, steps: Vec::new() }
    }

    /// Sends commits, and sometimes waits until they are acknowledged.
    async fn send(&mut self) {
        for _ in 0..self.chance.u64(1..5) {
            self.sent += 1;
            self.stream.send(rows::commit("db", self.sent, "weather", &[self.sent as f64])).await;
        }
        if self.chance.bool() {
            self.read_acknowledgements().await;
        }
    }

    async fn read_acknowledgements(&mut self) {
        if self.acknowledged < self.sent {
            self.stream.acks_up_to("db", self.sent).await;
            self.acknowledged = self.sent;
        }
    }

    /// What a host does when the runner was away: it sends again what was not acknowledged.
    async fn connect_again(&mut self) {
        self.stream = self.delegation.client().await.stream().await;
        for number in self.acknowledged + 1..=self.sent {
            self.stream.send(rows::commit("db", number, "weather", &[number as f64])).await;
        }
    }

    /// Answers writes by chance from now on.
    fn break_the_host(&mut self) {
        let chance = Mutex::new(self.chance.fork());
        self.delegation.host.on_write(move |_, _| match chance.lock().u8(0..4) {
            0 => Reply::Done(()),
            1 => Reply::Unheard,
            _ => Reply::Refuse(Status::unavailable("electing a leader")),
        });
    }

    fn mend_the_host(&mut self) {
        if std::mem::take(&mut self.is_away) {
            self.delegation.host.come_back();
        }
        self.delegation.host.on_write(|_, _| Reply::Done(()));
    }

    fn kill_worker(&self) {
        for worker in self.delegation.workers() {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(worker.pid), Signal::SIGKILL);
        }
    }

    async fn step(&mut self) {
        let step = match self.chance.u8(0..100) {
            0..=59 => {
                self.send().await;
                "send"
            }
            60..=69 => {
                self.kill_worker();
                "kill the worker"
            }
            70..=76 => {
                self.delegation.runner.kill();
                self.delegation.runner.restart_same();
                self.connect_again().await;
                "kill the runner"
            }
            77..=85 => {
                self.break_the_host();
                "break the host"
            }
            86..=91 if !self.is_away => {
                self.delegation.host.stop();
                self.is_away = true;
                "the host goes away"
            }
            _ => {
                self.mend_the_host();
                "mend the host"
            }
        };
        self.steps.push(step);
    }

    /// The numbers whose effects the host has, in the order in which they came.
    fn effects(&self) -> Vec<u64> {
        let number = |line: String| {
            let value = line.strip_prefix("effect v=").and_then(|rest| rest.split_once('i')).map(|(value, _)| value);
            value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("unexpected line {line:?}"))
        };
        self.delegation.host.lines().into_iter().map(number).collect()
    }

    async fn ends_well(mut self) {
        self.mend_the_host();
        self.read_acknowledgements().await;
        let wanted: Vec<u64> = (1..=self.sent).collect();
        let begun = Instant::now();
        while self.effects() != wanted {
            let effects = self.effects();
            let once: BTreeSet<&u64> = effects.iter().collect();
            let state = format!("{effects:?} of {}; steps {:?}", self.sent, self.steps);
            assert!(once.len() == effects.len() && effects.is_sorted(), "{state}");
            // Breakers and waits of faults at the end may last some time.
            assert!(begun.elapsed() < 4 * PATIENCE, "{state}; {:#?}", self.delegation.runner.logs(TRIGGER));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let letters = self.delegation.runner.get("/api/v3/configure/dead_letter?db=db").json();
        assert_eq!(letters, json!([]), "nothing is given up");
        drop(self.stream);
        self.delegation.runner.stop();
        self.delegation.runner.assert_no_process();
    }
}

async fn run(seed: u64, steps: usize) {
    eprintln!("delegation chaos seed {seed}");
    let mut chaos = Chaos::start(seed).await;
    for _ in 0..steps {
        chaos.step().await;
    }
    chaos.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_seed_keeps_the_promises_to_a_host() {
    run(1, 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_seeds_keep_the_promises_to_a_host() {
    let begun = Instant::now();
    let mut seed = crate::chaos::first_seed();
    loop {
        run(seed, if crate::chaos::asked_for().is_some() { 200 } else { 60 }).await;
        seed += 1;
        if crate::chaos::asked_for().is_none_or(|duration| begun.elapsed() > duration) {
            return;
        }
    }
}
