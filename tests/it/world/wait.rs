//! Waiting for facts.

use std::fmt::Display;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longest wait for something that has to come: a machine with two busy cores takes its time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// What a look at the world gives: there already, or not yet, with what is seen instead.
pub(crate) trait Look {
    /// What was waited for.
    type Seen;
    /// What was waited for, or what is there instead.
    fn seen(self) -> Result<Self::Seen, String>;
}

impl<T> Look for Option<T> {
    type Seen = T;
    fn seen(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing".to_owned())
    }
}

impl<T, E: Display> Look for Result<T, E> {
    type Seen = T;
    fn seen(self) -> Result<T, String> {
        self.map_err(|error| error.to_string())
    }
}

/// Looks until `look` sees what `what` says.
pub(crate) fn until<L: Look>(what: &str, mut look: impl FnMut() -> L) -> L::Seen {
    let begun = Instant::now();
    loop {
        match look().seen() {
            Ok(seen) => return seen,
            Err(instead) if begun.elapsed() > PATIENCE => panic!("waited in vain until {what}; last seen: {instead}"),
            Err(_) => sleep(LOOK),
        }
    }
}

/// Looks until `look` says yes.
pub(crate) fn until_true(what: &str, mut look: impl FnMut() -> bool) {
    until(what, || look().then_some(()));
}
