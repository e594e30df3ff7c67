//! Where source packages are looked for: the places that the tools are told, in their words.

use serde::Serialize;

use super::super::index::IndexSettings;

/// The index that both tools use when they are told none.
const PUBLIC_INDEX: &str = "https://pypi.org/simple";

/// Places, the first one before the others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Origins {
    /// Addresses of indexes, which may hold credentials.
    pub(super) indexes: Vec<String>,
    /// Directories and pages with links.
    pub(super) directories: Vec<String>,
}

/// The places for requirements with these options. The operator's settings come before the options, and these before what
/// `variable` says of the runner's environment.
pub(super) fn origins(index: &IndexSettings, options: &[String], variable: impl Fn(&str) -> Option<String>) -> Origins {
    let directories = index.find_links.iter().map(|path| path.to_string_lossy().into_owned());
    let mut found = Origins { directories: directories.collect(), ..Origins::default() };
    let option = |name: &str| {
        let values = options.iter().filter_map(move |line| line.strip_prefix(name)?.strip_prefix(' '));
        values.map(|value| value.trim().to_owned()).collect::<Vec<_>>()
    };
    found.directories.extend(option("--find-links"));
    // What the operator has decided leaves nothing to the environment of the runner.
    let variable = |name: &str| if index.decides() { None } else { variable(name).filter(|value| !value.is_empty()) };
    let words = |names: &[&str], separators: &[char]| {
        let values = names.iter().filter_map(|name| variable(name));
        let split = |value: String| value.split(separators).map(str::to_owned).collect::<Vec<_>>();
        values.flat_map(split).filter(|word| !word.is_empty()).collect::<Vec<_>>()
    };
    found.directories.extend(words(&["PIP_FIND_LINKS", "UV_FIND_LINKS"], &[' ', ',']));
    found.directories.dedup();
    let is_off =
        |name: &str| variable(name).is_some_and(|value| !matches!(value.as_str(), "0" | "false" | "no" | "off"));
    let no_index = ["PIP_NO_INDEX", "UV_NO_INDEX", "UV_OFFLINE"].into_iter().any(is_off);
    if index.offline || no_index || options.iter().any(|line| line == "--no-index") {
        return found;
    }
    let named = index.index_url.clone().or_else(|| option("--index-url").pop());
    let inherited = || ["PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"].into_iter().find_map(&variable);
    found.indexes.push(named.or_else(inherited).unwrap_or_else(|| PUBLIC_INDEX.to_owned()));
    found.indexes.extend(index.extra_index_urls.iter().cloned());
    found.indexes.extend(option("--extra-index-url"));
    let extra = words(&["PIP_EXTRA_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL"], &[' ']);
    // uv lets an index have a name: `name=https://...`.
    let address = |word: &String| match word.split_once('=') {
        Some((name, address)) if !name.contains(':') => address.to_owned(),
        _ => word.clone(),
    };
    found.indexes.extend(extra.iter().map(address));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_that_the_tools_are_told() {
        let none = |_: &str| None;
        let settings = IndexSettings::default();
        assert_eq!(origins(&settings, &[], none).indexes, [PUBLIC_INDEX]);
        let options = ["--index-url https://a/simple", "--find-links /wheels"].map(str::to_owned);
        let of_options = Origins { indexes: vec!["https://a/simple".into()], directories: vec!["/wheels".into()] };
        assert_eq!(origins(&settings, &options, none), of_options);
        let variables = |name: &str| match name {
            "PIP_INDEX_URL" => Some("https://b/simple".to_owned()),
            "UV_INDEX" => Some("corp=https://c/simple https://d/simple?x=1".to_owned()),
            "PIP_FIND_LINKS" => Some("/one /two".to_owned()),
            _ => None,
        };
        let found = origins(&settings, &[], variables);
        assert_eq!(found.indexes, ["https://b/simple", "https://c/simple", "https://d/simple?x=1"]);
        assert_eq!(found.directories, ["/one", "/two"]);
        let offline = IndexSettings { offline: true, find_links: vec!["/house".into()], ..IndexSettings::default() };
        let only_there = Origins { indexes: Vec::new(), directories: vec!["/house".into()] };
        assert_eq!(origins(&offline, &[], variables), only_there);
        assert_eq!(origins(&settings, &["--no-index".to_owned()], none), Origins::default());
    }
}
