//! `bulkhead show`.

use clap::{Args, Subcommand};

use super::client::with_query;
use super::output::{CliError, put};
use super::query::{FormatArgs, show_rows};
use super::{DatabaseArgs, ServerArgs};

/// `show`.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The databases.
    #[command(visible_alias = "databases")]
    Database {
        #[command(flatten)]
        server: ServerArgs,
        /// How rows are shown: pretty, json, jsonl, csv.
        #[arg(long, default_value = "pretty")]
        format: String,
    },
    /// The triggers of a database with their states.
    #[command(visible_alias = "triggers")]
    Trigger(TableArgs),
    /// The workers of a database's triggers: live ones, and those that ended lately with the cause.
    #[command(visible_alias = "worker")]
    Workers(TableArgs),
    /// What the plugins of a database said lately.
    #[command(visible_alias = "log")]
    Logs(TableArgs),
}

#[derive(Debug, Args)]
struct TableArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// Runs the command.
pub(super) async fn run(args: ShowArgs) -> Result<(), CliError> {
    let (table, sql) = match args.what {
        What::Database { server, format } => {
            let path = with_query("/api/v3/configure/database", &[("format", &format)]);
            let answer = server.client()?.get(&path).await?.success("Show command failed")?;
            put(&answer.body);
            put(b"\n");
            return Ok(());
        }
        What::Trigger(table) => (
            table,
            "SELECT trigger_name, plugin_filename, trigger_specification, state, state_reason, error_behavior, run_async \
             FROM system.processing_engine_triggers ORDER BY trigger_name",
        ),
        What::Workers(table) => (
            table,
            "SELECT trigger_name, pid, state, end_cause, environment, python, invocations, started_at FROM system.workers ORDER BY started_at",
        ),
        What::Logs(table) => (
            table,
            "SELECT event_time, trigger_name, log_level, source, log_text FROM system.processing_engine_logs ORDER BY event_time",
        ),
    };
    show_rows(&table.server.client()?, &table.database.database, sql, table.format).await
}
