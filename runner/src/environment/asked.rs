//! Who asks for a package.

use std::fmt;
use std::path::PathBuf;

/// Where a requirement stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// In a file: the plugin's own, or one beside it.
    File(PathBuf),
    /// In the settings of the trigger.
    Trigger,
    /// In the list of packages that every plugin has.
    Server,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "`{}`", path.display()),
            Self::Trigger => f.write_str("the trigger's own requirements"),
            Self::Server => f.write_str("the packages of every plugin"),
        }
    }
}

/// A requirement, or a version specifier of the interpreter, with who wants it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// What is wanted, normalised.
    pub what: String,
    /// Who wants it.
    pub by: Source,
}
