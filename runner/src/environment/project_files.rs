//! What a plugin's `manifest.toml` and `pyproject.toml` say about packages.

use serde::Deserialize;

/// The part of a file that matters here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Declared {
    /// Requirements, as the author wrote them.
    pub(super) dependencies: Vec<String>,
    /// Version specifier of the interpreter.
    pub(super) requires_python: Option<String>,
}

/// The manifest of InfluxData's plugin SDK. Names that are not known are left alone: newer schemas add some.
#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    dependencies: ManifestDependencies,
}

#[derive(Default, Deserialize)]
struct ManifestDependencies {
    #[serde(default)]
    python: Vec<String>,
}

/// A Python project's file, as far as PEP 621 has it.
#[derive(Deserialize)]
struct Pyproject {
    project: Option<Project>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Project {
    #[serde(default)]
    dependencies: Vec<String>,
    requires_python: Option<String>,
}

/// Reads a `manifest.toml`. The error says what is not valid.
pub(super) fn manifest(text: &str) -> Result<Declared, String> {
    let manifest: Manifest = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    Ok(Declared { dependencies: manifest.dependencies.python, requires_python: None })
}

/// Reads a `pyproject.toml`; one without a table `project`, which only configures tools, declares nothing. The error says
/// what is not valid.
pub(super) fn pyproject(text: &str) -> Result<Option<Declared>, String> {
    let pyproject: Pyproject = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    Ok(pyproject.project.map(|Project { dependencies, requires_python }| Declared { dependencies, requires_python }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_declares_python_packages() {
        let text = "manifest_schema_version = '1.3'\n[plugin]\nname = 'x'\ntriggers = ['process_writes']\n[dependencies]\n\
                    database_version = '>=3.8.2'\npython = ['pandas<3', 'requests']\n[[dependencies.plugins]]\nname = 'y'\n";
        assert_eq!(manifest(text).unwrap().dependencies, ["pandas<3", "requests"]);
        assert_eq!(manifest("[plugin]\nname = 'x'\n").unwrap(), Declared::default());
        assert!(manifest("[dependencies]\npython = 'pandas'\n").unwrap_err().contains("expected a sequence"));
    }

    #[test]
    fn a_project_declares_packages_and_interpreter() {
        let text = "[project]\nname = 'x'\nrequires-python = '>=3.11'\ndependencies = ['rich']\n[tool.ruff]\nline-length = 9\n";
        let declared = pyproject(text).unwrap().unwrap();
        assert_eq!(declared.dependencies, ["rich"]);
        assert_eq!(declared.requires_python.as_deref(), Some(">=3.11"));
        assert_eq!(pyproject("[tool.ruff]\n").unwrap(), None);
    }
}
