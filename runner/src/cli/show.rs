//! `bulkhead show`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::client::with_query;
use super::output::{CliError, put};
use super::query::{FormatArgs, rows, show_rows};
use super::show_system::{self, SystemArgs};
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
    /// The arguments of a database's triggers.
    #[command(visible_alias = "argument")]
    Arguments(TableArgs),
    /// The files of all triggers' plugins.
    #[command(visible_alias = "plugin")]
    Plugins {
        #[command(flatten)]
        server: ServerArgs,
        #[command(flatten)]
        format: FormatArgs,
        /// File for the rows; standard output otherwise.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// The last invocations of a database's triggers: outcome, times, resources.
    #[command(visible_alias = "invocation")]
    Invocations(TableArgs),
    /// The workers of a database's triggers: live ones, and those that ended lately with the cause.
    #[command(visible_alias = "worker")]
    Workers(TableArgs),
    /// What the plugins of a database said lately.
    #[command(visible_alias = "log")]
    Logs(TableArgs),
    /// The system tables.
    System(SystemArgs),
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

const PLUGINS: &str = "SELECT database, plugin_name, file_name, file_path, size_bytes, to_timestamp_millis(last_modified) AS last_modified \
                       FROM system.plugin_files ORDER BY database, plugin_name, file_name";

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
        What::System(args) => return show_system::run(args).await,
        What::Plugins { server, format, output: None } => {
            return show_rows(&server.client()?, "_internal", PLUGINS, format).await;
        }
        What::Plugins { server, format, output: Some(file) } => {
            let bytes = rows(&server.client()?, "_internal", PLUGINS, format).await?;
            let failed = |error: std::io::Error| CliError::new(format!("{}: {error}", file.display()));
            return std::fs::write(&file, bytes).map_err(failed);
        }
        What::Trigger(table) => (
            table,
            "SELECT trigger_name, plugin_filename, trigger_specification, state, state_reason, error_behavior, run_async \
             FROM system.processing_engine_triggers ORDER BY trigger_name",
        ),
        What::Arguments(table) => (
            table,
            "SELECT trigger_name, argument_key, argument_value FROM system.processing_engine_trigger_arguments \
             ORDER BY trigger_name, argument_key",
        ),
        What::Invocations(table) => (
            table,
            "SELECT event_time, trigger_name, outcome, error, rows, queue_us, start_us, elapsed_us, plugin_us, cpu_us, max_rss_bytes \
             FROM system.invocations ORDER BY event_time",
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
