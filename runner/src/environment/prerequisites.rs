//! What a plugin's manifest wants beside packages: a version of the database, and other plugins.
//!
//! InfluxDB 3 leaves both to whoever installs a plugin: its server does not read the manifest. So nothing is refused here, and
//! what is not as the manifest wants it is told.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use semver::{Version, VersionReq};

use super::asked::{Asked, Source};
use super::limits::{
    PLUGIN_SEARCH_DEPTH_MAX, PLUGIN_SEARCH_ENTRIES_MAX, PREREQUISITE_WARNINGS_MAX, REQUIREMENTS_FILE_BYTES_MAX,
};
use super::project_files;
use super::requirements::{MANIFEST, read};
use super::tool_environment::without_credentials;

/// The version of InfluxDB 3 whose plugin API this is: the one against which it was compared (`docs/differences.md`).
pub const DATABASE_VERSION: Version = Version::new(3, 10, 0);

/// Another plugin, as a manifest names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginDependency {
    /// Its name; `-` and `_` are the same in it, and so are capital and small letters.
    pub name: String,
    /// Requirement of its version, in the manner of Cargo; any without it.
    pub version: Option<String>,
    /// The registry that has it, without credentials.
    pub index_url: Option<String>,
    /// Who wants it.
    pub by: Source,
}

impl fmt::Display for PluginDependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.version.as_ref().map_or(Ok(()), |version| write!(f, " {version}"))?;
        self.index_url.as_ref().map_or(Ok(()), |url| write!(f, " of {url}"))
    }
}

/// All that manifests want beside packages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prerequisites {
    /// Requirements of the database's version, in the manner of Cargo, with who has them.
    pub database: Vec<Asked>,
    /// Other plugins.
    pub plugins: Vec<PluginDependency>,
}

impl Prerequisites {
    /// Both.
    pub(super) fn and(mut self, others: &Self) -> Self {
        self.database.extend_from_slice(&others.database);
        self.plugins.extend_from_slice(&others.plugins);
        self
    }

    pub(super) fn declare(&mut self, by: &Source, declared: project_files::Beside) {
        self.database.extend(declared.database_version.map(|what| Asked { what, by: by.clone() }));
        self.plugins.extend(declared.plugins.into_iter().map(|plugin| PluginDependency {
            name: plugin.name,
            version: plugin.version,
            index_url: plugin.index_url.map(|url| without_credentials(&url)),
            by: by.clone(),
        }));
    }

    /// What is not as it is wanted, a sentence each and not more than a reader can use. Reads `plugin_dir`, but only when
    /// plugins are wanted.
    #[must_use]
    pub fn warnings(&self, plugin_dir: Option<&Path>) -> Vec<String> {
        let database = self.database.iter().filter_map(|asked| database_warning(asked, &DATABASE_VERSION));
        let there = plugin_dir.filter(|_| !self.plugins.is_empty()).map(plugins_below).unwrap_or_default();
        let plugins = self.plugins.iter().filter_map(|plugin| plugin_warning(plugin, &there));
        database.chain(plugins).take(PREREQUISITE_WARNINGS_MAX).collect()
    }
}

fn database_warning(Asked { what, by }: &Asked, version: &Version) -> Option<String> {
    match VersionReq::parse(what) {
        Ok(requirement) if requirement.matches(version) => None,
        Ok(_) => Some(format!(
            "{by} asks for InfluxDB `{what}`, and the plugin API here is that of InfluxDB {version}; see whether the plugin \
             works with it, and change `database_version` if it does"
        )),
        Err(error) => Some(format!(
            "{by}: `database_version` is to be a requirement such as `>=3.8,<4`, and `{what}` cannot be read ({error})"
        )),
    }
}

/// Versions of the plugins that are there, by name; none for a plugin that does not tell.
type There = BTreeMap<String, Vec<Option<Version>>>;

fn plugin_warning(plugin: &PluginDependency, there: &There) -> Option<String> {
    let PluginDependency { name, version, by, .. } = plugin;
    let Some(found) = there.get(&canonical(name)) else {
        return Some(format!(
            "{by} asks for the plugin {plugin}, which is not in the plugin directory; plugins are not fetched for each other, \
             so copy it there"
        ));
    };
    let wanted = version.as_ref()?;
    let requirement = match VersionReq::parse(wanted) {
        Ok(requirement) => requirement,
        Err(error) => {
            return Some(format!("{by}: the version `{wanted}` of the plugin {name} cannot be read ({error})"));
        }
    };
    if found.iter().any(|version| version.as_ref().is_none_or(|version| requirement.matches(version))) {
        return None;
    }
    let versions: Vec<String> = found.iter().flatten().map(Version::to_string).collect();
    Some(format!("{by} asks for the plugin {plugin}, and the plugin directory has version {}", versions.join(" and ")))
}

/// Plugin names are compared like this.
fn canonical(name: &str) -> String {
    name.to_ascii_lowercase().replace('-', "_")
}

/// The plugins in a directory and in those below it. Links are not followed: where they lead is no part of it.
fn plugins_below(root: &Path) -> There {
    let mut there = There::new();
    let mut waiting = vec![(root.to_owned(), 0)];
    let mut looked_at = 0;
    while let Some((directory, depth)) = waiting.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            looked_at += 1;
            if looked_at > PLUGIN_SEARCH_ENTRIES_MAX {
                return there;
            }
            let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
            let name = entry.file_name().to_string_lossy().into_owned();
            if kind.is_dir() && depth < PLUGIN_SEARCH_DEPTH_MAX && !name.starts_with('.') && name != "__pycache__" {
                if let Some((own, version)) = plugin_at(&path) {
                    let other = Some(canonical(&own)).filter(|own| *own != canonical(&name));
                    for name in other.into_iter().chain([canonical(&name)]) {
                        there.entry(name).or_default().push(version.clone());
                    }
                }
                waiting.push((path, depth + 1));
            } else if let (true, Some(name)) = (kind.is_file(), name.strip_suffix(".py"))
                && name != "__init__"
            {
                // One in a directory with a manifest was counted with it, and has its version.
                let has_manifest = directory.join(MANIFEST).exists() && directory != root;
                if !has_manifest {
                    there.entry(canonical(name)).or_default().push(None);
                }
            }
        }
    }
    there
}

/// Name and version of the plugin in a directory, if it is one.
fn plugin_at(directory: &Path) -> Option<(String, Option<Version>)> {
    let text = read(&directory.join(MANIFEST), REQUIREMENTS_FILE_BYTES_MAX).ok().flatten();
    let own = text.and_then(|text| project_files::manifest(&text).ok()).map(|(_, beside)| beside);
    let name = directory.file_name()?.to_string_lossy().into_owned();
    match own {
        Some(own) => Some((own.name.unwrap_or(name), own.version.and_then(|version| Version::parse(&version).ok()))),
        None => directory.join("__init__.py").is_file().then_some((name, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        Source::File("p/manifest.toml".into())
    }

    fn database(what: &str) -> Option<String> {
        database_warning(&Asked { what: what.to_owned(), by: source() }, &DATABASE_VERSION)
    }

    fn dependency(name: &str, version: &str) -> PluginDependency {
        let version = Some(version.to_owned()).filter(|version| !version.is_empty());
        PluginDependency { name: name.to_owned(), version, index_url: None, by: source() }
    }

    #[test]
    fn the_databases_version_is_compared_as_the_sdk_does() {
        for holds in [">=3.8.2", ">=3.2.0,<4.0.0", "3.8", "^3.10", "*", "~3.10"] {
            assert_eq!(database(holds), None, "{holds}");
        }
        let other = database(">=4.0.0").unwrap();
        assert!(other.starts_with("`p/manifest.toml` asks for InfluxDB `>=4.0.0`, and the plugin API here"), "{other}");
        assert!(database("=3.8.2").is_some() && database("<3.10").is_some());
        let unreadable = database("~=3.8").unwrap();
        assert!(unreadable.contains("`~=3.8` cannot be read ("), "{unreadable}");
    }

    #[test]
    fn plugins_are_found_by_file_directory_and_manifest() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("plain.py", "");
        write("Multi-File/__init__.py", "");
        write("influxdata/other_name/code.py", "");
        write("influxdata/other_name/manifest.toml", "[plugin]\nname = 'geo-lookup'\nversion = '1.4.0'\n");
        write("no_plugin/notes.txt", "");
        write(".venv/hidden/__init__.py", "");
        let wanted = |name: &str, version: &str| {
            let plugins = vec![dependency(name, version)];
            Prerequisites { plugins, ..Prerequisites::default() }.warnings(Some(root.path()))
        };
        for (name, version) in [
            ("plain", ">=9"),
            ("multi_file", ""),
            ("Geo_Lookup", ">=1.0.0,<2.0.0"),
            ("geo-lookup", "1.2"),
            ("other-name", "1"),
        ] {
            assert_eq!(wanted(name, version), [""; 0], "{name}");
        }
        for name in ["nobody", "no_plugin", "hidden", "influxdata", "code"] {
            let told = wanted(name, "1").join("");
            assert!(told.contains(&format!("asks for the plugin {name} 1, which is not in the plugin dir")), "{told}");
        }
        let told = wanted("geo-lookup", ">=2").join("");
        assert!(
            told.ends_with("asks for the plugin geo-lookup >=2, and the plugin directory has version 1.4.0"),
            "{told}"
        );
        assert!(wanted("geo-lookup", "newest").join("").contains("`newest` of the plugin geo-lookup cannot be read"));
    }

    #[test]
    fn without_a_plugin_directory_no_plugin_is_there_and_a_long_list_is_cut() {
        let plugins = vec![dependency("a", ""); PREREQUISITE_WARNINGS_MAX + 1];
        assert_eq!(
            Prerequisites { plugins, ..Prerequisites::default() }.warnings(None).len(),
            PREREQUISITE_WARNINGS_MAX
        );
        assert_eq!(Prerequisites::default().warnings(None), [""; 0]);
    }
}
