//! What an operator lets triggers be granted, and the limits of those that name none.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::cpu_limit::cpu_number;
use super::permissions::{NetPermission, Permissions, optional_size};

/// The file of `serve --permissions`: defaults and a ceiling. Either part may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PermissionPolicy {
    /// Limits of triggers that name none.
    pub defaults: Limits,
    /// The most that a trigger may be granted; everything when it is absent.
    pub ceiling: Option<Ceiling>,
}

/// Limits of a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Memory, bytes.
    #[serde(with = "optional_size")]
    pub memory: Option<u64>,
    /// Processor time, thousandths of one processor.
    #[serde(with = "super::cpu_limit")]
    pub cpu: Option<u32>,
    /// Processes and threads.
    pub max_procs: Option<u64>,
    /// Open files.
    pub max_files: Option<u64>,
    /// Size of `/tmp`, bytes.
    #[serde(with = "optional_size")]
    pub tmp_size: Option<u64>,
}

/// The most that a trigger may be granted. A grant that is not named here cannot be given; a limit that is not named has no
/// bound.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ceiling {
    /// Whether everything may be granted at once.
    pub allow_all: bool,
    /// Hosts as in a grant, and `*.example.org` for all below it; `true` for the whole network.
    pub allow_net: NetPermission,
    /// Paths that may be granted for reading, with all below them.
    pub allow_read: Vec<String>,
    /// Paths that may be granted for reading and writing, with all below them.
    pub allow_write: Vec<String>,
    /// Variables; `NAME*` for all that begin so.
    pub allow_env: Vec<String>,
    /// Whether programs may be started.
    pub allow_run: bool,
    /// Memory, bytes.
    #[serde(with = "optional_size")]
    pub memory: Option<u64>,
    /// Processor time, thousandths of one processor.
    #[serde(with = "super::cpu_limit")]
    pub cpu: Option<u32>,
    /// Processes and threads.
    pub max_procs: Option<u64>,
    /// Open files.
    pub max_files: Option<u64>,
    /// Size of `/tmp`, bytes.
    #[serde(with = "optional_size")]
    pub tmp_size: Option<u64>,
}

/// A grant that lies beyond the ceiling.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{flag} is more than this server's operator allows a trigger{}", most.as_ref().map(|most| format!(" (at most {most})")).unwrap_or_default())]
pub struct BeyondCeiling {
    /// The grant, as a flag of the command line.
    pub flag: String,
    /// The most that is allowed, where there is a number.
    pub most: Option<String>,
}

impl PermissionPolicy {
    /// Reads the text of a policy file.
    ///
    /// # Errors
    /// What is wrong with it, with the line.
    pub fn read(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())
    }

    /// The limits of a trigger that names none are the defaults.
    #[must_use]
    pub fn complete(&self, mut permissions: Permissions) -> Permissions {
        let Limits { memory, cpu, max_procs, max_files, tmp_size } = self.defaults.clone();
        permissions.cpu = permissions.cpu.or(cpu);
        permissions.memory = permissions.memory.or(memory);
        permissions.max_procs = permissions.max_procs.or(max_procs);
        permissions.max_files = permissions.max_files.or(max_files);
        permissions.tmp_size = permissions.tmp_size.or(tmp_size);
        permissions
    }

    /// Compares what a trigger is granted with the ceiling. `real` gives the place of a path, which links may lead elsewhere.
    ///
    /// # Errors
    /// The first grant that is beyond it.
    pub fn check(
        &self,
        permissions: &Permissions,
        plugin_dir: Option<&Path>,
        real: &dyn Fn(&Path) -> PathBuf,
    ) -> Result<(), BeyondCeiling> {
        self.ceiling.as_ref().map_or(Ok(()), |ceiling| ceiling.check(permissions, plugin_dir, real))
    }
}

impl Ceiling {
    fn check(
        &self,
        permissions: &Permissions,
        plugin_dir: Option<&Path>,
        real: &dyn Fn(&Path) -> PathBuf,
    ) -> Result<(), BeyondCeiling> {
        let beyond = |flag: String| BeyondCeiling { flag, most: None };
        for (flag, wanted, most) in [
            ("--memory", permissions.memory, self.memory),
            ("--max-procs", permissions.max_procs, self.max_procs),
            ("--max-files", permissions.max_files, self.max_files),
            ("--tmp-size", permissions.tmp_size, self.tmp_size),
        ] {
            if let (Some(wanted), Some(most)) = (wanted, most)
                && wanted > most
            {
                return Err(BeyondCeiling { flag: format!("{flag}={wanted}"), most: Some(most.to_string()) });
            }
        }
        if let (Some(wanted), Some(most)) = (permissions.cpu, self.cpu)
            && wanted > most
        {
            let (flag, most) = (format!("--cpu={}", cpu_number(wanted)), cpu_number(most).to_string());
            return Err(BeyondCeiling { flag, most: Some(most) });
        }
        if self.allow_all {
            return Ok(());
        }
        if permissions.allow_all {
            return Err(beyond("--allow-all".to_owned()));
        }
        if permissions.allow_run && !self.allow_run {
            return Err(beyond("--allow-run".to_owned()));
        }
        if let Some(host) = self.host_beyond(&permissions.allow_net) {
            return Err(beyond(host));
        }
        let written = self.allow_write.iter();
        let readable: Vec<PathBuf> =
            self.allow_read.iter().chain(written).map(|path| Permissions::resolve(path, plugin_dir)).collect();
        let writable: Vec<PathBuf> =
            self.allow_write.iter().map(|path| Permissions::resolve(path, plugin_dir)).collect();
        for (flag, paths, roots) in [
            ("--allow-read", &permissions.allow_read, &readable),
            ("--allow-write", &permissions.allow_write, &writable),
        ] {
            for path in paths {
                if !lies_below(&Permissions::resolve(path, plugin_dir), roots, real) {
                    return Err(beyond(format!("{flag}={path}")));
                }
            }
        }
        let allowed = |name: &str| {
            self.allow_env.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning),
                None => name == pattern,
            })
        };
        match permissions.allow_env.iter().find(|name| !allowed(name)) {
            Some(name) => Err(beyond(format!("--allow-env={name}"))),
            None => Ok(()),
        }
    }

    /// The first grant of the network that is beyond this ceiling's.
    fn host_beyond(&self, wanted: &NetPermission) -> Option<String> {
        match (&self.allow_net, wanted) {
            (NetPermission::Flag(true), _) | (_, NetPermission::None | NetPermission::Flag(false)) => None,
            (_, NetPermission::Flag(true)) => Some("--allow-net".to_owned()),
            (most, NetPermission::Hosts(hosts)) => {
                let patterns: &[String] = if let NetPermission::Hosts(patterns) = most { patterns } else { &[] };
                hosts
                    .iter()
                    .find(|host| !patterns.iter().any(|pattern| covers(pattern, host)))
                    .map(|host| format!("--allow-net={host}"))
            }
        }
    }
}

/// Whether a host of a grant lies within a pattern. One without a port stands for the ports of the web on both sides.
fn covers(pattern: &str, host: &str) -> bool {
    let split = |text: &str| -> (String, Option<String>) {
        match text.rsplit_once(':') {
            Some((name, port)) => (name.to_ascii_lowercase(), Some(port.to_owned())),
            None => (text.to_ascii_lowercase(), None),
        }
    };
    let ((pattern, pattern_port), (host, port)) = (split(pattern), split(host));
    let is_web = |port: &Option<String>| port.as_deref().is_none_or(|port| port == "80" || port == "443");
    let port_fits = pattern_port == port || (pattern_port.is_none() && is_web(&port));
    let name_fits = match pattern.strip_prefix("*.") {
        Some(domain) => host.strip_suffix(domain).is_some_and(|name| name.ends_with('.') && name.len() > 1),
        None => pattern == host,
    };
    name_fits && port_fits
}

/// Whether a path lies below one of `roots` by its name, and by its place.
fn lies_below(path: &Path, roots: &[PathBuf], real: &dyn Fn(&Path) -> PathBuf) -> bool {
    if path.components().any(|part| part == Component::ParentDir) {
        return false;
    }
    let place = real(path);
    roots.iter().any(|root| path.starts_with(root) && place.starts_with(real(root)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> PermissionPolicy {
        PermissionPolicy::read(text).unwrap()
    }

    fn granted(json: &str) -> Permissions {
        serde_json::from_str(json).unwrap()
    }

    /// A world with one link, which leads out of everything.
    fn link(path: &Path) -> PathBuf {
        if path.starts_with("/srv/data/link") { "/etc".into() } else { path.to_owned() }
    }

    fn complaint(ceiling: &str, json: &str) -> Option<String> {
        let policy = policy(&format!("[ceiling]\n{ceiling}"));
        policy.check(&granted(json), Some(Path::new("/plugins")), &link).err().map(|error| error.flag)
    }

    #[test]
    fn without_a_ceiling_everything_can_be_granted_and_with_an_empty_one_nothing() {
        let all = granted(r#"{"allow_all":true}"#);
        assert_eq!(policy("").check(&all, None, &link), Ok(()));
        assert_eq!(complaint("", r#"{"allow_all":true}"#).unwrap(), "--allow-all");
        assert_eq!(complaint("", r#"{"allow_net":true}"#).unwrap(), "--allow-net");
        assert_eq!(complaint("", r#"{"allow_run":true}"#).unwrap(), "--allow-run");
        assert_eq!(complaint("", r#"{"allow_read":["a"]}"#).unwrap(), "--allow-read=a");
        assert_eq!(complaint("", r#"{"allow_env":["A"]}"#).unwrap(), "--allow-env=A");
        assert_eq!(complaint("", "{}"), None);
    }

    #[test]
    fn hosts_are_compared_by_name_domain_and_port() {
        let ceiling = "allow_net = ['db:5432', '*.example.org']";
        assert_eq!(complaint(ceiling, r#"{"allow_net":["db:5432","a.example.org","b.a.example.org:443"]}"#), None);
        for beyond in ["db", "db:1", "example.org", "evilexample.org", "a.example.org:8080", "a.example.org.evil"] {
            let json = format!(r#"{{"allow_net":["{beyond}"]}}"#);
            assert_eq!(complaint(ceiling, &json).unwrap(), format!("--allow-net={beyond}"));
        }
        assert_eq!(complaint("allow_net = true", r#"{"allow_net":true}"#), None);
    }

    #[test]
    fn paths_are_compared_by_their_place() {
        let ceiling = "allow_read = ['/srv/data', 'shared']\nallow_write = ['/srv/out']";
        assert_eq!(complaint(ceiling, r#"{"allow_read":["/srv/data/x","shared/y","/srv/out/z"]}"#), None);
        assert_eq!(complaint(ceiling, r#"{"allow_write":["/srv/out"]}"#), None);
        for beyond in ["/srv/database", "/srv/data/../../etc", "/srv", "other", "/srv/data/link"] {
            let json = format!(r#"{{"allow_read":["{beyond}"]}}"#);
            assert_eq!(complaint(ceiling, &json).unwrap(), format!("--allow-read={beyond}"));
        }
        assert_eq!(complaint(ceiling, r#"{"allow_write":["/srv/data/x"]}"#).unwrap(), "--allow-write=/srv/data/x");
    }

    #[test]
    fn limits_have_defaults_and_a_most() {
        let policy = policy("[defaults]\nmemory = '128MB'\nmax_procs = 16\n[ceiling]\nmemory = '1GB'");
        let completed = policy.complete(granted(r#"{"max_procs":32}"#));
        assert_eq!((completed.memory, completed.max_procs), (Some(128 << 20), Some(32)));
        let error = policy.check(&granted(r#"{"memory":"2GB"}"#), None, &link).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--memory=2147483648 is more than this server's operator allows a trigger (at most 1073741824)"
        );
        let cpu = PermissionPolicy::read("[defaults]\ncpu = 0.5\n[ceiling]\ncpu = 2").unwrap();
        assert_eq!(cpu.complete(granted("{}")).cpu, Some(500));
        let error = cpu.check(&granted(r#"{"cpu":2.5}"#), None, &link).unwrap_err();
        assert_eq!(error.to_string(), "--cpu=2.5 is more than this server's operator allows a trigger (at most 2)");
        assert!(PermissionPolicy::read("[ceiling]\nallow_nt = true").unwrap_err().contains("allow_nt"));
    }
}
