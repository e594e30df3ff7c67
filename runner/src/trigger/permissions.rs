//! What a trigger may do beyond computing: nothing, unless it was granted when the trigger was made.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::host_pattern::HostPattern;
use crate::limits;

/// What one trigger is granted. Deny by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Permissions {
    /// Everything: all files, the network, subprocesses and the runner's environment.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_all: bool,
    /// Network.
    #[serde(skip_serializing_if = "NetPermission::is_none")]
    pub allow_net: NetPermission,
    /// Files and directories to read, absolute or relative to the plugin directory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_read: Vec<String>,
    /// Files and directories to read and write.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_write: Vec<String>,
    /// Variables of the runner's environment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_env: Vec<String>,
    /// Subprocesses.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_run: bool,
    /// Memory of one worker and all that it starts, bytes; the runner's default when absent.
    #[serde(skip_serializing_if = "Option::is_none", with = "optional_size")]
    pub memory: Option<u64>,
    /// Processor time of one worker and all that it starts, thousandths of one processor; without a limit when absent.
    #[serde(skip_serializing_if = "Option::is_none", with = "super::cpu_limit")]
    pub cpu: Option<u32>,
    /// Processes and threads of one worker; the runner's default when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_procs: Option<u64>,
    /// Open files of one process; the runner's default when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_files: Option<u64>,
    /// Size of the worker's `/tmp`, bytes; the runner's default when absent.
    #[serde(skip_serializing_if = "Option::is_none", with = "optional_size")]
    pub tmp_size: Option<u64>,
}

/// Network that a trigger may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum NetPermission {
    /// None (`null` or `false`).
    #[default]
    None,
    /// All of it (`true`) or none (`false`).
    Flag(bool),
    /// These hosts: `host:port`, or `host` for the ports 80 and 443; `*.domain` for all names below one.
    Hosts(Vec<String>),
}

impl NetPermission {
    /// Whether nothing is granted.
    #[must_use]
    pub fn is_none(&self) -> bool {
        match self {
            Self::None => true,
            Self::Flag(all) => !all,
            Self::Hosts(hosts) => hosts.is_empty(),
        }
    }

    /// Whether everything is granted.
    #[must_use]
    pub fn is_all(&self) -> bool {
        matches!(self, Self::Flag(true))
    }

    /// What each entry of a list grants.
    ///
    /// # Errors
    /// The entry that is none.
    pub fn patterns(&self) -> Result<Vec<HostPattern>, PermissionError> {
        let Self::Hosts(hosts) = self else { return Ok(Vec::new()) };
        hosts.iter().map(|entry| HostPattern::read(entry)).collect()
    }

    /// Host and port of each entry that a worker's own network has a place for.
    ///
    /// # Errors
    /// The entry that is none, or too many.
    pub fn endpoints(&self) -> Result<Vec<(String, u16)>, PermissionError> {
        let patterns = self.patterns()?;
        let placed = patterns.iter().filter_map(|pattern| Some((pattern.place()?, &pattern.ports)));
        let mut endpoints: Vec<(String, u16)> =
            placed.flat_map(|(host, ports)| ports.iter().map(move |port| (host.clone(), *port))).collect();
        endpoints.sort();
        endpoints.dedup();
        // In a worker's own network the two are one place.
        let named: Vec<u16> = endpoints.iter().filter(|(host, _)| host == "localhost").map(|(_, port)| *port).collect();
        endpoints.retain(|(host, port)| host != "127.0.0.1" || !named.contains(port));
        let proxy = usize::from(patterns.iter().any(|pattern| pattern.place().is_none()));
        if endpoints.len() + proxy > limits::NETWORK_ENDPOINTS_MAX {
            return Err(PermissionError::TooManyEndpoints(endpoints.len() + proxy));
        }
        Ok(endpoints)
    }
}

/// A grant that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PermissionError {
    /// Not an endpoint.
    #[error("`{0}` cannot be granted with allow_net: write it as host, host:port or *.domain, without a scheme")]
    Endpoint(String),
    /// Too many of them.
    #[error("allow_net names {0} endpoints; at most {max} are possible (limit NETWORK_ENDPOINTS_MAX)", max = limits::NETWORK_ENDPOINTS_MAX)]
    TooManyEndpoints(usize),
    /// Not a path.
    #[error(
        "`{0}` cannot be granted with {1}: a path is absolute, or relative to the plugin directory and inside of it"
    )]
    Path(String, &'static str),
    /// Not a variable's name.
    #[error("`{0}` cannot be granted with allow_env: it is not the name of an environment variable")]
    Variable(String),
    /// A limit that nothing could run with.
    #[error("{name} is {value}; it must be at least {least}")]
    TooSmall {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: u64,
        /// The least that works.
        least: u64,
    },
}

impl Permissions {
    /// Checks what has rules of its own.
    ///
    /// # Errors
    /// The grant that makes no sense.
    pub fn check(&self) -> Result<(), PermissionError> {
        self.allow_net.endpoints()?;
        for (paths, name) in [(&self.allow_read, "allow_read"), (&self.allow_write, "allow_write")] {
            for path in paths {
                let up = Path::new(path).components().any(|part| part == Component::ParentDir);
                if path.is_empty() || path.contains('\0') || (up && !path.starts_with('/')) {
                    return Err(PermissionError::Path(path.clone(), name));
                }
            }
        }
        let bad = |name: &&String| name.is_empty() || name.contains(['=', '\0']);
        if let Some(name) = self.allow_env.iter().find(bad) {
            return Err(PermissionError::Variable(name.clone()));
        }
        for (name, value, least) in [
            ("memory", self.memory, limits::WORKER_MEMORY_BYTES_MIN),
            ("cpu in thousandths", self.cpu.map(u64::from), limits::WORKER_CPU_THOUSANDTHS_MIN),
            ("max_procs", self.max_procs, limits::WORKER_PROCESSES_MIN),
            ("max_files", self.max_files, limits::WORKER_FILES_MIN),
            ("tmp_size", self.tmp_size, 4096),
        ] {
            if let Some(value) = value.filter(|value| *value < least) {
                return Err(PermissionError::TooSmall { name, value, least });
            }
        }
        Ok(())
    }

    /// The path that a grant means: a relative one lies below the plugin directory.
    #[must_use]
    pub fn resolve(path: &str, plugin_dir: Option<&Path>) -> PathBuf {
        plugin_dir.map_or_else(|| PathBuf::from(path), |directory| directory.join(path))
    }

    /// Every grant as the command line would write it, for people.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = Vec::new();
        if self.allow_all {
            words.push("--allow-all".to_owned());
        }
        match &self.allow_net {
            NetPermission::Flag(true) => words.push("--allow-net".to_owned()),
            NetPermission::Hosts(hosts) if !hosts.is_empty() => words.push(format!("--allow-net={}", hosts.join(","))),
            _ => {}
        }
        for (flag, values) in
            [("--allow-read", &self.allow_read), ("--allow-write", &self.allow_write), ("--allow-env", &self.allow_env)]
        {
            words.extend(values.iter().map(|value| format!("{flag}={value}")));
        }
        if self.allow_run {
            words.push("--allow-run".to_owned());
        }
        words.join(" ")
    }
}

/// A number of bytes such as `512MB`; `KB`, `MB` and `GB` are powers of 1024, as memory is sold.
///
/// # Errors
/// The text is none.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err(format!("`{text}` is not a size; write it as 64MB or 1GB")),
    };
    let number: u64 = number.parse().map_err(|_| format!("`{text}` is not a size; write it as 64MB or 1GB"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("`{text}` is too large"))
}

/// Sizes as numbers or as text.
pub(super) mod optional_size {
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Size {
        Bytes(u64),
        Text(String),
    }

    pub(in crate::trigger) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        match Option::<Size>::deserialize(deserializer)? {
            None => Ok(None),
            Some(Size::Bytes(bytes)) => Ok(Some(bytes)),
            Some(Size::Text(text)) => super::parse_size(&text).map(Some).map_err(serde::de::Error::custom),
        }
    }

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(in crate::trigger) fn serialize<S: Serializer>(size: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        match size {
            Some(bytes) => serializer.serialize_u64(*bytes),
            None => serializer.serialize_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Permissions {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn nothing_is_granted_by_default() {
        assert_eq!(read("{}"), Permissions::default());
        assert!(read(r#"{"allow_net":null}"#).allow_net.is_none());
        assert!(read(r#"{"allow_net":false}"#).allow_net.is_none());
        assert_eq!(serde_json::to_string(&Permissions::default()).unwrap(), "{}");
    }

    #[test]
    fn a_grant_survives_its_way_through_the_catalog() {
        let permissions = read(
            r#"{"allow_net":["db:5432","example.org"],"allow_read":["a"],"allow_env":["TOKEN"],"allow_run":true,"memory":"64MB"}"#,
        );
        assert_eq!(permissions.memory, Some(64 << 20));
        assert_eq!(read(&serde_json::to_string(&permissions).unwrap()), permissions);
        assert_eq!(
            permissions.allow_net.endpoints().unwrap(),
            [("db".to_owned(), 5432), ("example.org".to_owned(), 80), ("example.org".to_owned(), 443)]
        );
        assert_eq!(permissions.words(), "--allow-net=db:5432,example.org --allow-read=a --allow-env=TOKEN --allow-run");
    }

    #[test]
    fn two_names_of_this_machine_are_one_endpoint() {
        let permissions = read(r#"{"allow_net":["127.0.0.1:80","localhost:80","127.0.0.1:81","localhost:80"]}"#);
        let endpoints = permissions.allow_net.endpoints().unwrap();
        assert_eq!(endpoints, [("127.0.0.1".to_owned(), 81), ("localhost".to_owned(), 80)]);
    }

    #[test]
    fn domains_and_addresses_have_no_place_of_their_own() {
        let permissions = read(r#"{"allow_net":["*.example.org","192.0.2.1:80","db:5432"]}"#);
        assert_eq!(permissions.allow_net.endpoints().unwrap(), [("db".to_owned(), 5432)]);
        assert_eq!(permissions.allow_net.patterns().unwrap().len(), 3);
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let error = |json: &str| read(json).check().unwrap_err().to_string();
        assert!(error(r#"{"allow_net":["https://example.org"]}"#).contains("without a scheme"));
        assert!(error(r#"{"allow_net":["*"]}"#).contains("*.domain"));
        assert!(error(r#"{"allow_read":["../x"]}"#).contains("inside of it"));
        assert!(error(r#"{"allow_env":["A=B"]}"#).contains("`A=B`"));
        assert_eq!(error(r#"{"max_files":3}"#), "max_files is 3; it must be at least 32");
        assert!(read(r#"{"allow_read":["/a/../b","data"]}"#).check().is_ok());
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("64 MB"), Ok(64 << 20));
        assert_eq!(parse_size("1GiB"), Ok(1 << 30));
        assert!(parse_size("1.5GB").unwrap_err().contains("write it as"));
        assert!(parse_size("99999999999GB").unwrap_err().contains("too large"));
    }
}
