//! Which source package it is that has to be built. Pure.

use serde::Deserialize;

use super::super::requirements::name_of;
use super::super::requirements_file::{normalise, normalise_name};
use super::super::version_specifier::{newer, satisfies};

/// Words with which pip and uv say that they have found no wheel.
const PIP_WORDS: &str = "No matching distribution found for ";
const UV_WORDS: &str = "Wheels are required for `";

/// A package for which there is no wheel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) name: String,
    /// The versions that will do: `>=1,<2`; all when it is empty.
    pub(super) versions: String,
}

/// What a tool has found no wheel of; `asked` are requirements, which may tell the version where the tool does not.
pub(super) fn missing(output: &str, asked: &[String]) -> Option<Missing> {
    if let Some(rest) = output.split(PIP_WORDS).nth(1) {
        let line = rest.lines().next()?.split(" (from").next()?;
        let requirement = normalise(line.trim()).ok()?;
        return Some(Missing { name: name_of(&requirement).to_owned(), versions: versions_of(&requirement) });
    }
    let name = normalise_name(output.split(UV_WORDS).nth(1)?.split('`').next()?);
    let of_name = asked.iter().filter(|line| name_of(line) == name);
    let versions: Vec<String> = of_name.map(|line| versions_of(line)).filter(|versions| !versions.is_empty()).collect();
    Some(Missing { name, versions: versions.join(",") })
}

/// The version clauses of a normalised requirement.
fn versions_of(requirement: &str) -> String {
    let rest = requirement.strip_prefix(name_of(requirement)).unwrap_or_default();
    let rest = rest.strip_prefix('[').and_then(|extras| extras.split_once(']')).map_or(rest, |(_, rest)| rest);
    let rest = rest.split([';', '@']).next().unwrap_or_default().split(" --").next().unwrap_or_default();
    rest.trim_matches(['(', ')', ' ']).to_owned()
}

/// A file of an index or of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Link {
    pub(super) file: String,
    /// Where it is; it may hold credentials.
    pub(super) url: String,
    pub(super) sha256: Option<String>,
    /// Version specifier of the interpreters that it is for.
    pub(super) python: Option<String>,
    pub(super) yanked: bool,
}

/// The version in the name of a source package's file.
fn version<'a>(file: &'a str, name: &str) -> Option<&'a str> {
    let stem = file.strip_suffix(".tar.gz").or_else(|| file.strip_suffix(".zip"))?;
    // The name itself may hold hyphens, in old files.
    let mut cuts = stem.match_indices('-').map(|(at, _)| at);
    cuts.find(|at| normalise_name(&stem[..*at]) == name).map(|at| &stem[at + 1..])
}

/// The newest of these that will do.
pub(super) fn choose<'a>(links: &'a [Link], wanted: &Missing, python: &str) -> Option<&'a Link> {
    let pinned = wanted.versions.split(',').find_map(|clause| clause.trim().strip_prefix("==")).map(str::trim);
    let fits = |link: &&'a Link| {
        let Some(version) = version(&link.file, &wanted.name) else { return false };
        if pinned == Some(version) {
            return true;
        }
        let is_final = version.chars().all(|c| c.is_ascii_digit() || c == '.') || version.contains(".post");
        let for_python = link.python.as_deref().is_none_or(|asked| satisfies(python, asked).unwrap_or(true));
        is_final && !link.yanked && for_python && satisfies(version, &wanted.versions).unwrap_or(false)
    };
    let of = |link: &'a Link| version(&link.file, &wanted.name).unwrap_or_default();
    links.iter().filter(fits).max_by(|one, other| newer(of(one), of(other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_wheel_is_read_from_the_words_of_both_tools() {
        let pip = "ERROR: Could not find a version that satisfies the requirement Foo_Bar[x]<2,>=1 (from baz) (from versions: none)\n\
                   ERROR: No matching distribution found for Foo_Bar[x]<2,>=1\n";
        let expected = Missing { name: "foo-bar".to_owned(), versions: "<2,>=1".to_owned() };
        assert_eq!(missing(pip, &[]), Some(expected.clone()));
        let uv = "hint: Wheels are required for `foo-bar` because building from source is disabled";
        assert_eq!(missing(uv, &["foo-bar<2,>=1; x".to_owned(), "foo==3".to_owned()]), Some(expected));
        assert_eq!(missing(uv, &[]).unwrap().versions, "");
        assert_eq!(missing("No space left on device", &[]), None);
    }

    #[test]
    fn the_newest_that_fits_is_taken() {
        let link = |file: &str, python: Option<&str>, yanked| Link {
            file: file.to_owned(),
            url: String::new(),
            sha256: None,
            python: python.map(str::to_owned),
            yanked,
        };
        let links = [
            link("foo-1.9.tar.gz", None, false),
            link("foo-1.10.zip", None, false),
            link("foo-1.11.tar.gz", Some(">=3.99"), false),
            link("foo-1.12.tar.gz", None, true),
            link("foo-2.0rc1.tar.gz", None, false),
            link("foo-bar-9.tar.gz", None, false),
            link("foo-9-py3-none-any.whl", None, false),
        ];
        let chosen = |versions: &str| {
            let wanted = Missing { name: "foo".to_owned(), versions: versions.to_owned() };
            choose(&links, &wanted, "3.12.1").map(|link| link.file.as_str())
        };
        assert_eq!(chosen(""), Some("foo-1.10.zip"));
        assert_eq!(chosen("<1.10"), Some("foo-1.9.tar.gz"));
        assert_eq!(chosen("==2.0rc1"), Some("foo-2.0rc1.tar.gz"), "who names it gets it");
        assert_eq!(chosen("==1.12"), Some("foo-1.12.tar.gz"));
        assert_eq!(chosen(">3"), None);
    }
}
