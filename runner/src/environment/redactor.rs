//! Takes credentials out of what tools say, wherever they stand in it.

use super::index::IndexSettings;
use super::requirements::Requirements;
use super::tool_environment::{passes, without_credentials};

/// Shortest password that is looked for by itself: a shorter one would be found in every other word.
const SECRET_BYTES_MIN: usize = 4;

/// Knows the credentials that a tool was given.
#[derive(Debug, Clone, Default)]
pub(super) struct Redactor {
    secrets: Vec<String>,
}

impl Redactor {
    /// For the tools of one build.
    pub(super) fn new(index: &IndexSettings, requirements: Option<&Requirements>) -> Self {
        let inherited: Vec<(String, String)> = std::env::vars_os()
            .filter(|(name, _)| passes(name))
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let mut redactor = Self::default();
        let lines = requirements.map(Requirements::packages).unwrap_or_default();
        let urls = index.urls().chain(lines.iter().map(String::as_str));
        for text in urls.chain(inherited.iter().map(|(_, value)| value.as_str())) {
            redactor.learn(text);
        }
        let named = inherited.iter().filter(|(name, _)| name.ends_with("_PASSWORD"));
        redactor.secrets.extend(named.map(|(_, password)| password.clone()));
        redactor.secrets.retain(|secret| secret.len() >= SECRET_BYTES_MIN);
        // Longer ones first, so that none is left in part.
        redactor.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        redactor.secrets.dedup();
        redactor
    }

    /// Learns the passwords of the URLs in a text.
    fn learn(&mut self, text: &str) {
        for rest in text.split("://").skip(1) {
            let end = rest.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(rest.len());
            let Some((user, _)) = rest[..end].rsplit_once('@') else { continue };
            // A token may stand in the user's place.
            let secret = user.split_once(':').map_or(user, |(_, password)| password);
            self.secrets.push(secret.to_owned());
            self.secrets.push(percent_decoded(secret));
        }
    }

    /// The text without them.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut clean = without_credentials(text);
        for secret in &self.secrets {
            clean = clean.replace(secret.as_str(), "***");
        }
        clean
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_found_wherever_a_tool_writes_it() {
        let index_url = Some("https://user:pass%21word@host/simple".to_owned());
        let extra_index_urls = vec!["https://tokenvalue@other/simple".to_owned()];
        let index = IndexSettings { index_url, extra_index_urls, ..IndexSettings::default() };
        let redactor = Redactor::new(&index, None);
        let said = "401 for https://user:pass%21word@host/simple with pass!word, or tokenvalue";
        assert_eq!(redactor.clean(said), "401 for https://***@host/simple with ***, or ***");
    }
}
