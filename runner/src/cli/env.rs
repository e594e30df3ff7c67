//! `bulkhead env`: the environments on this machine. It works on the files, beside a server that runs or without one.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};

use super::output::{CliError, note, say};
use super::{DatabaseArgs, ServerArgs, env_trigger};
use crate::clock::{Clock, SystemClock};
use crate::environment::inventory::{self, Listed};

/// `env`.
#[derive(Debug, Args)]
pub(super) struct EnvArgs {
    #[command(subcommand)]
    what: What,
    /// Data directory of the server.
    #[arg(long, env = "INFLUXDB3_DB_DIR", default_value = "./bulkhead-data", value_name = "DIR", global = true)]
    data_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the environments, their sizes and whether they are in use.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what is in an environment, or with `--database` what a trigger asks for, who asks for it, and what it comes to.
    Show {
        /// Name of the environment, or of the trigger.
        #[arg(value_name = "ENVIRONMENT|TRIGGER")]
        name: String,
        /// Database of the trigger; its server is asked.
        #[arg(short, long, value_name = "NAME")]
        database: Option<String>,
        /// Print the lock of the trigger, as a requirements file with hashes, and nothing else.
        #[arg(long, requires = "database")]
        lock: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Resolve anew what a trigger asks for, and keep the lock for `env sync`; nothing changes yet.
    Lock(OfTrigger),
    /// Build the environment of a trigger's new lock, and bring its workers there between two calls.
    Sync(OfTrigger),
    /// Show what a lock that is made now would change; nothing is kept.
    Diff(OfTrigger),
    /// Remove environments that are not in use; a trigger that needs one builds it again.
    Rm {
        /// Their names.
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Remove all that were not used for some time, as a server does by itself.
    Gc {
        /// How long an environment has to be unused.
        #[arg(long, default_value = "15d", value_parser = humantime::parse_duration, value_name = "DURATION")]
        grace: Duration,
    },
}

/// Which trigger.
#[derive(Debug, Args)]
pub(super) struct OfTrigger {
    #[command(flatten)]
    pub(super) server: ServerArgs,
    #[command(flatten)]
    pub(super) database: DatabaseArgs,
    /// Name of the trigger.
    pub(super) trigger: String,
}

/// Runs the command.
pub(super) async fn run(args: EnvArgs) -> Result<(), CliError> {
    let root = args.data_dir.join("environments");
    let now = SystemTime::from(SystemClock.now());
    let failed = |error: std::io::Error| {
        CliError::new(format!("{}: {error}", root.display())).hint("name the server's directory with `--data-dir`")
    };
    match &args.what {
        What::List { json } => {
            let listed = inventory::list(&root, now).map_err(failed)?;
            if *json {
                let text = serde_json::to_string_pretty(&listed).map_err(|error| CliError::new(error.to_string()))?;
                say(text);
            } else if listed.is_empty() {
                note(format!("there are no environments below {}", root.display()));
            } else {
                say(format!("{:16}  {:8}  {:>10}  {:>10}  PACKAGES", "ENVIRONMENT", "PYTHON", "SIZE", "USED"));
                listed.iter().for_each(|one| say(line(one)));
            }
        }
        What::Show { name, database: Some(database), lock, server } => {
            env_trigger::show(server, (database, name), *lock).await?;
        }
        What::Show { name: id, .. } => {
            let listed = inventory::list(&root, now).map_err(failed)?;
            let Some(one) = listed.iter().find(|one| one.id == *id) else {
                return Err(CliError::new(inventory::RemoveError::Unknown(id.clone()).to_string()));
            };
            say(format!("environment   {}\ndirectory     {}", one.id, one.path.display()));
            say(format!(
                "python        {}\nsize          {}\nused          {}",
                one.python,
                size(one.bytes),
                used(one)
            ));
            say(format!("asked for     {}\ninstalled     {}", list(&one.requirements), list(&one.packages)));
        }
        What::Lock(of) => env_trigger::lock(of, true).await?,
        What::Diff(of) => env_trigger::lock(of, false).await?,
        What::Sync(of) => env_trigger::sync(of).await?,
        What::Rm { ids } => {
            for id in ids {
                inventory::remove(&root, id).map_err(|error| CliError::new(error.to_string()))?;
                say(format!("removed environment {id}"));
            }
        }
        What::Gc { grace } => {
            let removed = inventory::collect(&root, *grace, now).map_err(failed)?;
            removed.iter().for_each(|one| say(format!("removed environment {} ({})", one.id, size(one.bytes))));
            let bytes = removed.iter().map(|one| one.bytes).sum();
            note(format!("{} environments removed, {} freed", removed.len(), size(bytes)));
        }
    }
    Ok(())
}

fn line(one: &Listed) -> String {
    format!("{:16}  {:8}  {:>10}  {:>10}  {}", one.id, one.python, size(one.bytes), used(one), list(&one.packages))
}

fn used(one: &Listed) -> String {
    if one.in_use {
        return "now".to_owned();
    }
    let minutes = Duration::from_secs(one.unused_for_s / 60 * 60);
    match one.unused_for_s {
        0..60 => "1m ago".to_owned(),
        // The largest unit is enough.
        _ => format!("{} ago", humantime::format_duration(minutes).to_string().split(' ').next().unwrap_or_default()),
    }
}

fn list(lines: &[String]) -> String {
    if lines.is_empty() { "none".to_owned() } else { lines.join(", ") }
}

/// In mebibytes, with one decimal.
fn size(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}
