//! Packages of which there is no wheel that fits: each is built, and the tools are given the wheel.
//!
//! The tools themselves build nothing: uv is told so, and pip is kept from starting any program. Which package has no wheel
//! stands in their words; it is fetched, built in the sandbox (`frontend`), and the tool is asked again. The lock names the
//! source package and its hash, not the wheel, which is of use for this one environment only and goes with the working directory.

mod choice;
mod fetch;
mod frontend;
mod origins;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::choice::{Link, Missing, choose, missing};
use self::fetch::{Fetched, fetch};
use self::frontend::{BuiltWheel, Frontend, PACKAGE};
use self::origins::origins;
use super::error::EnvironmentError;
use super::files::remove;
use super::installer::Installer;
use super::job::Job;
use super::limits::SOURCES_MAX;
use super::lock::{Lock, LockedSource};
use super::requirements::name_of;
use super::steps::Steps;
use super::workbench::Workbench;

/// What was built for one environment.
#[derive(Debug, Clone)]
struct Built {
    wheel: BuiltWheel,
    /// The address that it was asked for by, without credentials; none for one of an index.
    address: Option<String>,
    /// Hash of the source package; none of a directory and of a repository.
    sha256: Option<String>,
}

/// Builds what has no wheel, for one environment.
pub(super) struct Sources<'a> {
    job: &'a Job<'a>,
    workbench: Option<Arc<dyn Workbench>>,
    work: PathBuf,
    built: Vec<Built>,
}

impl<'a> Sources<'a> {
    /// With `work` as the directory for what is needed meanwhile.
    pub(super) fn new(job: &'a Job<'a>, workbench: Option<Arc<dyn Workbench>>, work: &Path) -> Self {
        Self { job, workbench, work: work.to_owned(), built: Vec::new() }
    }

    pub(super) fn work(&self) -> &Path {
        &self.work
    }

    fn wheelhouse(&self) -> PathBuf {
        self.work.join("wheels")
    }

    /// The options of the requirements, and the place of the wheels that were built.
    pub(super) fn options(&self) -> Vec<String> {
        let options = self.job.requirements.packages().iter().filter(|line| line.starts_with('-')).cloned();
        let house = (!self.built.is_empty()).then(|| format!("--find-links {}", self.wheelhouse().display()));
        options.chain(house).collect()
    }

    /// What is asked for, with the wheels that were built in the places of addresses.
    pub(super) fn lines_to_resolve(&self) -> Vec<String> {
        let asked = self.job.requirements.packages().iter().filter(|line| !line.starts_with('-'));
        let line = |line: &String| {
            let built = self.built.iter().filter(|built| built.address.is_some());
            let built =
                source_address(line).and_then(|_| built.clone().find(|built| built.wheel.name == name_of(line)));
            match built {
                Some(built) => format!("{} @ file://{}", built.wheel.name, built.wheel.path.display()),
                None => line.clone(),
            }
        };
        self.options().into_iter().chain(asked.map(line)).collect()
    }

    /// A lock that names sources where the tool has seen the wheels that were built of them.
    pub(super) fn in_lock(&self, lock: Lock) -> Lock {
        let source = |built: &Built| LockedSource {
            name: built.wheel.name.clone(),
            address: built.address.clone(),
            sha256: built.sha256.clone(),
        };
        lock.with_sources(&self.built.iter().map(source).collect::<Vec<_>>())
    }

    /// The lines of a lock to install, with the hashes of the wheels that were built.
    pub(super) fn lines_to_install(&self, lock: &Lock) -> Vec<String> {
        let wheel = |built: &Built| (built.wheel.name.clone(), built.wheel.version.clone(), built.wheel.sha256.clone());
        let wheels: Vec<_> = self.built.iter().map(wheel).collect();
        self.options().into_iter().chain(lock.lines_to_install(self.job.requirements.packages(), &wheels)).collect()
    }

    /// Builds what is asked for by the addresses of sources; of a lock, where there is one.
    pub(super) async fn build_addresses(
        &mut self,
        steps: &Steps<'_>,
        installer: &Installer<'_>,
        lock: Option<&Lock>,
    ) -> Result<(), EnvironmentError> {
        for line in self.job.requirements.packages() {
            let Some(address) = source_address(line).filter(|_| !line.starts_with('-')) else { continue };
            let name = name_of(line);
            let is_locked = lock.is_none_or(|lock| lock.names().any(|locked| locked == name));
            if !is_locked || self.built.iter().any(|built| built.wheel.name == name) {
                continue;
            }
            let revision = lock.and_then(|lock| lock.revision(name));
            let hashes: Vec<&str> = lock.map(|lock| lock.hashes(name)).unwrap_or_default();
            Box::pin(self.build(steps, installer, (name, address), (revision, &hashes))).await?;
        }
        Ok(())
    }

    /// Builds the package of which a tool has found no wheel, so that it can be asked again; the tool's error where that is not
    /// the matter, or nothing can be done.
    pub(super) async fn make_up_for(
        &mut self,
        error: EnvironmentError,
        steps: &Steps<'_>,
        installer: &Installer<'_>,
        lock: Option<&Lock>,
    ) -> Result<(), EnvironmentError> {
        let EnvironmentError::Tool { output, .. } = &error else { return Err(error) };
        let pins = lock.map(Lock::packages);
        let asked = pins.as_deref().unwrap_or(self.job.requirements.packages());
        let Some(wanted) = missing(output, asked) else { return Err(error) };
        let is_built = self.built.iter().any(|built| built.wheel.name == wanted.name);
        if is_built || steps.index.only_wheels || self.built.len() >= SOURCES_MAX {
            return Err(error);
        }
        // An index that cannot be asked is what the tool complains of already.
        let Ok(Some(link)) = self.find(steps, &wanted).await else { return Err(error) };
        let of_index = link.sha256.as_deref().map(|hash| format!("sha256:{hash}"));
        let locked: Vec<&str> = lock.map(|lock| lock.hashes(&wanted.name)).unwrap_or_default();
        let hashes = if locked.is_empty() { of_index.as_deref().into_iter().collect() } else { locked };
        Box::pin(self.build(steps, installer, (&wanted.name, &link.url), (None, &hashes))).await?;
        // It is one of an index or of a directory.
        self.built.iter_mut().filter(|built| built.wheel.name == wanted.name).for_each(|built| built.address = None);
        Ok(())
    }

    async fn find(&self, steps: &Steps<'_>, wanted: &Missing) -> Result<Option<Link>, EnvironmentError> {
        let options: Vec<String> = self.job.requirements.packages().to_vec();
        let places = origins(steps.index, &options, |name| std::env::var(name).ok());
        let links = fetch::find(steps, self.job.interpreter, &self.work, &wanted.name, &places).await?;
        Ok(choose(&links, wanted, &self.job.interpreter.version).cloned())
    }

    async fn build(
        &mut self,
        steps: &Steps<'_>,
        installer: &Installer<'_>,
        (name, address): (&str, &str),
        (revision, hashes): (Option<&str>, &[&str]),
    ) -> Result<(), EnvironmentError> {
        let shown = steps.redactor.clean(address);
        let refused = |reason: &str| EnvironmentError::Source { what: format!("`{name}`"), reason: reason.to_owned() };
        if steps.index.only_wheels {
            let reason = format!("`{shown}` is no wheel, and this server installs only wheels");
            return Err(EnvironmentError::NotAllowed { reason });
        }
        steps.index.check_name(name, Some("something that is asked for needs it"))?;
        let workbench = self.workbench.clone().ok_or_else(|| refused("there is no sandbox to build it in"))?;
        self.job.say(&format!("building {name} from source, in the sandbox ({shown})"));
        // Where it is built nothing else lies, and what it has left of an earlier build goes.
        let work = self.work.join("source");
        remove(&work).await?;
        let bench = work.join("bench");
        fs::create_dir_all(&bench).map_err(EnvironmentError::io("create", &bench))?;
        let package = bench.join(PACKAGE);
        let Fetched { sha256, commit } =
            fetch(steps, self.job.interpreter, &work, (address, revision), &package).await?;
        let found = sha256.as_deref().map(|hash| format!("sha256:{hash}"));
        if let Some(found) = found.as_deref().filter(|found| !hashes.is_empty() && !hashes.contains(found)) {
            let reason = format!("THESE PACKAGES DO NOT MATCH THE HASHES: `{shown}` has {found}");
            let exit = "a file that is not the one that is meant".to_owned();
            return Err(EnvironmentError::Tool { what: format!("getting {name}"), exit, output: reason, hint: None });
        }
        let options: Vec<String> = self.job.requirements.packages().to_vec();
        let options: Vec<String> = options.into_iter().filter(|line| line.starts_with('-')).collect();
        let title = format!("`{name}`");
        let frontend = Frontend {
            steps,
            installer,
            job: self.job,
            workbench: &*workbench,
            options: &options,
            work: &work,
            title: &title,
        };
        let wheel = Box::pin(frontend.build(&self.wheelhouse())).await?;
        if wheel.name != name {
            return Err(refused(&format!("its build has made a wheel of `{}`", wheel.name)));
        }
        let address = match &commit {
            Some(commit) => format!("{}@{commit}", without_revision(&shown)),
            None => shown,
        };
        self.built.push(Built { wheel, address: Some(address), sha256 });
        remove(&work).await
    }
}

/// The address in a requirement, when it is not that of a wheel.
pub(super) fn source_address(line: &str) -> Option<&str> {
    let (_, address) = line.split_once('@').filter(|(name, _)| !name.contains("://"))?;
    let address = address.split(" --hash=").next()?.split(" ;").next()?.trim();
    let path = address.split(['#', '?']).next()?;
    (address.contains("://") && !path.ends_with(".whl")).then_some(address)
}

/// The address of a repository without the revision behind it.
fn without_revision(address: &str) -> &str {
    let address = address.split('#').next().unwrap_or(address);
    match address.rsplit_once('@') {
        Some((address, revision)) if !revision.contains('/') => address,
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_sources_are_told_from_those_of_wheels() {
        assert_eq!(source_address("a @ https://u:p@h/a-1.tar.gz#sha256=x"), Some("https://u:p@h/a-1.tar.gz#sha256=x"));
        assert_eq!(source_address("a[x] @ git+https://h/a@v1"), Some("git+https://h/a@v1"));
        assert_eq!(source_address("a @ https://h/a-1-py3-none-any.whl#sha256=x"), None);
        assert_eq!(source_address("a>=1"), None);
        assert_eq!(without_revision("git+https://***@h/a@v1#egg=a"), "git+https://***@h/a");
        assert_eq!(without_revision("git+https://***@h/a"), "git+https://***@h/a");
    }
}
