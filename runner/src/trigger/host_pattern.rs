//! A host of a grant: by name, by address, or all names below a domain.

use std::net::IpAddr;

use super::permissions::PermissionError;
use crate::limits;

/// Ports of a host that was granted without one.
const WEB_PORTS: [u16; 2] = [80, 443];

/// Hosts and ports that an entry of `allow_net` grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    pub(super) host: Host,
    pub(super) ports: Vec<u16>,
}

/// Which hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    /// The one with this name, in lower case.
    Name(String),
    /// The one with this address.
    Address(IpAddr),
    /// All with names that end in a period and this.
    Below(String),
}

impl HostPattern {
    /// Reads `host`, `host:port`, `*.domain`, `192.0.2.1:80` or `[2001:db8::1]:443`.
    ///
    /// # Errors
    /// The entry is none of them.
    pub fn read(entry: &str) -> Result<Self, PermissionError> {
        let bad = || PermissionError::Endpoint(entry.to_owned());
        let end = if entry.starts_with('[') { entry.find(']').map(|at| at + 1) } else { entry.rfind(':') };
        let (host, port) = entry.split_at(end.unwrap_or(entry.len()));
        let ports = match port.strip_prefix(':') {
            Some(port) => vec![port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?],
            None if port.is_empty() => WEB_PORTS.to_vec(),
            None => return Err(bad()),
        };
        let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match (in_brackets, host.parse::<IpAddr>(), host.strip_prefix("*.")) {
            (Some(address), ..) => Host::Address(address.parse().map_err(|_| bad())?),
            (None, Ok(address), _) => Host::Address(address),
            // A whole top-level domain is more than anybody means.
            (None, Err(_), Some(domain)) if is_name(domain) && domain.contains('.') => {
                Host::Below(domain.to_ascii_lowercase())
            }
            (None, Err(_), None) if is_name(host) => Host::Name(host.to_ascii_lowercase()),
            _ => return Err(bad()),
        };
        Ok(Self { host, ports })
    }

    /// Whether a program may connect to this host and port. An address counts as what it says, a name as what it is called.
    #[must_use]
    pub fn covers(&self, host: &str, port: u16) -> bool {
        let host = host.to_ascii_lowercase();
        self.ports.contains(&port)
            && match &self.host {
                Host::Name(name) => *name == host,
                Host::Address(address) => host.parse() == Ok(*address),
                Host::Below(domain) => {
                    host.strip_suffix(domain.as_str()).is_some_and(|name| name.ends_with('.') && name.len() > 1)
                }
            }
    }

    /// Whether it means one host, which somebody has named.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !matches!(self.host, Host::Below(_))
    }

    /// The name under which a worker's own network has a place for it, so that programs connect to it without a proxy.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        match &self.host {
            Host::Name(name) => Some(name.clone()),
            Host::Address(address) if address.is_loopback() && address.is_ipv4() => Some(address.to_string()),
            Host::Address(_) | Host::Below(_) => None,
        }
    }
}

fn is_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !text.is_empty()
        && text.len() <= limits::HOST_NAME_BYTES_MAX
        && !text.starts_with('.')
        && !text.ends_with('.')
        && text.chars().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_addresses_and_domains_cover_what_they_say() {
        for (entry, host, port, expected) in [
            ("api.example.org", "API.example.org", 443, true),
            ("api.example.org", "api.example.org", 8080, false),
            ("api.example.org:8080", "api.example.org", 8080, true),
            ("api.example.org", "api.example.org.evil.test", 443, false),
            ("*.example.org", "a.b.example.org", 80, true),
            ("*.example.org", "example.org", 80, false),
            ("*.example.org", ".example.org", 80, false),
            ("*.example.org", "evilexample.org", 80, false),
            ("192.0.2.1:80", "192.0.2.1", 80, true),
            ("192.0.2.1:80", "192.0.2.10", 80, false),
            ("[2001:db8::1]:443", "2001:db8:0::1", 443, true),
            ("[2001:db8::1]", "2001:db8::2", 443, false),
        ] {
            assert_eq!(HostPattern::read(entry).unwrap().covers(host, port), expected, "{entry} {host}:{port}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for entry in [
            "",
            "*",
            "*.org",
            "*.*.example.org",
            "a.*.org",
            "a:0",
            "a:x",
            "https://a",
            "a/b",
            "[1.2.3]",
            "[::1",
            "[::1]x",
            ":80",
            ".a",
        ] {
            assert!(HostPattern::read(entry).is_err(), "{entry}");
        }
    }
}
