//! `bulkhead query`.

use std::io::Read;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::client::Client;
use super::output::{CliError, put};
use super::{DatabaseArgs, ServerArgs};

/// `query`.
#[derive(Debug, Args)]
pub(super) struct QueryArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    format: FormatArgs,
    /// The SQL text; `-` reads it from standard input.
    query: String,
}

/// How rows are shown.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct FormatArgs {
    /// How rows are shown.
    #[arg(long, value_enum, default_value = "pretty")]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Pretty,
    Json,
    Jsonl,
    Csv,
    Parquet,
}

impl FormatArgs {
    fn name(self) -> &'static str {
        match self.format {
            Format::Pretty => "pretty",
            Format::Json => "json",
            Format::Jsonl => "jsonl",
            Format::Csv => "csv",
            Format::Parquet => "parquet",
        }
    }
}

/// Runs the command.
pub(super) async fn run(args: QueryArgs) -> Result<(), CliError> {
    let mut sql = args.query;
    if sql == "-" {
        sql.clear();
        std::io::stdin().read_to_string(&mut sql).map_err(|error| CliError::new(format!("standard input: {error}")))?;
    }
    show_rows(&args.server.client()?, &args.database.database, &sql, args.format).await
}

/// Runs SQL and writes the rows to standard output.
pub(super) async fn show_rows(client: &Client, database: &str, sql: &str, format: FormatArgs) -> Result<(), CliError> {
    let rows = rows(client, database, sql, format).await?;
    put(&rows);
    if !matches!(format.format, Format::Parquet) && !rows.ends_with(b"\n") {
        put(b"\n");
    }
    Ok(())
}

/// Runs SQL and returns the rows as they are to be shown.
pub(super) async fn rows(
    client: &Client,
    database: &str,
    sql: &str,
    format: FormatArgs,
) -> Result<bytes::Bytes, CliError> {
    let body = json!({ "db": database, "q": sql, "format": format.name() });
    Ok(client.post_json("/api/v3/query_sql", &body).await?.success("Query command failed")?.body)
}
