//! `bulkhead delete`.

use clap::{Args, Subcommand};

use super::client::with_query;
use super::output::{CliError, say};
use super::{DatabaseArgs, ServerArgs};

/// `delete`.
#[derive(Debug, Args)]
pub(super) struct DeleteArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Delete a database with its data and its triggers.
    Database {
        #[command(flatten)]
        server: ServerArgs,
        /// Its name.
        name: String,
    },
    /// Delete a trigger.
    Trigger {
        #[command(flatten)]
        server: ServerArgs,
        #[command(flatten)]
        database: DatabaseArgs,
        /// Delete it also when it is enabled; an invocation that runs is cancelled.
        #[arg(long)]
        force: bool,
        /// Name of the trigger.
        trigger_name: String,
    },
}

/// Runs the command.
pub(super) async fn run(args: DeleteArgs) -> Result<(), CliError> {
    match args.what {
        What::Database { server, name } => {
            let path = with_query("/api/v3/configure/database", &[("db", &name)]);
            server.client()?.delete(&path).await?.success("Failed to delete database")?;
            say(format!("Database \"{name}\" deleted successfully"));
        }
        What::Trigger { server, database, force, trigger_name } => {
            let force = if force { "true" } else { "false" };
            let parameters = [("db", database.database.as_str()), ("trigger_name", &trigger_name), ("force", force)];
            let path = with_query("/api/v3/configure/processing_engine_trigger", &parameters);
            server.client()?.delete(&path).await?.success("Failed to delete trigger")?;
            say(format!("Trigger {trigger_name} deleted successfully"));
        }
    }
    Ok(())
}
