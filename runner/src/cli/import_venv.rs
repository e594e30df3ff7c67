//! `bulkhead import-venv`: from InfluxDB 3's one virtual environment to requirements of each plugin.

use std::path::{Path, PathBuf};

use clap::Args;

use super::output::{CliError, note, say};
use crate::environment::Venv;

/// `import-venv`.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct ImportArgs {
    /// The plugin directory.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Its virtual environment; `.venv` or `venv` in it otherwise.
    #[arg(long, value_name = "DIR")]
    venv: Option<PathBuf>,
    /// Write over requirements files that are there.
    #[arg(long)]
    overwrite: bool,
    /// Show what would be written, and write nothing.
    #[arg(long)]
    dry_run: bool,
}

const AFTER: &str = "\
Of each plugin's imports and the metadata of what is installed it is found out what the plugin needs. That is written beside it, with
the versions that it had: `NAME.requirements.txt` beside `NAME.py`, `requirements.txt` in the directory of a plugin. All that is
installed is written to `venv.lock.txt` in the plugin directory. No plugin is run, and the virtual environment stays as it is.";

/// Name of the file with all that is installed.
const LOCK: &str = "venv.lock.txt";

/// Runs the command.
pub(super) fn run(args: &ImportArgs) -> Result<(), CliError> {
    let directory = &args.directory;
    if !directory.is_dir() {
        return Err(CliError::new(format!("{} is no directory", directory.display())));
    }
    let places = [directory.join(".venv"), directory.join("venv")];
    let found = args.venv.clone().or_else(|| places.into_iter().find(|place| place.join("pyvenv.cfg").is_file()));
    let venv = found.ok_or_else(|| {
        CliError::new(format!("{} has no virtual environment `.venv` or `venv`", directory.display()))
            .hint("name it with `--venv DIR`")
    })?;
    let venv = Venv::read(&venv).map_err(CliError::new)?;
    for needs in venv.needs_below(directory) {
        let plugin = needs.plugin.strip_prefix(directory).unwrap_or(&needs.plugin).display();
        if needs.imported.is_empty() {
            say(format!("{plugin}: needs nothing"));
            continue;
        }
        let what = format!("{plugin}: {}", needs.imported.join(", "));
        let more = if needs.needed.is_empty() {
            String::new()
        } else {
            format!(", and {} that these need", needs.needed.len())
        };
        say(format!("{what}{more}"));
        write(args, &needs.requirements, &needs.to_text())?;
    }
    let head = "# Everything that the virtual environment had; each plugin's own requirements lie beside it.\n";
    let all = venv.pins().iter().fold(head.to_owned(), |text, pin| format!("{text}{pin}\n"));
    write(args, &directory.join(LOCK), &all)?;
    if let Some(version) = &venv.python {
        let minor: Vec<&str> = version.split('.').take(2).collect();
        note(format!(
            "the plugins ran on Python {version}; `bulkhead serve --python {}` keeps them there",
            minor.join(".")
        ));
    }
    Ok(())
}

fn write(args: &ImportArgs, path: &Path, text: &str) -> Result<(), CliError> {
    if args.dry_run {
        text.lines().for_each(|line| say(format!("    {line}")));
        return Ok(());
    }
    if path.exists() && !args.overwrite {
        note(format!("  {} is there already and stays as it is; `--overwrite` replaces it", path.display()));
        return Ok(());
    }
    std::fs::write(path, text).map_err(|error| CliError::new(format!("{}: {error}", path.display())))?;
    say(format!("  written to {}", path.display()));
    Ok(())
}
