//! What a call of a plugin costs: Bulkhead's worker against a raw socket and against the incumbent, in one run.
//!
//! The incumbent is InfluxDB 3, whose interpreter is embedded in the server; its way of calling a plugin is reproduced in this
//! process (`contestant::embedded`). All contestants run the same Python, the same plugin and the same rows, take turns in
//! small batches, and are compared by ratios. `benches/README.md` explains the rungs and the cost model.

mod budget;
mod contest;
mod contestant;
mod ladder;
mod options;
mod python;
mod report;
mod rows;
mod summary;
mod table;
mod terminal;

use std::process::ExitCode;

use bulkhead_launcher::LAUNCH_ARGUMENT;
use clap::Parser;

use options::Options;

/// What goes wrong here ends the bench with its text.
type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    // Workers are started by running this binary again, as the runner's own.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == LAUNCH_ARGUMENT) {
        return bulkhead_launcher::launcher_main();
    }
    let options = Options::parse();
    match run(&options) {
        Ok(all_met) if all_met || !options.check => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            terminal::complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Measures and reports; tells whether every budget was met.
fn run(options: &Options) -> Result<bool, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let plan = options.clone();
    // In a task of the runtime, where the runner's own callers are.
    let report =
        runtime.block_on(async move { tokio_util::task::TaskTracker::new().spawn(ladder::climb(plan)).await })??;
    terminal::say(&table::draw(&report))?;
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
        terminal::say(&format!("the numbers are in {}", path.display()))?;
    }
    Ok(report.all_met())
}
