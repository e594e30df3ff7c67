//! What a plugin asks for, and where it says so.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::error::RequirementsError;
use super::inline_metadata;
use super::limits::{INCLUDE_DEPTH_MAX, PLUGIN_FILE_BYTES_MAX, REQUIREMENTS_FILE_BYTES_MAX};
use super::requirements_file::{self, Item};

/// The packages that a plugin asks for, normalised, and the interpreter that it wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requirements {
    /// Index options in the order of the file, then the packages in alphabetical order.
    lines: Vec<String>,
    requires_python: Option<String>,
    source: RequirementsSource,
}

/// Where the requirements were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RequirementsSource {
    /// Nowhere: the plugin gets the plain environment.
    #[default]
    Nothing,
    /// In a requirements file.
    File(PathBuf),
    /// In the plugin's own file (PEP 723).
    Inline(PathBuf),
}

impl Requirements {
    /// Requirements given by name.
    ///
    /// # Errors
    /// The first one that is none.
    pub fn from_packages<S: AsRef<str>>(packages: &[S]) -> Result<Self, RequirementsError> {
        let normal = packages.iter().map(|package| {
            let package = package.as_ref();
            requirements_file::normalise(package)
                .map_err(|reason| RequirementsError::Package { requirement: package.to_owned(), reason })
        });
        Ok(Self::new(Vec::new(), normal.collect::<Result<_, _>>()?, None, RequirementsSource::Nothing))
    }

    /// The normalised lines: index options first, then packages in alphabetical order.
    #[must_use]
    pub fn packages(&self) -> &[String] {
        &self.lines
    }

    /// Version specifier of the interpreter, for instance `>=3.11`.
    #[must_use]
    pub fn requires_python(&self) -> Option<&str> {
        self.requires_python.as_deref()
    }

    /// Where they come from.
    #[must_use]
    pub fn source(&self) -> &RequirementsSource {
        &self.source
    }

    /// Whether no package is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.starts_with('-'))
    }

    fn new(
        options: Vec<String>,
        mut packages: Vec<String>,
        requires_python: Option<String>,
        source: RequirementsSource,
    ) -> Self {
        packages.sort();
        packages.dedup();
        // Options alone install nothing, and must not name an environment of their own.
        let mut lines = if packages.is_empty() { Vec::new() } else { options };
        lines.append(&mut packages);
        Self { lines, requires_python, source }
    }
}

/// Finds what the plugin at `plugin` (a file, or a directory with `__init__.py`) asks for. The first of these
/// that is there counts:
///
/// 1. PEP 723 metadata in the file (in `__init__.py` of a directory);
/// 2. for a directory, its `requirements.txt`; for `name.py`, the file `name.requirements.txt` beside it;
/// 3. for `name.py`, `requirements.txt` beside it, which all plugins in that directory share.
///
/// # Errors
/// A file cannot be read or understood. A file that is not there is no error.
pub fn requirements_of(plugin: &Path) -> Result<Requirements, RequirementsError> {
    let is_directory = plugin.is_dir();
    let code = if is_directory { plugin.join("__init__.py") } else { plugin.to_owned() };
    if let Some(requirements) = inline(&code)? {
        return Ok(requirements);
    }
    let files = if is_directory {
        vec![plugin.join("requirements.txt")]
    } else {
        vec![plugin.with_extension("requirements.txt"), plugin.with_file_name("requirements.txt")]
    };
    for path in files {
        let (mut options, mut packages) = (Vec::new(), Vec::new());
        if read_file(&path, 0, &mut options, &mut packages)? {
            return Ok(Requirements::new(options, packages, None, RequirementsSource::File(path)));
        }
    }
    Ok(Requirements::default())
}

fn inline(code: &Path) -> Result<Option<Requirements>, RequirementsError> {
    let Some(source) = read(code, PLUGIN_FILE_BYTES_MAX)? else { return Ok(None) };
    let failed = |reason: String| RequirementsError::Inline { path: code.to_owned(), reason };
    let Some(metadata) = inline_metadata::parse(&source).map_err(|error| failed(error.to_string()))? else {
        return Ok(None);
    };
    let normal = metadata.dependencies.iter().map(|package| {
        requirements_file::normalise(package).map_err(|reason| failed(format!("dependency `{package}` {reason}")))
    });
    let packages = normal.collect::<Result<_, _>>()?;
    let source = RequirementsSource::Inline(code.to_owned());
    Ok(Some(Requirements::new(Vec::new(), packages, metadata.requires_python, source)))
}

/// Reads a requirements file and those that it includes; false where it is not there.
fn read_file(
    path: &Path,
    depth: usize,
    options: &mut Vec<String>,
    packages: &mut Vec<String>,
) -> Result<bool, RequirementsError> {
    if depth > INCLUDE_DEPTH_MAX {
        return Err(RequirementsError::Depth { path: path.to_owned() });
    }
    let Some(text) = read(path, REQUIREMENTS_FILE_BYTES_MAX)? else { return Ok(false) };
    let directory = path.parent().unwrap_or(Path::new("/"));
    let line_error = |(line, reason)| RequirementsError::Line { path: path.to_owned(), line, reason };
    for item in requirements_file::parse(&text, directory).map_err(line_error)? {
        match item {
            Item::Package(package) => packages.push(package),
            Item::Option(option) => options.push(option),
            Item::Include(file) => {
                let included = directory.join(file);
                if !read_file(&included, depth + 1, options, packages)? {
                    let reason = format!("no such file; `{}` includes it", path.display());
                    return Err(RequirementsError::Unreadable { path: included, reason });
                }
            }
        }
    }
    Ok(true)
}

/// Reads a text of bounded length; `None` where there is no file. Bytes that are no UTF-8 can stand in
/// comments only, where they do not matter.
fn read(path: &Path, max: u64) -> Result<Option<String>, RequirementsError> {
    let unreadable =
        |error: io::Error| RequirementsError::Unreadable { path: path.to_owned(), reason: error.to_string() };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > max {
        return Err(RequirementsError::TooLong { path: path.to_owned(), max });
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with these files.
    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    fn found(dir: &tempfile::TempDir, plugin: &str) -> Vec<String> {
        requirements_of(&dir.path().join(plugin)).unwrap().packages().to_vec()
    }

    const INLINE: &str = "# /// script\n# requires-python = '>=3.11'\n# dependencies = ['inline']\n# ///\n";

    #[test]
    fn a_plugin_that_says_nothing_gets_the_plain_environment() {
        let dir = directory(&[("a.py", "x = 1"), ("pack/__init__.py", "")]);
        assert_eq!(requirements_of(&dir.path().join("a.py")), Ok(Requirements::default()));
        assert_eq!(requirements_of(&dir.path().join("pack")), Ok(Requirements::default()));
    }

    #[test]
    fn metadata_in_the_file_comes_first_then_its_own_file_then_the_shared_one() {
        let dir = directory(&[
            ("inline.py", INLINE),
            ("inline.requirements.txt", "own"),
            ("own.py", ""),
            ("own.requirements.txt", "own"),
            ("other.py", ""),
            ("requirements.txt", "shared"),
        ]);
        assert_eq!(found(&dir, "inline.py"), ["inline"]);
        assert_eq!(found(&dir, "own.py"), ["own"]);
        assert_eq!(found(&dir, "other.py"), ["shared"]);
        let inline = requirements_of(&dir.path().join("inline.py")).unwrap();
        assert_eq!(inline.requires_python(), Some(">=3.11"));
        assert_eq!(inline.source(), &RequirementsSource::Inline(dir.path().join("inline.py")));
    }

    #[test]
    fn a_directory_does_not_take_what_lies_beside_it() {
        let dir = directory(&[
            ("requirements.txt", "shared"),
            ("a/__init__.py", ""),
            ("b/__init__.py", ""),
            ("b/requirements.txt", "b"),
        ]);
        assert_eq!(found(&dir, "a"), [""; 0]);
        assert_eq!(found(&dir, "b"), ["b"]);
    }

    #[test]
    fn included_files_are_read_and_loops_end() {
        let dir =
            directory(&[("a.py", ""), ("requirements.txt", "-r sub/more.txt\nb"), ("sub/more.txt", "a\n-f wheels")]);
        assert_eq!(
            found(&dir, "a.py"),
            [&format!("--find-links {}", dir.path().join("sub/wheels").display()), "a", "b"]
        );
        let endless = directory(&[("a.py", ""), ("requirements.txt", "-r requirements.txt")]);
        assert!(matches!(requirements_of(&endless.path().join("a.py")), Err(RequirementsError::Depth { .. })));
    }

    #[test]
    fn errors_name_file_and_line() {
        let dir = directory(&[
            ("a.py", ""),
            ("requirements.txt", "numpy\n-e ."),
            ("b.py", "# /// script\n# dependencies = ['-e .']\n# ///\n"),
        ]);
        let error = requirements_of(&dir.path().join("a.py")).unwrap_err().to_string();
        assert!(error.contains("requirements.txt`, line 2: `-e` is not supported"), "{error}");
        let error = requirements_of(&dir.path().join("b.py")).unwrap_err().to_string();
        assert!(error.contains("b.py`: dependency `-e .` holds the option `-e`"), "{error}");
    }

    #[test]
    fn an_option_cannot_be_smuggled_in() {
        for package in
            ["a\n--index-url https://evil", "--index-url https://evil", "a==1 --index-url https://evil", "a -r/etc/x"]
        {
            assert!(Requirements::from_packages(&[package]).is_err(), "{package}");
        }
    }
}
