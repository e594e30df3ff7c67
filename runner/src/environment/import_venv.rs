//! From one virtual environment that all plugins shared, as InfluxDB 3 has it, to what each of them needs.
//!
//! The installed packages say in their metadata which modules they bring and what they need; a plugin says with its imports
//! which modules it uses. Nothing is run for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::limits::{PLUGIN_DIRECTORY_DEPTH_MAX, PLUGIN_FILE_BYTES_MAX};
use super::requirements::name_of;
use super::requirements_file::{normalise, normalise_name};

/// What makes a file a plugin.
const ENTRY_POINTS: [&str; 3] = ["process_writes", "process_scheduled_call", "process_request"];

/// A virtual environment, as its files tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Venv {
    /// Version of its interpreter.
    pub python: Option<String>,
    /// What is installed, by name.
    packages: BTreeMap<String, Installed>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Installed {
    /// As a requirements file has it: `numpy==2.1.0`.
    pin: String,
    needs: BTreeSet<String>,
    modules: BTreeSet<String>,
}

/// A plugin, and what it needs of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// Its file or directory.
    pub plugin: PathBuf,
    /// Where its requirements belong.
    pub requirements: PathBuf,
    /// What it imports itself, pinned.
    pub imported: Vec<String>,
    /// What these need, pinned.
    pub needed: Vec<String>,
}

impl Venv {
    /// Reads the environment at `path`.
    ///
    /// # Errors
    /// There is none.
    pub fn read(path: &Path) -> Result<Self, String> {
        let config = fs::read_to_string(path.join("pyvenv.cfg"))
            .map_err(|error| format!("`{}` is no virtual environment: pyvenv.cfg: {error}", path.display()))?;
        let value = |line: &str| Some(line.split_once('=')?.1.trim().to_owned());
        let python = config.lines().find(|line| line.starts_with("version")).and_then(value);
        let lib = fs::read_dir(path.join("lib")).into_iter().flatten().flatten();
        let site = lib.map(|entry| entry.path().join("site-packages")).find(|site| site.is_dir());
        let site =
            site.ok_or_else(|| format!("`{}` has no directory `lib/python3.*/site-packages`", path.display()))?;
        let mut packages = BTreeMap::new();
        for entry in fs::read_dir(&site).into_iter().flatten().flatten() {
            let info = entry.path();
            if info.extension().is_some_and(|extension| extension == "dist-info")
                && let Some((name, installed)) = installed(&info)
            {
                packages.insert(name, installed);
            }
        }
        // They came with the environment, and no plugin means them.
        for tool in ["pip", "setuptools", "wheel"] {
            packages.remove(tool);
        }
        Ok(Self { python, packages })
    }

    /// All that is installed, pinned.
    #[must_use]
    pub fn pins(&self) -> Vec<&str> {
        self.packages.values().map(|installed| installed.pin.as_str()).collect()
    }

    /// What the plugins below `directory` need of it, in the order of their names.
    #[must_use]
    pub fn needs_below(&self, directory: &Path) -> Vec<Needs> {
        let mut plugins = Vec::new();
        collect_plugins(directory, PLUGIN_DIRECTORY_DEPTH_MAX, &mut plugins);
        plugins.sort();
        plugins.into_iter().map(|plugin| self.needs_of(plugin)).collect()
    }

    fn needs_of(&self, plugin: PathBuf) -> Needs {
        let mut modules = BTreeSet::new();
        for file in
            if plugin.is_dir() { python_files(&plugin, PLUGIN_DIRECTORY_DEPTH_MAX) } else { vec![plugin.clone()] }
        {
            modules.extend(imports(&read(&file)));
        }
        let brings = |installed: &Installed| installed.modules.iter().any(|module| modules.contains(module));
        let direct: BTreeSet<&String> =
            self.packages.iter().filter(|(_, installed)| brings(installed)).map(|(name, _)| name).collect();
        let mut all = direct.clone();
        let mut open: Vec<&String> = direct.iter().copied().collect();
        while let Some(name) = open.pop() {
            for need in self.packages.get(name).into_iter().flat_map(|installed| &installed.needs) {
                if self.packages.contains_key(need) && all.insert(need) {
                    open.push(need);
                }
            }
        }
        let pin = |name: &&String| self.packages.get(*name).map(|installed| installed.pin.clone());
        let requirements =
            if plugin.is_dir() { plugin.join("requirements.txt") } else { plugin.with_extension("requirements.txt") };
        Needs {
            requirements,
            plugin,
            imported: direct.iter().filter_map(pin).collect(),
            needed: all.difference(&direct).filter_map(pin).collect(),
        }
    }
}

impl Needs {
    /// The text of the requirements file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = "# What this plugin had in the virtual environment that it was imported from.\n".to_owned();
        self.imported.iter().for_each(|pin| text.push_str(&format!("{pin}\n")));
        if !self.needed.is_empty() {
            text.push_str("# needed by these\n");
        }
        self.needed.iter().for_each(|pin| text.push_str(&format!("{pin}\n")));
        text
    }
}

/// What a directory `*.dist-info` says.
fn installed(info: &Path) -> Option<(String, Installed)> {
    let metadata = read(&info.join("METADATA"));
    // The description follows an empty line.
    let head = metadata.split("\n\n").next().unwrap_or_default();
    let values = |key: &str| {
        let key = format!("{key}: ");
        head.lines()
            .filter_map(move |line| line.strip_prefix(&key).map(str::trim).map(str::to_owned))
            .collect::<Vec<_>>()
    };
    let name = normalise_name(values("Name").first()?);
    let version = values("Version").first()?.clone();
    let needs = values("Requires-Dist").into_iter().filter(|need| !need.contains("extra =="));
    let needs = needs.filter_map(|need| Some(name_of(&normalise(&need).ok()?).to_owned())).collect();
    let record = read(&info.join("RECORD"));
    let modules = record.lines().filter_map(|line| module(line.split(',').next()?)).collect();
    let direct: Option<serde_json::Value> = serde_json::from_str(&read(&info.join("direct_url.json"))).ok();
    let pin = match direct.as_ref().and_then(address) {
        Some(address) => format!("{name} @ {address}"),
        None => format!("{name}=={version}"),
    };
    Some((name, Installed { pin, needs, modules }))
}

/// The address that a package was installed from, if it can be had from there again.
fn address(direct: &serde_json::Value) -> Option<String> {
    let url = direct["url"].as_str()?;
    match (direct["vcs_info"]["vcs"].as_str(), direct["vcs_info"]["commit_id"].as_str()) {
        (Some(vcs), Some(commit)) => Some(format!("{vcs}+{url}@{commit}")),
        // A directory is what somebody works on; its version may be in an index.
        _ => direct["archive_info"].is_object().then(|| url.to_owned()),
    }
}

/// The module that an installed file belongs to.
fn module(path: &str) -> Option<String> {
    let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
    if first.ends_with(".dist-info") || first.ends_with(".data") || first.starts_with("..") || first == "__pycache__" {
        return None;
    }
    let is_code = |name: &str| name.ends_with(".py") || name.ends_with(".so");
    match rest {
        Some(rest) => is_code(rest).then(|| first.to_owned()),
        None => is_code(first).then(|| first.split('.').next().unwrap_or(first).to_owned()),
    }
}

/// The modules that a text imports, by the first part of their names.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in code.lines().map(str::trim_start) {
        let mut add = |name: &str| {
            let first = name.trim().split(['.', ' ']).next().unwrap_or_default();
            if !first.is_empty() && first.chars().all(|c| c.is_alphanumeric() || c == '_') {
                found.insert(first.to_owned());
            }
        };
        if let Some(rest) = line.strip_prefix("from ") {
            if let Some((name, _)) = rest.split_once(" import") {
                add(name);
            }
        } else if let Some(rest) = line.strip_prefix("import ") {
            rest.split('#').next().unwrap_or_default().split([',', ';']).for_each(add);
        }
    }
    found
}

fn collect_plugins(directory: &Path, depth: usize, plugins: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name.starts_with(['.', '_']) || path.join("pyvenv.cfg").exists() {
            continue;
        }
        if path.is_dir() {
            let package = path.join("__init__.py");
            if package.is_file() && is_plugin(&read(&package)) {
                plugins.push(path);
            } else if depth > 0 {
                collect_plugins(&path, depth - 1, plugins);
            }
        } else if name.ends_with(".py") && is_plugin(&read(&path)) {
            plugins.push(path);
        }
    }
}

fn is_plugin(code: &str) -> bool {
    code.lines().any(|line| {
        let Some(name) = line.strip_prefix("def ") else {
            // A package may have it from one of its modules.
            return line.starts_with("from .") && ENTRY_POINTS.iter().any(|entry| line.contains(entry));
        };
        ENTRY_POINTS.iter().any(|entry| name.strip_prefix(entry).is_some_and(|rest| rest.trim_start().starts_with('(')))
    })
}

fn python_files(directory: &Path, depth: usize) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && depth > 0 {
            files.extend(python_files(&path, depth - 1));
        } else if path.extension().is_some_and(|extension| extension == "py") {
            files.push(path);
        }
    }
    files
}

/// A text; nothing where there is none, or it is too long to be one.
fn read(path: &Path) -> String {
    let is_short =
        fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= PLUGIN_FILE_BYTES_MAX);
    let bytes = if is_short { fs::read(path).unwrap_or_default() } else { Vec::new() };
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn install(root: &Path, name: &str, version: &str, head: &str, record: &str) {
        let info = format!(".venv/lib/python3.12/site-packages/{name}-{version}.dist-info");
        write(
            root,
            &format!("{info}/METADATA"),
            &format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{head}\nText\n"),
        );
        write(root, &format!("{info}/RECORD"), record);
    }

    #[test]
    fn each_plugin_gets_what_it_imports_and_what_that_needs() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(root, ".venv/pyvenv.cfg", "home = /usr/bin\nversion = 3.12.1\n");
        install(
            root,
            "Pandas",
            "2.2.3",
            "Requires-Dist: numpy>=1.26\nRequires-Dist: pytest; extra == 'test'\n",
            "pandas/__init__.py,,\n",
        );
        install(root, "numpy", "2.1.0", "", "numpy/__init__.py,,\nnumpy.libs/x.so,,\n");
        install(root, "scikit_learn", "1.5.0", "Requires-Dist: numpy\n", "sklearn/__init__.py,,\n");
        install(root, "six", "1.17.0", "", "six.py,,\n");
        install(root, "pytest", "8.0.0", "", "pytest/__init__.py,,\n");
        install(root, "pip", "24.0", "", "pip/__init__.py,,\n");
        write(
            root,
            ".venv/lib/python3.12/site-packages/six-1.17.0.dist-info/direct_url.json",
            r#"{"url": "https://h/six.whl", "archive_info": {}}"#,
        );
        write(
            root,
            "frame.py",
            "import json, pandas as pd\ndef process_writes(api, batches):\n    from six import moves\n",
        );
        write(root, "learn/__init__.py", "from .parts import process_request\n");
        write(
            root,
            "learn/parts.py",
            "from sklearn.cluster import KMeans  # import six\ndef process_request(*a): pass\n",
        );
        write(root, "deep/er/plain.py", "import os\ndef process_scheduled_call (api, at): pass\n");
        write(root, "helper.py", "import numpy\n");

        let venv = Venv::read(&root.join(".venv")).unwrap();
        assert_eq!(venv.python.as_deref(), Some("3.12.1"));
        assert_eq!(
            venv.pins(),
            ["numpy==2.1.0", "pandas==2.2.3", "pytest==8.0.0", "scikit-learn==1.5.0", "six @ https://h/six.whl"]
        );
        let needs = venv.needs_below(root);
        let seen: Vec<_> = needs
            .iter()
            .map(|needs| {
                let file = needs.requirements.strip_prefix(root).unwrap().to_str().unwrap();
                (file, needs.imported.join(" "), needs.needed.join(" "))
            })
            .collect();
        let expected = [
            ("deep/er/plain.requirements.txt", "", ""),
            ("frame.requirements.txt", "pandas==2.2.3 six @ https://h/six.whl", "numpy==2.1.0"),
            ("learn/requirements.txt", "scikit-learn==1.5.0", "numpy==2.1.0"),
        ];
        assert_eq!(seen, expected.map(|(file, imported, needed)| (file, imported.to_owned(), needed.to_owned())));
        assert!(needs[2].to_text().ends_with("scikit-learn==1.5.0\n# needed by these\nnumpy==2.1.0\n"));
        assert!(Venv::read(root).unwrap_err().contains("is no virtual environment"));
    }
}
