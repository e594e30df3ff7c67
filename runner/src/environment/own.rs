//! What the settings of a trigger ask for, while it runs.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::requirements::Requirements;

/// Requirements of a trigger that may change under its workers.
#[derive(Debug, Default)]
pub struct OwnRequirements {
    current: RwLock<Requirements>,
    changes: AtomicU64,
}

impl OwnRequirements {
    /// To begin with.
    #[must_use]
    pub fn new(requirements: Requirements) -> Self {
        Self { current: RwLock::new(requirements), changes: AtomicU64::new(0) }
    }

    /// What is asked for now.
    #[must_use]
    pub fn get(&self) -> Requirements {
        self.current.read().clone()
    }

    /// Asks for something else from now on.
    pub fn set(&self, requirements: Requirements) {
        *self.current.write() = requirements;
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Counts the changes.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }
}
