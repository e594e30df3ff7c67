//! `bulkhead install`.

use clap::{Args, Subcommand};
use http::Method;

use super::ServerArgs;
use super::output::{CliError, Progress, say};

/// `install`.
#[derive(Debug, Args)]
pub(super) struct InstallArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Install packages for every plugin of the server. A plugin that asks for a package itself has the version that it asks
    /// for.
    #[command(after_help = EXAMPLES)]
    Package {
        #[command(flatten)]
        server: ServerArgs,
        /// What to install, for instance `requests` or `numpy>=2`.
        #[arg(value_name = "PACKAGE", required_unless_present = "requirements")]
        packages: Vec<String>,
        /// A requirements file on the server; a relative path is below its plugin directory.
        #[arg(short, long, value_name = "FILE", conflicts_with = "packages")]
        requirements: Option<String>,
    },
}

const EXAMPLES: &str = "\
A package that only one plugin needs is better named by that plugin: in a comment at the head of its file,

  # /// script
  # dependencies = [\"requests\"]
  # ///

in a file `requirements.txt` beside it, or in its `manifest.toml`. Plugins that ask for different things do not disturb
each other.

Examples:
  bulkhead install package requests 'numpy>=2'
  bulkhead install package -r requirements.txt";

/// Runs the command.
pub(super) async fn run(args: InstallArgs) -> Result<(), CliError> {
    let What::Package { server, packages, requirements } = args.what;
    let (path, body) = match requirements {
        Some(location) => ("install_requirements", serde_json::json!({ "requirements_location": location })),
        None => ("install_packages", serde_json::json!({ "packages": packages })),
    };
    let path = format!("/api/v3/configure/plugin_environment/{path}");
    let mut progress = Progress::new();
    let answer = server.client()?.change(Method::POST, &path, &body, &mut |text| progress.tell(text)).await?;
    drop(progress);
    let answer = answer.success("Failed to install packages")?;
    let installed: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let names = installed["packages"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_str);
    say(format!("Every plugin has: {}", names.collect::<Vec<_>>().join(", ")));
    Ok(())
}
