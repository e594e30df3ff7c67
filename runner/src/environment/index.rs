//! Where packages come from and which of them may be installed: the operator decides, and plugins have no say in it.

use std::fmt;
use std::path::PathBuf;

use super::error::EnvironmentError;
use super::lock::Lock;
use super::requirements::{Requirements, name_of};
use super::requirements_file::normalise_name;
use super::tool::Tool;
use super::tool_environment::without_credentials;

/// The operator's settings. By default the tools' own configuration counts, and requirements files may name an index.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct IndexSettings {
    /// The index, in place of PyPI; it may hold credentials.
    pub index_url: Option<String>,
    /// Further indexes.
    pub extra_index_urls: Vec<String>,
    /// Directories with wheels.
    pub find_links: Vec<PathBuf>,
    /// Whether packages come from the directories alone.
    pub offline: bool,
    /// Whether only wheels are installed: the build of anything else is its author's code.
    pub only_wheels: bool,
    /// Whether every file that is installed must have the hash that its lock has.
    pub require_hashes: bool,
    /// Packages that may be installed; all when it is empty. A name may end in `*`.
    pub allow: Vec<String>,
    /// Packages that may not be installed.
    pub deny: Vec<String>,
}

impl fmt::Debug for IndexSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |url: &String| without_credentials(url);
        f.debug_struct("IndexSettings")
            .field("index_url", &self.index_url.as_ref().map(shown))
            .field("extra_index_urls", &self.extra_index_urls.iter().map(shown).collect::<Vec<_>>())
            .field("find_links", &self.find_links)
            .field("offline", &self.offline)
            .field("only_wheels", &self.only_wheels)
            .field("require_hashes", &self.require_hashes)
            .field("allow", &self.allow)
            .field("deny", &self.deny)
            .finish()
    }
}

impl IndexSettings {
    /// Looks whether they make sense, and makes the directories absolute: tools run elsewhere.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&mut self) -> Result<(), String> {
        for url in self.index_url.iter().chain(&self.extra_index_urls) {
            let is_url = ["https://", "http://", "file://"].iter().any(|scheme| url.starts_with(scheme));
            if !is_url || url.chars().any(|c| c.is_whitespace() || c.is_control()) {
                return Err(format!("`{}` is not the URL of an index", without_credentials(url)));
            }
        }
        for directory in &mut self.find_links {
            let found = directory.canonicalize().map_err(|error| error.to_string());
            *directory = found.map_err(|error| format!("directory of wheels `{}`: {error}", directory.display()))?;
        }
        Ok(())
    }

    /// Whether the operator has named where packages come from.
    pub(super) fn decides(&self) -> bool {
        self.offline || self.index_url.is_some()
    }

    /// Where packages are looked for, as far as the operator has settled it, without credentials: other places may give other
    /// packages. Nothing by default.
    pub(super) fn places(&self) -> Vec<String> {
        let shown = |kind: &str, url: &String| format!("{kind} {}", without_credentials(url));
        let indexes = self.index_url.iter().map(|url| shown("index", url));
        let extra = self.extra_index_urls.iter().map(|url| shown("extra index", url));
        let directories = self.find_links.iter().map(|path| format!("directory {}", path.display()));
        let rules = [(self.offline, "offline"), (self.only_wheels, "only wheels")];
        let rules = rules.into_iter().filter(|(is_set, _)| *is_set).map(|(_, rule)| rule.to_owned());
        indexes.chain(extra).chain(directories).chain(rules).collect()
    }

    /// Tells a tool. What may hold credentials goes by its environment, which other users cannot read.
    pub(super) fn tell(&self, tool: &mut Tool) {
        if self.decides() {
            tool.without_inherited_indexes();
        }
        if let Some(url) = &self.index_url {
            tool.env("PIP_INDEX_URL", url).env("UV_DEFAULT_INDEX", url);
        }
        if !self.extra_index_urls.is_empty() {
            let urls = self.extra_index_urls.join(" ");
            tool.env("PIP_EXTRA_INDEX_URL", &urls).env("UV_INDEX", &urls);
        }
        // What has to be built is built in the sandbox, and they get the wheel.
        tool.env("PIP_ONLY_BINARY", ":all:").env("UV_NO_BUILD", "1");
        if self.offline {
            tool.env("PIP_NO_INDEX", "1").env("UV_NO_INDEX", "1").env("UV_OFFLINE", "1");
        }
    }

    /// Arguments of every command that looks for packages.
    pub(super) fn arguments(&self) -> impl Iterator<Item = std::ffi::OsString> {
        self.find_links.iter().flat_map(|directory| ["--find-links".into(), directory.clone().into_os_string()])
    }

    /// Whether these may be asked for, before anybody looks for them.
    pub(super) fn check_requirements(&self, requirements: &Requirements) -> Result<(), EnvironmentError> {
        let refused = |reason: String| Err(EnvironmentError::NotAllowed { reason });
        let is_remote = |text: &str| text.contains("://") && !text.contains("file://");
        for line in requirements.packages() {
            let shown = without_credentials(line);
            if line.starts_with('-') {
                let names_index = line.starts_with("--index-url") || line.starts_with("--extra-index-url");
                if line.starts_with("--no-binary") {
                    return refused(format!(
                        "`{shown}`: a package is built from source where no wheel of it fits, and only there; remove the line"
                    ));
                }
                if self.decides() && (names_index || is_remote(line)) {
                    return refused(format!(
                        "`{shown}`: this server decides where packages come from; remove the line"
                    ));
                }
                continue;
            }
            let address = line.split_once('@').map(|(_, address)| address).filter(|address| is_remote(address));
            if address.is_some() && self.offline {
                return refused(format!(
                    "`{shown}`: this server is offline; ask for a version that lies in its directory of wheels"
                ));
            }
            if address.is_some() && !self.allow.is_empty() {
                return refused(format!("`{shown}`: this server allows certain packages by name, not addresses"));
            }
            self.check_name(name_of(line), None)?;
        }
        Ok(())
    }

    /// Whether what they came to may be installed.
    pub(super) fn check_lock(&self, lock: &Lock) -> Result<(), EnvironmentError> {
        for name in lock.names() {
            self.check_name(name, Some("something that is asked for needs it"))?;
        }
        let without: Vec<&str> = if self.require_hashes { lock.without_hashes().collect() } else { Vec::new() };
        if without.is_empty() {
            return Ok(());
        }
        let reason = format!(
            "this server installs only what has a hash, and there is none for {}; ask for files of an index or of a directory of wheels",
            without.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        );
        Err(EnvironmentError::NotAllowed { reason })
    }

    /// Whether the package of this name may be there; `why` it is wanted, where that is not plain.
    pub(super) fn check_name(&self, name: &str, why: Option<&str>) -> Result<(), EnvironmentError> {
        let among = |list: &[String]| list.iter().any(|pattern| matches(pattern, name));
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        let reason = if among(&self.deny) {
            format!("the package `{name}`{why} is denied on this server")
        } else if !self.allow.is_empty() && !among(&self.allow) {
            format!("the package `{name}`{why} is not among those that this server allows")
        } else {
            return Ok(());
        };
        Err(EnvironmentError::NotAllowed { reason: format!("{reason}; its operator can change that") })
    }

    /// The URLs, which may hold credentials.
    pub(super) fn urls(&self) -> impl Iterator<Item = &str> {
        self.index_url.iter().chain(&self.extra_index_urls).map(String::as_str)
    }
}

/// Whether a name is meant. Names are compared as an index does.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(&beginning.to_ascii_lowercase().replace(['_', '.'], "-")),
        None => normalise_name(pattern) == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(result: Result<(), EnvironmentError>) -> String {
        match result {
            Err(EnvironmentError::NotAllowed { reason }) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_are_allowed_and_denied_as_an_index_compares_them() {
        let asked = |package: &str| Requirements::of_trigger(&[package]).unwrap();
        let lists = |allow: &[&str], deny: &[&str]| IndexSettings {
            allow: allow.iter().map(ToString::to_string).collect(),
            deny: deny.iter().map(ToString::to_string).collect(),
            ..IndexSettings::default()
        };
        let settings = lists(&["Num_Py", "apache-*"], &["apache-evil"]);
        assert_eq!(settings.check_requirements(&asked("num.py>2")), Ok(()));
        assert_eq!(settings.check_requirements(&asked("Apache_Arrow")), Ok(()));
        let denied = reason(settings.check_requirements(&asked("apache.evil")));
        assert!(denied.contains("the package `apache-evil` is denied"), "{denied}");
        let other = reason(settings.check_requirements(&asked("requests")));
        assert!(other.contains("`requests` is not among those"), "{other}");
        let address = reason(settings.check_requirements(&asked("num.py @ https://u:p@h/x.whl")));
        assert!(address.contains("`num-py @ https://***@h/x.whl`: this server allows certain"), "{address}");
        let lock = Lock::parse("num-py==1\nsix==1\n").unwrap();
        let needed = reason(settings.check_lock(&lock));
        assert!(needed.contains("`six` (something that is asked for needs it)"), "{needed}");
        assert_eq!(IndexSettings::default().check_lock(&lock), Ok(()));
    }

    #[test]
    fn hashes_are_demanded_of_every_package() {
        let settings = IndexSettings { require_hashes: true, ..IndexSettings::default() };
        let lock = Lock::parse("a==1 --hash=sha256:aa\nb==1\n").unwrap();
        assert!(reason(settings.check_lock(&lock)).contains("there is none for `b`"));
    }

    #[test]
    fn an_offline_server_looks_at_no_address() {
        let settings = IndexSettings { offline: true, ..IndexSettings::default() };
        let check = |package: &str| settings.check_requirements(&Requirements::of_trigger(&[package]).unwrap());
        assert!(
            reason(check("a @ git+https://u:p@h/a")).starts_with("`a @ git+https://***@h/a`: this server is offline")
        );
        assert_eq!(check("a @ file:///wheels/a.whl"), Ok(()));
    }

    #[test]
    fn places_are_known_without_credentials() {
        assert_eq!(IndexSettings::default().places(), [""; 0], "what was locked without settings stays");
        let settings = IndexSettings {
            index_url: Some("https://u:secret@h/simple".to_owned()),
            find_links: vec!["/wheels".into()],
            offline: true,
            require_hashes: true,
            ..IndexSettings::default()
        };
        assert_eq!(settings.places(), ["index https://***@h/simple", "directory /wheels", "offline"]);
    }

    #[test]
    fn nothing_shows_credentials() {
        let mut settings = IndexSettings {
            index_url: Some("https://u:secret@h/simple".to_owned()),
            extra_index_urls: vec!["ftp://u:secret@h".to_owned()],
            ..IndexSettings::default()
        };
        assert!(!format!("{settings:?}").contains("secret"));
        assert_eq!(settings.check().unwrap_err(), "`ftp://***@h` is not the URL of an index");
    }
}
