//! `bulkhead typings`: what authors of plugins need beside their editor.

use std::path::{Path, PathBuf};

use bulkhead_python_worker::package::AUTHOR_FILES;
use clap::Args;

use super::output::{CliError, say};

/// Arguments of `bulkhead typings`.
#[derive(Debug, Args)]
pub(super) struct TypingsArgs {
    /// Directory to write to; editors that use pyright look into this one by themselves.
    #[arg(default_value = "typings", value_name = "DIR")]
    directory: PathBuf,
}

/// Writes the types of the plugin API and the pytest fixture.
pub(super) fn run(args: &TypingsArgs) -> Result<(), CliError> {
    write(&args.directory)?;
    say(format!("wrote the types of the plugin API and the pytest fixture to {}", args.directory.display()));
    Ok(())
}

/// Writes them to a directory.
pub(super) fn write(directory: &Path) -> Result<(), CliError> {
    for (name, content) in AUTHOR_FILES {
        let path = directory.join(name);
        let written =
            path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, content));
        written.map_err(|error| CliError::new(format!("{}: {error}", path.display())))?;
    }
    Ok(())
}
