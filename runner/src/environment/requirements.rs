//! What a plugin asks for, and where it says so.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::asked::{Asked, Source};
use super::error::RequirementsError;
use super::inline_metadata::{self, InlineMetadata};
use super::limits::{INCLUDE_DEPTH_MAX, PLUGIN_FILE_BYTES_MAX, REQUIREMENTS_FILE_BYTES_MAX};
use super::prerequisites::Prerequisites;
use super::project_files::{self, Declared};
use super::requirements_file::{self, Item};

/// Name of the manifest of InfluxData's plugin SDK.
pub(super) const MANIFEST: &str = "manifest.toml";
const REQUIREMENTS: &str = "requirements.txt";
const PYPROJECT: &str = "pyproject.toml";

/// The packages that a plugin asks for, normalised, and the interpreter that it wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requirements {
    /// Index options in the order of the file, then the packages in alphabetical order.
    lines: Vec<String>,
    requires_python: Option<String>,
    /// What the packages in `lines` are made of.
    asked: Vec<Asked>,
    python_asked: Vec<Asked>,
    prerequisites: Prerequisites,
    sources: Vec<Source>,
}

impl Requirements {
    /// Requirements given by name, which every plugin is to have.
    ///
    /// # Errors
    /// The first one that is none.
    pub fn from_packages<S: AsRef<str>>(packages: &[S]) -> Result<Self, RequirementsError> {
        Self::by(&Source::Server, packages)
    }

    /// The requirements in the settings of a trigger.
    ///
    /// # Errors
    /// The first one that is none.
    pub fn of_trigger<S: AsRef<str>>(packages: &[S]) -> Result<Self, RequirementsError> {
        Self::by(&Source::Trigger, packages)
    }

    fn by<S: AsRef<str>>(source: &Source, packages: &[S]) -> Result<Self, RequirementsError> {
        let asked = packages.iter().map(|package| {
            let package = package.as_ref();
            requirements_file::normalise(package)
                .map(|what| Asked { what, by: source.clone() })
                .map_err(|reason| RequirementsError::Package { requirement: package.to_owned(), reason })
        });
        let asked: Vec<_> = asked.collect::<Result<_, _>>()?;
        let sources = if asked.is_empty() { Vec::new() } else { vec![source.clone()] };
        Ok(Gathered { asked, sources, ..Gathered::default() }.into())
    }

    /// The normalised lines: index options first, then packages in alphabetical order.
    #[must_use]
    pub fn packages(&self) -> &[String] {
        &self.lines
    }

    /// Each requirement with who asks for it, in alphabetical order; one that several ask for stands there several times.
    #[must_use]
    pub fn asked(&self) -> &[Asked] {
        &self.asked
    }

    /// Version specifier of the interpreter, for instance `>=3.11`.
    #[must_use]
    pub fn requires_python(&self) -> Option<&str> {
        self.requires_python.as_deref()
    }

    /// Each part of it with who wants it.
    #[must_use]
    pub fn python_asked(&self) -> &[Asked] {
        &self.python_asked
    }

    /// What is wanted beside packages.
    #[must_use]
    pub fn prerequisites(&self) -> &Prerequisites {
        &self.prerequisites
    }

    /// Where they stand, the most particular first; nothing for the plain environment.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// These, and of `others` what has another name.
    #[must_use]
    pub(super) fn over(self, others: &Self) -> Self {
        if others.is_empty() {
            return self;
        }
        let names: Vec<_> = self.asked.iter().map(|asked| name_of(&asked.what).to_owned()).collect();
        let is_new = |asked: &&Asked| !names.iter().any(|name| name == name_of(&asked.what));
        let asked = others.asked.iter().filter(is_new).cloned().collect();
        self.and(&Self { asked, ..others.clone() })
    }

    /// Both: what has the same name has to be met together.
    #[must_use]
    pub fn and(mut self, others: &Self) -> Self {
        let mut options: Vec<String> = self.lines.extract_if(.., |line| line.starts_with('-')).collect();
        for option in others.lines.iter().filter(|line| line.starts_with('-')) {
            if !options.contains(option) {
                options.push(option.clone());
            }
        }
        let joined = |ours: Vec<Asked>, theirs: &[Asked]| ours.into_iter().chain(theirs.iter().cloned()).collect();
        let sources = self.sources.into_iter().chain(others.sources.iter().cloned()).collect();
        let asked = joined(self.asked, &others.asked);
        let python = joined(self.python_asked, &others.python_asked);
        let prerequisites = self.prerequisites.and(&others.prerequisites);
        Gathered { options, asked, python, prerequisites, sources }.into()
    }

    /// The same, asked for by somebody else.
    #[must_use]
    pub(super) fn asked_by(mut self, source: &Source) -> Self {
        self.asked.iter_mut().chain(&mut self.python_asked).for_each(|asked| asked.by = source.clone());
        self.sources = vec![source.clone()];
        self
    }

    /// Whether no package is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }
}

/// What was found so far.
#[derive(Default)]
struct Gathered {
    options: Vec<String>,
    asked: Vec<Asked>,
    python: Vec<Asked>,
    prerequisites: Prerequisites,
    sources: Vec<Source>,
}

impl From<Gathered> for Requirements {
    fn from(gathered: Gathered) -> Self {
        let Gathered { options, mut asked, python, prerequisites, sources } = gathered;
        asked.sort();
        asked.dedup();
        // Options alone install nothing, and must not name an environment of their own.
        let mut lines = if asked.is_empty() { Vec::new() } else { options };
        lines.extend(asked.iter().map(|asked| asked.what.clone()));
        lines.dedup();
        // The clauses of a specifier hold all together, so all specifiers together are one.
        let specifiers: Vec<&str> = python.iter().map(|asked| asked.what.as_str()).collect();
        let requires_python = (!specifiers.is_empty()).then(|| specifiers.join(","));
        Self { lines, requires_python, asked, python_asked: python, prerequisites, sources }
    }
}

impl Gathered {
    /// Adds what the file at `path` declares.
    fn declare(&mut self, path: &Path, declared: Declared) -> Result<(), RequirementsError> {
        let by = Source::File(path.to_owned());
        for package in declared.dependencies {
            let normal = requirements_file::normalise(&package).map_err(|reason| RequirementsError::Declared {
                path: path.to_owned(),
                reason: format!("dependency `{package}` {reason}"),
            });
            self.asked.push(Asked { what: normal?, by: by.clone() });
        }
        self.python.extend(declared.requires_python.map(|what| Asked { what, by: by.clone() }));
        self.sources.push(by);
        Ok(())
    }
}

/// The files beside the code of the plugin at `plugin` that may say what it asks for, whether they are there or not.
#[must_use]
pub fn requirement_files(plugin: &Path) -> Vec<PathBuf> {
    let code = code_of(plugin);
    let shared = [MANIFEST, REQUIREMENTS, PYPROJECT].map(|name| code.with_file_name(name));
    std::iter::once(code.with_extension(REQUIREMENTS)).chain(shared).collect()
}

fn code_of(plugin: &Path) -> PathBuf {
    if plugin.is_dir() { plugin.join("__init__.py") } else { plugin.to_owned() }
}

/// Finds what the plugin at `plugin` (a file, or a directory with `__init__.py`) asks for. All of these count together:
///
/// 1. PEP 723 metadata in the file (in `__init__.py` of a directory);
/// 2. `manifest.toml`, as InfluxData's plugin SDK has it;
/// 3. `requirements.txt`; a file `name.requirements.txt` beside `name.py` stands in for it;
/// 4. the table `project` of `pyproject.toml`.
///
/// They are looked for in the directory of a directory plugin, and beside the file of another, where all plugins in that
/// directory share them.
///
/// # Errors
/// A file cannot be read or understood. A file that is not there is no error.
pub fn requirements_of(plugin: &Path) -> Result<Requirements, RequirementsError> {
    let mut gathered = Gathered::default();
    let code = code_of(plugin);
    let declared = |path: &Path, reason: String| RequirementsError::Declared { path: path.to_owned(), reason };
    if let Some(source) = read(&code, PLUGIN_FILE_BYTES_MAX)? {
        let metadata = inline_metadata::parse(&source).map_err(|error| declared(&code, error.to_string()))?;
        if let Some(InlineMetadata { dependencies, requires_python }) = metadata {
            gathered.declare(&code, Declared { dependencies, requires_python })?;
        }
    }
    let manifest = code.with_file_name(MANIFEST);
    if let Some(text) = read(&manifest, REQUIREMENTS_FILE_BYTES_MAX)? {
        let (found, beside) = project_files::manifest(&text).map_err(|error| invalid(&manifest, error))?;
        gathered.prerequisites.declare(&Source::File(manifest.clone()), beside);
        gathered.declare(&manifest, found)?;
    }
    for file in [code.with_extension(REQUIREMENTS), code.with_file_name(REQUIREMENTS)] {
        if read_file(&file, 0, &mut gathered)? {
            gathered.sources.push(Source::File(file));
            break;
        }
    }
    let pyproject = code.with_file_name(PYPROJECT);
    if let Some(text) = read(&pyproject, REQUIREMENTS_FILE_BYTES_MAX)? {
        let found = project_files::pyproject(&text).map_err(|error| invalid(&pyproject, error))?;
        if let Some(found) = found {
            gathered.declare(&pyproject, found)?;
        }
    }
    Ok(gathered.into())
}

/// What the requirements file at `path` asks for, if it is there.
pub(super) fn of_file(path: &Path) -> Result<Option<Requirements>, RequirementsError> {
    let mut gathered = Gathered::default();
    let found = read_file(path, 0, &mut gathered)?;
    gathered.sources.push(Source::File(path.to_owned()));
    Ok(found.then(|| gathered.into()))
}

/// The name at the beginning of a normalised requirement.
pub(super) fn name_of(requirement: &str) -> &str {
    requirement.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').next().unwrap_or_default()
}

fn invalid(path: &Path, error: project_files::Invalid) -> RequirementsError {
    let project_files::Invalid { line, reason } = error;
    RequirementsError::Line { path: path.to_owned(), line, reason: format!("is not valid: {reason}") }
}

/// Reads a requirements file and those that it includes; false where it is not there.
fn read_file(path: &Path, depth: usize, gathered: &mut Gathered) -> Result<bool, RequirementsError> {
    if depth > INCLUDE_DEPTH_MAX {
        return Err(RequirementsError::Depth { path: path.to_owned() });
    }
    let Some(text) = read(path, REQUIREMENTS_FILE_BYTES_MAX)? else { return Ok(false) };
    let directory = path.parent().unwrap_or(Path::new("/"));
    let line_error = |(line, reason)| RequirementsError::Line { path: path.to_owned(), line, reason };
    for item in requirements_file::parse(&text, directory).map_err(line_error)? {
        match item {
            Item::Package(what) => gathered.asked.push(Asked { what, by: Source::File(path.to_owned()) }),
            Item::Option(option) => gathered.options.push(option),
            Item::Include(file) => {
                let included = directory.join(file);
                if !read_file(&included, depth + 1, gathered)? {
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
pub(super) fn read(path: &Path, max: u64) -> Result<Option<String>, RequirementsError> {
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
    fn everything_that_is_said_counts_and_a_file_of_ones_own_stands_in_for_the_shared_one() {
        let dir = directory(&[
            ("inline.py", INLINE),
            ("inline.requirements.txt", "own"),
            ("own.py", ""),
            ("own.requirements.txt", "own"),
            ("other.py", ""),
            ("requirements.txt", "shared"),
        ]);
        assert_eq!(found(&dir, "inline.py"), ["inline", "own"]);
        assert_eq!(found(&dir, "own.py"), ["own"]);
        assert_eq!(found(&dir, "other.py"), ["shared"]);
    }

    #[test]
    fn manifest_and_project_files_count_too() {
        let dir = directory(&[
            ("pack/__init__.py", INLINE),
            (
                "pack/manifest.toml",
                "[plugin]\nname = 'pack'\n[dependencies]\npython = ['Pandas <3', 'inline']\n\
              database_version = '>=3.8'\n[[dependencies.plugins]]\nname = 'geo'\nversion = '1'\n\
              index_url = 'https://me:password@index'",
            ),
            ("pack/requirements.txt", "requests"),
            ("pack/pyproject.toml", "[project]\nname = 'pack'\nrequires-python = '<3.15'\ndependencies = ['rich']"),
        ]);
        let pack = dir.path().join("pack");
        let requirements = requirements_of(&pack).unwrap();
        assert_eq!(requirements.packages(), ["inline", "pandas<3", "requests", "rich"]);
        assert_eq!(requirements.requires_python(), Some(">=3.11,<3.15"));
        let names = ["__init__.py", "manifest.toml", "requirements.txt", "pyproject.toml"];
        let files = names.map(|name| Source::File(pack.join(name)));
        assert_eq!(requirements.sources(), files);
        let asked = |what: &str, file: usize| Asked { what: what.to_owned(), by: files[file].clone() };
        let all =
            [asked("inline", 0), asked("inline", 1), asked("pandas<3", 1), asked("requests", 2), asked("rich", 3)];
        assert_eq!(requirements.asked(), all, "each with who asks for it");
        assert_eq!(requirements.python_asked(), [asked(">=3.11", 0), asked("<3.15", 3)]);
        assert_eq!(requirements.prerequisites().database, [asked(">=3.8", 1)]);
        let others = requirements.prerequisites().plugins.iter();
        assert_eq!(others.map(ToString::to_string).collect::<Vec<_>>(), ["geo 1 of https://***@index"]);

        let trigger = Requirements::of_trigger(&["Rich <9", "inline"]).unwrap();
        let both = requirements.and(&trigger);
        assert_eq!(both.packages(), ["inline", "pandas<3", "requests", "rich", "rich<9"], "both hold");
        assert_eq!(both.prerequisites().plugins.len(), 1);
        assert_eq!(both.sources().last(), Some(&Source::Trigger));
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
    fn a_plugins_own_requirement_stands_in_for_the_servers() {
        let dir = directory(&[("packages.txt", "-i https://one\nsix==1.0\nrich[x]>2; python_version > '3'\nattrs")]);
        let servers = of_file(&dir.path().join("packages.txt")).unwrap().unwrap();
        let own = Requirements::from_packages(&["six-more", "Rich"]).unwrap();
        assert_eq!(own.over(&servers).packages(), ["--index-url https://one", "attrs", "rich", "six-more", "six==1.0"]);
        assert_eq!(Requirements::default().over(&servers).packages(), servers.packages());
        assert_eq!(of_file(&dir.path().join("nothing.txt")), Ok(None));
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
            ("c/__init__.py", ""),
            ("c/manifest.toml", "[plugin]\n[dependencies"),
        ]);
        let error = requirements_of(&dir.path().join("c")).unwrap_err().to_string();
        assert!(error.contains("c/manifest.toml`, line 2: is not valid: "), "{error}");
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
