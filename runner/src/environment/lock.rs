//! What a resolver made of requirements: every package with its version, in the format of a requirements file with
//! hashes, which both tools read and people know.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::requirements_file::{self, Item};
use super::tool_environment::without_credentials;

/// A resolved set of packages, in alphabetical order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Lock {
    packages: Vec<LockedPackage>,
}

/// One package of a lock.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct LockedPackage {
    /// The name as an index has it.
    name: String,
    /// `==1.5`, or ` @ URL` for a package that was asked for by its address. Without credentials.
    pin: String,
    /// `sha256:...` of the files that may be installed; none where the tool gave none.
    hashes: Vec<String>,
}

/// What a wheel was built of.
#[derive(Debug, Clone)]
pub(super) struct LockedSource {
    /// The package.
    pub(super) name: String,
    /// Where it lies, when it was asked for by its address.
    pub(super) address: Option<String>,
    /// Hash of its file.
    pub(super) sha256: Option<String>,
}

/// The part of pip's installation report (version 1) that matters.
#[derive(Deserialize)]
struct PipReport {
    install: Vec<PipItem>,
}

#[derive(Deserialize)]
struct PipItem {
    download_info: PipDownload,
    is_direct: bool,
    metadata: PipMetadata,
}

#[derive(Deserialize)]
struct PipDownload {
    url: String,
    archive_info: Option<PipArchive>,
    vcs_info: Option<PipVcs>,
}

#[derive(Deserialize)]
struct PipArchive {
    #[serde(default)]
    hashes: BTreeMap<String, String>,
    /// What pip before 23.1, as CPython 3.10 brings it, has instead: `sha256=…`.
    hash: Option<String>,
}

impl PipArchive {
    fn hashes(self) -> BTreeMap<String, String> {
        let old = self.hash.as_deref().and_then(|hash| hash.split_once('='));
        match old.filter(|_| self.hashes.is_empty()) {
            Some((algorithm, digest)) => BTreeMap::from([(algorithm.to_owned(), digest.to_owned())]),
            None => self.hashes,
        }
    }
}

#[derive(Deserialize)]
struct PipVcs {
    vcs: String,
    commit_id: String,
}

#[derive(Deserialize)]
struct PipMetadata {
    name: String,
    version: String,
}

impl Lock {
    /// Reads the text of a lock, also one that uv made. The error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let items = requirements_file::parse(text, std::path::Path::new("/"))
            .map_err(|(line, reason)| format!("line {line}: {reason}"))?;
        let packages = items.into_iter().map(|item| match item {
            Item::Package(line) => LockedPackage::parse(&line),
            Item::Option(option) | Item::Include(option) => Err(format!("`{option}` does not belong into a lock")),
        });
        Ok(Self::new(packages.collect::<Result<_, _>>()?))
    }

    /// Reads pip's report of what it would install. The error says what is wrong with it.
    pub(super) fn from_pip_report(json: &[u8]) -> Result<Self, String> {
        let report: PipReport = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let packages = report.install.into_iter().map(|item| {
            let PipItem { download_info: PipDownload { url, archive_info, vcs_info }, is_direct, metadata } = item;
            let address = match vcs_info {
                Some(PipVcs { vcs, commit_id }) => format!("{vcs}+{url}@{commit_id}"),
                None => url,
            };
            let pin = if is_direct { format!("@ {address}") } else { format!("=={}", metadata.version) };
            let hashes = archive_info.map(PipArchive::hashes).unwrap_or_default();
            let hashes = hashes.into_iter().map(|(algorithm, digest)| format!(" --hash={algorithm}:{digest}"));
            LockedPackage::parse(&requirements_file::normalise(&format!(
                "{} {pin}{}",
                metadata.name,
                hashes.collect::<String>()
            ))?)
        });
        Ok(Self::new(packages.collect::<Result<_, _>>()?))
    }

    /// The same, with sources in the places of the wheels that were built of them.
    pub(super) fn with_sources(mut self, sources: &[LockedSource]) -> Self {
        for package in &mut self.packages {
            let Some(source) = sources.iter().find(|source| source.name == package.name) else { continue };
            if let Some(address) = &source.address {
                package.pin = format!(" @ {address}");
            }
            package.hashes = source.sha256.iter().map(|hash| format!("sha256:{hash}")).collect();
        }
        self
    }

    /// The hashes that files of a package may have.
    pub(super) fn hashes(&self, name: &str) -> Vec<&str> {
        let of_name = self.packages.iter().filter(|package| package.name == name);
        of_name.flat_map(|package| package.hashes.iter().map(String::as_str)).collect()
    }

    /// The revision of the repository that a package comes from.
    pub(super) fn revision(&self, name: &str) -> Option<&str> {
        let pin = &self.packages.iter().find(|package| package.name == name)?.pin;
        let (_, revision) = pin.strip_prefix(" @ git+")?.rsplit_once('@')?;
        (!revision.contains('/')).then_some(revision)
    }

    fn new(mut packages: Vec<LockedPackage>) -> Self {
        packages.sort();
        packages.dedup();
        Self { packages }
    }

    /// The names of the packages.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.packages.iter().map(|package| package.name.as_str())
    }

    /// The names of those of whose files no hash is known.
    pub(super) fn without_hashes(&self) -> impl Iterator<Item = &str> {
        self.packages.iter().filter(|package| package.hashes.is_empty()).map(|package| package.name.as_str())
    }

    /// The packages with their versions: `numpy==2.1.0`.
    pub(super) fn packages(&self) -> Vec<String> {
        self.packages.iter().map(|package| format!("{}{}", package.name, package.pin)).collect()
    }

    /// The lines of the lock, one for each package.
    pub(super) fn lines(&self) -> Vec<String> {
        self.packages.iter().map(LockedPackage::line).collect()
    }

    /// The lines as they are installed: an address is the one that was asked for, with the credentials that it needs, and of
    /// a package that was built it is the wheel (name, version, hash). Tools want hashes of all packages or of none.
    pub(super) fn lines_to_install(&self, requirements: &[String], wheels: &[(String, String, String)]) -> Vec<String> {
        let wheel = |package: &LockedPackage| wheels.iter().find(|(name, ..)| *name == package.name);
        let with_hashes = self.packages.iter().all(|package| !package.hashes.is_empty() || wheel(package).is_some());
        let asked = |name: &str| {
            let mut lines = requirements.iter().map(|line| line.split(" --hash=").next().unwrap_or_default());
            lines.find(|line| line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('@')))
        };
        let line = |package: &LockedPackage| {
            if let Some((name, version, hash)) = wheel(package) {
                return if with_hashes {
                    format!("{name}=={version} --hash=sha256:{hash}")
                } else {
                    format!("{name}=={version}")
                };
            }
            let pinned = format!("{}{}", package.name, package.pin);
            let requirement = asked(&package.name).map_or(pinned, str::to_owned);
            if with_hashes { format!("{requirement}{}", package.hash_options()) } else { requirement }
        };
        self.packages.iter().map(line).collect()
    }

    /// The text of the file, with comments that say what it is for.
    pub(super) fn to_text(&self, head: &[String]) -> String {
        let mut text: String = head.iter().map(|line| format!("# {line}\n")).collect();
        for package in &self.packages {
            text.push_str(&package.line().replace(" --hash=", " \\\n    --hash="));
            text.push('\n');
        }
        text
    }
}

impl LockedPackage {
    /// Takes a normalised requirement apart.
    fn parse(line: &str) -> Result<Self, String> {
        let mut words = line.split(" --hash=");
        let requirement = words.next().unwrap_or_default().trim();
        let mut hashes: Vec<String> = words.map(|hash| hash.trim().to_owned()).collect();
        hashes.sort();
        let end = requirement.find(|c: char| c == '=' || c == '@' || c.is_whitespace()).unwrap_or(requirement.len());
        let (name, pin) = requirement.split_at(end);
        let pin = pin.trim_start();
        if !pin.starts_with("==") && !pin.starts_with('@') {
            return Err(format!("`{requirement}` names no version"));
        }
        let pin = match pin.strip_prefix('@') {
            Some(address) => format!(" @ {}", without_credentials(address.trim_start())),
            // A lock is made for one interpreter, so what a marker would decide is decided.
            None => pin.split(';').next().unwrap_or_default().trim_end().to_owned(),
        };
        Ok(Self { name: name.to_owned(), pin, hashes })
    }

    fn line(&self) -> String {
        format!("{}{}{}", self.name, self.pin, self.hash_options())
    }

    fn hash_options(&self) -> String {
        self.hashes.iter().map(|hash| format!(" --hash={hash}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UV: &str = "# via uv\nnumpy==2.1.0 \\\n    --hash=sha256:bb \\\n    --hash=sha256:aa\n    # via pandas\npandas==2.2.3 \\\n    --hash=sha256:cc\n";

    #[test]
    fn what_a_tool_writes_is_read_and_written_again() {
        let lock = Lock::parse(UV).unwrap();
        assert_eq!(lock.packages(), ["numpy==2.1.0", "pandas==2.2.3"]);
        assert_eq!(lock.lines(), ["numpy==2.1.0 --hash=sha256:aa --hash=sha256:bb", "pandas==2.2.3 --hash=sha256:cc"]);
        let text = lock.to_text(&["for a test".to_owned()]);
        assert!(text.starts_with("# for a test\nnumpy==2.1.0 \\\n    --hash=sha256:aa \\\n"), "{text}");
        assert_eq!(Lock::parse(&text), Ok(lock));
        assert_eq!(Lock::parse("numpy>=2\n"), Err("`numpy>=2` names no version".to_owned()));
        assert_eq!(
            Lock::parse("--index-url https://h\n"),
            Err("`--index-url https://h` does not belong into a lock".to_owned())
        );
    }

    #[test]
    fn the_report_of_pip_is_read() {
        let report = r#"{"version": "1", "install": [
            {"download_info": {"url": "https://h/b-1-py3-none-any.whl", "archive_info": {"hashes": {"sha256": "bb"}}},
             "is_direct": false, "metadata": {"name": "Big_Name", "version": "1"}},
            {"download_info": {"url": "https://u:p@h/a.whl", "archive_info": {"hash": "sha256=aa"}},
             "is_direct": true, "metadata": {"name": "a", "version": "2"}},
            {"download_info": {"url": "https://h/c", "vcs_info": {"vcs": "git", "commit_id": "0f"}},
             "is_direct": true, "metadata": {"name": "c", "version": "3"}}]}"#;
        let lock = Lock::from_pip_report(report.as_bytes()).unwrap();
        assert_eq!(
            lock.lines(),
            ["a @ https://***@h/a.whl --hash=sha256:aa", "big-name==1 --hash=sha256:bb", "c @ git+https://h/c@0f"]
        );
        let asked = ["a @https://u:p@h/a.whl".to_owned(), "big-name".to_owned(), "c @git+https://h/c".to_owned()];
        assert_eq!(lock.lines_to_install(&asked, &[]), ["a @https://u:p@h/a.whl", "big-name==1", "c @git+https://h/c"]);
    }

    #[test]
    fn a_source_stands_in_the_lock_and_its_wheel_is_installed() {
        let source = |name: &str, address: Option<&str>, sha256: Option<&str>| LockedSource {
            name: name.to_owned(),
            address: address.map(str::to_owned),
            sha256: sha256.map(str::to_owned),
        };
        let seen = Lock::parse("a==1 --hash=sha256:w1\nb @ file:///work/b.whl\nc==3 --hash=sha256:c3\n").unwrap();
        let lock = seen.with_sources(&[source("a", None, Some("s1")), source("b", Some("git+https://h/b@0f"), None)]);
        assert_eq!(lock.lines(), ["a==1 --hash=sha256:s1", "b @ git+https://h/b@0f", "c==3 --hash=sha256:c3"]);
        assert_eq!((lock.revision("b"), lock.revision("a"), lock.hashes("a")), (Some("0f"), None, vec!["sha256:s1"]));
        let wheel = |name: &str, version: &str| (name.to_owned(), version.to_owned(), format!("w{version}"));
        let lines = lock.lines_to_install(&["b @ git+https://h/b".to_owned()], &[wheel("a", "1"), wheel("b", "2")]);
        assert_eq!(lines, ["a==1 --hash=sha256:w1", "b==2 --hash=sha256:w2", "c==3 --hash=sha256:c3"]);
    }

    #[test]
    fn hashes_are_demanded_where_all_are_known() {
        let lock = Lock::parse(UV).unwrap();
        assert_eq!(lock.lines_to_install(&["pandas".to_owned()], &[]), lock.lines());
    }
}
