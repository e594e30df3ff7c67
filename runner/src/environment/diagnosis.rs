//! What a tool's failure means, in the words that help its reader. Pure.

use super::interpreter::Interpreter;

/// Files that are named, at most.
const NAMED_MAX: usize = 3;

/// The words of a tool that failed: what it wrote to standard error, and what it explained elsewhere.
pub(super) fn words(stdout: &str, stderr: &str) -> String {
    let stderr = stderr.trim_end();
    // Both tools explain themselves on standard error; venv writes to standard output, and pip the reasons of a conflict.
    if stderr.trim().is_empty() {
        return stdout.trim_end().to_owned();
    }
    let Some(start) = stdout.find("The conflict is caused by:") else { return stderr.to_owned() };
    let explanation = stdout[start..].split("\nTo fix this").next().unwrap_or_default();
    format!("{stderr}\n{}", explanation.trim_end())
}

/// What the reader can do about the failures that people meet most.
pub(super) fn hint(output: &str) -> Option<String> {
    const UNREACHABLE: &str = "the index cannot be reached: check network, proxy and index settings";
    const NO_WHEEL: &str =
        "a package has no wheel for this platform, and its own build failed; ask for a version that has one";
    let hints = [
        ("ensurepip is not available", "install the package `python3-venv`, or uv"),
        ("No module named venv", "install the package `python3-venv`, or uv"),
        ("No space left on device", "free disk space below the data directory"),
        ("Temporary failure in name resolution", UNREACHABLE),
        ("Name or service not known", UNREACHABLE),
        ("Failed to establish a new connection", UNREACHABLE),
        ("dns error", UNREACHABLE),
        ("tcp connect error", UNREACHABLE),
        ("401 Error", "the index refuses: check user name and password in its URL"),
        ("401 Unauthorized", "the index refuses: check user name and password in its URL"),
        (
            "has no wheels with a matching",
            "a package has no wheel for this platform or this Python; ask for a version that has one",
        ),
        (
            "has no usable wheels",
            "a package has no wheel for this platform or this Python; ask for a version that has one",
        ),
        ("No matching distribution found", "check the package's name and version, and that it supports this Python"),
        ("No solution found", "the requirements contradict each other or a package does not exist"),
        ("ResolutionImpossible", "the requirements contradict each other"),
        ("Failed building wheel", NO_WHEEL),
        ("metadata-generation-failed", NO_WHEEL),
        ("Failed to build", NO_WHEEL),
    ];
    hints.into_iter().find(|(text, _)| output.contains(text)).map(|(_, hint)| hint.to_owned())
}

/// What pip's log tells of a package for which it found nothing: there may be wheels for other machines only.
pub(super) fn misfit(output: &str, log: &str, interpreter: &Interpreter) -> Option<String> {
    let asked = output.split("No matching distribution found for ").nth(1)?.lines().next()?;
    let name = super::requirements_file::normalise(asked.trim()).ok()?;
    let name = super::requirements::name_of(&name);
    let files: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("none of the wheel's tags"))
        .filter_map(|line| line.rsplit_once('/').map(|(_, file)| file.split(['#', '?', ' ']).next().unwrap_or(file)))
        .filter(|file| file.split('-').next().is_some_and(|own| super::requirements_file::normalise_name(own) == name))
        .collect();
    let (first, more) = (files.iter().take(NAMED_MAX), files.len().saturating_sub(NAMED_MAX));
    if files.is_empty() {
        return None;
    }
    let named = first.map(|file| format!("`{file}`")).collect::<Vec<_>>().join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!(
        "no wheel of `{name}` fits Python {} on {}; there are {named}{more}; ask for a version that has one, or for another Python \
         with `requires-python`",
        interpreter.version, interpreter.platform
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_failures_have_a_hint() {
        let hint_of = |text: &str| hint(text).unwrap_or_default();
        assert!(hint_of("ERROR: No matching distribution found for x").starts_with("check the package"));
        assert!(
            hint_of("Because far==1.0 has no wheels with a matching Python ABI tag")
                .contains("no wheel for this platform")
        );
        assert_eq!(hint("something else"), None);
    }

    #[test]
    fn the_reasons_of_a_conflict_belong_to_the_words() {
        let stdout = "Processing a\n\nThe conflict is caused by:\n    one depends on base<2\n    two depends on base>=2\n\nTo fix this you could try to:\n1. loosen";
        assert_eq!(
            words(stdout, "ERROR: ResolutionImpossible\n"),
            "ERROR: ResolutionImpossible\nThe conflict is caused by:\n    one depends on base<2\n    two depends on base>=2"
        );
        assert_eq!(words("venv's words\n", " \n"), "venv's words");
    }

    #[test]
    fn wheels_for_other_machines_are_named() {
        let interpreter =
            Interpreter { version: "3.12.1".into(), base_executable: "/p".into(), platform: "linux-x86_64".into() };
        let log = "t Skipping link: none of the wheel's tags (cp39-cp39-win_amd64) are compatible (run pip debug): https://h/a/Far_Away-1.0-cp39-cp39-win_amd64.whl#sha256=aa\n\
                   t Skipping link: none of the wheel's tags (x) are compatible (run): file:///w/other-1.0-x.whl\n";
        let output = "ERROR: No matching distribution found for far-away==1.0";
        let hint = misfit(output, log, &interpreter).unwrap();
        assert!(hint.starts_with("no wheel of `far-away` fits Python 3.12.1 on linux-x86_64; there are `Far_Away-1.0-cp39-cp39-win_amd64.whl`; "), "{hint}");
        assert_eq!(misfit("ERROR: No matching distribution found for near", log, &interpreter), None);
    }
}
