//! `bulkhead update`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::output::{CliError, say};
use super::plugin_source::PluginSource;
use super::{DatabaseArgs, ServerArgs};

/// `update`.
#[derive(Debug, Args)]
pub(super) struct UpdateArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Send the code of a trigger's plugin anew; the next call runs it.
    Trigger {
        #[command(flatten)]
        server: ServerArgs,
        #[command(flatten)]
        database: DatabaseArgs,
        /// Name of the trigger.
        #[arg(short, long, value_name = "NAME")]
        trigger_name: String,
        /// The plugin on this machine: a `.py` file, or a directory with `__init__.py`, which replaces the old one as a whole.
        #[arg(short, long, value_name = "PATH")]
        path: PathBuf,
        /// Do not look whether the new code parses and has the function that the trigger calls.
        #[arg(long)]
        no_check: bool,
    },
}

/// Runs the command.
pub(super) async fn run(args: UpdateArgs) -> Result<(), CliError> {
    let What::Trigger { server, database, trigger_name, path, no_check } = args.what;
    let client = server.client()?;
    let mut body = json!({ "plugin_name": trigger_name, "db": database.database });
    let (route, how) = match PluginSource::read(&path)? {
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
