//! Builds a wheel of a source package by its own build backend (PEP 517), on a bench in the sandbox.
//!
//! Code of the package runs on the bench only: without network, without credentials, and without any file but its own, those
//! of the system, and an environment with what its build needs. That is made here, of wheels, and no interpreter of it ever
//! runs outside. What comes back is one file, looked at when everything on the bench has ended.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::super::builder;
use super::super::error::EnvironmentError;
use super::super::files::{blocking, remove};
use super::super::installer::Installer;
use super::super::job::Job;
use super::super::limits::{BUILD_NEEDS_MAX, PROJECT_FILE_BYTES_MAX, WHEEL_BYTES_MAX};
use super::super::marker;
use super::super::requirements::Requirements;
use super::super::requirements_file::normalise_name;
use super::super::steps::Steps;
use super::super::workbench::{BenchTask, Workbench};

/// What runs on the bench before the package's own code.
const SCRIPT: &str = include_str!("build.py");

/// The package on the bench.
pub(super) const PACKAGE: &str = "package";
/// What comes back from it.
const OUT: &str = "out";

/// How a package wants to be built.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct BuildSystem {
    requires: Vec<String>,
    #[serde(default = "legacy_backend")]
    build_backend: String,
    #[serde(default)]
    backend_path: Vec<String>,
}

/// The part of `pyproject.toml` that says so.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Project {
    build_system: Option<BuildSystem>,
}

fn legacy_backend() -> String {
    "setuptools.build_meta:__legacy__".to_owned()
}

impl BuildSystem {
    fn parse(text: &str) -> Result<Self, String> {
        let project: Project =
            toml::from_str(text).map_err(|error| format!("its pyproject.toml: {}", error.message()))?;
        let legacy = || Self {
            requires: vec!["setuptools>=40.8".to_owned(), "wheel".to_owned()],
            build_backend: legacy_backend(),
            backend_path: Vec::new(),
        };
        Ok(project.build_system.unwrap_or_else(legacy))
    }
}

/// A wheel that came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BuiltWheel {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) path: PathBuf,
    pub(super) sha256: String,
}

/// One build.
pub(super) struct Frontend<'a> {
    pub(super) steps: &'a Steps<'a>,
    pub(super) installer: &'a Installer<'a>,
    pub(super) job: &'a Job<'a>,
    pub(super) workbench: &'a dyn Workbench,
    /// Options of the requirements that say where packages come from.
    pub(super) options: &'a [String],
    /// Its directory. The package lies in `bench` below it.
    pub(super) work: &'a Path,
    /// What is built, for people.
    pub(super) title: &'a str,
}

impl Frontend<'_> {
    /// Builds it and puts the wheel into `wheelhouse`.
    pub(super) async fn build(&self, wheelhouse: &Path) -> Result<BuiltWheel, EnvironmentError> {
        let bench = self.work.join("bench");
        let out = bench.join(OUT);
        fs::create_dir(&out).map_err(EnvironmentError::io("create", &out))?;
        let plain = self.environment("plain", &[]).await?;
        self.on_bench(&plain, "unpack", None).await?;
        let text = read_regular(&out.join("pyproject.toml"), PROJECT_FILE_BYTES_MAX)
            .map_err(EnvironmentError::io("read", out.join("pyproject.toml")))?;
        let text = text.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let system = BuildSystem::parse(&text).map_err(|reason| self.failed(&reason))?;
        let mut environment = self.environment("needs", &system.requires).await?;
        let said = self.on_bench(&environment, "needs", Some(&system)).await?;
        let more: Vec<String> =
            said.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
        if !more.is_empty() {
            // Anew: an interpreter must not start outside of the sandbox where packages have been installed.
            environment = self.environment("all-needs", &[system.requires.as_slice(), &more].concat()).await?;
        }
        self.on_bench(&environment, "wheel", Some(&system)).await?;
        let (from, to) = (out, wheelhouse.to_owned());
        let taken = blocking(move || take_wheel(&from, &to)).await;
        taken.map_err(|error| self.failed(&format!("its wheel cannot be taken: {error}")))
    }

    /// An environment with what the build needs, of wheels alone.
    async fn environment(&self, name: &str, needs: &[String]) -> Result<PathBuf, EnvironmentError> {
        let path = self.work.join(name);
        remove(&path).await?;
        builder::create(self.steps, self.job.uv.as_deref(), self.job.interpreter, &path).await?;
        if needs.len() > BUILD_NEEDS_MAX {
            return Err(self.failed(&format!("its build asks for more than {BUILD_NEEDS_MAX} packages")));
        }
        if !needs.is_empty() {
            let needs = Requirements::of_trigger(needs).map_err(|error| self.failed(&error.to_string()))?;
            if let Some(address) = needs.packages().iter().find(|line| line.contains('@') || line.contains("://")) {
                return Err(self.failed(&format!("its build asks for an address: `{address}`")));
            }
            self.steps.index.check_requirements(&needs)?;
            self.job.say(&format!("installing what the build of {} needs", self.title));
            let lines = [self.options, needs.packages()].concat();
            builder::install_with_needs(self.steps, self.installer, &lines, &path).await?;
        }
        Ok(path)
    }

    async fn on_bench(
        &self,
        environment: &Path,
        stage: &str,
        system: Option<&BuildSystem>,
    ) -> Result<String, EnvironmentError> {
        let backend = system.map(|system| system.build_backend.clone()).unwrap_or_default();
        let paths: &[String] = system.map(|system| system.backend_path.as_slice()).unwrap_or_default();
        let paths = serde_json::to_string(paths).map_err(|error| self.failed(&error.to_string()))?;
        let args = ["-I", "-c", SCRIPT, stage].map(str::to_owned);
        let task = BenchTask {
            python: marker::python(environment),
            environment: environment.to_owned(),
            args: args.into_iter().chain([backend, paths]).collect(),
            bench: self.work.join("bench"),
            deadline: self.steps.deadline,
        };
        self.steps.on_bench(&format!("building {} in the sandbox", self.title), self.workbench, task).await
    }

    fn failed(&self, reason: &str) -> EnvironmentError {
        EnvironmentError::Source { what: self.title.to_owned(), reason: reason.to_owned() }
    }
}

/// The bytes of a file, if it is there and one; nobody writes to it any more.
fn read_regular(path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(None) };
    if !metadata.is_file() || metadata.len() > bytes_max {
        return Err(io::Error::other(format!("no file of at most {bytes_max} bytes")));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Copies the one wheel in a directory, which may hold anything else.
fn take_wheel(out: &Path, wheelhouse: &Path) -> io::Result<BuiltWheel> {
    if !fs::symlink_metadata(out)?.is_dir() {
        return Err(io::Error::other("its directory has gone"));
    }
    let names = fs::read_dir(out)?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut wheels = names.filter(|name| name.ends_with(".whl"));
    let (Some(file), None) = (wheels.next(), wheels.next()) else {
        return Err(io::Error::other("there is not exactly one"));
    };
    let mut parts = file.split('-');
    let (Some(name), Some(version)) = (parts.next(), parts.next()) else {
        return Err(io::Error::other(format!("`{file}` is no name of one")));
    };
    let metadata = fs::symlink_metadata(out.join(&file))?;
    if metadata.nlink() != 1 {
        return Err(io::Error::other("it is a link"));
    }
    let bytes = read_regular(&out.join(&file), WHEEL_BYTES_MAX)?.unwrap_or_default();
    fs::create_dir_all(wheelhouse)?;
    let path = wheelhouse.join(&file);
    fs::write(&path, &bytes)?;
    let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(BuiltWheel { name: normalise_name(name), version: version.to_owned(), path, sha256 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_says_how_it_is_built_and_older_ones_say_nothing() {
        let legacy = BuildSystem::parse("[project]\nname = 'x'\n").unwrap();
        assert_eq!((legacy.build_backend.as_str(), legacy.requires.len()), ("setuptools.build_meta:__legacy__", 2));
        let own =
            BuildSystem::parse("[build-system]\nrequires = []\nbuild-backend = 'b'\nbackend-path = ['.']\n").unwrap();
        assert_eq!((own.build_backend.as_str(), own.backend_path.as_slice()), ("b", &[".".to_owned()][..]));
        assert!(BuildSystem::parse("[build-system]\n").unwrap_err().starts_with("its pyproject.toml: "));
    }

    #[test]
    fn only_a_file_is_taken_and_no_link() {
        let root = tempfile::tempdir().unwrap();
        let (out, house) = (root.path().join("out"), root.path().join("house"));
        fs::create_dir(&out).unwrap();
        fs::write(root.path().join("secret"), "secret").unwrap();
        assert!(take_wheel(&out, &house).unwrap_err().to_string().contains("not exactly one"));
        let wheel = out.join("Foo_Bar-1.0-py3-none-any.whl");
        std::os::unix::fs::symlink(root.path().join("secret"), &wheel).unwrap();
        take_wheel(&out, &house).unwrap_err();
        fs::remove_file(&wheel).unwrap();
        fs::hard_link(root.path().join("secret"), &wheel).unwrap();
        take_wheel(&out, &house).unwrap_err();
        fs::remove_file(&wheel).unwrap();
        fs::write(&wheel, "wheel").unwrap();
        let taken = take_wheel(&out, &house).unwrap();
        assert_eq!((taken.name.as_str(), taken.version.as_str()), ("foo-bar", "1.0"));
        assert_eq!(fs::read_to_string(taken.path).unwrap(), "wheel");
        std::os::unix::fs::symlink(&out, root.path().join("link")).unwrap();
        take_wheel(&root.path().join("link"), &house).unwrap_err();
    }
}
