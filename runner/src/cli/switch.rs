//! `bulkhead enable` and `bulkhead disable`.

use clap::{Args, Subcommand};

use super::client::with_query;
use super::output::{CliError, say};
use super::{DatabaseArgs, ServerArgs};

/// `enable` or `disable`.
#[derive(Debug, Args)]
pub(super) struct SwitchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A trigger.
    Trigger {
        #[command(flatten)]
        server: ServerArgs,
        #[command(flatten)]
        database: DatabaseArgs,
        /// Name of the trigger.
        trigger_name: String,
    },
}

/// Runs the command.
pub(super) async fn run(args: SwitchArgs, enabled: bool) -> Result<(), CliError> {
    let What::Trigger { server, database, trigger_name } = args.what;
    let verb = if enabled { "enable" } else { "disable" };
    let parameters = [("db", database.database.as_str()), ("trigger_name", &trigger_name)];
    let path = with_query(&format!("/api/v3/configure/processing_engine_trigger/{verb}"), &parameters);
    server.client()?.post(&path, "").await?.success(&format!("Failed to {verb} trigger"))?;
    say(format!("Trigger {trigger_name} {verb}d successfully"));
    Ok(())
}
