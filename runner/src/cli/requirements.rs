//! Requirements on the command line: packages, or files with them.

use std::path::Path;

use super::output::CliError;
use crate::environment::requirements_at;

/// The packages that these name. What is a file on this machine is read here, with the files that it includes.
pub(super) fn requirements_of(given: &[String]) -> Result<Vec<String>, CliError> {
    let mut packages = Vec::new();
    for one in given {
        let path = Path::new(one);
        let is_file = one.contains('/') && !one.contains('@') || one.ends_with(".txt") || path.is_file();
        if !is_file {
            packages.push(one.clone());
            continue;
        }
        let path = std::path::absolute(path).map_err(|error| CliError::new(format!("{one}: {error}")))?;
        let found = requirements_at(&path).map_err(|error| CliError::new(error.as_told_here()))?;
        if let Some(option) = found.packages().iter().find(|line| line.starts_with('-')) {
            return Err(CliError::new(format!("{one}: `{option}` cannot be sent to a server"))
                .hint("the server says where packages come from; see `bulkhead serve --help`"));
        }
        packages.extend_from_slice(found.packages());
    }
    Ok(packages)
}
