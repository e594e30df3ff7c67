//! `bulkhead dead-letter`.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use super::client::{Client, with_query};
use super::output::{CliError, put, say};
use super::query::{FormatArgs, show_rows};
use super::{DatabaseArgs, ServerArgs};

const PATH: &str = "/api/v3/configure/dead_letter";

/// `dead-letter`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DeadLetterArgs {
    #[command(subcommand)]
    what: What,
}

const EXAMPLES: &str = "\
Examples:
  bulkhead dead-letter list --database weather
  bulkhead dead-letter show 01988f6e-…                     what is known of it, with the traceback
  bulkhead dead-letter show --export lp 01988f6e-… > batch.lp
  bulkhead dead-letter show --export arrow --table m -o batch.arrow 01988f6e-…
  bulkhead dead-letter replay --database weather --trigger mean --all";

#[derive(Debug, Subcommand)]
enum What {
    /// Batches that the triggers of a database gave up.
    List {
        #[command(flatten)]
        server: ServerArgs,
        #[command(flatten)]
        database: DatabaseArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// What is known of a dead letter, or its rows.
    Show {
        #[command(flatten)]
        server: ServerArgs,
        /// Write its rows instead.
        #[arg(long, value_enum, value_name = "FORMAT")]
        export: Option<Export>,
        /// Table whose rows are written, with `--export arrow`.
        #[arg(long, requires = "export")]
        table: Option<String>,
        /// File to write to; standard output otherwise.
        #[arg(short, long, requires = "export")]
        output: Option<PathBuf>,
        /// Its id.
        id: String,
    },
    /// Call the trigger with the rows again. A letter whose call succeeds is gone.
    Replay(Choice),
    /// Remove dead letters for good.
    Discard(Choice),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Export {
    /// Line protocol.
    Lp,
    /// An Arrow IPC stream.
    Arrow,
}

/// Which letters.
#[derive(Debug, Args)]
struct Choice {
    #[command(flatten)]
    server: ServerArgs,
    /// All letters of a trigger.
    #[arg(long, requires_all = ["database", "trigger"], conflicts_with = "ids")]
    all: bool,
    /// Database of the trigger, with `--all`.
    #[arg(short, long, env = "INFLUXDB3_DATABASE_NAME", value_name = "NAME")]
    database: Option<String>,
    /// The trigger, with `--all`.
    #[arg(long, value_name = "NAME")]
    trigger: Option<String>,
    /// Their ids.
    #[arg(required_unless_present = "all")]
    ids: Vec<String>,
}

impl Choice {
    async fn ids(&self, client: &Client) -> Result<Vec<String>, CliError> {
        let (Some(database), Some(trigger), true) = (&self.database, &self.trigger, self.all) else {
            return Ok(self.ids.clone());
        };
        let path = with_query(PATH, &[("db", database), ("trigger_name", trigger)]);
        let answer = client.get(&path).await?.success("Failed to list dead letters")?;
        let letters: Vec<Value> = serde_json::from_slice(&answer.body)
            .map_err(|error| CliError::new(format!("the server's list cannot be read: {error}")))?;
        Ok(letters.iter().filter_map(|letter| letter["id"].as_str().map(str::to_owned)).collect())
    }
}

/// Runs the command.
pub(super) async fn run(args: DeadLetterArgs) -> Result<(), CliError> {
    match args.what {
        What::List { server, database, format } => {
            let sql = "SELECT id, trigger_name, wal_sequence, recorded_at, rows, attempts, cause, message \
                       FROM system.dead_letters ORDER BY recorded_at";
            show_rows(&server.client()?, &database.database, sql, format).await
        }
        What::Show { server, export, table, output, id } => {
            let format = match export {
                None => "json",
                Some(Export::Lp) => "lp",
                Some(Export::Arrow) => "arrow",
            };
            let mut parameters = vec![("format", format)];
            parameters.extend(table.as_deref().map(|table| ("table", table)));
            let path = with_query(&path_of(&id), &parameters);
            let answer = server.client()?.get(&path).await?.success("Failed to show dead letter")?;
            match (export, output) {
                (None, _) => say(described(&answer.body)?),
                (Some(_), None) => put(&answer.body),
                (Some(_), Some(path)) => write(&path, &answer.body)?,
            }
            Ok(())
        }
        What::Replay(choice) => {
            let client = choice.server.client()?;
            for id in choice.ids(&client).await? {
                let path = format!("{}/replay", path_of(&id));
                client.post(&path, "").await?.success(&format!("Dead letter {id} failed again"))?;
                say(format!("Dead letter {id} replayed successfully"));
            }
            Ok(())
        }
        What::Discard(choice) => {
            let client = choice.server.client()?;
            for id in choice.ids(&client).await? {
                client.delete(&path_of(&id)).await?.success("Failed to discard dead letter")?;
                say(format!("Dead letter {id} discarded"));
            }
            Ok(())
        }
    }
}

fn path_of(id: &str) -> String {
    let id: String = form_urlencoded::byte_serialize(id.as_bytes()).collect();
    format!("{PATH}/{id}")
}

/// What is known of a letter, for a person: one line a field, the long ones last.
fn described(body: &[u8]) -> Result<String, CliError> {
    let letter: serde_json::Map<String, Value> = serde_json::from_slice(body)
        .map_err(|error| CliError::new(format!("the server's answer cannot be read: {error}")))?;
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let (long, short): (Vec<_>, Vec<_>) = letter.iter().partition(|(_, value)| text(value).contains('\n'));
    let mut lines: Vec<String> = short
        .into_iter()
        .filter(|(_, value)| !text(value).is_empty())
        .map(|(name, value)| format!("{name:<14} {}", text(value)))
        .collect();
    lines.extend(long.into_iter().map(|(name, value)| format!("{name}:\n{}", text(value).trim_end())));
    Ok(lines.join("\n"))
}

fn write(path: &std::path::Path, bytes: &[u8]) -> Result<(), CliError> {
    std::fs::File::create(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(|error| CliError::new(format!("{}: {error}", path.display())))
}
