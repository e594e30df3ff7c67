//! `bulkhead new`: a plugin that works, with its test.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::output::{CliError, say};
use super::typings;

/// `new`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  bulkhead new wal rows_per_table && pytest test_rows_per_table.py\n\nThe test runs the plugin in a real worker, by a pytest fixture in `typings`, which `pytest.ini` names; both are written\nwhen they are missing."
)]
pub(super) struct NewArgs {
    /// What the plugin is called for.
    kind: Kind,
    /// Name of the plugin, an identifier of Python.
    #[arg(value_parser = plugin_name)]
    name: String,
    /// Directory for the two files, and for what their test needs; it is made when it is missing.
    #[arg(long, default_value = ".", value_name = "DIR")]
    directory: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// Rows that are written.
    Wal,
    /// A schedule.
    Schedule,
    /// HTTP requests.
    Request,
}

impl Kind {
    /// Plugin and test.
    fn templates(self) -> (&'static str, &'static str) {
        match self {
            Self::Wal => (include_str!("templates/wal.py"), include_str!("templates/test_wal.py")),
            Self::Schedule => (include_str!("templates/schedule.py"), include_str!("templates/test_schedule.py")),
            Self::Request => (include_str!("templates/request.py"), include_str!("templates/test_request.py")),
        }
    }
}

/// Where pytest finds the fixture.
const PYTEST_INI: &str = "[pytest]\npythonpath = typings\n";

/// What stands for the plugin's name in a template.
const NAME: &str = "{{NAME}}";

fn plugin_name(name: &str) -> Result<String, String> {
    let is_identifier = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_identifier {
        Ok(name.to_owned())
    } else {
        Err("it must consist of letters, digits and `_`, and not begin with a digit".to_owned())
    }
}

/// Runs the command.
pub(super) fn run(args: &NewArgs) -> Result<(), CliError> {
    let NewArgs { kind, name, directory } = args;
    std::fs::create_dir_all(directory).map_err(|error| CliError::new(format!("{}: {error}", directory.display())))?;
    let (plugin, test) = kind.templates();
    let plugin_path = directory.join(format!("{name}.py"));
    let test_path = directory.join(format!("test_{name}.py"));
    write_new(&plugin_path, &plugin.replace(NAME, name))?;
    write_new(&test_path, &test.replace(NAME, name))?;
    say(format!("{}\n{}", plugin_path.display(), test_path.display()));
    let typings = directory.join("typings");
    if !typings.exists() {
        typings::write(&typings)?;
        say(typings.display().to_string());
    }
    let settings = directory.join("pytest.ini");
    if !settings.exists() {
        write_new(&settings, PYTEST_INI)?;
        say(settings.display().to_string());
    }
    Ok(())
}

/// Writes a file that must not be there yet.
fn write_new(path: &Path, text: &str) -> Result<(), CliError> {
    let failed = |error: std::io::Error| CliError::new(format!("{}: {error}", path.display()));
    let mut file = File::options().write(true).create_new(true).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}
