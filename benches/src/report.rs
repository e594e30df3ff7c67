//! What was measured, and how it compares.

use serde::Serialize;

use crate::budget::Budget;
use crate::summary::{Rounds, Summary};

/// All of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Version of the interpreter that all contestants ran.
    pub(crate) python: Option<&'static str>,
    /// Processors that this process may use.
    pub(crate) processors: usize,
    /// Whether it was a quick run.
    pub(crate) quick: bool,
    /// Groups of rungs that were measured together.
    pub(crate) groups: Vec<Group>,
}

/// Rungs that took turns.
#[derive(Debug, Serialize)]
pub(crate) struct Group {
    /// What was done.
    pub(crate) title: String,
    /// By whom.
    pub(crate) rungs: Vec<Rung>,
}

/// One contestant's result.
#[derive(Debug, Serialize)]
pub(crate) struct Rung {
    /// Name, unique within the group.
    pub(crate) name: &'static str,
    /// The times, or why there are none.
    pub(crate) measured: Measured,
    /// How they compare with others of the group.
    pub(crate) comparisons: Vec<Comparison>,
}

/// Times, or why there are none.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measured {
    /// The times.
    Times(Summary),
    /// The reason.
    NotMeasured(String),
}

/// One rung against a baseline.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    /// Name of the baseline.
    pub(crate) baseline: &'static str,
    /// Median over median; absent when one of them was not measured.
    pub(crate) ratio: Option<f64>,
    /// The smallest and the largest ratio of the medians of one round.
    pub(crate) ratio_of_rounds: Option<(f64, f64)>,
    /// What was promised.
    pub(crate) budget: Option<Budget>,
    /// The promise in microseconds, given the baseline of this run.
    pub(crate) bound_us: Option<f64>,
    /// Whether it was kept.
    pub(crate) met: Option<bool>,
}

impl Report {
    /// Whether all promises were judged and kept.
    pub(crate) fn all_met(&self) -> bool {
        let rungs = self.groups.iter().flat_map(|group| &group.rungs);
        rungs
            .flat_map(|rung| &rung.comparisons)
            .all(|comparison| comparison.budget.is_none() || comparison.met == Some(true))
    }
}

impl Group {
    /// An empty group.
    pub(crate) fn new(title: String) -> Self {
        Self { title, rungs: Vec::new() }
    }

    /// Adds a contestant's times.
    pub(crate) fn add(&mut self, name: &'static str, rounds: Result<&Rounds, String>) {
        let measured = match rounds.map(Summary::of) {
            Ok(Some(summary)) => Measured::Times(summary),
            Ok(None) => Measured::NotMeasured("no call was made".to_owned()),
            Err(reason) => Measured::NotMeasured(reason),
        };
        self.rungs.push(Rung { name, measured, comparisons: Vec::new() });
    }

    /// Compares two rungs that were added.
    pub(crate) fn compare(&mut self, name: &str, baseline: &'static str, budget: Option<Budget>) {
        let comparison = Comparison::of(self.times(name), baseline, self.times(baseline), budget);
        if let Some(rung) = self.rungs.iter_mut().find(|rung| rung.name == name) {
            rung.comparisons.push(comparison);
        }
    }

    fn times(&self, name: &str) -> Option<&Summary> {
        self.rungs.iter().find(|rung| rung.name == name).and_then(|rung| match &rung.measured {
            Measured::Times(summary) => Some(summary),
            Measured::NotMeasured(_) => None,
        })
    }
}

impl Comparison {
    fn of(ours: Option<&Summary>, name: &'static str, baseline: Option<&Summary>, budget: Option<Budget>) -> Self {
        let pair = ours.zip(baseline);
        let bound_us = baseline.zip(budget).map(|(baseline, budget)| budget.bound_us(baseline.p50_us));
        let rounds = pair.map(|(ours, baseline)| ours.rounds_us.iter().zip(&baseline.rounds_us).map(|(a, b)| a / b));
        let ratio_of_rounds =
            rounds.and_then(|ratios| Some((ratios.clone().reduce(f64::min)?, ratios.reduce(f64::max)?)));
        Self {
            baseline: name,
            ratio: pair.map(|(ours, baseline)| ours.p50_us / baseline.p50_us),
            ratio_of_rounds,
            budget,
            bound_us,
            met: ours.zip(bound_us).map(|(ours, bound_us)| ours.p50_us <= bound_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::NOOP_TO_RAW;
    use std::time::Duration;

    fn group(ours: u64) -> Group {
        let mut group = Group::new(String::new());
        group.add("raw", Ok(&vec![vec![Duration::from_micros(10)]]));
        group.add("worker", Ok(&vec![vec![Duration::from_micros(ours)]]));
        group.compare("worker", "raw", Some(NOOP_TO_RAW));
        group
    }

    fn all_met(group: Group) -> bool {
        Report { python: None, processors: 1, quick: true, groups: vec![group] }.all_met()
    }

    #[test]
    fn a_budget_is_judged_by_the_medians() {
        assert!(all_met(group(60)));
        assert!(!all_met(group(61)));
    }

    #[test]
    fn a_budget_without_a_baseline_is_not_met() {
        let mut group = group(10);
        group.add("incumbent", Err("no libpython".into()));
        group.compare("worker", "incumbent", None);
        assert!(all_met(group));
        let mut group = Group::new(String::new());
        group.add("worker", Err("no".into()));
        group.compare("worker", "incumbent", Some(NOOP_TO_RAW));
        assert!(!all_met(group));
    }
}
