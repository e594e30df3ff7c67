//! The text of a `requirements.txt`, as far as it makes sense for an environment that is shared and named by
//! its contents: packages, index options and includes. What depends on the directory it is read in is refused.

use std::path::Path;

/// One logical line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A normalised requirement.
    Package(String),
    /// An option for the resolver, in its long form.
    Option(String),
    /// Another requirements file, relative to this one.
    Include(String),
}

/// Options that take a value, by each of their names.
const VALUE_OPTIONS: [(&str, &str); 7] = [
    ("-i", "--index-url"),
    ("--index-url", "--index-url"),
    ("--extra-index-url", "--extra-index-url"),
    ("-f", "--find-links"),
    ("--find-links", "--find-links"),
    ("--no-binary", "--no-binary"),
    ("--only-binary", "--only-binary"),
];

/// Reads all lines; `directory` is where relative directories of wheels start from. An error is the number of
/// the line and what is wrong with it.
pub(super) fn parse(text: &str, directory: &Path) -> Result<Vec<Item>, (usize, String)> {
    let lines = logical_lines(text.trim_start_matches('\u{feff}'));
    lines.into_iter().map(|(number, line)| item(&line, directory).map_err(|reason| (number, reason))).collect()
}

/// Takes the spaces out of version clauses; what follows a `;` or an `@` is left as it is.
fn close_up(rest: &str) -> String {
    if rest.starts_with('@') {
        return rest.to_owned();
    }
    let (clauses, marker) = rest.split_at(rest.find(';').unwrap_or(rest.len()));
    let (clauses, hashes) = clauses.split_at(clauses.find(" --").unwrap_or(clauses.len()));
    let clauses: String = clauses.split_whitespace().collect();
    format!("{clauses}{hashes}{marker}")
}

/// Brings a requirement into the form in which equal ones are equal: the name as the index has it, no space
/// after it. What could be an option, a file or a directory is none.
pub(super) fn normalise(requirement: &str) -> Result<String, String> {
    let requirement = requirement.trim();
    if requirement.chars().any(char::is_control) {
        return Err("holds a control character".into());
    }
    if let Some(option) =
        requirement.split_whitespace().find(|word| word.starts_with('-') && !word.starts_with("--hash"))
    {
        return Err(format!("holds the option `{option}`; only `--hash` may stand in a requirement"));
    }
    let is_name = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    let end = requirement.find(|character| !is_name(character)).unwrap_or(requirement.len());
    let (name, rest) = requirement.split_at(end);
    let rest = rest.trim_start();
    if rest.starts_with("://") || rest.starts_with('+') && rest.contains("://") {
        return Ok(requirement.to_owned());
    }
    let is_package = name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && (rest.is_empty() || rest.starts_with(['[', '(', '<', '>', '=', '!', '~', ';', '@']))
        && !(rest.is_empty() && is_archive(name));
    if !is_package {
        return Err(
            "is no requirement: expected a package such as `requests<3`; a file is written as `name @ file:///absolute/path`"
                .into(),
        );
    }
    let name = normalise_name(name);
    let space = if rest.starts_with('@') { " " } else { "" };
    Ok(format!("{name}{space}{}", close_up(rest)))
}

/// A name as an index compares it.
pub(super) fn normalise_name(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty()).map(str::to_ascii_lowercase);
    parts.collect::<Vec<_>>().join("-")
}

/// The file name of a package, which would be looked for in the current directory.
fn is_archive(name: &str) -> bool {
    [".whl", ".tar.gz", ".zip"].iter().any(|ending| name.ends_with(ending))
}

fn item(line: &str, directory: &Path) -> Result<Item, String> {
    if !line.starts_with('-') {
        return normalise(line).map(Item::Package).map_err(|reason| format!("`{line}` {reason}"));
    }
    let (name, value) = line.split_once(['=', ' ', '\t']).unwrap_or((line, ""));
    let value = value.trim_start_matches('=').trim();
    if name == "--no-index" && value.is_empty() {
        return Ok(Item::Option(name.to_owned()));
    }
    if matches!(name, "-r" | "--requirement") && !value.is_empty() {
        return Ok(Item::Include(value.to_owned()));
    }
    match VALUE_OPTIONS.iter().find(|(option, _)| *option == name) {
        Some((_, "--find-links")) if !value.is_empty() && !value.contains("://") => {
            Ok(Item::Option(format!("--find-links {}", directory.join(value).display())))
        }
        Some((_, long)) if !value.is_empty() => Ok(Item::Option(format!("{long} {value}"))),
        Some(_) => Err(format!("`{name}` lacks its value")),
        None => {
            Err(format!("`{name}` is not supported in a plugin's requirements; packages, `-r` and index options are"))
        }
    }
}

/// Lines without comments and with continuations joined, each with the number of its first line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut logical: Vec<(usize, String)> = Vec::new();
    let mut continues = false;
    for (index, line) in text.lines().enumerate() {
        let code = without_comment(line).trim_end();
        let (code, goes_on) = code.strip_suffix('\\').map_or((code, false), |code| (code, true));
        match logical.last_mut().filter(|_| continues) {
            Some((_, line)) => {
                line.push(' ');
                line.push_str(code.trim());
            }
            None => logical.push((index + 1, code.trim().to_owned())),
        }
        continues = goes_on;
    }
    logical.retain(|(_, line)| !line.is_empty());
    logical
}

/// A comment starts the line or follows a space: the fragment of a URL does neither.
fn without_comment(line: &str) -> &str {
    let starts = line.match_indices('#').map(|(index, _)| index);
    let comment = starts.into_iter().find(|index| line[..*index].chars().next_back().is_none_or(char::is_whitespace));
    comment.map_or(line, |index| &line[..index])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> Vec<Item> {
        parse(text, Path::new("/plugins")).unwrap()
    }

    fn package(text: &str) -> Item {
        Item::Package(text.into())
    }

    #[test]
    fn comments_blank_lines_and_continuations_are_understood() {
        let text = "\u{feff}# head\nRequests [socks] >= 2 , <3 # why\n\nnumpy==2.0 \\\n  --hash=sha256:ab\nx @ https://h/x.whl#sha256=1\r\n";
        assert_eq!(
            items(text),
            [
                package("requests[socks]>=2,<3"),
                package("numpy==2.0 --hash=sha256:ab"),
                package("x @ https://h/x.whl#sha256=1")
            ]
        );
    }

    #[test]
    fn names_are_normalised() {
        for text in ["Zope.Interface==1", "zope_interface ==1", "ZOPE-._interface==1"] {
            assert_eq!(normalise(text).as_deref(), Ok("zope-interface==1"));
        }
        assert_eq!(normalise("a ; python_version < '3.11'").as_deref(), Ok("a; python_version < '3.11'"));
        assert_eq!(normalise("git+https://h/A").as_deref(), Ok("git+https://h/A"));
        assert_eq!(normalise("a@https://u:p@h/a.whl").as_deref(), Ok("a @https://u:p@h/a.whl"));
    }

    #[test]
    fn options_get_their_long_form_and_directories_a_place() {
        let text = "-i https://index/simple\n--extra-index-url=https://other?a=b\n-f wheels\n--no-index\n-r more.txt";
        let option = |text: &str| Item::Option(text.into());
        assert_eq!(
            items(text),
            [
                option("--index-url https://index/simple"),
                option("--extra-index-url https://other?a=b"),
                option("--find-links /plugins/wheels"),
                option("--no-index"),
                Item::Include("more.txt".into())
            ]
        );
    }

    #[test]
    fn what_depends_on_the_place_is_refused_with_its_line() {
        for (line, reason) in [
            ("-e .", "`-e` is not supported"),
            ("./local", "is no requirement"),
            ("/abs/local", "is no requirement"),
            ("dir/local", "is no requirement"),
            ("x-1-py3-none-any.whl", "is no requirement"),
            ("--index-url", "lacks its value"),
            ("-c constraints.txt", "`-c` is not supported"),
        ] {
            let (number, error) = parse(&format!("numpy\n\n{line}\n"), Path::new("/p")).unwrap_err();
            assert_eq!(number, 3);
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}
