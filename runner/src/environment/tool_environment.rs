//! What tools see of the runner's environment, and what readers see of a tool's words.

use std::ffi::OsStr;

/// Variables that tools get from the runner's environment: where programs and caches are, how to reach an
/// index, and whom to trust. Nothing that only the runner needs is among them.
const PASSED: [&str; 40] = [
    "ALL_PROXY",
    "CURL_CA_BUNDLE",
    "HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NETRC",
    "NO_PROXY",
    "PATH",
    "PIP_CACHE_DIR",
    "PIP_CERT",
    "PIP_CLIENT_CERT",
    "PIP_CONFIG_FILE",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_INDEX_URL",
    "PIP_NO_INDEX",
    "PIP_PROXY",
    "PIP_TRUSTED_HOST",
    "PYENV_ROOT",
    "PYENV_VERSION",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "UV_CACHE_DIR",
    "UV_CONFIG_FILE",
    "UV_DEFAULT_INDEX",
    "UV_FIND_LINKS",
    "UV_HTTP_TIMEOUT",
    "UV_INSECURE_HOST",
    "UV_NATIVE_TLS",
    "UV_NO_INDEX",
    "UV_OFFLINE",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "all_proxy",
    "https_proxy",
    "http_proxy",
    "no_proxy",
];

/// More of them, by how their names begin (`UV_INDEX_NAME_PASSWORD`).
const PASSED_PREFIXES: [&str; 2] = ["UV_INDEX", "UV_EXTRA_INDEX"];

/// Whether a variable of the runner is for tools too.
pub(super) fn passes(name: &OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| PASSED.contains(&name) || PASSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

/// Whether a variable says where packages come from.
pub(super) fn names_index(name: &OsStr) -> bool {
    const NAMES: [&str; 9] = [
        "PIP_EXTRA_INDEX_URL",
        "PIP_FIND_LINKS",
        "PIP_INDEX_URL",
        "PIP_NO_INDEX",
        "UV_DEFAULT_INDEX",
        "UV_FIND_LINKS",
        "UV_NO_INDEX",
        "UV_INDEX",
        "UV_INDEX_URL",
    ];
    name.to_str().is_some_and(|name| NAMES.contains(&name) || name.starts_with("UV_EXTRA_INDEX"))
}

/// Whether a variable of the runner may hold credentials of an index, and is no plugin's business whatever it was granted.
#[must_use]
pub fn is_for_tools_only(name: &OsStr) -> bool {
    const NAMES: [&str; 4] = ["BULKHEAD_INDEX_URL", "BULKHEAD_EXTRA_INDEX_URL", "PIP_PROXY", "UV_DEFAULT_INDEX"];
    let begins = ["PIP_INDEX", "PIP_EXTRA_INDEX", "UV_INDEX", "UV_EXTRA_INDEX"];
    name.to_str().is_some_and(|name| NAMES.contains(&name) || begins.iter().any(|begin| name.starts_with(begin)))
}

/// Removes user names and passwords from the URLs in a text that people and logs will see.
#[must_use]
pub fn without_credentials(text: &str) -> String {
    let mut parts = text.split("://");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        clean.push_str("://");
        let end =
            part.find(|c: char| c == '/' || c.is_whitespace() || matches!(c, '"' | '\'' | '`')).unwrap_or(part.len());
        match part[..end].rfind('@') {
            Some(at) => {
                clean.push_str("***");
                clean.push_str(&part[at..]);
            }
            None => clean.push_str(part),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_variables_pass() {
        for name in ["PATH", "PIP_INDEX_URL", "UV_INDEX_CORP_PASSWORD", "https_proxy", "no_proxy"] {
            assert!(passes(OsStr::new(name)), "{name}");
        }
        for name in
            ["AWS_SECRET_ACCESS_KEY", "PYTHONPATH", "VIRTUAL_ENV", "INFLUXDB3_AUTH_TOKEN", "PIP_TARGET", "LD_PRELOAD"]
        {
            assert!(!passes(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn credentials_are_removed() {
        assert_eq!(
            without_credentials("see https://u:p@ss@host/simple and 'http://tok@h' or https://plain/a@b"),
            "see https://***@host/simple and 'http://***@h' or https://plain/a@b"
        );
    }
}
