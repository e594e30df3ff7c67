//! What a plugin's `manifest.toml` and `pyproject.toml` say about what it wants.

use serde::Deserialize;

/// The part of a file that matters here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Declared {
    /// Requirements, as the author wrote them.
    pub(super) dependencies: Vec<String>,
    /// Version specifier of the interpreter.
    pub(super) requires_python: Option<String>,
}

/// What a manifest says beside packages.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Beside {
    /// The plugin's name.
    pub(super) name: Option<String>,
    /// Its version.
    pub(super) version: Option<String>,
    /// Requirement of the database's version.
    pub(super) database_version: Option<String>,
    /// Other plugins that it builds on.
    pub(super) plugins: Vec<ManifestPlugin>,
}

/// Another plugin. The SDK demands all three; without the last two it is still known what is wanted.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct ManifestPlugin {
    pub(super) name: String,
    pub(super) version: Option<String>,
    pub(super) index_url: Option<String>,
}

/// A file that cannot be understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid {
    /// Where, counted from one.
    pub(super) line: usize,
    /// Why.
    pub(super) reason: String,
}

/// The manifest of InfluxData's plugin SDK. Names that are not known are left alone: newer schemas add some.
#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    plugin: ManifestHead,
    #[serde(default)]
    dependencies: ManifestDependencies,
}

#[derive(Default, Deserialize)]
struct ManifestHead {
    name: Option<String>,
    version: Option<String>,
}

#[derive(Default, Deserialize)]
struct ManifestDependencies {
    #[serde(default)]
    python: Vec<String>,
    database_version: Option<String>,
    #[serde(default)]
    plugins: Vec<ManifestPlugin>,
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
pub(super) fn manifest(text: &str) -> Result<(Declared, Beside), Invalid> {
    let Manifest { plugin, dependencies } = parse(text)?;
    let ManifestDependencies { python, database_version, plugins } = dependencies;
    let beside = Beside { name: plugin.name, version: plugin.version, database_version, plugins };
    Ok((Declared { dependencies: python, requires_python: None }, beside))
}

/// Reads a `pyproject.toml`; one without a table `project`, which only configures tools, declares nothing. The error says
/// what is not valid.
pub(super) fn pyproject(text: &str) -> Result<Option<Declared>, Invalid> {
    let pyproject: Pyproject = parse(text)?;
    Ok(pyproject.project.map(|Project { dependencies, requires_python }| Declared { dependencies, requires_python }))
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Invalid> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        Invalid { line: before.matches('\n').count() + 1, reason: error.message().to_owned() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_declares_python_packages() {
        let text = "manifest_schema_version = '1.3'\n[plugin]\nname = 'x'\ntriggers = ['process_writes']\n[dependencies]\n\
                    database_version = '>=3.8.2'\npython = ['pandas<3', 'requests']\n[[dependencies.plugins]]\nname = 'y'\n";
        let (declared, beside) = manifest(text).unwrap();
        assert_eq!(declared.dependencies, ["pandas<3", "requests"]);
        assert_eq!(beside.database_version.as_deref(), Some(">=3.8.2"));
        assert_eq!(beside.plugins, [ManifestPlugin { name: "y".to_owned(), version: None, index_url: None }]);
        assert_eq!(manifest("[plugin]\nid = 'x'\n").unwrap(), (Declared::default(), Beside::default()));
        let wrong = |text: &str, line: usize, reason: &str| {
            let error = manifest(text).unwrap_err();
            assert!(error.line == line && error.reason.contains(reason), "{error:?}");
        };
        wrong("[dependencies]\npython = 'pandas'\n", 2, "expected a sequence");
        wrong("[dependencies]\n\ndatabase_version = 3\n", 3, "expected a string");
        wrong("[[dependencies.plugins]]\nversion = '1'\n", 1, "missing field `name`");
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
