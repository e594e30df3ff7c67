//! Starts, stops, crashes of the runner and of its parts.

mod cached;
mod damage;
mod kills;
mod many;
mod promises;
mod restarts;
mod shutdown;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::world::{Client, DB, until_true};

/// Writes numbered rows to the table `m`, one after another, until it is stopped or refused.
struct Writer {
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Writer {
    fn start(client: Client) -> Self {
        Self::start_at(client, 1)
    }

    /// The same, with another first number.
    fn start_at(client: Client, first: u64) -> Self {
        let (acknowledged, stop) = (Arc::new(AtomicU64::new(first - 1)), Arc::new(AtomicBool::new(false)));
        let (counter, stopped) = (Arc::clone(&acknowledged), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            for number in first.. {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                match client.try_send(&Client::write_request(DB, &format!("m v={number} {number}"))) {
                    Ok(answer) if answer.status == 204 => counter.store(number, Ordering::SeqCst),
                    Ok(answer) => panic!("a write was refused: {} {}", answer.status, answer.text()),
                    // The runner was killed.
                    Err(_) => return,
                }
            }
        });
        Self { acknowledged, stop, thread }
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    fn until_more(&self, more: u64) {
        let wanted = self.acknowledged() + more;
        until_true(&format!("{wanted} writes are acknowledged"), || self.acknowledged() >= wanted);
    }

    /// The number of the last acknowledged row.
    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        self.acknowledged.load(Ordering::SeqCst)
    }
}
