//! `bulkhead create`.

use std::collections::BTreeMap;
use std::path::Path;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::client::Client;
use super::output::{CliError, note, say};
use super::permissions::PermissionArgs;
use super::plugin_source::PluginSource;
use super::requirements::requirements_of;
use super::{DatabaseArgs, ServerArgs};
use crate::trigger::{MissedTicks, TriggerSpec};

/// `create`.
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Create a database.
    Database {
        #[command(flatten)]
        server: ServerArgs,
        /// Its name.
        name: String,
    },
    /// Create a trigger: a plugin with its cause to run.
    Trigger(Box<TriggerArgs>),
}

/// `create trigger`.
#[derive(Debug, Args)]
#[command(after_help = SPECS)]
struct TriggerArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    /// The plugin: a `.py` file or a directory with `__init__.py`, relative to the server's plugin directory; or
    /// `gh:PATH` for one of the published plugins.
    #[arg(short, long, alias = "plugin-filename", value_name = "PATH")]
    path: String,
    /// Send the plugin, which lies on this machine, to the server's plugin directory first.
    #[arg(long)]
    upload: bool,
    /// What starts the trigger, see below.
    #[arg(long, value_name = "SPEC")]
    trigger_spec: TriggerSpec,
    /// Arguments for the plugin, as `key=value,key=value`.
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = key_value)]
    trigger_arguments: Vec<(String, String)>,
    /// Register the trigger without running it.
    #[arg(long)]
    disabled: bool,
    /// Let invocations overlap.
    #[arg(long)]
    run_asynchronous: bool,
    /// What to do when an invocation fails.
    #[arg(long, value_enum, default_value = "log", ignore_case = true)]
    error_behavior: ErrorBehavior,
    /// Longest run of one invocation, such as `30s`; the server's default otherwise.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<String>,
    /// Do not look whether the plugin's code parses and has the function that the specification calls.
    #[arg(long)]
    no_check: bool,
    /// Attempts in all with `--error-behavior retry`.
    #[arg(long, value_name = "N")]
    attempts_max: Option<u32>,
    /// A package that the trigger needs besides those that its plugin asks for, such as `numpy>=2`, or a requirements file on
    /// this machine; may repeat.
    #[arg(long, value_name = "FILE|PACKAGE")]
    requirements: Vec<String>,
    #[command(flatten)]
    permissions: PermissionArgs,
    #[command(flatten)]
    delivery: DeliveryArgs,
    /// Name of the trigger.
    trigger_name: String,
}

/// How events are delivered.
#[derive(Debug, Args)]
struct DeliveryArgs {
    /// Wait before the second attempt [default: 100ms].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    backoff_initial: Option<String>,
    /// Factor from one wait to the next [default: 2].
    #[arg(long, value_name = "FACTOR")]
    backoff_factor: Option<f64>,
    /// Longest wait [default: 30s].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    backoff_cap: Option<String>,
    /// Share of a wait, from 0 to 1, that chance may take away [default: 0.5].
    #[arg(long, value_name = "SHARE")]
    backoff_jitter: Option<f64>,
    /// Causes after which no further attempt is made, such as `deadline,load` or `ValueError`.
    #[arg(long, value_name = "CAUSE", value_delimiter = ',')]
    no_retry_on: Vec<String>,
    /// Cut a batch that was given up into halves until the rows are found that fail; the others are done.
    #[arg(long)]
    isolate_poison: bool,
    /// Give the batches of a trigger that lags to it together, up to so many rows [default: one by one].
    #[arg(long, value_name = "ROWS")]
    coalesce_rows: Option<usize>,
    /// What becomes of ticks whose time passed while the trigger could not run: `skip`, `coalesce` or `catch-up N`
    /// [default: coalesce].
    #[arg(long, value_name = "POLICY", value_parser = |text: &str| text.parse::<MissedTicks>().map(String::from))]
    missed_ticks: Option<String>,
    /// Zone of a cron expression's times, such as `Europe/Berlin` [default: UTC].
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Run ticks later by a part of this, always the same for one trigger.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    tick_jitter: Option<String>,
}

impl DeliveryArgs {
    /// The settings that were given.
    fn settings(self) -> serde_json::Map<String, serde_json::Value> {
        let all = json!({
            "backoff_initial": self.backoff_initial,
            "backoff_factor": self.backoff_factor,
            "backoff_cap": self.backoff_cap,
            "backoff_jitter": self.backoff_jitter,
            "no_retry_on": (!self.no_retry_on.is_empty()).then_some(self.no_retry_on),
            "isolate_poison": self.isolate_poison.then_some(true),
            "coalesce_rows": self.coalesce_rows,
            "missed_ticks": self.missed_ticks,
            "time_zone": self.time_zone,
            "tick_jitter": self.tick_jitter,
        });
        let all = all.as_object().cloned().unwrap_or_default();
        all.into_iter().filter(|(_, value)| !value.is_null()).collect()
    }
}

const SPECS: &str = "\
Specs:
  table:NAME       rows written to one table
  all_tables       rows written to any table of the database
  every:DURATION   a fixed period, such as every:10s or every:1h
  cron:EXPRESSION  five fields, or six with seconds first, in UTC or another time zone
  request:PATH     HTTP requests to /api/v3/engine/PATH

Example:
  bulkhead create trigger --database weather --path mean.py --trigger-spec table:weather --trigger-arguments field=temp_avg mean";

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ErrorBehavior {
    /// Log it and go on with the next event.
    Log,
    /// Try again, with growing waits, a bounded number of times.
    Retry,
    /// Stop the trigger.
    Disable,
}

pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("`{text}` has no `=`; write it as key=value"))?;
    if key.is_empty() {
        return Err(format!("`{text}` has no key; write it as key=value"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

fn duration(text: &str) -> Result<String, String> {
    humantime::parse_duration(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("{error}; write it as 500ms, 30s or 5m"))
}

/// Runs the command.
pub(super) async fn run(args: CreateArgs) -> Result<(), CliError> {
    match args.what {
        What::Database { server, name } => {
            let answer = server.client()?.post_json("/api/v3/configure/database", &json!({ "db": name })).await?;
            answer.success("Failed to create database")?;
            say(format!("Database \"{name}\" created successfully"));
        }
        What::Trigger(args) => trigger(*args).await?,
    }
    Ok(())
}

async fn trigger(args: TriggerArgs) -> Result<(), CliError> {
    let arguments: BTreeMap<String, String> = args.trigger_arguments.into_iter().collect();
    let behavior = match args.error_behavior {
        ErrorBehavior::Log => "log",
        ErrorBehavior::Retry => "retry",
        ErrorBehavior::Disable => "disable",
    };
    let client = args.server.client()?;
    let plugin = if args.upload { upload(&client, &args.path).await? } else { args.path };
    let mut settings = args.delivery.settings();
    settings.extend([
        ("run_async".to_owned(), json!(args.run_asynchronous)),
        ("requirements".to_owned(), json!(requirements_of(&args.requirements)?)),
        ("error_behavior".to_owned(), json!(behavior)),
        ("timeout".to_owned(), json!(args.timeout)),
        ("attempts_max".to_owned(), json!(args.attempts_max)),
    ]);
    let mut body = json!({
        "db": args.database.database,
        "plugin_filename": plugin,
        "trigger_name": args.trigger_name,
        "trigger_settings": settings,
        "trigger_specification": args.trigger_spec.to_string(),
        "trigger_arguments": (!arguments.is_empty()).then_some(arguments),
        "disabled": args.disabled,
    });
    let permissions = serde_json::to_value(args.permissions.permissions()).ok();
    if let (Some(serde_json::Value::Object(granted)), Some(settings)) =
        (permissions, body.get_mut("trigger_settings").and_then(serde_json::Value::as_object_mut))
    {
        settings.extend(granted);
    }
    if args.no_check {
        body["no_check"] = true.into();
    }
    let answer = client.post_json("/api/v3/configure/processing_engine_trigger", &body).await?;
    let answer = answer.success("Failed to create trigger")?;
    say(format!("Trigger {} created successfully", args.trigger_name));
    let told: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    for warning in told["warnings"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_str) {
        note(format!("warning: {warning}"));
    }
    Ok(())
}

/// Sends a plugin, and returns the file name under which the server has it.
async fn upload(client: &Client, path: &str) -> Result<String, CliError> {
    let (name, files) = match PluginSource::read(Path::new(path))? {
        PluginSource::File { name, content } => (name.clone(), vec![(name, content)]),
        PluginSource::Directory { name, files } => {
            let files = files.into_iter().map(|(path, content)| (format!("{name}/{path}"), content)).collect();
            (name, files)
        }
    };
    for (path, content) in files {
        let body = json!({ "plugin_name": path, "content": content });
        client.post_json("/api/v3/plugins/files", &body).await?.success("Failed to upload plugin")?;
    }
    Ok(name)
}
