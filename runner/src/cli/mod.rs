//! The command line. Names of commands, flags and environment variables are InfluxDB 3's where it has them.

mod client;
mod create;
mod dead_letter;
mod delete;
mod demo;
mod doctor;
mod env;
mod env_trigger;
mod import_venv;
mod install;
mod local;
mod new;
mod output;
mod packages;
mod permissions;
mod plugin_source;
mod query;
mod requirements;
mod selftest;
mod serve;
mod show;
mod show_system;
mod switch;
mod test;
mod typings;
mod update;
mod write;

use std::process::ExitCode;

use bulkhead_launcher::{LAUNCH_ARGUMENT, PROBE_ARGUMENT};
use clap::{Args, Parser, Subcommand};

use client::Client;
use output::{CliError, complain};

/// Runs Python plugins for database servers, each in a process of its own.
#[derive(Debug, Parser)]
#[command(name = "bulkhead", version, propagate_version = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  bulkhead demo                                      see it work on real data
  bulkhead serve --plugin-dir ./plugins              run the server
  bulkhead create database weather
  bulkhead create trigger --database weather --path mean.py --trigger-spec table:weather mean
  bulkhead write --database weather --file weather.lp
  bulkhead query --database weather 'SELECT * FROM weather LIMIT 5'";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server: HTTP API, triggers and, unless another host is named, the embedded database.
    Serve(Box<serve::ServeArgs>),
    /// Show the main job on real data: writes, derived rows, a request, a crash that nobody else notices.
    Demo(demo::DemoArgs),
    /// Find out what of the sandbox this machine grants, and attack it; fails where workers could not be confined.
    Doctor(doctor::DoctorArgs),
    /// Let evil plugins attack this machine's sandbox, and show that each attack comes to nothing.
    Selftest(selftest::SelftestArgs),
    /// Create a database or a trigger.
    Create(create::CreateArgs),
    /// Delete a database or a trigger.
    Delete(delete::DeleteArgs),
    /// Enable a trigger.
    Enable(switch::SwitchArgs),
    /// Disable a trigger; an invocation that runs is cancelled.
    Disable(switch::SwitchArgs),
    /// Show databases, triggers, plugins, invocations, workers, log lines or any system table.
    Show(show::ShowArgs),
    /// List, show, replay and discard batches that triggers gave up.
    DeadLetter(dead_letter::DeadLetterArgs),
    /// List, show and remove the environments that workers run in.
    Env(env::EnvArgs),
    /// Find out what each plugin needs of the one virtual environment that InfluxDB 3 has for all, and write it beside the plugins.
    ImportVenv(import_venv::ImportArgs),
    /// Install Python packages for every plugin.
    Install(install::InstallArgs),
    /// Write a plugin that works, with its test.
    New(new::NewArgs),
    /// Call a plugin and show what it says, writes and answers; nothing is kept. Also without a server.
    Test(Box<test::TestArgs>),
    /// Change the code of a trigger's plugin, or its packages.
    Update(update::UpdateArgs),
    /// Write line protocol from a file, an argument or standard input.
    Write(write::WriteArgs),
    /// Run SQL.
    Query(query::QueryArgs),
    /// Write the types of the plugin API, for editors and mypy, and a pytest fixture that runs plugins.
    Typings(typings::TypingsArgs),
}

/// Where the server is.
#[derive(Debug, Clone, Args)]
struct ServerArgs {
    /// URL of the server.
    #[arg(
        short = 'H',
        long = "host",
        env = "INFLUXDB3_HOST_URL",
        default_value = "http://127.0.0.1:8181",
        value_name = "URL",
        global = true
    )]
    host: String,
}

/// Which database.
#[derive(Debug, Clone, Args)]
struct DatabaseArgs {
    /// Name of the database.
    #[arg(short, long, env = "INFLUXDB3_DATABASE_NAME", value_name = "NAME")]
    database: String,
}

impl ServerArgs {
    fn client(&self) -> Result<Client, CliError> {
        Client::new(&self.host)
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(argument) if argument == LAUNCH_ARGUMENT => return bulkhead_launcher::launcher_main(),
        Some(argument) if argument == PROBE_ARGUMENT => return bulkhead_launcher::probe_main(),
        _ => {}
    }
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&CliError::new(format!("the runtime cannot be started: {error}")));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<(), CliError> {
    match command {
        Command::Serve(args) => serve::run(*args).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Doctor(args) => doctor::run(args).await,
        Command::Selftest(args) => selftest::run(args).await,
        Command::Create(args) => create::run(args).await,
        Command::Delete(args) => delete::run(args).await,
        Command::Enable(args) => switch::run(args, true).await,
        Command::Disable(args) => switch::run(args, false).await,
        Command::Show(args) => show::run(args).await,
        Command::DeadLetter(args) => dead_letter::run(args).await,
        Command::Env(args) => env::run(args).await,
        Command::ImportVenv(args) => import_venv::run(&args),
        Command::Install(args) => install::run(args).await,
        Command::New(args) => new::run(&args),
        Command::Test(args) => test::run(*args).await,
        Command::Update(args) => update::run(args).await,
        Command::Write(args) => write::run(args).await,
        Command::Query(args) => query::run(args).await,
        Command::Typings(args) => typings::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
