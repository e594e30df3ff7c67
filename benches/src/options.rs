//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measures what a call of a plugin costs, as ratios of one run: Bulkhead's worker, a raw socket, the embedded incumbent.
#[derive(Debug, Clone, Parser)]
#[command(version, after_help = AFTER_HELP)]
pub(crate) struct Options {
    /// A few seconds that show that the bench works; the numbers mean little.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Exit with failure when a budget is missed or could not be judged.
    #[arg(long)]
    pub(crate) check: bool,
    /// Write the numbers to this file as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Measure one part only.
    #[arg(long, value_name = "PART")]
    pub(crate) only: Option<Part>,
}

const AFTER_HELP: &str = "\
Build with `--release`. PYO3_PYTHON names another interpreter at build time than `python3`; \
it needs a shared libpython, or the incumbent is not measured.";

/// A part of the ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Calls that do nothing.
    Noop,
    /// The same over HTTP.
    Http,
    /// Batches of rows.
    Rows,
    /// Building lines.
    Lines,
}

impl Options {
    /// Whether a part was asked for.
    pub(crate) fn wants(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }
}
