//! `bulkhead test`: a plugin is tried, and what it says, writes and answers is shown. Nothing is kept.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::ServerArgs;
use super::client::Client;
use super::create::key_value;
use super::local::LocalServer;
use super::output::{CliError, put, say};
use super::packages::PackageArgs;
use super::permissions::PermissionArgs;
use super::requirements::requirements_of;
use crate::line_protocol;
use crate::session::arrow_ipc;

/// `test`.
#[derive(Debug, Args)]
pub(super) struct TestArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Call a plugin with rows, as a trigger for writes would.
    #[command(name = "wal_plugin", visible_alias = "wal", after_help = WAL_EXAMPLES)]
    Wal {
        #[command(flatten)]
        common: CommonArgs,
        /// The rows, as line protocol.
        #[arg(long, value_name = "LINES")]
        lp: Option<String>,
        /// File with the rows, as line protocol.
        #[arg(long, conflicts_with = "lp")]
        file: Option<PathBuf>,
        /// File with the rows, as an Arrow IPC stream: what `dead-letter show --export arrow` writes.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["lp", "file"])]
        arrow: Option<PathBuf>,
        /// Table of the rows, with `--arrow`; the one that the stream names otherwise.
        #[arg(long, value_name = "NAME", requires = "arrow")]
        table: Option<String>,
    },
    /// Call a plugin with a time, as a schedule would.
    #[command(name = "schedule_plugin", visible_alias = "schedule")]
    Schedule {
        #[command(flatten)]
        common: CommonArgs,
        /// Cron expression with seconds; the plugin is called with its next time. Every second otherwise.
        #[arg(long, value_name = "CRON")]
        schedule: Option<String>,
    },
    /// Call a plugin with an HTTP request.
    #[command(name = "request_plugin", visible_alias = "request")]
    Request {
        #[command(flatten)]
        common: CommonArgs,
        /// Method.
        #[arg(long, default_value = "GET")]
        method: String,
        /// Query parameter; may repeat.
        #[arg(long = "query", value_name = "KEY=VALUE", value_parser = key_value)]
        query_parameters: Vec<(String, String)>,
        /// Header; may repeat.
        #[arg(long = "header", value_name = "NAME=VALUE", value_parser = key_value)]
        headers: Vec<(String, String)>,
        /// Body.
        #[arg(long, default_value = "")]
        body: String,
    },
}

const WAL_EXAMPLES: &str = "\
Examples:
  bulkhead test wal_plugin --database weather --lp 'weather,location=x temp=1 1' mean.py
  bulkhead test wal_plugin --local --file rows.lp plugins/mean.py        without a server
  bulkhead test wal_plugin --local --arrow batch.arrow plugins/mean.py   with the rows of a dead letter";

#[derive(Debug, Args)]
struct CommonArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Name of the database that the plugin sees as its own; with `--local` any, `test` otherwise.
    #[arg(short, long, env = "INFLUXDB3_DATABASE_NAME", value_name = "NAME", required_unless_present = "local")]
    database: Option<String>,
    /// Arguments for the plugin, as `key=value,key=value`.
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = key_value)]
    input_arguments: Vec<(String, String)>,
    /// Name of the cache that the plugin sees; the server keeps it for tests of the same name for half an hour.
    #[arg(long, value_name = "NAME")]
    cache_name: Option<String>,
    /// A package that the plugin needs besides those that it asks for, or a requirements file on this machine; may repeat.
    #[arg(long, value_name = "FILE|PACKAGE")]
    requirements: Vec<String>,
    #[command(flatten)]
    permissions: PermissionArgs,
    #[command(flatten)]
    packages: Box<PackageArgs>,
    /// Print the server's answer as JSON.
    #[arg(long)]
    json: bool,
    /// Without a server: FILE lies on this machine, and the plugin works on a temporary database, which is removed afterwards.
    #[arg(long)]
    local: bool,
    /// With `--local`: line protocol that is written to the temporary database first, for the plugin to query.
    #[arg(long, value_name = "FILE", requires = "local")]
    data: Option<PathBuf>,
    /// The plugin: relative to the server's plugin directory, or, with `--local`, any `.py` file or directory with
    /// `__init__.py`.
    #[arg(value_name = "FILE")]
    filename: String,
}

/// Database of a test without a server that names none.
const LOCAL_DATABASE: &str = "test";

/// Runs the command.
pub(super) async fn run(args: TestArgs) -> Result<(), CliError> {
    let (kind, common, mut body) = match args.what {
        What::Wal { common, lp, file, arrow, table } => {
            let lines = match (lp, file, arrow) {
                (Some(lines), _, _) => lines,
                (None, Some(file), _) => read(&file)?,
                (None, None, Some(file)) => arrow_lines(&file, table.as_deref())?,
                (None, None, None) => return Err(CliError::new("one of --lp, --file and --arrow must be provided")),
            };
            ("wal", common, json!({ "input_lp": lines }))
        }
        What::Schedule { common, schedule } => {
            ("schedule", common, schedule.map_or(json!({}), |schedule| json!({ "schedule": schedule })))
        }
        What::Request { common, method, query_parameters, headers, body } => {
            let request =
                json!({ "method": method, "query_parameters": query_parameters, "headers": headers, "body": body });
            ("request", common, request)
        }
    };
    let arguments: Map<String, Value> =
        common.input_arguments.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    if !arguments.is_empty() {
        body["input_arguments"] = arguments.into();
    }
    body["trigger_settings"] = serde_json::to_value(common.permissions.clone().permissions())
        .map_err(|error| CliError::new(error.to_string()))?;
    body["trigger_settings"]["requirements"] = json!(requirements_of(&common.requirements)?);
    if let Some(name) = &common.cache_name {
        body["cache_name"] = json!(name);
    }
    body["database"] = json!(common.database.as_deref().unwrap_or(LOCAL_DATABASE));
    let report = if common.local { local(kind, &common, body).await? } else { remote(kind, &common, body).await? };
    if common.json {
        let text = serde_json::to_vec_pretty(&report).map_err(|error| CliError::new(error.to_string()))?;
        put(&text);
        put(b"\n");
    } else {
        show(&report);
    }
    match report["errors"].as_array() {
        Some(errors) if !errors.is_empty() => Err(CliError::new("the test failed")),
        _ => Ok(()),
    }
}

async fn remote(kind: &str, common: &CommonArgs, mut body: Value) -> Result<Value, CliError> {
    body["filename"] = json!(common.filename);
    call(&common.server.client()?, kind, &body).await
}

async fn call(client: &Client, kind: &str, body: &Value) -> Result<Value, CliError> {
    let answer =
        client.post_json(&format!("/api/v3/plugin_test/{kind}"), body).await?.success("Test command failed")?;
    serde_json::from_slice(&answer.body)
        .map_err(|error| CliError::new(format!("the server's answer is no JSON: {error}")))
}

/// Runs the test in a server of its own.
async fn local(kind: &str, common: &CommonArgs, mut body: Value) -> Result<Value, CliError> {
    let bad = |error: std::io::Error| CliError::new(format!("{}: {error}", common.filename));
    let plugin = Path::new(&common.filename).canonicalize().map_err(bad)?;
    let (Some(directory), Some(name)) = (plugin.parent(), plugin.file_name()) else {
        return Err(CliError::new(format!("{} is no plugin", common.filename)));
    };
    body["filename"] = json!(name.to_string_lossy());
    let data = common.data.as_deref().map(read).transpose()?;
    let server = LocalServer::start(directory, Some(*common.packages.clone())).await?;
    let outcome = async {
        let database = body["database"].as_str().unwrap_or(LOCAL_DATABASE).to_owned();
        server.create_database(&database).await?;
        if let Some(lines) = data {
            server.write(&database, lines).await?;
        }
        call(server.client(), kind, &body).await
    };
    let outcome = tokio::select! {
        outcome = outcome => outcome,
        () = server.interrupted() => Err(CliError::new("interrupted")),
    };
    server.stop().await;
    outcome
}

fn read(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(|error| CliError::new(format!("{}: {error}", path.display())))
}

/// The rows of a file with an Arrow IPC stream, as line protocol.
fn arrow_lines(path: &Path, table: Option<&str>) -> Result<String, CliError> {
    let bad = |reason: &dyn std::fmt::Display| CliError::new(format!("{}: {reason}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| bad(&error))?;
    let batches =
        arrow_ipc::decode(&bytes.into()).map_err(|error| bad(&format!("not an Arrow IPC stream: {error}")))?;
    let mut lines = String::new();
    for batch in &batches {
        let Some(table) = table.or_else(|| arrow_ipc::table_of(batch)) else {
            return Err(bad(&"it does not name the table of its rows; name it with --table"));
        };
        lines.push_str(&line_protocol::lines(table, batch).map_err(|error| bad(&error))?);
    }
    Ok(lines)
}

/// What happened, for a person.
fn show(report: &Value) {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|line| line.as_str().map(str::to_owned)).collect()
    };
    section("log", &texts(&report["log_lines"]));
    for (database, lines) in report["database_writes"].as_object().into_iter().flatten() {
        section(&format!("writes to {database} (not kept)"), &texts(lines));
    }
    if let Some(response) = report["response"].as_object() {
        let mut lines: Vec<String> = Vec::new();
        for header in response["headers"].as_array().into_iter().flatten() {
            let part = |index: usize| header[index].as_str().unwrap_or_default().to_owned();
            lines.push(format!("{}: {}", part(0), part(1)));
        }
        lines.push(String::new());
        match response.get("body").and_then(Value::as_str) {
            Some(text) => lines.extend(text.lines().map(str::to_owned)),
            None => lines.push("(bytes; `--json` shows them in base64)".to_owned()),
        }
        section(&format!("response {}", response["status"]), &lines);
    }
    let mut errors = texts(&report["errors"]);
    errors.extend(report["traceback"].as_str().into_iter().flat_map(str::lines).map(str::to_owned));
    section("errors", &errors);
}

fn section(title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    say(title);
    for line in lines.iter().flat_map(|text| text.split('\n')) {
        say(format!("  {line}").trim_end());
    }
}
