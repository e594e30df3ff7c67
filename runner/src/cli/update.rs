//! `bulkhead update`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::output::{CliError, Progress, say};
use super::plugin_source::PluginSource;
use super::requirements::requirements_of;
use super::{DatabaseArgs, ServerArgs};

/// `update`.
#[derive(Debug, Args)]
pub(super) struct UpdateArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Send the code of a trigger's plugin anew, or change its packages; the next call runs with them.
    Trigger {
        #[command(flatten)]
        server: ServerArgs,
        #[command(flatten)]
        database: DatabaseArgs,
        /// Name of the trigger.
        #[arg(short, long, value_name = "NAME")]
        trigger_name: String,
        /// The plugin on this machine: a `.py` file, or a directory with `__init__.py`, which replaces the old one as a whole.
        #[arg(short, long, value_name = "PATH", required_unless_present_any = ["requirements", "no_requirements"])]
        path: Option<PathBuf>,
        /// A package that the trigger needs besides those that its plugin asks for, such as `numpy>=2`, or a requirements file on
        /// this machine; may repeat. They replace those that it had.
        #[arg(long, value_name = "FILE|PACKAGE")]
        requirements: Vec<String>,
        /// Take away the packages that `--requirements` gave it.
        #[arg(long, conflicts_with = "requirements")]
        no_requirements: bool,
        /// Do not look whether the new code parses and has the function that the trigger calls.
        #[arg(long)]
        no_check: bool,
    },
}

/// Runs the command.
pub(super) async fn run(args: UpdateArgs) -> Result<(), CliError> {
    let What::Trigger { server, database, trigger_name, path, requirements, no_requirements, no_check } = args.what;
    let client = server.client()?;
    let database = database.database;
    if no_requirements || !requirements.is_empty() {
        let body =
            json!({ "db": database, "trigger_name": trigger_name, "requirements": requirements_of(&requirements)? });
        let path = "/api/v3/configure/processing_engine_trigger/requirements";
        let mut progress = Progress::new();
        let answer = client.change(Method::PUT, path, &body, &mut |text| progress.tell(text)).await?;
        drop(progress);
        let answer = answer.success("Failed to update trigger")?;
        let environment: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let packages = environment["packages"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let packages = packages.collect::<Vec<_>>().join(", ");
        let packages = if packages.is_empty() { "no packages" } else { &packages };
        say(format!("Trigger '{trigger_name}' runs with {packages}"));
    }
    // After its packages, because new code may need them.
    if let Some(path) = path {
        update_code(&client, (&database, &trigger_name), &path, no_check).await?;
    }
    Ok(())
}

async fn update_code(
    client: &Client,
    (database, trigger_name): (&str, &str),
    path: &Path,
    no_check: bool,
) -> Result<(), CliError> {
    let mut body = json!({ "plugin_name": trigger_name, "db": database });
    let (route, how) = match PluginSource::read(path)? {
        PluginSource::File { content, .. } => {
            body["content"] = json!(content);
            ("/api/v3/plugins/files", "")
        }
        PluginSource::Directory { files, .. } => {
            let file = |(path, content): (String, String)| json!({ "relative_path": path, "content": content });
            body["files"] = files.into_iter().map(file).collect::<Vec<Value>>().into();
            ("/api/v3/plugins/directory", " (atomic directory replacement)")
        }
    };
    if no_check {
        body["no_check"] = json!(true);
    }
    client.put_json(route, &body).await?.success("Failed to update trigger")?;
    say(format!("Trigger '{trigger_name}' updated successfully{how}"));
    Ok(())
}
