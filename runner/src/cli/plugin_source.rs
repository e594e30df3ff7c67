//! A plugin on this machine, to be sent to a server.

use std::path::Path;

use super::output::CliError;

/// Its files.
#[derive(Debug)]
pub(super) enum PluginSource {
    /// One file.
    File {
        /// Its name.
        name: String,
        /// Its text.
        content: String,
    },
    /// The Python files of a directory.
    Directory {
        /// Its name.
        name: String,
        /// Paths below it, and texts.
        files: Vec<(String, String)>,
    },
}

impl PluginSource {
    /// Reads a file, or the Python files of a directory.
    pub(super) fn read(path: &Path) -> Result<Self, CliError> {
        let not_found = || CliError::new(format!("File not found: {}", path.display()));
        // The name of `.` is that of the directory it stands for.
        let real = path.canonicalize().map_err(|_| not_found())?;
        let name = real.file_name().ok_or_else(not_found)?.to_string_lossy().into_owned();
        if !real.is_dir() {
            return Ok(Self::File { name, content: text_of(&real)? });
        }
        let mut files = Vec::new();
        collect(&real, "", &mut files)?;
        files.sort();
        if !files.iter().any(|(path, _)| path == "__init__.py") {
            let text = format!("Multi-file plugin directory must contain __init__.py: {}", path.display());
            return Err(CliError::new(text));
        }
        Ok(Self::Directory { name, files })
    }
}

fn collect(directory: &Path, below: &str, files: &mut Vec<(String, String)>) -> Result<(), CliError> {
    let unreadable = |error: std::io::Error| CliError::new(format!("{}: {error}", directory.display()));
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        let is_hidden = name.starts_with('.') || name == "__pycache__";
        // A link could lead round in a circle.
        if entry.file_type().map_err(unreadable)?.is_dir() && !is_hidden {
            collect(&path, &format!("{below}{name}/"), files)?;
        } else if name.ends_with(".py") && path.is_file() {
            files.push((format!("{below}{name}"), text_of(&path)?));
        }
    }
    Ok(())
}

fn text_of(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(|error| CliError::new(format!("{}: {error}", path.display())))
}
