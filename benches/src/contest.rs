//! Contestants take turns, so that what the machine does meanwhile hits all alike.

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::Error;
use crate::summary::Rounds;

/// Something that is called and timed.
pub(crate) trait Contestant: Send {
    /// Makes this many calls, one after the other, and times each. A call that does not do its work is an error.
    fn batch(&mut self, calls: usize) -> BoxFuture<'_, Result<Vec<Duration>, Error>>;
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Rounds; in each of them every contestant has a turn.
    pub(crate) rounds: usize,
    /// Calls of one turn.
    pub(crate) calls: usize,
    /// Calls of each contestant before anything is counted.
    pub(crate) warm_up_calls: usize,
}

/// Runs the rounds; the result has the order of `contestants`.
pub(crate) async fn run(contestants: &mut [&mut Box<dyn Contestant>], plan: Plan) -> Result<Vec<Rounds>, Error> {
    for contestant in contestants.iter_mut() {
        contestant.batch(plan.warm_up_calls).await?;
    }
    let mut results: Vec<Rounds> = contestants.iter().map(|_| Vec::with_capacity(plan.rounds)).collect();
    for round in 0..plan.rounds {
        // Each round begins with another one, so that nobody always follows the same neighbour.
        for turn in 0..contestants.len() {
            let index = (round + turn) % contestants.len();
            if let (Some(contestant), Some(rounds)) = (contestants.get_mut(index), results.get_mut(index)) {
                rounds.push(contestant.batch(plan.calls).await?);
            }
        }
    }
    Ok(results)
}
